"""The door: JSON lines in, JSON lines out, whatever comes in."""

from __future__ import annotations

import gzip
import io
import json
import os
import resource
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from envs.errors import RunError, UsageError
from envs.shop.door import Answer, judge, player, talk
from envs.shop.files import ShopFiles, open_shop
from envs.shop.product import product_from_record
from envs.shop.rules import COMPAT, STRICT
from envs.shop.session import Session
from tests.conftest import REPOSITORY
from tests.envs.shop.recordings import FILES, GOLDEN, recorded_shop, rows, small_shop
from tests.envs.shop.shop_files import record

GENGAP = [sys.executable, str(REPOSITORY / "gengap.py"), "envs"]
OPTIONS = [
    word
    for name in ("products", "attributes", "prices", "nouns", "rankings")
    for word in (f"--{name}", getattr(FILES, name))
]
GOALS = ["--goals", str(GOLDEN / "goals.json")]


def ask(answer: Answer, *lines: Any) -> list[dict[str, Any]]:
    data = [line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines]
    out = io.BytesIO()
    talk(answer, data, out)
    return [json.loads(line) for line in out.getvalue().splitlines()]


def converse(words: list[str], lines: list[Any]) -> list[dict[str, Any]]:
    text = "".join(json.dumps(line) + "\n" for line in lines)
    done = subprocess.run([*GENGAP, *words], input=text, capture_output=True, encoding="utf-8", timeout=60, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_an_episode_through_the_command() -> None:
    episodes = [
        episode
        for episode in rows("transcripts.jsonl.gz")
        if episode["goal_set"] == "human"
        and episode["mode"] == "text_rich"
        and not episode["env"]
        and not episode["show_attrs"]
    ]
    steps = [step for episode in episodes[:8] for step in episode["steps"]]
    assert len(steps) > 50
    lines = [
        {"reset": step["goal_index"], "session": step["session_id"]} if "reset" in step else {"action": step["action"]}
        for step in steps
    ]
    answers = converse(["replay", "shop", "--preset", "compat", *OPTIONS, *GOALS], lines)
    assert answers == [
        {
            "observation": step["obs"]["text_rich"],
            "has_search_bar": step["has_search_bar"],
            "clickables": step["clickables"],
            "reward": step.get("reward", 0.0),
            "terminated": step.get("done", False),
        }
        for step in steps
    ]


def test_every_recorded_reward() -> None:
    recorded = rows("rewards.jsonl.gz")
    assert len(recorded) > 2000
    keys = ("goal", "goal_nouns", "asin", "product", "product_nouns", "options", "price")
    answers = ask(judge(recorded_shop("human")), *({key: row[key] for key in keys} for row in recorded))
    wrong = [
        (row["id"], answer, row)
        for row, answer in zip(recorded, answers, strict=True)
        if (list(answer) != ["error"] if "error" in row else answer != row["expected"])
    ]
    assert wrong == []


def test_rewards_through_the_command() -> None:
    recorded = rows("rewards.jsonl.gz")[:40]
    for words in (["--preset", "compat", *OPTIONS, *GOALS], ["--products", FILES.products, *OPTIONS[2:4]]):
        assert converse(["reward", "shop", *words], recorded) == [row["expected"] for row in recorded]


def test_the_door_opens_in_two_seconds_and_answers_at_once() -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    process = subprocess.Popen(
        [*GENGAP, "replay", "shop", "--preset", "compat", "--mode", "url", *OPTIONS, *GOALS],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        encoding="utf-8",
        env=buffered,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write('{"reset": 5}\n')
    process.stdin.flush()
    answer = json.loads(process.stdout.readline())  # the input is still open
    assert answer["observation"] == "http://127.0.0.1:3000/5"
    process.stdin.close()
    assert process.wait(timeout=60) == 0
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    # Processor time: what it takes by the clock depends on what else the machine does.
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 2


BROKEN = [
    b"nonsense",
    b"[1]",
    b"3",
    b"\xff\xfe",
    b"[" * 100_000,
    {},
    {"reset": "3"},
    {"reset": True},
    {"reset": 1.0},
    {"reset": None},
    {"reset": 10_000},
    {"reset": 0, "session": 4},
    {"action": 3},
    {"action": "search[tea]", "reset": 0},
    {"act": "search[tea]"},
]


@pytest.mark.parametrize("line", BROKEN, ids=lambda line: str(line)[:30])
def test_broken_lines_get_an_error_and_change_nothing(line: Any) -> None:
    session = Session(small_shop())
    _, first, error, second = ask(player(session), {"reset": 0}, {"action": "search[tea]"}, line, {"action": "x"})
    assert list(error) == ["error"]
    assert second == first


def test_the_door_draws_no_goal() -> None:
    """The original never draws goal 0; whoever names it gets it, under every preset."""
    for rules in (COMPAT, STRICT):
        shop = small_shop(rules)
        first, none = ask(player(Session(shop, "url")), {"reset": 0}, {"reset": None})
        assert first["observation"] == "http://127.0.0.1:3000/0"
        assert "whole number" in none["error"]


def test_actions_before_the_first_reset_and_blank_lines() -> None:
    (answer,) = ask(player(Session(small_shop())), b"\n", {"action": "search[tea]"}, b"   \n")
    assert "reset" in answer["error"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"asin": "B0NOSUCH"}, "B0NOSUCH"),
        ({"asin": None}, "'asin'"),
        ({"goal": {"attributes": ["a"]}}, "goal_options"),
        ({"goal": None}, "'goal'"),
        ({"options": []}, "'options'"),
        ({"price": "5"}, "'price' is '5'; allowed: a finite number of dollars"),
        ({"price": float("nan")}, "'price' is nan; allowed: a finite number of dollars"),
        ({"price": True}, "'price' is True"),
        ({"asin": 5}, "'asin' is 5; allowed: a text, or null"),
        ({"options": {"color": 5}}, "'options' is {'color': 5}; allowed: an object of texts"),
        ({"goal_nouns": "abc"}, "'goal_nouns' is 'abc'; allowed: a list of texts, or null"),
        ({"product_nouns": [1]}, "'product_nouns' is [1]"),
        ({"product": {}}, "'product' is {}; allowed: an object that is not empty, or null"),
        ({"product": {"query": "tea"}}, "needs a text under 'Title'"),
        ({"product": {"Title": 5}}, "The product: 'Title' is 5; allowed: a text"),
        ({"product": {"Title": "t", "Attributes": None}}, "The product: 'Attributes' is None; allowed: a list"),
        ({"product": {"Title": "t", "BulletPoints": [1]}}, "The product: 'BulletPoints' is [1]"),
        ({"product": {"Title": "t", "pricing": "5"}}, "The product: 'pricing' is '5'; allowed: a list of numbers"),
        ({"product": {"Title": "t", "options": {"a": "b"}}}, "allowed: an object of lists of texts"),
    ],
)
def test_broken_reward_rows(change: dict[str, Any], message: str) -> None:
    row = next(row for row in rows("rewards.jsonl.gz") if row["asin"])
    (answer,) = ask(judge(recorded_shop("human")), {**row, **change})
    assert list(answer) == ["error"]
    assert message in answer["error"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"attributes": None}, "A goal: 'attributes' is None; allowed: a list of texts"),
        ({"attributes": "abc"}, "A goal: 'attributes' is 'abc'"),
        ({"price_upper": "10"}, "A goal: 'price_upper' is '10'; allowed: a number"),
        ({"goal_options": {"size": 5}}, "allowed: a list of texts, or an object of texts"),
        ({"asin": 5}, "A goal: 'asin' is 5; allowed: a text, or null"),
        ({"name": None}, "A goal: 'name' is None; allowed: a text"),
        ({"price_upper": float("nan")}, "must be above 0"),
    ],
)
def test_broken_goals_of_reward_rows(change: dict[str, Any], message: str) -> None:
    row = next(row for row in rows("rewards.jsonl.gz") if row["asin"])
    (answer,) = ask(judge(recorded_shop("human")), {**row, "goal": {**row["goal"], **change}})
    assert list(answer) == ["error"]
    assert message in answer["error"]


