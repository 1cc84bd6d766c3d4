from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envs.errors import UsageError
from envs.spec import EnvSpec, LevelSet
from metrics import paper_protocol, protocol
from metrics.protocol import EvaluationProtocol, Role, Split
from metrics.protocols import PROTOCOLS, _first_distinct, build_protocol, shortfall, training_protocol

ENV = "grid/default"
SPEC = EnvSpec(ENV, {}, 5, 50, 2**31 - 1, {"official": (0.0, 10.0), "paper": (1.0, 9.0)})
TRAIN = LevelSet.range(ENV, 0, 200)


def test_strict_sets_are_disjoint_and_far_from_training() -> None:
    strict = protocol.strict(SPEC, TRAIN, num_validation=30, num_test=40)
    assert strict.roles == (Role.TRAIN, Role.VALIDATION, Role.TEST)
    assert strict.split(Role.TRAIN).levels == TRAIN
    assert strict.split(Role.VALIDATION).levels == LevelSet.range(ENV, 1_000_000, 1_000_030)
    assert strict.split(Role.TEST).levels == LevelSet.range(ENV, 2_000_000, 2_000_040)
    assert strict.overlaps() == {}
    assert strict.normalization is None


@pytest.mark.parametrize("level", [1_000_005, 2_000_000])
def test_a_training_level_in_a_held_out_range_is_refused_even_if_not_played(level: int) -> None:
    train = LevelSet.of(ENV, [0, 1, level])
    with pytest.raises(UsageError, match="overlap: 1 in common"):
        protocol.strict(SPEC, train, num_train=1)


def test_a_validation_range_cannot_grow_into_the_test() -> None:
    with pytest.raises(UsageError, match="num_validation is 1000001"):
        protocol.strict(SPEC, TRAIN, num_validation=1_000_001)


def test_levels_beyond_the_universe_are_refused() -> None:
    with pytest.raises(UsageError, match="does not exist"):
        protocol.strict(replace(SPEC, level_universe=1000), TRAIN)


def test_paper_ranges_follow_training_and_the_test_is_a_repeatable_sample_of_all_levels() -> None:
    paper = paper_protocol.paper(SPEC, TRAIN, num_train=10)
    assert paper.split(Role.VALIDATION).levels == LevelSet.range(ENV, 200, 250)
    test = paper.split(Role.TEST).levels
    assert len(test) == 100
    assert max(test) > 2**30
    assert test == paper_protocol.paper(SPEC, TRAIN).split(Role.TEST).levels
    assert paper.normalization == "paper"


def test_paper_states_the_overlap_that_strict_refuses() -> None:
    tiny = replace(SPEC, level_universe=300, return_bounds={})
    paper = paper_protocol.paper(tiny, TRAIN, num_train=200, num_test=300)
    assert paper.overlaps() == {("train", "test"): 200, ("validation", "test"): 50}
    assert paper.normalization is None


@pytest.mark.parametrize(
    ("algorithm", "modes", "epsilon"),
    [("bc", ("sampled",), 0.0), ("dt", ("sampled",), 0.0), ("iql", ("greedy",), 0.0), ("cql", ("greedy",), 0.001)],
)
def test_the_paper_plays_each_algorithm_in_its_own_way(algorithm: str, modes: tuple[str, ...], epsilon: float) -> None:
    paper = build_protocol("paper", SPEC, TRAIN, algorithm=algorithm)
    assert (paper.modes, paper.epsilon, paper.weights) == (modes, epsilon, ("last",))
    counts = [len(split.jobs(modes[0], epsilon)) for split in paper.splits]  # type: ignore[arg-type]
    # A second greedy episode on one of the 50 validation levels would be the first one again.
    assert counts == ([100, 50, 100] if algorithm == "iql" else [100, 100, 100])
    assert EvaluationProtocol.from_json(json.loads(json.dumps(paper.to_json()))) == paper


def test_the_paper_plays_a_hundred_episodes_on_few_training_levels_and_ten_while_training() -> None:
    few = build_protocol("paper", SPEC, LevelSet.range(ENV, 0, 7))
    assert len(few.split(Role.TRAIN).jobs("sampled")) == 105
    assert few.modes == ("sampled", "greedy")
    periodic = build_protocol(training_protocol("paper"), SPEC, TRAIN, algorithm="bc")
    assert [len(split.jobs("sampled")) for split in periodic.splits] == [10, 10, 10]
    assert (periodic.name, training_protocol("strict")) == ("paper-periodic", "strict")
    asked = build_protocol("paper", SPEC, TRAIN, algorithm="cql", modes=("sampled",), num_validation=5)
    assert (asked.modes, asked.epsilon) == (("sampled",), 0.0)
    assert len(asked.split(Role.VALIDATION).jobs("sampled")) == 5


