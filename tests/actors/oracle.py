"""The slowest way to play an episode: one environment, one step at a time, everything spelled out."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from actors.policy import Policy, PolicyInput
from data.episode import Column, Episode, Ragged
from data.schema import episode_checksum
from envs.registry import make_vec
from envs.seeding import UniformStream, derive_seed


class HashPolicy:
    """Every number it may look at changes what it does; one row never depends on another."""

    policy_id = "hash"

    def __init__(self, num_actions: int, candidate_column: str | None = None) -> None:
        self.num_actions = num_actions
        self.candidate_column = candidate_column

    def act(self, inputs: PolicyInput) -> np.ndarray:
        assert inputs.levels is None, "levels are for privileged policies"
        rows = [self._row(inputs, row) for row in range(len(inputs))]
        return np.array(rows, dtype=np.float32)

    def _row(self, inputs: PolicyInput, row: int) -> list[float]:
        seen = [np.ascontiguousarray(column[row]).tobytes().hex() for column in inputs.observations.values()]
        seed = derive_seed(
            *seen,
            int(inputs.starting[row]),
            int(inputs.previous_actions[row]),
            repr(float(inputs.previous_rewards[row])),
        )
        logits = np.random.default_rng(seed).normal(size=self.num_actions)
        if self.candidate_column is not None:
            count = int((inputs.observations[self.candidate_column][row] == 0x1E).sum()) + 1
            logits[count:] = -np.inf
        return list(logits)


def play_slowly(
    env_name: str, policy: Policy, level: int, episode: int, seed: int, mode: str = "sampled", temperature: float = 1.0
) -> Episode:
    env = make_vec(env_name, 1)
    observations, _ = env.reset(options={"levels": np.array([level])})
    uniforms = UniformStream(seed, env_name, level, episode)
    rows: dict[str, list[Any]] = {name: [] for name in observations}
    actions: list[int] = []
    rewards: list[float] = []
    logps: list[float] = []
    terminated = truncated = known = False
    while not (terminated or truncated):
        inputs = PolicyInput(
            observations,
            np.array([not actions]),
            np.array([actions[-1] if actions else -1], dtype=np.int32),
            np.array([rewards[-1] if rewards else 0], dtype=np.float32),
            np.array([level]) if getattr(policy, "privileged", False) else None,
        )
        action, logp = choose_slowly(policy.act(inputs)[0], uniforms, mode, temperature)
        for name, column in observations.items():
            rows[name].append(column[0])
        observations, reward, ends, cuts, infos = env.step(np.array([action], dtype=np.int32))
        actions.append(action)
        rewards.append(float(reward[0]))
        logps.append(logp)
        terminated, truncated = bool(ends[0]), bool(cuts[0])
        known = bool(infos["final_observation_known"][0])
    if known:
        for name, column in observations.items():
            rows[name].append(column[0])
    ragged = {name: column.ragged for name, column in env.task.observation_columns.items()}
    columns: dict[str, Column] = {
        name: Ragged.from_rows(parts) if ragged[name] else np.stack(parts) for name, parts in rows.items()
    }
    env.close()
    return Episode(
        env=env_name,
        level=level,
        episode=episode,
        seed=seed,
        source="oracle",
        policy_id=policy.policy_id,
        observations=columns,
        actions=np.array(actions, dtype=np.int32),
        rewards=np.array(rewards, dtype=np.float32),
        behavior_logp=np.array(logps, dtype=np.float32),
        terminated=terminated,
        truncated=truncated,
        final_observation_known=known,
        metrics={name: float(values[0]) for name, values in infos.get("episode_metrics", {}).items()},
    )


def choose_slowly(log_probs: np.ndarray, uniforms: UniformStream, mode: str, temperature: float) -> tuple[int, float]:
    values = [float(value) for value in log_probs]
    if mode == "greedy":
        return values.index(max(values)), 0.0
    weights = [math.exp((value - max(values)) / temperature) for value in values]
    target = uniforms.draw() * sum(weights)
    action, reached = 0, weights[0]
    while reached <= target:
        action += 1
        reached += weights[action]
    return action, math.log(weights[action] / sum(weights))


def assert_same_episode(played: Episode, expected: Episode) -> None:
    """Bit for bit, but for log-probabilities, which two ways of adding round differently."""
    np.testing.assert_allclose(played.behavior_logp, expected.behavior_logp, atol=1e-6)
    assert checksum_without_logp(played) == checksum_without_logp(expected)


def checksum_without_logp(episode: Episode) -> bytes:
    import dataclasses

    plain = dataclasses.replace(
        episode, source="", behavior_logp=np.zeros(len(episode), dtype=np.float32), behavior_log_probs=None
    )
    return episode_checksum(plain)
