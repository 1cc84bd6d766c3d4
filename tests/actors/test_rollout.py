"""An episode depends on its name and its policy, never on slots, batches or order."""

from __future__ import annotations

import contextlib
import math
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.choice import choose_greedy, choose_sampled
from actors.policy import PolicyInput, RandomPolicy
from actors.rollout import Job, RecordOptions, play
from data.episode import Episode
from data.schema import episode_checksum
from envs.errors import RunError, UsageError
from envs.registry import make_spec, make_vec
from tests.actors.oracle import HashPolicy, assert_same_episode, play_slowly

RECORD = RecordOptions(source="test")
ENVS = ["grid/default", "quiz/default", "shop/tiny", pytest.param("procgen/maze", marks=pytest.mark.procgen)]
JOBS = [(level, episode) for level in (5, 0, 7, 30) for episode in (0, 1)]


def hash_policy(env: str) -> HashPolicy:
    spec = make_spec(env)
    return HashPolicy(spec.num_actions, spec.candidate_column)


def episodes(env: str, num_envs: int, jobs: list[Job], **options: object) -> dict[Job, Episode]:
    with_slots = make_vec(env, num_envs)
    played = list(play(with_slots, hash_policy(env), jobs, seed=3, record=RECORD, **options))  # type: ignore[call-overload]
    with_slots.close()
    assert len(played) == len(jobs)
    return {(episode.level, episode.episode): episode for episode in played}


@pytest.mark.parametrize("mode", ["sampled", "greedy"])
@pytest.mark.parametrize("env", ENVS)
def test_batched_episodes_equal_the_slow_oracle(env: str, mode: str) -> None:
    jobs = JOBS if env != "procgen/maze" else JOBS[:3]
    played = episodes(env, 5, jobs, mode=mode)
    for (level, episode), result in played.items():
        assert_same_episode(result, play_slowly(env, hash_policy(env), level, episode, 3, mode))


@pytest.mark.parametrize("env", ENVS)
def test_neither_slots_nor_order_change_an_episode(env: str) -> None:
    jobs = JOBS if env != "procgen/maze" else JOBS[:4]
    expected = {job: episode_checksum(episode) for job, episode in episodes(env, 1, jobs).items()}
    for num_envs, order in ((3, jobs), (3, jobs[::-1]), (16, jobs)):
        played = episodes(env, num_envs, order)
        assert {job: episode_checksum(episode) for job, episode in played.items()} == expected


def test_temperature_changes_actions_and_their_log_probabilities() -> None:
    played = episodes("grid/default", 4, JOBS, temperature=0.3)
    for (level, episode), result in played.items():
        slow = play_slowly("grid/default", hash_policy("grid/default"), level, episode, 3, temperature=0.3)
        assert_same_episode(result, slow)
    plain = episodes("grid/default", 4, JOBS)
    assert any(list(played[job].actions) != list(plain[job].actions) for job in JOBS)


def test_repetitions_and_seeds_differ() -> None:
    env = make_vec("grid/default", 4)
    policy = RandomPolicy(env.task)
    by_seed = [list(play(env, policy, [(0, 0), (0, 1)], seed=seed, record=RECORD)) for seed in (0, 1)]
    actions = {tuple(episode.actions) for played in by_seed for episode in played}
    assert len(actions) == 4


@pytest.mark.parametrize("env", ["grid/default", "quiz/default", "shop/tiny"])
def test_results_are_those_of_the_episodes(env: str) -> None:
    slots = make_vec(env, 3)
    results = {(r.level, r.episode): r for r in play(slots, hash_policy(env), JOBS, seed=3)}
    assert results == {job: episode.result() for job, episode in episodes(env, 3, JOBS).items()}


