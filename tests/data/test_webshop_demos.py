"""Human demonstrations: read line by line, matched to goals whatever the price, refused with line and key."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from data.interop.webshop_demos import (
    TYPED,
    GoalTexts,
    executable,
    match_goals,
    price_cap,
    read_demonstrations,
)
from envs.errors import RunError, UsageError

CLAUSE = ", and price lower than {} dollars"
RESULTS = "\n".join(
    [
        "Instruction:",
        "i need a red chair" + CLAUSE.format("40.00"),
        "[button] Back to Search [button_]",
        "Page 1 (Total results: 50)",
        "[button] Next > [button_]",
        "",
        "[button] B000000001 [button_]",
        "Red Chair",
        "$12.5",
        "",
        "[clicked button] B000000002 [clicked button_]",
        "Chair (Red [Wide])",
        "$30.0",
        "",
        "[button] B000000003 [button_]",
        "Red Chair",
        "$31.0",
        "",
    ]
)


def row(**changes: Any) -> dict[str, Any]:
    """One demonstration; `changes` replace keys, ``...`` removes one."""
    page = "WebShop\nInstruction: \ni need a red chair" + CLAUSE.format("40.00") + "\n[button] Search [button_]\n"
    values: dict[str, Any] = {
        "states": [page, RESULTS, "the item", "the end"],
        "actions": ["search[red chair]", "click[item - chair (red [wide])]", "click[buy now]"],
        "available_actions": [[], ["click[next >]", "click[item - chair (red [wide])]"], ["click[buy now]"]],
        "action_idxs": [-1, 1, 0],
        "actions_translate": [],
        "images": [0, 0, 0, 0],
    }
    values.update(changes)
    return {key: value for key, value in values.items() if value is not ...}


def write(path: Path, *rows: Any) -> Path:
    path.write_text("".join(json.dumps(content) + "\n" for content in rows), encoding="utf-8")
    return path


def test_a_demonstration_becomes_decisions(tmp_path: Path) -> None:
    (found,) = read_demonstrations(write(tmp_path / "d.jsonl", row()))
    assert found.instruction == "i need a red chair, and price lower than 40.00 dollars"
    assert [step.action for step in found.steps] == ["search[red chair]", "click[b000000002]", "click[buy now]"]
    assert [step.choice for step in found.steps] == [TYPED, 1, 0]
    assert found.steps[1].candidates[found.steps[1].choice] == "click[item - chair (red [wide])]"
    assert [step.observation for step in found.steps[1:]] == [RESULTS, "the item"]
    assert found.final_observation == "the end"
    assert found.score is None
    (without_end,) = read_demonstrations(write(tmp_path / "d.jsonl", row(states=row()["states"][:3])))
    assert without_end.final_observation is None
    assert without_end.steps == found.steps


def test_rewards_are_scaled_to_one(tmp_path: Path) -> None:
    (found,) = read_demonstrations(write(tmp_path / "d.jsonl", row(rewards=[0, 0.0, 7.5])))
    assert [step.reward for step in found.steps] == [0.0, 0.0, 0.75]
    assert found.score == 0.75


@pytest.mark.parametrize(
    "page",
    [
        "Amazon Shopping Game\nInstruction: \nfind x\n[button] Search [button_]",
        "WebShop [SEP] Instruction: [SEP] find x [SEP] Search",
        "webshop\ninstruction:\nfind x",
    ],
)
def test_first_pages_of_all_releases_are_understood(tmp_path: Path, page: str) -> None:
    (found,) = read_demonstrations(write(tmp_path / "d.jsonl", row(states=[page, RESULTS, "item"])))
    assert found.instruction == "find x"


def test_clicks_on_titles_become_clicks_on_identifiers() -> None:
    assert executable("click[item - red chair]", RESULTS) == "click[b000000003]", "the last of equal titles"
    assert executable("click[item - absent]", RESULTS) == "click[item - absent]"
    assert executable("click[b000000001]", RESULTS) == "click[b000000001]"
    assert executable("search[item - red chair]", RESULTS) == "search[item - red chair]"


def test_goals_are_found_whatever_the_price_and_the_quotes(tmp_path: Path) -> None:
    texts = [
        "i need a blue chair" + CLAUSE.format("40.00"),
        "I need a 'red'  chair." + CLAUSE.format("50.00"),
        "i need a red chair" + CLAUSE.format("40.00"),
        "i need a red chair with arms",
        "i need a red chair",
    ]
    goals = GoalTexts(texts)
    assert goals.find("i need a red chair" + CLAUSE.format("40.00")) == (2, 1, 4)
    assert goals.find('i need a "red" chair' + CLAUSE.format("990.00")) == (1, 2, 4)
    assert goals.find("i need a red chair") == (4, 1, 2)
    assert goals.find("i need a red") == ()
    demos = list(read_demonstrations(write(tmp_path / "d.jsonl", row(), row())))
    report = match_goals(demos, texts)
    assert [goal for _, goal in report.matched] == [2, 2]
    assert (report.ambiguous, report.other_price, report.unmatched) == (2, 0, ())
    report = match_goals(demos[:1], ["i need a red chair" + CLAUSE.format("60.00")])
    assert (report.ambiguous, report.other_price) == (0, 1)
    assert match_goals(demos, ["another"]).unmatched == tuple(demos)


@pytest.mark.parametrize(
    ("text", "cap"),
    [
        ("x, and price lower than 40.00 dollars", 40.0),
        ("x and price lower than 9 dollars.", 9.0),
        ("x, and price lower than 40.00 dollars for two", None),
        ("x", None),
    ],
)
def test_price_caps_are_read_at_the_end_only(text: str, cap: float | None) -> None:
    assert price_cap(text) == cap


KEYS = ("states", "actions", "available_actions", "action_idxs")


@pytest.mark.parametrize("key", KEYS)
def test_a_missing_key_names_file_line_and_key(tmp_path: Path, key: str) -> None:
    file = write(tmp_path / "d.jsonl", row(), row(**{key: ...}))
    with pytest.raises(UsageError, match=rf"d.jsonl, line 2: .*no key '{key}'"):
        list(read_demonstrations(file))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"states": ["a"]}, "has 1 'states' for 3 'actions'"),
        ({"actions": []}, "has 4 'states' for 0 'actions'"),
        ({"states": [1, 2, 3]}, "'states' must hold texts only"),
        ({"states": ["no header", "b", "c"]}, "starts with a page without instruction"),
        ({"action_idxs": [-1, 1]}, "has 2 'action_idxs' for 3 'actions'"),
        ({"action_idxs": [-1, 2, 0]}, "'action_idxs' of step 1 is 2; allowed: -1 to 1"),
        ({"action_idxs": [-1, True, 0]}, "'action_idxs' of step 1 is True"),
        ({"available_actions": [[], "x", []]}, "'available_actions' of step 1 must be a list of texts"),
        ({"available_actions": {}}, "'available_actions' must be a list, found dict"),
        ({"rewards": [0, 0]}, "has 2 'rewards' for 3 'actions'"),
        ({"rewards": [0, 0, "1"]}, "'rewards' of step 2 is '1', not a number"),
    ],
)
def test_broken_demonstrations_say_what_is_wrong(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        list(read_demonstrations(write(tmp_path / "d.jsonl", row(**changes))))
    assert "d.jsonl, line 1: " in str(caught.value)
    assert message in str(caught.value)


def test_broken_files(tmp_path: Path) -> None:
    file = tmp_path / "d.jsonl"
    with pytest.raises(UsageError, match="There is no file"):
        list(read_demonstrations(file))
    file.write_text("\n\n")
    with pytest.raises(RunError, match=r"d.jsonl is empty"):
        list(read_demonstrations(file))
    file.write_text(json.dumps(row()) + "\n" + json.dumps(row())[:-30])
    reader = read_demonstrations(file)
    assert next(reader).line == 1
    with pytest.raises(RunError, match=r"line 2 is not JSON .* ends in the middle"):
        next(reader)
    file.write_text("{broken}\n")
    with pytest.raises(RunError, match=r"line 1 is not JSON \(.*\)\.$"):
        list(read_demonstrations(file))
    with pytest.raises(UsageError, match="holds a list; an object"):
        list(read_demonstrations(write(file, [1])))
    file.write_bytes(b'{"states": "\xe9"}\n')
    with pytest.raises(RunError, match="is not JSON"):
        list(read_demonstrations(file))
