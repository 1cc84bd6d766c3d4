"""Policy x vector env x list of (level, episode) -> episodes, in one environment or in two that take turns. No Ray.

How slots act is in `actors.slots`: neither slots, nor their neighbors, nor the order of jobs change an episode.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import overload

from actors.policy import Policy
from actors.slots import Job, RecordOptions, SlotPlayer, is_privileged
from data.episode import Episode, EpisodeResult
from envs.errors import UsageError, unknown_name
from envs.registry import make_vec
from envs.vector import LevelVectorEnv, Step
from metrics.protocol import ACTION_MODES, ActionMode

__all__ = ["Job", "RecordOptions", "Stage", "is_privileged", "make_stage", "num_slots", "play", "play_on"]

Stage = list[LevelVectorEnv]
"""Where a policy is played: one environment, or two that take turns."""


@overload
def play(
    env: LevelVectorEnv,
    policy: Policy,
    jobs: Sequence[Job],
    *,
    seed: int,
    mode: ActionMode = ...,
    temperature: float = ...,
    epsilon: float = ...,
    record: None = None,
) -> Iterator[EpisodeResult]: ...


@overload
def play(
    env: LevelVectorEnv,
    policy: Policy,
    jobs: Sequence[Job],
    *,
    seed: int,
    mode: ActionMode = ...,
    temperature: float = ...,
    epsilon: float = ...,
    record: RecordOptions,
) -> Iterator[Episode]: ...


def play(
    env: LevelVectorEnv,
    policy: Policy,
    jobs: Sequence[Job],
    *,
    seed: int,
    mode: ActionMode = "sampled",
    temperature: float = 1.0,
    epsilon: float = 0.0,
    record: RecordOptions | None = None,
) -> Iterator[Episode | EpisodeResult]:
    """Play every job once and yield each as it ends.

    Args:
        env: Slots to play in; nothing is assumed about their state.
        policy: Acts. One whose attribute `privileged` is true is told the levels.
        jobs: (level, episode) pairs.
        seed: Experiment seed; together with env, level and episode it names the randomness.
        mode: ``"sampled"`` draws from the policy's distribution, ``"greedy"`` takes its mode and draws nothing.
        temperature: Divides the log-probabilities before sampling.
        epsilon: With this probability a greedy action gives way to a random one.
        record: What to store; None keeps results only.

    Raises:
        UsageError: For an unknown mode, a temperature that is not positive, or a level that does not exist.
        RunError: If the policy returns something that is no distribution.
    """
    _check(mode, temperature)
    if not jobs:
        return
    before = env.set_copy(False)
    player = SlotPlayer(env, policy, iter(jobs), jobs[0][0], seed, mode, temperature, epsilon, record)
    try:
        player.start()
        while player.running:
            yield from player.settle(player.env.step(player.think()))
    finally:
        player.close()
        env.set_copy(before)


def make_stage(env: str, policy: Policy, num_envs: int, overlap: bool | None = None) -> Stage:
    """Environments to play a policy in.

    Args:
        env: Registered name.
        policy: Its `max_slots` may ask for fewer slots, its `overlaps` for two environments.
        num_envs: Slots of each environment.
        overlap: Whether one environment steps while the policy looks at another; None asks the policy.
    """
    wanted = bool(getattr(policy, "overlaps", False)) if overlap is None else overlap
    return [make_vec(env, num_slots(policy, num_envs)) for _ in range(2 if wanted else 1)]


def play_on(
    stage: Stage,
    policy: Policy,
    jobs: Sequence[Job],
    *,
    seed: int,
    mode: ActionMode = "sampled",
    temperature: float = 1.0,
    epsilon: float = 0.0,
) -> Iterator[EpisodeResult]:
    """`play` on a stage, results only: in two environments one steps on a thread while the policy acts in the other.

    It pays where the policy computes on another device than the environment, or another core is free. The policy must
    be `memoryless`, because its rows change between two environments.
    """
    if len(stage) == 1:
        yield from play(stage[0], policy, jobs, seed=seed, mode=mode, temperature=temperature, epsilon=epsilon)
        return
    _check(mode, temperature)
    if not getattr(policy, "memoryless", False):
        raise UsageError(f"The policy {policy.policy_id!r} remembers its slots; play it in one environment.")
    if not jobs:
        return
    rest = iter(jobs)  # both take from it
    before = [env.set_copy(False) for env in stage]
    players = [SlotPlayer(env, policy, rest, jobs[0][0], seed, mode, temperature, epsilon, None) for env in stage]
    try:
        yield from _in_turns(players)
    finally:
        for player, env, copies in zip(players, stage, before, strict=True):
            player.close()
            env.set_copy(copies)


def _in_turns(players: Sequence[SlotPlayer]) -> Iterator[EpisodeResult]:
    """While one environment steps, another player thinks."""
    for player in players:
        player.start()
    steps: list[Future[Step] | None] = [None] * len(players)
    with ThreadPoolExecutor(1, thread_name_prefix="environments") as stepper:
        while any(player.running for player in players):
            for place, player in enumerate(players):
                if (step := steps[place]) is not None:
                    yield from player.settle(step.result())  # type: ignore[misc]
                steps[place] = stepper.submit(player.env.step, player.think()) if player.running else None


def _check(mode: ActionMode, temperature: float) -> None:
    if mode not in ACTION_MODES:
        raise unknown_name("action mode", str(mode), ACTION_MODES)
    if not temperature > 0:
        raise UsageError(f'The temperature is {temperature}; it must be positive. For the best action use "greedy".')


def num_slots(policy: Policy, asked: int) -> int:
    """How many slots a policy is played in: those asked for, or fewer where it says that more gain nothing."""
    limit: int | None = getattr(policy, "max_slots", None)
    return asked if limit is None else min(asked, limit)
