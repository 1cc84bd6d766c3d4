"""The report's section on what predicts return on unseen levels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from search.report_parts import Section, Table


def predictors_section(findings: Mapping[str, Any]) -> Section:
    """The table of `predictors`."""
    entries = findings.get("predictors", [])
    rows = [[entry["name"], _text(entry["correlation"]), entry["says"]] for entry in entries]
    count = entries[0]["num_mixtures"] if entries else 0
    return Section(
        title="What predicts return on unseen levels",
        short="Predictors",
        note=f"Spearman's rank correlation of each measure of the data with the mean validation return, over {count} "
        "data sets; intervals resample data sets. A correlation over the sets of one study is no proof of a cause.",
        table=Table(["measure", "rank correlation", "what it says"], rows) if rows else None,
    )


def _text(correlation: Mapping[str, Any]) -> str:
    if correlation["point"] is None:
        return f"none ({correlation['reason']})"
    if correlation["low"] is None:
        return f"{correlation['point']:+.2f} ({correlation['reason']})"
    return f"{correlation['point']:+.2f} [{correlation['low']:+.2f}, {correlation['high']:+.2f}]"
