"""Pictures in words: what a reader who cannot see them is told, with the numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from metrics.panels import MixturePoint
from search.headline import interval_text
from search.report_parts import SPLITS, played_roles

Findings = Mapping[str, Any]


def returns_alt(findings: Findings) -> str:
    """Every mean return of the figure."""
    parts = []
    for role in played_roles(findings):
        values = [
            f"{entry['returns'][role]['mean']:.2f} at {entry['num_levels']:,}"
            for entry in findings["levels"]
            if role in entry["returns"]
        ]
        parts.append(f"{SPLITS[role]} {', '.join(values)}")
    return f"Line chart of the return against the number of training levels. {'; '.join(parts)}."


def gap_alt(findings: Findings) -> str:
    """Every gap of the figure."""
    gaps = [
        f"{interval_text(entry['gap'], signed=True)} at {entry['num_levels']:,}"
        for entry in findings["levels"]
        if entry["gap"]
    ]
    return f"Line chart of the generalization gap against the number of training levels: {', '.join(gaps)}."


def heatmap_alt(values: Mapping[str, Any], role: str) -> str:
    """The mean of every row."""
    means = [
        f"{count:,} training levels {np.mean(row):.2f}"
        for count, row in zip(values["num_levels"], values["normalized"], strict=True)
    ]
    return f"Heat map of {len(values['levels']):,} {SPLITS[role]} levels, mean normalized return: {', '.join(means)}."


def profiles_alt(lines: Mapping[str, Mapping[str, Sequence[float]]], split: str) -> str:
    """The share above the middle of every profile."""
    middle = {label: len(line["thresholds"]) // 2 for label, line in lines.items()}
    shares = [
        f"{label} {100 * line['shares'][middle[label]]:.0f} % above {line['thresholds'][middle[label]]:.2f}"
        for label, line in lines.items()
    ]
    return f"Performance profiles on {split} levels: {', '.join(shares)}."


def mixtures_alt(points: Sequence[MixturePoint], value_label: str) -> str:
    """Every mixture with its value."""
    values = [f"{point.label} at {point.group} {point.value:.2f}" for point in points]
    return f"Mixtures and their {value_label}: {', '.join(values)}."


def robustness_alt(entry: Mapping[str, Any]) -> str:
    """The return under every change, in the first action mode."""
    curve = [point for point in entry["curve"] if point["mode"] == entry["curve"][0]["mode"]]
    values = [
        ("unchanged" if point["family"] == "none" else f"{point['family']} {point['strength']}")
        + f" {point['normalized_return']['point']:.2f}"
        for point in curve
    ]
    return f"Normalized return of {entry['policy']} under changes: {', '.join(values)}."


def lines_alt(lines: Mapping[str, Mapping[str, Sequence[float]]], title: str) -> str:
    """Where every curve begins and ends."""
    courses = [f"{SPLITS[role]} from {line['mean'][0]:.2f} to {line['mean'][-1]:.2f}" for role, line in lines.items()]
    return f"Training curves at {title}: {', '.join(courses)}."


def sheet_alt(sheet: Mapping[str, Any]) -> str:
    """Which of the levels were won."""
    won = [str(level) for level, ok in zip(sheet["levels"], sheet["won"], strict=True) if ok]
    return (
        f"First frames of {len(sheet['levels'])} {SPLITS[sheet['role']]} levels. Won: {', '.join(won) or 'none'}; "
        "the others were lost."
    )