def test_what_files_do_not_share_and_the_seed_are_said_once(tmp_path: Path) -> None:
    (tmp_path / "rankings").write_text(json.dumps({"anything": ["B052WP549M", "B0UNKNOWN"]}))
    instructions = str(GOLDEN / "items_human_ins.json")
    files = replace(FILES, rankings=str(tmp_path / "rankings"), instructions=instructions)
    said: list[str] = []
    shop = open_shop(files, COMPAT, tell=said.append)
    for query in ("anything", "tea", "cup"):
        shop.hits((query,))
    assert [line.split("/")[-1] for line in said] == [
        "Load seed 7001 (of the price file) draws the price caps.",
        "rankings names 1 of 2 products that the catalogue lacks: 'B0UNKNOWN'.",
        "The query 'tea' is not in the rankings; queries like it are searched instead.",
    ]


def test_the_seed_that_draws_is_said(tmp_path: Path) -> None:
    (tmp_path / "prices").write_text(json.dumps({recorded_shop("human").products.asin(0): 3.25}))
    plain = replace(FILES, prices=str(tmp_path / "prices"), instructions=str(GOLDEN / "items_human_ins.json"))
    ready = replace(plain, goals=str(GOLDEN / "goals.json"))
    cases = [
        (plain, COMPAT, ["Load seed 0 (the default; --load-seed N chooses another) draws the price caps."]),
        (replace(plain, load_seed=4), COMPAT, ["Load seed 4 (of --load-seed) draws the price caps."]),
        (
            replace(plain, prices=None),
            COMPAT,
            ["Load seed 0 (the default; --load-seed N chooses another) draws the prices and price caps."],
        ),
        (plain, STRICT, []),
        (ready, COMPAT, []),
    ]
    for files, rules, expected in cases:
        said: list[str] = []
        open_shop(files, rules, tell=said.append)
        assert said == expected