def test_the_whole_distribution_is_recorded_with_minus_infinity_beyond_the_candidates() -> None:
    env = make_vec("quiz/default", 4)
    record = RecordOptions(source="test", log_probs=True)
    for episode in play(env, RandomPolicy(env.task), JOBS, seed=0, record=record):
        log_probs = episode.behavior_log_probs
        assert log_probs is not None
        assert log_probs.shape == (len(episode), env.task.num_actions)
        np.testing.assert_allclose(np.exp(log_probs.astype(np.float64)).sum(axis=1), 1, atol=2e-3)
        taken = log_probs[np.arange(len(episode)), episode.actions]
        np.testing.assert_allclose(taken, episode.behavior_logp, atol=2e-3)


def test_behavior_log_probabilities_are_those_of_the_sampled_action() -> None:
    env = make_vec("quiz/default", 4)
    for episode in play(env, RandomPolicy(env.task), JOBS, seed=0, record=RECORD):
        candidates = episode.observations["candidates"]
        counts = [int((candidates[t] == 0x1E).sum()) + 1 for t in range(len(episode))]
        np.testing.assert_allclose(episode.behavior_logp, -np.log(counts), rtol=1e-6)


def test_time_outs_are_truncated_and_show_their_last_frame() -> None:
    class Stay:
        policy_id = "stay"

        def act(self, inputs: PolicyInput) -> np.ndarray:
            return np.array([[0.0, -50, -50, -50, -50]] * len(inputs), dtype=np.float32)

    env = make_vec("grid/default", 2)
    limit = env.task.max_episode_steps
    for episode in play(env, Stay(), [(0, 0), (1, 0), (2, 0)], seed=0, mode="greedy", record=RECORD):
        assert episode.truncated
        assert not episode.terminated
        assert len(episode) == limit
        assert len(episode.observations["image"]) == limit + 1
        assert not episode.behavior_logp.any()


@pytest.mark.procgen
def test_an_unknown_final_frame_is_not_stored() -> None:
    env = make_vec("procgen/maze", 4)
    for episode in play(env, RandomPolicy(env.task), [(level, 0) for level in range(6)], seed=0, record=RECORD):
        assert not episode.final_observation_known
        assert len(episode.observations["image"]) == len(episode)


def test_only_privileged_policies_are_told_the_level() -> None:
    told: list[list[int]] = []

    class Curious(RandomPolicy):
        privileged = True

        def act(self, inputs: PolicyInput) -> np.ndarray:
            assert inputs.levels is not None
            told.append(inputs.levels.tolist())
            return super().act(inputs)

    env = make_vec("grid/default", 2)
    list(play(env, Curious(env.task), [(8, 0), (9, 0), (10, 0)], seed=0))
    assert told[0] == [8, 9]
    assert 10 in told[-1]


def test_a_labeler_replaces_the_stored_actions_but_not_the_episode() -> None:
    env = make_vec("grid/default", 4)

    class Up:
        policy_id = "up"

        def act(self, inputs: PolicyInput) -> np.ndarray:
            return np.array([[0.0, 1, 0, 0, 0]] * len(inputs), dtype=np.float32)

    plain = {(e.level, e.episode): e for e in play(env, RandomPolicy(env.task), JOBS, seed=0, record=RECORD)}
    record = RecordOptions(source="test", labeler=Up())
    for labeled in play(env, RandomPolicy(env.task), JOBS, seed=0, record=record):
        original = plain[labeled.level, labeled.episode]
        assert (labeled.actions == 1).all()
        assert not labeled.behavior_logp.any()
        assert np.array_equal(labeled.rewards, original.rewards)
        assert np.array_equal(labeled.observations["image"], original.observations["image"])  # type: ignore[arg-type]


def test_no_jobs_is_no_episode() -> None:
    env = make_vec("grid/default", 2)
    assert list(play(env, RandomPolicy(env.task), [], seed=0)) == []


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_policy_without_a_distribution_is_an_error_that_names_it(bad: float) -> None:
    class Broken:
        policy_id = "broken-7"

        def act(self, inputs: PolicyInput) -> np.ndarray:
            return np.full((len(inputs), 5), bad, dtype=np.float32)

    env = make_vec("grid/default", 2)
    for mode in ("sampled", "greedy"):
        with pytest.raises(RunError, match="broken-7"):
            list(play(env, Broken(), JOBS, seed=0, mode=mode))  # type: ignore[arg-type]


