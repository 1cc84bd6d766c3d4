"""Named mixtures over strata of the training levels: what their weights are, and which levels they take."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache

from data.strata import apportion, group_by_tag
from envs.errors import UsageError, unknown_name
from envs.registry import make_spec
from envs.spec import LevelSet
from metrics.protocols import training_levels

NATURAL, UNIFORM = "natural", "uniform"
"""The levels as they come, and the same share for every stratum."""

_SURVEYED = 2048
"""Strata are the values of the tag on so many first training levels."""
_MAX_SCANNED = 2**18
_PART = re.compile(r"(.+?):([0-9.]+)(?:\+|$)")


def mixture_weights(name: str, values: list[str]) -> dict[str, float]:
    """The weights that a mixture's name means; none for the natural one.

    Args:
        name: ``natural``, ``uniform``, a single stratum, or weights such as ``fashion:2+home:1`` (made to sum to one).
        values: The strata that there are.

    Raises:
        UsageError: For an unknown stratum (with the closest match), or weights that cannot be read.
    """
    if name == NATURAL:
        return {}
    if name == UNIFORM:
        return dict.fromkeys(values, 1 / len(values))
    if name in values:
        return {name: 1.0}
    parts = _PART.findall(name)
    if not parts or sum(len(value) + len(weight) + 2 for value, weight in parts) != len(name) + 1:
        raise unknown_name("mixture (nor is it written as STRATUM:WEIGHT+...)", name, [NATURAL, UNIFORM, *values])
    weights = {value: _number(weight, name) for value, weight in parts}
    for value in weights:
        if value not in values:
            raise unknown_name(f"stratum in the mixture {name!r}", value, values)
    total = sum(weights.values())
    if len(weights) < len(parts) or not total > 0:
        raise UsageError(f"The mixture {name!r} needs a weight above 0, and each stratum once.")
    return {value: weight / total for value, weight in weights.items() if weight > 0}


@lru_cache(maxsize=64)
def strata_of(protocol: str, env: str, tag: str) -> tuple[str, ...]:
    """The values of a tag on the first training levels of a protocol, sorted.

    Raises:
        UsageError: If levels of the environment have no such tag.
    """
    return tuple(_scan(protocol, env, tag, _SURVEYED))


@lru_cache(maxsize=256)
def mixture_levels(protocol: str, env: str, tag: str, mixture: str, count: int) -> LevelSet:
    """The first training levels of a protocol that make up a mixture: a larger set contains the smaller ones.

    Args:
        protocol: Its training levels are taken.
        env: The environment that is trained in.
        tag: What divides levels into strata; empty for none.
        mixture: See `mixture_weights`.
        count: How many levels.

    Raises:
        UsageError: For an unknown name, or if a stratum has too few levels.
    """
    weights = mixture_weights(mixture, list(strata_of(protocol, env, tag))) if tag else {}
    if not weights:
        return training_levels(protocol, env, count)
    quotas = apportion(weights, dict.fromkeys(weights, count), count)
    scanned = max(_SURVEYED, count)
    while True:
        groups = _scan(protocol, env, tag, scanned)
        missing = {value: quota for value, quota in quotas.items() if len(groups.get(value, ())) < quota}
        if not missing:
            return LevelSet.of(
                env, sorted(level for value, quota in quotas.items() for level in _first(groups, value, quota))
            )
        if scanned >= min(_MAX_SCANNED, make_spec(env).level_universe):
            value, quota = next(iter(missing.items()))
            raise UsageError(
                f"The mixture {mixture!r} needs {quota} training levels with {tag}={value!r}; the first {scanned:,} of "
                f"{protocol!r} hold {len(groups.get(value, ()))}. Ask for fewer levels, or another mixture."
            )
        scanned *= 4


@lru_cache(maxsize=16)
def _scan(protocol: str, env: str, tag: str, count: int) -> Mapping[str, list[int]]:
    count = min(count, make_spec(env).level_universe)
    return group_by_tag(env, training_levels(protocol, env, count).levels, tag)


def _first(groups: Mapping[str, list[int]], value: str, count: int) -> list[int]:
    return groups[value][:count] if count else []


def _number(text: str, name: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise UsageError(f"The weight {text!r} in the mixture {name!r} is no number.") from None
