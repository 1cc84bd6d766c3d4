"""Which level numbers are one and the same level, seen by the picture they start with."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence, Set
from typing import NamedTuple

import numpy as np

from envs.errors import UsageError
from envs.registry import make_vec
from envs.spec import LevelSet

Progress = Callable[[int], None]
"""Called with the number of levels done."""


class LevelAudit(NamedTuple):
    """How many levels of a set are distinct, and how many another set holds already.

    Two levels count as equal if they start with the same picture of the whole level. In games that spawn things later
    (bigfish, bossfight, starpilot) equal starts may still lead to different episodes.
    """

    num_levels: int
    num_distinct: int
    duplicate_groups: tuple[tuple[int, ...], ...]
    """Levels that share a first picture, groups of two or more."""
    seen_before: tuple[int, ...] | None
    """Levels whose first picture also occurs in the other set; None without one."""


def level_hashes(levels: LevelSet, progress: Progress = lambda done: None, batch: int = 64) -> list[str]:
    """Sixteen hex digits per level, equal exactly for levels that look the same at their start."""
    env = make_vec(levels.env, min(batch, len(levels)))
    try:
        env.task.check_levels(levels)
        hashes: list[str] = []
        for start in range(0, len(levels), batch):
            looks = env.first_looks(np.asarray(levels.levels[start : start + batch], dtype=np.int64))
            hashes += [hashlib.blake2b(look, digest_size=8).hexdigest() for look in looks]
            progress(len(hashes))
        return hashes
    finally:
        env.close()


def audit_levels(
    levels: LevelSet, against: LevelSet | None = None, progress: Progress = lambda done: None
) -> LevelAudit:
    """Find duplicates within `levels` and levels that `against` (for example the training levels) holds already."""
    hashes = level_hashes(levels, progress)
    other = None
    if against is not None:
        other = set(level_hashes(against, lambda done: progress(len(levels) + done)))
    return summarize(levels.levels, hashes, other)


def summarize(levels: Sequence[int], hashes: Sequence[str], other: set[str] | None) -> LevelAudit:
    """The audit of levels with these hashes."""
    groups: dict[str, list[int]] = {}
    for level, value in zip(levels, hashes, strict=True):
        groups.setdefault(value, []).append(level)
    return LevelAudit(
        num_levels=len(levels),
        num_distinct=len(groups),
        duplicate_groups=tuple(tuple(group) for group in groups.values() if len(group) > 1),
        seen_before=None if other is None else tuple(lv for lv, h in zip(levels, hashes, strict=True) if h in other),
    )


def distinct_levels(env: str, start: int, count: int, known: Set[str], batch: int = 64) -> tuple[LevelSet, Set[str]]:
    """The first `count` levels from `start` on that look unlike each other and unlike what is known.

    Args:
        env: Name of the environment.
        start: Lowest level.
        count: How many.
        known: Hashes (see `level_hashes`) of levels that are not wanted again.
        batch: Levels looked at together.

    Returns:
        The levels, and the hashes of them and of what was known.

    Raises:
        UsageError: If there are not enough among ten times as many numbers.
    """
    found: list[int] = []
    seen = set(known)
    for first in range(start, start + max(10 * count, batch), batch):
        for level, value in zip(
            range(first, first + batch), level_hashes(LevelSet.range(env, first, first + batch)), strict=True
        ):
            if value not in seen and len(found) < count:
                seen.add(value)
                found.append(level)
        if len(found) == count:
            return LevelSet.of(env, found), seen
    raise UsageError(
        f"Only {len(found)} levels of {env!r} from {start} on look different from all others; {count} were asked for. "
        "Ask for fewer."
    )
