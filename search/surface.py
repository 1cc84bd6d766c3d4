"""A study with a second axis beside the level counts: what each axis does to the return, with intervals."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np

from metrics import statistics
from metrics.protocol import ActionMode, Role
from search.headline import NO_EFFECT, interval_text, learned_nothing
from search.level_scores import RAW, Bootstrap, level_scores
from search.selection import Choice
from search.study import Study
from search.variants import TRANSITIONS, value_of

LEVELS = "training levels"


def surface_findings(study: Study, mode: ActionMode, bootstrap: Bootstrap) -> dict[str, Any] | None:
    """The effect of each axis where the other stands still; None for a study with one axis.

    An effect is the last value minus the first, level by level on the most sealed split that all played. Its interval
    allows for how many effects are shown (Bonferroni).
    """
    if not study.axis or study.selection is None:
        return None
    choices = {(choice.num_levels, choice.among): choice for choice in study.selection.mixture_choices}
    counts = sorted({count for count, _ in choices})
    names = [name for name in study.mixtures if any((count, name) in choices for count in counts)]
    pairs = [pair for pair in _pairs(study.axis, counts, names) if pair[1] in choices and pair[2] in choices]
    options = {**bootstrap.options, "confidence": 1 - (1 - bootstrap.confidence) / max(1, len(pairs))}
    effects = []
    for along, first, last in pairs:
        effect = _effect(study, choices[first], choices[last], mode, bootstrap.rng("surface", *first, *last), options)
        if effect is not None:
            effects.append({"along": along, "first": list(first), "last": list(last), **effect})
    return {
        "axis": study.axis,
        "level_counts": counts,
        "names": names,
        "values": [value_of(name) for name in names],
        "effects": effects,
    }


def add_surface_headline(findings: Mapping[str, Any]) -> dict[str, Any]:
    """The findings with a headline on the second axis at the most levels, and all effects in the explanation.

    Where that one is not detectable, the headline says so and names the largest of those that are, which the joint
    intervals allow. As in a study of one axis, nothing counts as an effect unless the selected policy learned its own
    training levels.
    """
    surface = findings["surface"]
    own = [e for e in surface["effects"] if e["along"] == surface["axis"]]
    main = own[-1] if own else None
    told = "; ".join(effect_text(effect, surface["axis"]) for effect in surface["effects"])
    doubts = learned_nothing(findings)
    resolved = [effect for effect in surface["effects"] if effect["resolved"]]
    detected = bool(resolved) and not doubts
    count = len(surface["effects"])
    held = (
        f"{100 * main['confidence']:.3g} % intervals" + (f" for each of {count}" if count > 1 else "") if main else ""
    )
    return {
        "headline": _headline(findings, main, resolved) if detected else NO_EFFECT,
        "explanation": " ".join(
            [*doubts, f"{told} ({held}, over levels and train seeds, on the same levels)." if main else NO_EFFECT]
        ),
        "effect_detected": detected,
        "gap_at_ends": None,
        **findings,
    }


def effect_text(effect: Mapping[str, Any], axis: str) -> str:
    """``"transitions 3,000 to 24,000 at 100 training levels: test return +0.50 [+0.10, +0.90]"``."""
    (first_count, first), (last_count, last) = effect["first"], effect["last"]
    if effect["along"] == axis:
        where = f"{axis} {value_text(first)} to {value_text(last)} at {first_count:,} {LEVELS}"
    else:
        where = f"{first_count:,} to {last_count:,} {LEVELS} at {axis} {value_text(first)}"
    return f"{where}: {effect['role']} return {interval_text(effect, signed=True)}"


def value_text(name: str) -> str:
    """The value of a variant, for reading."""
    value = value_of(name)
    return f"{value:,.0f}" if value == int(value) else f"{value:g}"


def entry_of(findings: Mapping[str, Any], count: int, name: str) -> Mapping[str, Any] | None:
    """The results of one cell."""
    return next((e for e in findings["mixtures"] if (e["num_levels"], e["mixture"]) == (count, name)), None)


def _headline(
    findings: Mapping[str, Any], main: Mapping[str, Any] | None, resolved: Sequence[Mapping[str, Any]]
) -> str:
    if main is not None and main["resolved"]:
        return _finding(findings, main)
    axis = findings["surface"]["axis"]
    largest = max(resolved, key=lambda effect: abs(float(effect["point"])))
    none = f"No effect of {axis} detectable at {main['first'][0]:,} {LEVELS}; " if main is not None else ""
    count = f"{len(resolved)} of {len(findings['surface']['effects'])} effects exclude zero"
    return f"{none}{count}, the largest {effect_text(largest, axis)}."


def _finding(findings: Mapping[str, Any], effect: Mapping[str, Any]) -> str:
    (count, first), (_, last) = effect["first"], effect["last"]
    role, axis = effect["role"], findings["surface"]["axis"]
    ends = [entry_of(findings, count, name) for name in (first, last)]
    texts = [interval_text(entry["returns"][role]) for entry in ends if entry is not None]
    budget = "" if axis == TRANSITIONS else f" with the same {findings['num_transitions']:,} transitions"
    return (
        f"{role.capitalize()} return {'rises' if effect['point'] > 0 else 'falls'} from {texts[0]} at {axis} "
        f"{value_text(first)} to {texts[1]} at {axis} {value_text(last)}, with {count:,} {LEVELS}{budget}."
    )


Cell = tuple[int, str]


def _pairs(axis: str, counts: Sequence[int], names: Sequence[str]) -> Iterator[tuple[str, Cell, Cell]]:
    yield from ((axis, (count, names[0]), (count, names[-1])) for count in counts if len(names) > 1)
    yield from ((LEVELS, (counts[0], name), (counts[-1], name)) for name in names if len(counts) > 1)


def _effect(
    study: Study,
    first: Choice,
    last: Choice,
    mode: ActionMode,
    rng: np.random.Generator,
    options: Mapping[str, Any],
) -> dict[str, Any] | None:
    for role in (Role.TEST, Role.VALIDATION):
        pair = [level_scores(study.table, role, mode, RAW, choice.policies) for choice in (last, first)]
        if pair[0] is None or pair[1] is None or not np.array_equal(pair[0].levels, pair[1].levels):
            continue
        interval = statistics.paired_difference(pair[0].values, pair[1].values, rng, **options)
        return interval.to_json() | {"role": role.value, "resolved": interval.excludes(0.0)}
    return None


def cells_of(findings: Mapping[str, Any]) -> Iterator[tuple[int, str, Mapping[str, Any]]]:
    """Every cell that was evaluated: level count, variant, results."""
    surface = findings["surface"]
    for count, name in product(surface["level_counts"], surface["names"]):
        entry = entry_of(findings, count, name)
        if entry is not None:
            yield count, name, entry