def test_strict_reads_only_test_levels_that_look_new(monkeypatch: pytest.MonkeyPatch) -> None:
    def looks(levels: LevelSet, *_: object) -> list[str]:
        return [str(level % 1000 // 2) for level in levels]  # two neighbors look alike, and so do levels 1000 apart

    monkeypatch.setattr("envs.audit.level_hashes", looks)
    monkeypatch.setattr("metrics.protocols._hashes", lambda levels: tuple(looks(levels)))
    monkeypatch.setattr("metrics.protocols._first_distinct", _first_distinct.__wrapped__)
    options = {"num_validation": 20, "num_test": 6}
    train = LevelSet.range(ENV, 0, 12)
    for known, first in ((train, 20), (LevelSet.range(ENV, 0, 40), 40)):
        strict = build_protocol("strict", SPEC, train, distinct_from=known, **options)
        assert strict.split(Role.TEST).levels.levels == tuple(2_000_000 + first + 2 * i for i in range(6))
        assert strict.split(Role.VALIDATION).levels == LevelSet.range(ENV, 1_000_000, 1_000_020)
    assert build_protocol("strict", SPEC, train, **options).split(Role.TEST).levels.levels[0] == 2_000_000
    assert strict.weights == ("best", "last")


def test_a_reduced_test_is_said_to_be_one() -> None:
    assert shortfall(protocol.strict(SPEC, TRAIN)) == ""
    assert "at least 500 test episodes" in shortfall(protocol.strict(SPEC, TRAIN, num_test=160))
    assert "but 499 are set" in shortfall(
        protocol.strict(SPEC, TRAIN, num_test=499, episodes_per_level=3, modes=("sampled", "greedy"))
    )
    assert shortfall(build_protocol("paper", SPEC, TRAIN)) == ""


def test_greedy_plays_one_episode_a_level() -> None:
    split = Split(Role.TRAIN, LevelSet.of(ENV, [7, 3]), episodes_per_level=3)
    assert split.jobs("sampled") == [(7, 0), (7, 1), (7, 2), (3, 0), (3, 1), (3, 2)]
    assert split.jobs("greedy") == [(7, 0), (3, 0)]


@given(size=st.integers(1, 300), count=st.integers(1, 400))
def test_played_levels_are_spread_evenly(size: int, count: int) -> None:
    levels = LevelSet.range(ENV, 0, size)
    played = protocol.evenly_spaced(levels, count)
    assert len(played) == min(size, count)
    steps = [b - a for a, b in zip(played.levels, [*played.levels[1:], size], strict=True)]
    assert max(steps) - min(steps) <= 1
    assert protocol.evenly_spaced(levels, None) == levels


@pytest.mark.parametrize("name", PROTOCOLS)
def test_a_protocol_survives_json(name: str) -> None:
    built = build_protocol(name, SPEC, TRAIN, num_train=7, modes=("sampled", "greedy"), episodes_per_level=2)
    assert EvaluationProtocol.from_json(json.loads(json.dumps(built.to_json()))) == built


def test_wrong_use_is_answered() -> None:
    train = Split(Role.TRAIN, TRAIN)
    with pytest.raises(UsageError, match="Did you mean 'strict'"):
        build_protocol("stric", SPEC, TRAIN)
    with pytest.raises(UsageError, match="role twice"):
        EvaluationProtocol("x", (train, train))
    with pytest.raises(UsageError, match="no splits"):
        EvaluationProtocol("x", ())
    with pytest.raises(UsageError, match="at least one action mode"):
        EvaluationProtocol("x", (train,), modes=())
    with pytest.raises(UsageError, match="Did you mean 'greedy'"):
        EvaluationProtocol("x", (train,), modes=("greddy",))  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="overlap: 200 in common"):
        EvaluationProtocol("x", (train, Split(Role.VALIDATION, TRAIN)))
    with pytest.raises(UsageError, match="Allowed: train"):
        EvaluationProtocol("x", (train,)).split(Role.TEST)
    with pytest.raises(UsageError, match="at least 1"):
        Split(Role.TRAIN, TRAIN, episodes_per_level=0)
    with pytest.raises(UsageError, match="at least 1"):
        protocol.evenly_spaced(TRAIN, 0)
