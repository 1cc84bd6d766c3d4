"""Evaluation equals playing every episode alone; the test stays sealed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from actors.choice import choose_sampled, mixed_with_uniform
from actors.evaluate import evaluate, evaluate_inline
from actors.policy import PolicyInput, RandomPolicy
from actors.sources import SourceSpec, load_policy
from envs.errors import UsageError
from envs.registry import make_spec
from envs.seeding import rng_for
from envs.spec import LevelSet
from metrics.ledger import Ledger, SealedTestError
from metrics.paper_protocol import paper
from metrics.protocol import ActionMode, EvaluationProtocol, Role, Split, strict
from metrics.protocols import build_protocol, training_levels
from metrics.table import EvaluationTable
from tests.actors.oracle import HashPolicy, play_slowly

QUIZ = LevelSet.range("quiz/default", 0, 2)


def protocol(env: str = "grid/default", episodes_per_level: int = 2) -> EvaluationProtocol:
    levels = LevelSet.range(env, 0, 6)
    return strict(
        make_spec(env),
        levels,
        num_validation=5,
        num_test=4,
        episodes_per_level=episodes_per_level,
        modes=("sampled", "greedy"),
    )


def hash_policy(env: str) -> HashPolicy:
    spec = make_spec(env)
    return HashPolicy(spec.num_actions, spec.candidate_column)


class Untouched:
    """Fails the test if it is ever asked to act."""

    policy_id = "untouched"

    def act(self, inputs: PolicyInput) -> np.ndarray:
        raise AssertionError("a level was played")


@pytest.mark.parametrize("env", ["grid/default", "quiz/default"])
def test_every_row_equals_that_episode_played_alone(env: str) -> None:
    table = evaluate_inline(hash_policy(env), protocol(env), seed=5, num_envs=4)
    assert len(table) == (6 + 5) * 2 + (6 + 5)
    assert table.roles == ["train", "validation"]
    for row in table.frame.itertuples():
        slow = play_slowly(env, hash_policy(env), row.level, row.episode, 5, row.mode)
        assert row.episode_return == pytest.approx(slow.episode_return)
        assert (row.length, row.terminated, row.truncated) == (len(slow), slow.terminated, slow.truncated)


def test_neither_slots_nor_the_choice_of_roles_change_a_row() -> None:
    expected = evaluate_inline(hash_policy("grid/default"), protocol(), num_envs=2)
    assert evaluate_inline(hash_policy("grid/default"), protocol(), num_envs=16).frame.equals(expected.frame)
    alone = evaluate_inline(hash_policy("grid/default"), protocol(), roles=[Role.VALIDATION])
    assert alone.frame.equals(expected.where(role="validation").frame)


def test_levels_shared_by_roles_are_played_once_and_counted_in_both() -> None:
    levels = LevelSet.range("grid/default", 0, 4)
    splits = (Split(Role.TRAIN, levels), Split(Role.VALIDATION, LevelSet.range("grid/default", 2, 6)))
    played: list[tuple[float, float]] = []
    table = evaluate_inline(
        hash_policy("grid/default"),
        EvaluationProtocol("both", splits, overlap_allowed=True),
        progress=lambda done, total: played.append((done, total)),
    )
    assert len(table) == 8
    assert played[-1] == (6, 6)


def test_names_and_extra_columns_stand_in_the_table() -> None:
    table = evaluate("random", protocol(), policy_name="baseline", train_seed=3, extra={"num_levels": 6})
    assert table.policies == ["baseline"]
    assert set(table.frame["num_levels"]) == {6}
    assert set(table.frame["train_seed"]) == {3}
    assert evaluate(None, protocol()).policies == ["random"]


def test_the_expert_beats_random() -> None:
    expert = evaluate("grid-expert", protocol())
    random = evaluate("random", protocol())
    for role in ("train", "validation"):
        assert expert.scores(role).mean() == pytest.approx(1)
        assert random.scores(role).mean() < 0.9


@pytest.mark.parametrize("roles", [[Role.TEST], [Role.TRAIN, Role.TEST]])
def test_the_test_is_refused_without_a_permit_before_anything_is_played(roles: list[Role]) -> None:
    with pytest.raises(SealedTestError, match="permit"):
        evaluate_inline(Untouched(), protocol(), roles=roles)


def test_a_permit_opens_the_test_for_one_policy(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.jsonl")
    permit = ledger.issue("chosen", "config", "data", rule="validation", reason="best on validation")
    table = evaluate_inline(
        hash_policy("grid/default"), protocol(), roles=[Role.TEST], permit=permit, policy_name="chosen"
    )
    assert set(table.frame["level"]) == set(range(2_000_000, 2_000_004))
    with pytest.raises(SealedTestError, match="another"):
        evaluate_inline(Untouched(), protocol(), roles=[Role.TEST], permit=permit, policy_name="another")


def test_unknown_roles_and_policies_are_answered() -> None:
    with pytest.raises(UsageError, match="train_heldout"):
        evaluate("random", protocol(), roles=[Role.TRAIN_HELDOUT])
    with pytest.raises(UsageError, match="Did you mean 'random'"):
        evaluate("randon", protocol())


def test_the_paper_protocol_is_playable() -> None:
    spec = make_spec("grid/default")
    table = evaluate("random", paper(spec, LevelSet.range(spec.name, 0, 3), num_validation=2, num_test=2))
    assert table.roles == ["train", "validation"]


def variants(modes: tuple[ActionMode, ...] = ("sampled", "greedy")) -> EvaluationProtocol:
    """Training, validation and test in three environments."""
    train = training_levels("grid-variants", "grid/default", 4)
    spec = make_spec("grid/default")
    return build_protocol("grid-variants", spec, train, num_validation=3, num_test=3, modes=modes, episodes_per_level=2)


def test_every_role_is_played_in_its_own_environment() -> None:
    table = evaluate_inline(hash_policy("grid/default"), variants(), seed=5, num_envs=4)
    envs = table.frame.groupby("role")["env"].unique().map(list).to_dict()
    assert envs == {
        "train": ["grid/default"],
        "train_heldout": ["grid/default"],
        "validation": ["grid/distractors"],
    }
    assert len(table) == (4 + 3 + 3) * 2 + (4 + 3 + 3)
    for row in table.frame.itertuples():
        slow = play_slowly(row.env, hash_policy(row.env), row.level, row.episode, 5, row.mode)
        assert row.episode_return == pytest.approx(slow.episode_return)
        assert (row.length, row.terminated, row.truncated) == (len(slow), slow.terminated, slow.truncated)


def test_the_same_level_number_in_two_environments_is_two_levels() -> None:
    splits = tuple(
        Split(role, LevelSet.range(env, 0, 5))
        for role, env in ((Role.TRAIN, "grid/default"), (Role.VALIDATION, "grid/chain-3"))
    )
    both = EvaluationProtocol("both", splits)
    assert both.envs == ("grid/default", "grid/chain-3")
    table = evaluate_inline(hash_policy("grid/default"), both)
    alone = [evaluate_inline(hash_policy("grid/default"), EvaluationProtocol("both", (split,))) for split in splits]
    assert table.frame.equals(EvaluationTable.concat(alone).frame)
    assert not np.array_equal(table.scores("train"), table.scores("validation"))


def test_an_expert_is_made_for_each_environment(tmp_path: Path) -> None:
    permit = Ledger(tmp_path / "ledger.jsonl").issue("grid-expert", "config", "none", rule="none", reason="a test")
    table = evaluate("grid-expert", variants(), roles=tuple(Role), permit=permit)
    for role in Role:
        assert table.scores(role).mean() == pytest.approx(1)
    expert = load_policy(SourceSpec(env="grid/default", name="grid-expert"))
    with pytest.raises(UsageError, match="knows the levels of one environment"):
        evaluate_inline(expert, variants())
    assert evaluate_inline(expert, variants(), roles=[Role.TRAIN, Role.TRAIN_HELDOUT]).scores("train").mean() == 1


def test_environments_without_the_same_columns_are_refused_before_anything_is_played() -> None:
    splits = (Split(Role.TRAIN, LevelSet.range("grid/default", 0, 2)), Split(Role.VALIDATION, QUIZ))
    with pytest.raises(UsageError, match="cannot play both 'grid/default' and 'quiz/default'"):
        evaluate_inline(Untouched(), EvaluationProtocol("odd", splits))


def test_greedy_actions_give_way_to_random_ones_as_often_as_epsilon_says() -> None:
    env, epsilon = "grid/default", 0.3
    levels = LevelSet.range(env, 0, 40)
    split = Split(Role.TRAIN, levels, episodes_per_level=3)
    played = {
        chance: evaluate_inline(
            hash_policy(env), EvaluationProtocol("x", (split,), ("greedy",), epsilon=chance), num_envs=8
        ).frame
        for chance in (0.0, 1e-12, epsilon)
    }
    assert [len(frame) for frame in played.values()] == [40, 120, 120]
    firsts = [played[chance].query("episode == 0")["length"].tolist() for chance in (0.0, 1e-12, epsilon)]
    assert firsts[0] == firsts[1] != firsts[2]

    log_probs = np.log(np.array([[0.2, 0.5, 0.3, 1e-45]], dtype=np.float32)).repeat(20_000, axis=0)
    log_probs[:, 3] = -np.inf
    uniforms = rng_for("epsilon").random(20_000)
    actions = choose_sampled(mixed_with_uniform(log_probs, epsilon), uniforms).actions
    shares = np.bincount(actions, minlength=4) / len(actions)
    np.testing.assert_allclose(shares, [0.1, 0.8, 0.1, 0.0], atol=0.01)


def test_episodes_that_are_expected_to_be_long_begin_first_and_no_row_depends_on_it() -> None:
    plain = evaluate_inline(hash_policy("grid/default"), protocol(), num_envs=1)
    lengths = {
        (row.env, row.mode, row.level, row.episode): row.length for row in plain.frame.itertuples() if row.level != 3
    }
    ended: list[tuple[int, float]] = []

    class Levels(HashPolicy):
        """Notes the first frame of every episode."""

        def act(self, inputs):  # type: ignore[no-untyped-def]
            if inputs.starting[0] and inputs.running[0]:
                ended.append((len(ended), float(np.asarray(inputs.observations["image"][0]).sum())))
            return super().act(inputs)

    spec = make_spec("grid/default")
    sorted_table = evaluate_inline(Levels(spec.num_actions, None), protocol(), num_envs=1, expected_lengths=lengths)
    assert sorted_table.frame.equals(plain.frame)
    longest_first = [frame for _, frame in ended]
    ended.clear()
    evaluate_inline(Levels(spec.num_actions, None), protocol(), num_envs=1)
    assert [frame for _, frame in ended] != longest_first
    assert sorted(frame for _, frame in ended) == sorted(longest_first)


def test_levels_that_were_long_when_sampled_begin_first_when_greedy() -> None:
    firsts: list[bytes] = []

    class Noting:
        """Acts at random and notes the first frame of every episode."""

        policy_id = "noting"

        def act(self, inputs: PolicyInput) -> np.ndarray:
            if inputs.starting[0] and inputs.running is not None and inputs.running[0]:
                firsts.append(np.asarray(inputs.observations["image"][0]).tobytes())
            return RandomPolicy(make_spec("grid/default")).act(inputs)

    split = Split(Role.TRAIN, LevelSet.range("grid/default", 0, 30))
    table = evaluate_inline(Noting(), EvaluationProtocol("x", (split,), ("sampled", "greedy")), num_envs=1)
    sampled = table.where(mode="sampled").frame.set_index("level")["length"]
    level_of = {first: level for level, first in enumerate(firsts[:30])}
    greedy = [int(sampled[level_of[first]]) for first in firsts[30:]]
    assert len(greedy) == 30
    assert greedy == sorted(greedy, reverse=True) != sampled.tolist()
    assert len(set(greedy)) > 1
