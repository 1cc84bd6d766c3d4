"""How a study's policies fare under visual changes and shifts: found beside the study, told by its report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from envs.visual import CHANGES
from metrics.robustness import robustness_curve
from metrics.table import EvaluationTable
from search.headline import interval_text
from search.report_parts import MISSING, SPLITS, Findings, Section, Table, percent_text
from search.study import Study

ROBUSTNESS_FOLDER = "robustness"
"""In a study: one table per policy that was played by the study itself."""
OF_RUN = Path("evaluation") / "robustness" / "robustness.parquet"
"""In a trial's folder, where `gengap evaluate TRIAL --robustness` writes."""


def robustness_table(study_dir: Path, policy: str) -> Path:
    """Where a study keeps what a policy did under changes."""
    return study_dir / ROBUSTNESS_FOLDER / f"{policy}.parquet"


def robustness_curves(study: Study, options: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The curve of every policy that was played under changes; the train seeds of a configuration share one.

    Args:
        study: Its files are read.
        options: ``num_resamples`` and ``confidence``.

    Returns:
        Entries ``{"policy", "policies", "curve"}``, see `metrics.robustness.robustness_curve`.
    """
    return [
        {"policy": label, "policies": table.policies, "curve": robustness_curve(table, **options)}
        for label, table in _tables(study)
    ]


def _tables(study: Study) -> Iterator[tuple[str, EvaluationTable]]:
    """Those that the study played, by configuration; then those of single trials that were played by hand."""
    paths = sorted((study.directory / ROBUSTNESS_FOLDER).glob("*.parquet"))
    frames = [EvaluationTable.read(path).frame for path in paths]
    if frames:
        together = pd.concat(frames, ignore_index=True)
        for label, rows in together.groupby("config_id", sort=True):
            yield str(label), EvaluationTable(rows.reset_index(drop=True))
    played = {path.stem for path in paths}
    for path in sorted(study.directory.glob(f"trials/*/{OF_RUN}")):
        trial = path.relative_to(study.directory).parts[1]
        if trial not in played:
            yield trial, EvaluationTable.read(path)


def robustness_section(findings: Findings, pictures: Sequence[str]) -> Section:
    """Return under every change, and what is lost by it."""
    rows = [
        [
            entry["policy"],
            point["mode"],
            "unchanged" if point["family"] == "none" else f"{point['family']}{_strength(point)}",
            f"{point['num_levels']:,}",
            interval_text(point["normalized_return"]),
            interval_text(point["loss"], signed=True) if point["loss"] and point["family"] != "none" else MISSING,
        ]
        for entry in findings["robustness"]
        for point in entry["curve"]
    ]
    roles = sorted({SPLITS[point["role"]] for entry in findings["robustness"] for point in entry["curve"]})
    return Section(
        title="Robustness",
        short="Robustness",
        note=f"Normalized return on {' and '.join(roles)} levels, unchanged and under changes they were not trained "
        f"for, mean with {percent_text(findings)} intervals. A visual change shows the same levels, so what it costs "
        "is told level by level; a shift plays other levels.",
        table=Table(["policy", "actions", "change", "levels", "return", "lost"], rows) if rows else None,
        pictures=[name for name in pictures if name.startswith("robustness_")],
    )


def regrets_section(findings: Findings) -> Section:
    """What each selection rule would have chosen, and its regret against the oracle."""
    regrets = findings["regrets"] or {"rules": [], "mode": ""}
    rows = [
        [
            entry["among"],
            entry["rule"] + (" (looks at the test)" if entry["rule"] == "oracle" else ""),
            entry["sees"],
            entry["chosen"],
            f"{entry['test']:.3f}",
            interval_text(entry["regret"], 3),
            MISSING if entry["rank_correlation"] is None else f"{entry['rank_correlation']:.2f}",
        ]
        for entry in sorted(regrets["rules"], key=lambda entry: str(entry["among"]))
    ]
    header = ["among", "rule", "sees", "chosen", "test return", "regret", "rank correlation with the test"]
    return Section(
        title="What each selection rule would have chosen",
        short="Rules",
        note="Regret is the oracle's normalized test return minus that of the rule's choice, on the same levels "
        f"({regrets['mode']} actions). Every policy has read the test for this table, so nothing may be chosen by it.",
        table=Table(header, rows) if rows else None,
    )


def _strength(point: Mapping[str, Any]) -> str:
    return f", strength {point['strength']}" if point["family"] in CHANGES else ""