def test_strict_rows_are_judged_strictly() -> None:
    goal = {"attributes": ["x"], "goal_options": {"size": "x-large"}, "price_upper": 9.0, "name": "n"}
    row = {"goal": goal, "product": {"Title": "n", "Attributes": ["x"]}, "options": {"size": "large"}, "price": 1}
    compat, strict = (ask(judge(small_shop(rules)), row)[0] for rules in (COMPAT, STRICT))
    assert (compat["n_opt"], strict["n_opt"]) == (1, 0)


def test_goals_and_prices_follow_from_the_seed() -> None:
    files = replace(FILES, prices=None, instructions=str(GOLDEN / "items_human_ins.json"), load_seed=7001)
    built, recorded = open_shop(files, COMPAT), recorded_shop("human")
    assert list(built.goals) == list(recorded.goals)
    assert built.prices == recorded.prices
    other = open_shop(replace(files, load_seed=7002), COMPAT)
    assert (other.prices == built.prices, len(other.goals)) == (False, len(built.goals))
    strict = open_shop(replace(files, load_seed=1)), open_shop(replace(files, load_seed=2))
    assert strict[0].goals == strict[1].goals
    assert strict[0].prices == strict[1].prices


def test_given_prices_count(tmp_path: Path) -> None:
    asin = recorded_shop("human").products.asin(0)
    for content in ({asin: 3.25}, {"product_prices": {asin: 3.25}, "load_seed": 5}):
        (tmp_path / "prices").write_text(json.dumps(content))
        for rules in (COMPAT, STRICT):
            prices = open_shop(replace(FILES, prices=str(tmp_path / "prices")), rules).prices
            assert (prices[asin], len(prices)) == (3.25, 1000)


