"""Goals, their order and their draws equal the recordings; strict order and identity depend on content only."""

from __future__ import annotations

import hashlib
import itertools
import random
from bisect import bisect_right
from dataclasses import replace
from typing import Any

import pytest

from envs.errors import UsageError
from envs.shop.goal_order import (
    SHUFFLE_SEED,
    GoalSampler,
    draw_session_id,
    hash_order,
    kept,
    limited,
    shuffled,
)
from envs.shop.goals import (
    NO_CAP,
    Goal,
    HumanInstruction,
    SyntheticInstruction,
    goal_from_record,
    human_goals,
    synthetic_goals,
)
from envs.shop.product import Product, product_from_loaded
from tests.envs.shop.golden import built_goals, content

KINDS = ("human", "synthetic")


def ordered(kind: str) -> tuple[list[Goal], random.Random]:
    rng = random.Random(SHUFFLE_SEED)
    return shuffled(built_goals(kind), rng), rng


def product(**changes: Any) -> Product:
    return product_from_loaded({"asin": "B1", "Title": "Tea", "query": "tea", **changes})


def test_every_human_goal_and_its_place() -> None:
    recorded = content("goals.json")
    goals, _ = ordered("human")
    assert goals == [goal_from_record(record) for record in recorded["goals"]]
    places = {id(goal): place for place, goal in enumerate(built_goals("human"))}
    assert [places[id(goal)] for goal in goals] == recorded["built_index"]


def test_every_synthetic_goal_and_its_place() -> None:
    recorded = content("goals_synthetic_sample.json")
    goals, _ = ordered("synthetic")
    assert len(goals) == recorded["n"]
    for entry in recorded["sample"]:
        assert goals[entry["index"]] == goal_from_record(entry["goal"])
        assert list(goals[entry["index"]].options) == list(entry["goal"]["goal_options"])
    texts = "\n".join(goal.instruction for goal in goals)
    assert hashlib.sha256(texts.encode()).hexdigest() == recorded["all_instruction_texts_sha256"]
    places = {id(goal): place for place, goal in enumerate(built_goals("synthetic"))}
    assert [places[id(goal)] for goal in goals] == recorded["built_index"]


@pytest.mark.parametrize("kind", KINDS)
def test_every_recorded_draw(kind: str) -> None:
    recorded = content("sampler.json")
    goals, rng = ordered(kind)
    sampler = GoalSampler([goal.weight for goal in goals], off_by_one=True)
    assert sum(goal.weight for goal in goals) == recorded[f"{kind}_weight_sum"]
    resets = recorded[f"{kind}_resets_after_load"]
    assert [[draw_session_id(rng), sampler.draw(rng)] for _ in resets] == resets
    draws = recorded[f"{kind}_draw_for_seed"]
    assert [sampler.draw(random.Random(seed)) for seed in range(len(draws))] == draws


@pytest.mark.parametrize("kind", KINDS)
def test_every_recorded_limit(kind: str) -> None:
    recorded = content("sampler.json")
    goals, rng = ordered(kind)
    places = {id(goal): place for place, goal in enumerate(goals)}
    assert [places[id(goal)] for goal in limited(goals, 40, rng)] == recorded[f"{kind}_limit_40"]
    goals, rng = ordered(kind)
    places = {id(goal): place for place, goal in enumerate(goals)}
    odd = kept(goals, lambda index, goal: len(goal.options) >= 2 and index % 2 == 1)
    expected = recorded[f"{kind}_filter_two_options_odd_index_then_limit_25"]
    assert [places[id(goal)] for goal in limited(odd, 25, rng)] == expected


def test_every_recorded_position() -> None:
    for row in content("sampler.json")["random_idx"]:
        weights = [high - low for low, high in itertools.pairwise(row["cum_weights"])]
        sampler = GoalSampler(weights, off_by_one=True)
        assert sampler.index_at(row["pos"]) == row["index"]
        assert sampler.draw(random.Random(row["seed"])) == row["index"]


def test_the_published_sampler_case() -> None:
    random_state = random.Random(24)
    sampler = GoalSampler([random_state.randint(0, 10) for _ in range(50)], off_by_one=True)
    assert [sampler.draw(random_state) for _ in range(3)] == [44, 15, 36]


def test_the_strict_sampler_has_no_off_by_one() -> None:
    weights = [1.0, 0.0, 3.0]
    sampler = GoalSampler(weights, off_by_one=False)
    rng = random.Random(0)
    counts = [0, 0, 0]
    for _ in range(8000):
        counts[sampler.draw(rng)] += 1
    assert counts[0] == pytest.approx(2000, abs=200)
    assert counts[1] == 0
    assert sampler.index_at(4.0) == 2
    assert sampler.reachable() == [0, 2]
    compat = GoalSampler([1.0, 1.0, 1.0], off_by_one=True)
    assert 0 not in compat.reachable()
    assert bisect_right([0.0, 1.0, 2.0, 3.0], 0.5) == compat.index_at(0.5) == 1


