"""Which jobs one actor gets together: fair shares, the guilty apart from the innocent, the late twice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from actors.rollout import Job

LATE_FACTOR = 2.0
LATE_S = 5.0


@dataclass(eq=False)
class Chunk:
    """Jobs given to one actor together."""

    home: int  # place that gets it by preference: it had the same levels last time
    remaining: dict[Job, None]  # in order
    failures: int = 0
    copied: bool = False  # another actor plays the same jobs


def split(jobs: Sequence[Job], num_actors: int, num_envs: int) -> Iterator[Chunk]:
    """Rounds of equal chunks, each round half of what is left, so that actors are seldom idle at the end.

    The last round takes all that is left: a chunk costs its longest episode in every slot, so one that does not fill
    the slots is wasteful. Neighboring jobs stay together: they may share a level, and what an actor knows about it.
    """
    start = 0
    while start < len(jobs):
        left = len(jobs) - start
        size = -(-left // (2 * num_actors))
        if num_actors == 1 or size < num_envs:
            size = -(-left // num_actors)
        for number in range(num_actors):
            if chunk := jobs[start : start + size]:
                yield Chunk(number, dict.fromkeys(chunk))
            start += size


def after_failure(chunk: Chunk) -> list[Chunk]:
    """What to play again after a chunk lost its actor: the same, or from the second time on its halves.

    Halving finds the job that kills its actors in a few deaths, and the others are played.
    """
    if chunk.failures < 2 or len(chunk.remaining) < 2:
        return [chunk]
    jobs = list(chunk.remaining)
    middle = len(jobs) // 2
    return [Chunk(chunk.home, dict.fromkeys(part), chunk.failures) for part in (jobs[:middle], jobs[middle:])]


def is_late(chunk: Chunk, started_s: float, longest_s: float | None, now_s: float) -> bool:
    """Whether idle actors should play the jobs of a chunk too, the first result of each counting.

    Args:
        chunk: In work at one actor.
        started_s: Since when.
        longest_s: What the slowest chunk took that was finished in this call, None before the first.
        now_s: The time.
    """
    if longest_s is None or chunk.copied or not chunk.remaining:
        return False
    return now_s - started_s > LATE_FACTOR * longest_s + LATE_S
