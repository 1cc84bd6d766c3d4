"""Levels as a user writes them."""

from __future__ import annotations

from envs.errors import UsageError
from envs.registry import make_spec
from envs.spec import LevelSet

MAX_LEVELS = 1_000_000
"""So many levels can be written as one range."""


def parse_levels(env: str, text: str) -> LevelSet:
    """``"0:200"`` as the levels 0 to 199, ``"1,2,7"`` as these three.

    Args:
        env: The environment that they belong to.
        text: A range or a list.

    Raises:
        UsageError: If it is neither, or empty, too long, with a level twice or beyond the universe.
    """
    start, colon, stop = (word.strip() for word in text.strip().partition(":"))
    words = [start, stop] if colon else [word.strip() for word in start.split(",")]
    if not all(word.isdecimal() and len(word) < 20 for word in words):
        raise UsageError(
            f"{text!r} names no levels; write a range START:STOP, for example 0:200 for the levels 0 to 199, or a list "
            "such as 1,2,7."
        )
    numbers = [int(word) for word in words]
    if colon and numbers[1] - numbers[0] > MAX_LEVELS:
        raise UsageError(f"The range {text} is too long; at most {MAX_LEVELS:,} levels are written as one range.")
    levels = LevelSet.range(env, *numbers) if colon else LevelSet.of(env, numbers)
    make_spec(env).check_levels(levels)
    return levels