def test_products_come_in_many_forms(tmp_path: Path) -> None:
    content = [record(1), record(2, full_description="x\u2028y")]
    texts = {
        "array": json.dumps(content),
        "indented": json.dumps(content, indent=2),
        "lines": "\n".join(json.dumps(row, ensure_ascii=False) for row in content),
        "mark": "\ufeff" + json.dumps(content),
    }
    for name, text in texts.items():
        (tmp_path / name).write_bytes(text.encode())
        (tmp_path / f"{name}.packed").write_bytes(gzip.compress(text.encode()))
        for path in (tmp_path / name, tmp_path / f"{name}.packed"):
            shop = open_shop(ShopFiles(products=str(path)), with_goals=False)
            assert [shop.products[row] for row in range(2)] == [product_from_record(row) for row in content]
    (tmp_path / "one").write_text(json.dumps(content[0]))
    assert len(open_shop(ShopFiles(products=str(tmp_path / "one")), with_goals=False).products) == 1


def test_goals_and_rankings_come_in_many_forms(tmp_path: Path) -> None:
    goals = json.loads((GOLDEN / "goals.json").read_text())["goals"][:4]
    (tmp_path / "list").write_text(json.dumps(goals))
    (tmp_path / "lines").write_text("".join(json.dumps(goal) + "\n" for goal in goals))
    (tmp_path / "one").write_text(json.dumps(goals[0]) + "\n")
    (tmp_path / "table").write_text(json.dumps({"anything": ["B052WP549M", "B0UNKNOWN"]}))
    (tmp_path / "row").write_text(json.dumps({"query": "anything", "asins": ["B052WP549M", "B0UNKNOWN"]}))
    expected = list(recorded_shop("human").goals)[:4]
    for name, ranking in (("list", "table"), ("lines", "row"), ("one", "row")):
        files = replace(FILES, goals=str(tmp_path / name), rankings=str(tmp_path / ranking))
        shop = open_shop(files, COMPAT)
        assert list(shop.goals) == expected[: 1 if name == "one" else 4]
        assert shop.hits(("anything",)) == ("B052WP549M",)
        assert len(shop.hits(("tea",)) or ()) == 50  # not recorded, so searched


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("products", '[{"asin": "B1"}]', "B1"),
        ("products", "[]", "no product"),
        ("products", '[{"asin": "B1", "name": 3}]', "record 1: Product 'B1': 'name' must be a text"),
        ("products", '{"asin": "B1"} {"asin": "B2"}', "record 1: Product 'B1' has no key"),
        ("attributes", "[]", "holds a JSON array"),
        ("attributes", '{"B1": {"attributes": 3}}', "product 'B1'"),
        ("prices", '{"B1": "x"}', "prices"),
        ("goals", '{"goals": [3]}', "list of objects"),
        ("goals", '[{"asin": "B1"}]', "goal 0: A goal has no key 'attributes'"),
        ("rankings", '[{"query": 1}]', "asins"),
        ("rankings", "[3]", "list of objects"),
        ("rankings", '{"query": 1}', "asins"),
        ("rankings", '{"tea": 1}', "the entry of 'tea' is 1. Allowed: an object of queries"),
        ("rankings", '{"tea": [1]}', r"the entry of 'tea' is \[1\]"),
        ("rankings", '{"Green tea": ["tea"]}', "names no product of the catalogue, but 'tea'"),
        ("rankings", '{"query": "tea", "asins": [1]}', r"the entry of 'tea' is \[1\]"),
        ("goals", '{"sample": [{"index": 5, "goal": {}}]}', "it has 'sample'. Allowed: one JSON array of goals"),
        ("goals", '[{"index": 5, "goal": {}}]', "goal 0: .*Its goal stands under 'goal'; write that object alone"),
        ("goals", json.dumps({f"t{n}": [] for n in range(1000)}), r"it has 't0', .{,40}, ... \(1,000 in all\)"),
        ("nouns", "[1]", "holds a JSON array"),
        ("nouns", '{"a title": [1]}', "title 'a title'"),
        ("instructions", '{"B1": [{"instruction": "x"}]}', "product 'B1'.*'instruction_attributes'"),
    ],
)
def test_wrong_files_are_named(tmp_path: Path, name: str, text: str, message: str) -> None:
    path = tmp_path / "wrong.json"
    path.write_text(text)
    goals = None if name == "instructions" else str(GOLDEN / "goals.json")
    with pytest.raises(UsageError, match=message) as caught:
        open_shop(replace(replace(FILES, goals=goals), **{name: str(path)}), COMPAT)
    assert "wrong.json" in str(caught.value)


