from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from envs.spec import ColumnSpec, EnvSpec, LevelSet
from envs.vector import Actions, LevelVectorEnv, Mask, Observations, Transition
from trainers.fragment import finished, sample_actions
from trainers.streams import EnvStream

SPEC = EnvSpec("toy/count", {"seen": ColumnSpec("float32", (2,))}, 3, max_episode_steps=6, level_universe=100)


class CountEnv(LevelVectorEnv):
    """Level n terminates after n % 4 + 2 steps and is cut off after 6; it shows (level, steps) and pays the level."""

    def __init__(self, num_envs: int) -> None:
        super().__init__(SPEC, num_envs)

    def _start(self, slots: np.ndarray, in_place: bool) -> None:
        pass

    def _advance(self, actions: Actions, active: Mask) -> Transition:
        terminated = (self._steps >= self._levels % 4 + 2) & (self._levels % 5 > 0)
        return Transition(self._levels.astype(np.float32), terminated, ~terminated & (self._steps >= 6))

    def _observe(self) -> Observations:
        return {"seen": np.stack([self._levels, self._steps], axis=1).astype(np.float32)}


def uniform(observations: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Uniform actions; the value is 10 * level + step, so that every value tells which observation it is of."""
    seen = observations["seen"]
    return np.full((len(seen), 3), -np.log(3), dtype=np.float32), (10 * seen[:, 0] + seen[:, 1]).astype(np.float32)


def stream(incarnation: int = 0, seed: int = 0) -> EnvStream:
    levels = LevelSet.range("toy/count", 3, 30)
    return EnvStream(CountEnv(4), levels, seed=seed, stream=2, incarnation=incarnation)


def test_fragments_continue_episodes_and_keep_every_step() -> None:
    source = stream()
    fragments = [source.collect(uniform, 9, number) for number in range(3)]
    seen = np.concatenate([fragment.observations["seen"].reshape(9, 4, 2) for fragment in fragments])  # [27, B, 2]
    ended = np.concatenate([fragment.terminated | fragment.truncated for fragment in fragments])
    rewards = np.concatenate([fragment.rewards for fragment in fragments])
    np.testing.assert_array_equal(rewards, seen[..., 0])
    for t in range(26):
        fresh = seen[t + 1, :, 1] == 0
        np.testing.assert_array_equal(fresh, ended[t])
        np.testing.assert_array_equal(seen[t + 1, ~fresh, 0], seen[t, ~fresh, 0])
    assert {3 <= level < 30 for level in seen[..., 0].ravel()} == {True}


def test_values_belong_to_the_observations_acted_on() -> None:
    source = stream()
    first, second = (source.collect(uniform, 9, number) for number in range(2))
    rows = first.observations["seen"].reshape(9, 4, 2)
    np.testing.assert_array_equal(first.values, 10 * rows[..., 0] + rows[..., 1])
    np.testing.assert_array_equal(first.last_values, second.values[0])
    assert first.truncated.any()
    # The final observation is known here: one step beyond the last one acted on.
    np.testing.assert_array_equal(first.bootstrap_values, np.where(first.truncated, first.values + 1, 0))


def test_finished_episodes_are_complete() -> None:
    source = stream()
    episodes = finished([source.collect(uniform, 9, number) for number in range(4)])
    assert len(episodes) > 10
    for episode in episodes:
        assert episode.length == (6 if episode.level % 5 == 0 else episode.level % 4 + 2)
        assert episode.episode_return == episode.level * episode.length
        assert episode.terminated == (episode.level % 5 > 0)
        assert episode.truncated != episode.terminated


def test_names_determine_the_fragment() -> None:
    first, again = (stream().collect(uniform, 9, 0) for _ in range(2))
    np.testing.assert_array_equal(first.actions, again.actions)
    np.testing.assert_array_equal(first.observations["seen"], again.observations["seen"])
    for other in (stream(incarnation=1).collect(uniform, 9, 0), stream(seed=1).collect(uniform, 9, 0)):
        assert (other.actions != first.actions).any()


def test_sampling_follows_the_probabilities_and_never_draws_the_impossible() -> None:
    probabilities = np.array([0.0, 0.2, 0.0, 0.5, 0.3, 0.0])
    uniforms = np.append(np.random.default_rng(0).random(20_000), [0.0, np.nextafter(1, 0)])
    with np.errstate(divide="ignore"):
        log_probs = np.log(np.tile(probabilities, (len(uniforms), 1))).astype(np.float32)
    actions = sample_actions(log_probs, uniforms)
    frequencies = np.bincount(actions, minlength=6) / len(actions)
    np.testing.assert_allclose(frequencies, probabilities, atol=0.015)
    assert actions.dtype == np.int32
    assert frequencies[[0, 2, 5]].sum() == 0


def test_levels_of_another_env_are_refused() -> None:
    with pytest.raises(ValueError, match="toy/count"):
        EnvStream(CountEnv(2), LevelSet.range("grid/default", 0, 5), seed=0, stream=0)
