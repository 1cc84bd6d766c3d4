"""Which episodes a dataset consists of: an order that depends on the settings, in waves until there is enough."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache

from actors.rollout import Job
from envs.seeding import rng_for

CAUTION = 0.9
"""Share of what seems missing that one wave may collect."""

PlayWave = Callable[[Sequence[Job]], Mapping[Job, int]]
"""Makes sure that every job is recorded; returns their transitions."""


def play_rounds(levels: Sequence[int], min_transitions: int, play: PlayWave) -> None:
    """One episode on every level, then a second on every level, ..., until whole rounds hold enough transitions.

    The mean length so far says how many rounds are surely still needed; so many are one wave.

    Args:
        levels: Every one gets the same number of episodes.
        min_transitions: What is enough.
        play: Called with one wave after the other.
    """
    total = next_round = 0
    while total < min_transitions:
        rounds = max(1, _needed(min_transitions - total, total, next_round))
        # Episodes of one level stay together: a planner's map of it is then made once.
        jobs = [(level, episode) for level in levels for episode in range(next_round, next_round + rounds)]
        total += sum(play(jobs).values())
        next_round += rounds


def play_until_enough(levels: Sequence[int], min_transitions: int, max_length: int, seed: int, play: PlayWave) -> None:
    """Levels in a random order, one episode each, then in another order, ..., until there are enough transitions.

    More levels than transitions are fine: those that are not reached are left out.

    Args:
        levels: In any order.
        min_transitions: What is enough; exceeded by less than an episode as a rule.
        max_length: Of an episode.
        seed: Experiment seed; it names the orders.
        play: Called with one wave after the other.
    """
    total = done = 0
    while total < min_transitions:
        missing = min_transitions - total
        count = _needed(missing, total, done) if done else min(missing // max_length, len(levels))
        jobs = [_job(levels, number, seed) for number in range(done, done + max(1, count))]
        total += sum(play(jobs).values())
        done += len(jobs)


def _needed(missing: int, total: int, count: int) -> int:
    return int(CAUTION * missing / (total / count)) if count else 0


def _job(levels: Sequence[int], number: int, seed: int) -> Job:
    episode, position = divmod(number, len(levels))
    return levels[_order(len(levels), episode, seed)[position]], episode


@lru_cache(maxsize=2)
def _order(count: int, episode: int, seed: int) -> Sequence[int]:
    order: list[int] = rng_for(seed, "order of levels", episode).permutation(count).tolist()
    return order
