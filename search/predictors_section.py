"""The report's section on what predicts return on unseen levels and the gap, and its pictures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from metrics import plots
from metrics.figure import Shape
from metrics.power import smallest_correlation
from search.headline import interval_text
from search.predictors import resolved
from search.report_media import Picture
from search.report_parts import MISSING, Section, Table

FEWEST_SHOWN = 5
"""Data sets below which nothing is drawn: no correlation has an interval then."""
_KINDS = {"correlation": "validation return", "gap_correlation": "gap"}
_NAMES = {"correlation": "predictors", "gap_correlation": "predictors_gap"}


def predictors_section(findings: Mapping[str, Any], pictures: Sequence[str] = ()) -> Section:
    """The table of `predictors`."""
    entries = findings.get("predictors", [])
    rows = [[e["name"], *(_text(e.get(key)) for key in _KINDS), e["says"]] for e in entries]
    count = entries[0]["num_mixtures"] if entries else 0
    return Section(
        title="What predicts return on unseen levels",
        short="Predictors",
        note="Spearman's rank correlation of each measure of the data with the mean normalized validation return and "
        f"with the gap (train minus validation), over {count} data sets; intervals resample data sets."
        + _detectable(count, len(entries))
        + " A correlation over the sets of one study is no proof of a cause.",
        table=Table(["measure", *(f"with the {what}" for what in _KINDS.values()), "what it says"], rows)
        if rows
        else None,
        pictures=[name for name in pictures if name in _NAMES.values()],
    )


def predictor_pictures(findings: Mapping[str, Any]) -> Iterator[Picture]:
    """One row a measure, for the return and for the gap."""
    entries = findings.get("predictors", [])
    if not entries or entries[0]["num_mixtures"] < FEWEST_SHOWN:
        return
    for key, what in _KINDS.items():
        known = [e for e in entries if e.get(key) and e[key]["low"] is not None]
        rows = {e["name"]: {**e[key], "mean": e[key]["point"]} for e in sorted(known, key=lambda e: -e[key]["point"])}
        if not rows:
            continue
        told = ", ".join(f"{name} {interval_text(row, signed=True)}" for name, row in rows.items())
        yield Picture(
            name=_NAMES[key],
            caption=f"Rank correlation with the {what}, with intervals over {entries[0]['num_mixtures']} data sets.",
            alt=f"Rank correlation of each measure with the {what}: {told}.",
            draw=partial(_draw, rows, what),
        )


def predictors_text(entries: Sequence[Mapping[str, Any]]) -> str:
    """``"Over 64 data sets effective_levels goes with the gap (-0.82 [-0.90, -0.71])..."``; empty without entries."""
    parts = []
    for key, what in _KINDS.items():
        found = resolved(entries, key)
        best = f"{found[0]['name']} ({interval_text(found[0][key], signed=True)})" if found else "no measure"
        parts.append(f"the {what} goes most with {best}")
    count = entries[0]["num_mixtures"] if entries else 0
    return f"Over {count} data sets {' and '.join(parts)}, in rank correlation." if entries else ""


def _draw(rows: Mapping[str, Any], what: str, shape: Shape) -> Any:
    return plots.intervals(
        rows, title=f"What goes with the {what}", xlabel="rank correlation", zero_line=True, shape=shape
    )


def _detectable(count: int, measures: int) -> str:
    if count < FEWEST_SHOWN:
        return ""
    least, all_least = smallest_correlation(count), smallest_correlation(count, 1 - 0.05 / measures)
    return (
        f" So many tell a correlation of {least:.2f} from zero four times in five, one of {all_least:.2f} where any "
        f"of {measures} measures may be the one."
    )


def _text(correlation: Mapping[str, Any] | None) -> str:
    if correlation is None:  # a report of an earlier version
        return MISSING
    if correlation["point"] is None:
        return f"none ({correlation['reason']})"
    if correlation["low"] is None:
        return f"{correlation['point']:+.2f} ({correlation['reason']})"
    return f"{correlation['point']:+.2f} [{correlation['low']:+.2f}, {correlation['high']:+.2f}]"