def test_wrong_use_is_answered() -> None:
    env = make_vec("grid/default", 2)
    policy = RandomPolicy(env.task)
    with pytest.raises(UsageError, match="sampled"):
        list(play(env, policy, JOBS, seed=0, mode="sampeld"))  # type: ignore[call-overload]
    with pytest.raises(UsageError, match="temperature"):
        list(play(env, policy, JOBS, seed=0, temperature=0.0))
    with pytest.raises(UsageError, match="does not exist"):
        list(play(env, policy, [(2**40, 0)], seed=0))


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.one_of(st.floats(-30, 5, width=32), st.just(-math.inf)), min_size=1, max_size=15).filter(
        lambda row: max(row) > -math.inf
    ),
    st.one_of(st.floats(0, 1, exclude_max=True), st.sampled_from([0.0, math.nextafter(1, 0)])),
)
def test_inverse_cdf_takes_the_first_action_whose_cumulated_probability_exceeds_the_uniform(
    row: list[float], uniform: float
) -> None:
    choice = choose_sampled(np.array([row], dtype=np.float32), np.array([uniform]))
    action = int(choice.actions[0])
    probabilities = np.exp(np.array(row) - max(row))
    probabilities /= probabilities.sum()
    assert row[action] > -math.inf
    assert probabilities[:action].sum() <= uniform + 1e-9
    assert probabilities[: action + 1].sum() >= uniform - 1e-9
    assert math.isclose(choice.logp[0], math.log(probabilities[action]), abs_tol=1e-4)


def test_samples_follow_the_distribution() -> None:
    probabilities = np.array([0.1, 0.0, 0.6, 0.3])
    with np.errstate(divide="ignore"):
        log_probs = np.log(np.tile(probabilities, (20_000, 1))).astype(np.float32)
    choice = choose_sampled(log_probs, np.random.default_rng(0).random(20_000))
    np.testing.assert_allclose(np.bincount(choice.actions, minlength=4) / 20_000, probabilities, atol=0.015)


def test_greedy_takes_the_first_of_the_best() -> None:
    choice = choose_greedy(np.array([[0, 2, 2], [1, 0, -np.inf]], dtype=np.float32))
    assert choice.actions.tolist() == [1, 0]
    assert choice.log_probs.tolist() == [[-math.inf, 0, -math.inf], [0, -math.inf, -math.inf]]


class Memoryless(HashPolicy):
    """Lets its episodes change their slots."""

    memoryless = True


@pytest.mark.procgen
@pytest.mark.skipif(sys.platform != "linux", reason="Procgen runs on Linux x86-64 only")
@pytest.mark.parametrize("game", ["coinrun", "dodgeball", "maze", "starpilot"])
def test_the_last_long_episodes_move_together_and_stay_the_same(game: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from envs.procgen import ProcgenVectorEnv

    moves: list[list[int]] = []
    moved = ProcgenVectorEnv.moved

    def noting(self: ProcgenVectorEnv, slots: np.ndarray) -> ProcgenVectorEnv:
        moves.append(slots.tolist())
        return moved(self, slots)

    monkeypatch.setattr(ProcgenVectorEnv, "moved", noting)
    jobs = [(level, episode) for level in range(6) for episode in range(2)]
    results = {}
    for kind in (HashPolicy, Memoryless):
        with contextlib.closing(make_vec(f"procgen/{game}", 8)) as env:
            played = list(play(env, kind(15), jobs, seed=3))
        results[kind] = sorted(played, key=lambda result: (result.level, result.episode))
    assert moves
    assert all(len(slots) <= 4 for slots in moves)
    assert results[HashPolicy] == results[Memoryless]
    assert len(results[Memoryless]) == len(jobs)
