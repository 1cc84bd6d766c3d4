"""Demonstrations become a dataset: every step with its candidates, every episode on its goal, ready to train on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data.dataset import Dataset
from data.interop.webshop_demos import read_demonstrations
from data.interop.webshop_import import DEMONSTRATIONS, candidates, import_demonstrations
from data.verify import verify
from envs.errors import UsageError
from envs.text import decode_text, decode_texts
from tests.data.test_commands import call
from tests.data.test_webshop_demos import CLAUSE, RESULTS, row, write


def other(number: int, **changes: Any) -> dict[str, Any]:
    page = f"WebShop\nInstruction: \ni need chair number {number}\n[button] Search [button_]\n"
    return row(states=[page, *row()["states"][1:]], **changes)


@pytest.fixture
def demos(tmp_path: Path) -> Path:
    rewarded = {"rewards": [0, 0, 7.5]}
    cut = {
        "actions": ["search[red chair]", "click[item - red chair]"],
        "available_actions": [[], ["click[item - red chair]"]],
        "action_idxs": [-1, 0],
    }
    return write(
        tmp_path / "demos.jsonl",
        row(**rewarded),
        other(7, rewards=[0, 0, 10]),
        row(**rewarded),
        {**other(9, **cut), "states": [other(9)["states"][0], RESULTS]},
    )


def test_every_step_has_what_could_be_done(demos: Path, tmp_path: Path) -> None:
    dataset, report = import_demonstrations([demos], tmp_path / "set")
    assert verify(tmp_path / "set") == []
    assert (dataset.env.name, dataset.env.level_universe, dataset.num_episodes) == (DEMONSTRATIONS, 3, 4)
    assert (report.read, report.imported, report.unbought, report.without_rewards) == (4, 4, 1, 1)
    episode = dataset.episode(0)
    pages, offered = episode.observations["page"], episode.observations["candidates"]
    texts = [decode_texts(offered[t]) for t in range(4)]
    assert [decode_text(pages[t]) for t in range(4)] == row()["states"]
    taken = [texts[t][action] for t, action in enumerate(episode.actions)]
    # A link reads as title and price, in the case of the page; the typed query stands last.
    assert taken == ["search[red chair]", "click[Chair (Red [Wide]), $30.0]", "click[buy now]"]
    assert texts[0][0] == "search[i need a red chair, and price lower than 40.00 dollars]"
    assert texts[1] == ["click[next >]", "click[Chair (Red [Wide]), $30.0]"]
    assert texts[3] == ["leave"]
    assert np.isnan(episode.behavior_logp).all()
    assert max(len(row) for row in texts) == dataset.env.num_actions


def test_levels_are_goals_and_scores_are_metrics(demos: Path, tmp_path: Path) -> None:
    dataset, _ = import_demonstrations([demos], tmp_path / "set")
    episodes = dataset.episodes
    assert episodes["level"].tolist() == [0, 0, 1, 2]
    assert episodes["episode"].tolist() == [0, 1, 0, 0]
    assert episodes["terminated"].tolist() == [True, True, True, False]
    assert episodes["final_observation_known"].tolist() == [True, True, True, False]
    np.testing.assert_allclose(episodes["return"], [0.75, 0.75, 1.0, 0.0])
    np.testing.assert_allclose(dataset.metrics["score"], [0.75, 0.75, 1.0, np.nan])
    np.testing.assert_array_equal(dataset.metrics["success"], [0.0, 0.0, 1.0, np.nan])


@pytest.mark.parametrize("ready", [False, True])
def test_goals_in_order_give_the_levels(demos: Path, tmp_path: Path, ready: bool) -> None:
    texts = ["something else", "i need chair number 9", "I need a 'red' chair." + CLAUSE.format("50.00"), "more"]
    goals = {"goals": [{"instruction_text": text} for text in texts]} if ready else texts
    (tmp_path / "goals.json").write_text(json.dumps(goals))
    words = ["import", "webshop", str(demos), "--out", str(tmp_path / "set"), "--goals", str(tmp_path / "goals.json")]
    values = call(*words, "--license", "MIT")
    dataset = Dataset.open(tmp_path / "set")
    assert dataset.episodes["level"].tolist() == [1, 2, 2]
    assert dataset.env.level_universe == 4
    assert (values["unmatched"], values["other_price"], values["ambiguous"]) == (1, 2, 0)
    assert values["fingerprint"] == dataset.fingerprint
    assert dataset.info.license == "MIT"
    assert dataset.info.provenance["report"]["unmatched"] == 1


def test_several_files_are_one_dataset(demos: Path, tmp_path: Path) -> None:
    both, _ = import_demonstrations([demos, write(tmp_path / "more.jsonl", other(7), other(11))], tmp_path / "set")
    assert both.episodes["level"].tolist() == [0, 0, 1, 1, 2, 3]


def test_a_chosen_query_of_the_offered_ones_is_listed_once(tmp_path: Path) -> None:
    file = write(tmp_path / "d.jsonl", row(actions=["search[red chair]", *row()["actions"][1:]]), row())
    (first, _) = read_demonstrations(file)
    texts = candidates(first.steps[0], first.instruction)
    assert texts.count("search[red chair]") == 1
    assert len(set(texts)) == len(texts)


def test_nothing_is_left_where_no_goal_fits(demos: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="None of the 4 demonstrations"):
        import_demonstrations([demos], tmp_path / "set", texts=["x"])
    (tmp_path / "goals.json").write_text("[3]")
    with pytest.raises(UsageError, match=r"goals.json is no list of instructions"):
        call("import", "webshop", str(demos), "--out", str(tmp_path / "set"), "--goals", str(tmp_path / "goals.json"))
    demos.write_text(demos.read_text() + json.dumps(row(actions=...)) + "\n")
    with pytest.raises(UsageError, match=r"demos.jsonl, line 5: .*no key 'actions'"):
        import_demonstrations([demos], tmp_path / "set")
    assert not (tmp_path / "set").exists()