@pytest.mark.parametrize("weights", [[], [0.0, 0.0]])
def test_nothing_to_draw(weights: list[float]) -> None:
    with pytest.raises(UsageError, match="no goal to draw"):
        GoalSampler(weights, off_by_one=True)


def test_limits_that_cannot_be_met_end() -> None:
    goals, rng = ordered("human")
    assert limited(goals, -1, rng) == limited(goals, 10_000, rng) == goals
    assert len(limited(goals[:5], 4, rng)) == 4
    with pytest.raises(UsageError, match="0 to 4"):
        limited(goals[:5], -2, rng)
    rare = [replace(goals[0], weight=1.0), *(replace(goal, weight=0.0) for goal in goals[1:4])]
    with pytest.raises(UsageError, match="0 to 1"):
        limited(rare, 2, rng)


def test_human_instructions_without_attributes_take_no_draw_and_stops_are_stripped() -> None:
    calls: list[str] = []

    def cap(key: str, price: float) -> float:
        calls.append(key)
        return 50.0

    wishes = {"B1": [HumanInstruction("none", (), ("red",)), HumanInstruction("..find tea. ..", ("a",), ())]}
    goals = human_goals([product()], wishes, {"B1": 20.0}, cap)
    assert [goal.instruction for goal in goals] == ["find tea. , and price lower than 50.00 dollars"]
    assert len(calls) == 1


def test_an_empty_option_group_leaves_no_synthetic_goal_but_takes_its_draw() -> None:
    calls: list[str] = []

    def cap(key: str, price: float) -> float:
        calls.append(key)
        return NO_CAP

    wishes = {"B1": SyntheticInstruction("Find me tea", ("a",))}
    assert synthetic_goals([product(options={"size": [], "color": ["red"]})], wishes, {"B1": 20.0}, cap) == []
    assert len(calls) == 1
    goals = synthetic_goals([product(options={"size": ["s", "l"], "color": ["red"]})], wishes, {"B1": 20.0}, cap)
    assert [goal.instruction for goal in goals] == [
        "Find me tea with color: red, and size: s",
        "Find me tea with color: red, and size: l",
    ]
    assert [goal.weight for goal in goals] == [0.5, 0.5]


def test_identity_and_strict_order_depend_on_content_only() -> None:
    goals = built_goals("human")
    order = hash_order(goals)
    assert hash_order(reversed(goals)) == hash_order([*goals, *goals]) == order
    assert sorted(goal.goal_id for goal in order) == [goal.goal_id for goal in order]
    contents = {(goal.asin, goal.instruction, str(goal.options)) for goal in built_goals("synthetic")}
    assert len(hash_order(built_goals("synthetic"))) == len(contents)


def test_changes_of_content_change_the_identity() -> None:
    record = {"asin": "B1", "instruction_text": "x", "attributes": ["a"], "goal_options": ["r"], "price_upper": 10.0}
    changes: list[dict[str, Any]] = [
        {"asin": "B2"},
        {"instruction_text": "y"},
        {"attributes": ["b"]},
        {"goal_options": ["s"]},
        {"goal_options": {"r": "r"}},
        {"price_upper": 20.0},
    ]
    goals = [goal_from_record({**record, **change}) for change in [{}, *changes]]
    assert len({goal.goal_id for goal in goals}) == len(goals)
    assert goal_from_record({**record, "weight": 0.5}).goal_id == goals[0].goal_id


@pytest.mark.parametrize("key", ["instruction", "instruction_attributes", "instruction_options"])
def test_broken_human_instructions_name_product_and_key(key: str) -> None:
    record = {"instruction": "find", "instruction_attributes": ["a"], "instruction_options": []}
    assert HumanInstruction.from_record("B1", record) == HumanInstruction("find", ("a",), ())
    for broken in ({**record, key: 3}, {name: value for name, value in record.items() if name != key}):
        with pytest.raises(UsageError, match=f"'B1'.*'{key}'"):
            HumanInstruction.from_record("B1", broken)


def test_synthetic_instructions() -> None:
    assert SyntheticInstruction.from_record("B1", {}) is None
    assert SyntheticInstruction.from_record("B1", {"instruction": None, "instruction_attributes": None}) is None
    with pytest.raises(UsageError, match=r"'B1'.*'instruction_attributes'"):
        SyntheticInstruction.from_record("B1", {"instruction": "find", "instruction_attributes": []})


def test_a_goal_without_a_required_key() -> None:
    with pytest.raises(UsageError, match="'price_upper'"):
        goal_from_record({"attributes": [], "goal_options": []})