@pytest.mark.parametrize("name", ["products", "attributes", "prices", "nouns", "goals", "rankings", "instructions"])
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "wrong.json is empty"),
        ("name,price", "not a JSON file: it starts with 'name,price'"),
        ("{oops", "not valid JSON at entry 1"),
        ('{"a": {"b": ', "ends in the middle"),
    ],
)
def test_damaged_files_are_named(tmp_path: Path, name: str, text: str, message: str) -> None:
    path = tmp_path / "wrong.json"
    path.write_text(text)
    goals = None if name == "instructions" else str(GOLDEN / "goals.json")
    with pytest.raises((RunError, UsageError), match=message) as caught:
        open_shop(replace(replace(FILES, goals=goals), **{name: str(path)}), COMPAT)
    assert "wrong.json" in str(caught.value)


def test_prices_that_are_none_are_named_where_they_stand(tmp_path: Path) -> None:
    asin = recorded_shop("human").products.asin(0)
    path = tmp_path / "prices.json"
    path.write_text(json.dumps({"note": "x", "product_prices": {asin: "1"}}))
    with pytest.raises(UsageError, match=rf"prices.json .*{asin}' is '1'"):
        open_shop(replace(FILES, prices=str(path)), COMPAT)
    path.write_text(json.dumps({"note": "x", "product_prices": {asin: 1, "B0STRANGER": 2.5}}))
    prices = open_shop(replace(FILES, prices=str(path)), COMPAT).prices
    assert (prices[asin], prices["B0STRANGER"], len(prices)) == (1.0, 2.5, 1001)
    assert dict(prices)[asin] == 1.0
    with pytest.raises(KeyError):
        prices["B0NOBODY"]


def test_a_cache_that_cannot_be_written_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("GENGAP_CACHE", str(tmp_path / "file" / "below"))
    with pytest.warns(RuntimeWarning, match="cannot be written; the shop is built in memory"):
        shop = open_shop(replace(FILES, rankings=None), COMPAT)
    assert len(shop.hits(("tea",)) or ()) == 50


def test_unknown_products_are_answered_with_one_that_begins_alike() -> None:
    products = recorded_shop("human").products
    with pytest.raises(UsageError, match="Did you mean 'B052WP549M'"):
        products.index("B052WP549")
    for absent in ("", "\u20ac", "Z" * 40, "b052wp549m"):
        assert absent not in products
        with pytest.raises(UsageError, match="Unknown product"):
            products.index(absent)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["replay", "shop"], "--products"),
        (["replay", "shop", "--products", "none.json"], "no file none.json"),
        (["replay", "shop", "--preset", "compatt", *OPTIONS], "Did you mean 'compat'"),
        (["replay", "shop", "--mode", "html", *OPTIONS], "observation mode"),
        (["replay", "shop", "5", *OPTIONS], "the level is 5. Leave it out"),
        (["replay", "shop", *OPTIONS, "5"], "the level is 5. Leave it out"),
        (["replay", "shop", "--actions", "1", *OPTIONS], "--actions is '1'. Leave it out"),
        (["replay", "shop", *OPTIONS, "--random", "0"], "--random is 0. Leave it out"),
        (["reward", "shop", "0.5", *OPTIONS], "RETURN is [0.5]. Leave it out"),
        (["reward", "shop", "--products", str(GOLDEN)], "is a directory"),
        (["replay", "grid/default", "3"], "--actions"),
        (["replay", "grid/default", "--random", "1"], "level"),
        (["replay", "grid/defalt"], "Did you mean 'grid/default'"),
        (["reward", "shop"], "--products"),
    ],
)
def test_wrong_use_of_the_commands(words: list[str], message: str) -> None:
    done = subprocess.run([*GENGAP, *words], capture_output=True, encoding="utf-8", timeout=60, check=False, input="")
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_a_shop_needs_goals() -> None:
    with pytest.raises(UsageError, match="no goals"):
        open_shop(ShopFiles(products=FILES.products))
