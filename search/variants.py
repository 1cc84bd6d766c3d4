"""A second axis of a study beside the level counts: how many transitions, or an option of whoever plays.

A variant is written as ``NAME=VALUE``. ``transitions=5000`` learns from so many in place of `num_transitions`, chosen
from one recording, so that a smaller set is part of a larger one. Every other name is an option of the recorded source:
``noise=0.4`` records data of less quality.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from envs.errors import UsageError
from envs.overrides import read_literal

TRANSITIONS = "transitions"
Option = float | int | str | bool


def axis_of(variants: Sequence[str]) -> str:
    """What the variants differ in; empty for none."""
    return variants[0].partition("=")[0] if variants else ""


def check_variants(variants: Sequence[str]) -> None:
    """Refuse variants that are no axis.

    Raises:
        UsageError: For one that cannot be read, two axes, a value twice, fewer than two, or sizes that are no sizes.
    """
    if not variants:
        return
    pairs = [variant.partition("=") for variant in variants]
    if len({name for name, _, _ in pairs}) > 1 or not all(name and equals and value for name, equals, value in pairs):
        raise UsageError(
            f"variants is {tuple(variants)}; write NAME=VALUE, all of one NAME, for example transitions=5000 or "
            "noise=0.4."
        )
    if len(set(variants)) < max(2, len(variants)):
        raise UsageError(f"variants is {tuple(variants)}; give two or more, and none twice.")
    values = [value_of(variant) for variant in variants]
    if axis_of(variants) == TRANSITIONS and not all(value >= 1 and value == int(value) for value in values):
        raise UsageError(f"variants is {tuple(variants)}; transitions must be whole numbers from 1 on.")
    if values != sorted(values):
        raise UsageError(f"variants is {tuple(variants)}; give them in increasing order.")


def value_of(variant: str) -> float:
    """Where a variant lies on its axis.

    Raises:
        UsageError: If it is no number.
    """
    name, _, text = variant.partition("=")
    value = read_literal(text)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise UsageError(f"The variant {variant!r} has no number; an axis needs them, for example {name}=0.4.")
    return float(value)


def transitions_of(variant: str, otherwise: int) -> int:
    """Transitions that are learned from."""
    return int(value_of(variant)) if axis_of([variant]) == TRANSITIONS else otherwise


def recorded_transitions_of(variants: Sequence[str], otherwise: int) -> int:
    """Transitions that a recording must hold for every variant that learns from it."""
    return max((transitions_of(variant, otherwise) for variant in variants), default=otherwise)


def options_of(variant: str, options: Mapping[str, Option]) -> dict[str, Option]:
    """Options of the source."""
    name, _, text = variant.partition("=")
    return {**options} if name in ("", TRANSITIONS) else {**options, name: read_literal(text)}
