"""The first line of a report: what the intervals allow to say, and nothing more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

NO_EFFECT = "no effect detectable at this budget"


def add_headline(findings: Mapping[str, Any]) -> dict[str, Any]:
    """The findings with ``headline``, ``explanation``, ``effect_detected`` and ``gap_at_ends``.

    An effect counts as detected if the paired difference between the most and the fewest levels excludes zero, and
    the best policy learned anything: its interval on its own training levels lies above the random policy's.
    """
    difference, reasons = findings["test_difference_of_ends"], _doubts(findings)
    detected = difference is not None and not reasons
    levels = findings["levels"]
    return {
        "headline": _finding(findings) if detected else NO_EFFECT,
        "explanation": _explanation(difference) if detected else " ".join(reasons),
        "effect_detected": detected,
        "gap_at_ends": {"first": _gap(levels[0]), "last": _gap(levels[-1])} if levels else None,
        **findings,
    }


def best_entry(findings: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The level count whose configuration was selected among all."""
    overall = findings["selection"]["overall"]
    return next((entry for entry in findings["levels"] if entry["config_id"] == overall), None)


def interval_text(value: Mapping[str, Any], digits: int = 2, *, signed: bool = False) -> str:
    """``"4.10 [3.20, 5.00]"``; without an interval the value alone."""
    sign = "+" if signed else ""
    point = value.get("point", value.get("mean"))
    text = f"{point:{sign}.{digits}f}"
    if value.get("low") is None:
        return text
    return f"{text} [{value['low']:{sign}.{digits}f}, {value['high']:{sign}.{digits}f}]"


def transitions_text(findings: Mapping[str, Any]) -> str:
    """``"with the same 20,000 transitions"``, or the range if budgets differ."""
    counts = [entry["realised_transitions"] for entry in findings["levels"] if entry["realised_transitions"]]
    if not counts:
        return ""
    if len(set(counts)) == 1:
        return f" with the same {counts[0]:,} transitions"
    return f" with unequal budgets of {min(counts):,} to {max(counts):,} transitions"


def _doubts(findings: Mapping[str, Any]) -> Sequence[str]:
    difference = findings["test_difference_of_ends"]
    reasons = []
    if difference is None:
        reasons.append("Fewer than two numbers of levels were evaluated on the same held-out levels.")
    elif not difference["resolved"]:
        reasons.append(f"{_difference_text(difference)}, so its interval includes zero.")
    return reasons + learned_nothing(findings)


def learned_nothing(findings: Mapping[str, Any]) -> list[str]:
    """Says so where the selected policy's return on its own training levels does not lie above the random policy's."""
    best, random = best_entry(findings), random_band(findings)
    train = best["returns"].get("train") if best else None
    if not train or not random or _end(train, "low") > _end(random, "high"):
        return []
    return [
        f"The selected policy's return on its own training levels, {interval_text(train)}, does not lie above "
        f"the random policy's, {interval_text(random)}."
    ]


def random_band(findings: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The random policy's return, on the test if it was played there."""
    returns = findings["random"]["returns"]
    return next((returns[role] for role in ("test", "validation", "train") if role in returns), None)


def _end(value: Mapping[str, Any], end: str) -> float:
    return float(value["mean"] if value[end] is None else value[end])


def _finding(findings: Mapping[str, Any]) -> str:
    difference = findings["test_difference_of_ends"]
    first, last = findings["levels"][0], findings["levels"][-1]
    role = difference["role"]
    return (
        f"{role.capitalize()} return {'rises' if difference['point'] > 0 else 'falls'} from "
        f"{interval_text(first['returns'][role])} at {first['num_levels']:,} levels to "
        f"{interval_text(last['returns'][role])} at {last['num_levels']:,} levels{transitions_text(findings)}."
    )


def _explanation(difference: Mapping[str, Any]) -> str:
    unsealed = "" if difference["role"] == "test" else " The sealed test has not been played yet."
    return f"{_difference_text(difference)}, on the same levels.{unsealed}"


def _difference_text(difference: Mapping[str, Any]) -> str:
    confidence = f"{100 * difference['confidence']:.3g} %"
    return (
        f"{difference['role'].capitalize()} return at {difference['last']:,} levels minus at {difference['first']:,} "
        f"is {interval_text(difference, signed=True)} ({confidence} interval over levels and train seeds)"
    )


def _gap(entry: Mapping[str, Any]) -> dict[str, Any] | None:
    return {"num_levels": entry["num_levels"], **entry["gap"]} if entry["gap"] else None
