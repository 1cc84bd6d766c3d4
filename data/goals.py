"""What levels ask for, as slots that can be compared."""

from __future__ import annotations

from collections.abc import Iterable

from data.coverage import goal_coverage
from envs.registry import all_level_tags

SUPPORTS = (1, 3)
"""Times that a pair of values must have been seen to count as covered."""

_ROLE = "role"  # differs between training and validation levels by definition


def coverage_of(env: str, known: Iterable[int], other_env: str, wanted: Iterable[int]) -> dict[str, float]:
    """How much of what levels ask for the training levels have shown; nothing where levels have no tags.

    Args:
        env: The environment that is trained in.
        known: Its training levels.
        other_env: The environment of the wanted levels, often the same.
        wanted: Levels to be reached; validation levels, never the test's.

    Returns:
        ``goal_coverage_k`` for every k of `SUPPORTS`, 0 to 1.
    """
    have, want = ([_slots(tags) for tags in all_level_tags(*named)] for named in ((env, known), (other_env, wanted)))
    if not have or not want:
        return {}
    return {f"goal_coverage_{support}": goal_coverage(have, want, support) for support in SUPPORTS}


def _slots(tags: dict[str, str | int]) -> dict[str, object]:
    return {name: value for name, value in tags.items() if name != _ROLE}
