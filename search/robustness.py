"""How a study's policies fare under visual changes and shifts: found beside the study, told by its report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from envs.visual import CHANGES, STRENGTHS
from metrics.plots import intervals
from metrics.robustness import robustness_curve
from metrics.table import EvaluationTable
from metrics.wandb_media import LinesData
from search.headline import interval_text
from search.report_media import Picture
from search.report_parts import MISSING, SPLITS, Findings, Section, Table, percent_text
from search.study import Study

REGRETS = "regrets"
"""Name of the picture."""
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
    entries = findings["robustness"]
    several = len(entries) > 1
    rows = [
        [
            "unchanged" if point["family"] == "none" else f"{point['family']}{_strength(point)}",
            interval_text(point["normalized_return"]),
            interval_text(point["loss"], signed=True) if point["loss"] and point["family"] != "none" else MISSING,
            point["mode"],
            f"{point['num_levels']:,}",
            *([entry["policy"]] if several else []),
        ]
        for entry in entries
        for point in _by_mode(entry["curve"])
    ]
    points = [point for entry in entries for point in entry["curve"]]
    roles = sorted({SPLITS[point["role"]] for point in points})
    return Section(
        title="Robustness",
        short="Robustness",
        note=f"Normalized return on {' and '.join(roles)} levels, unchanged and under changes they were not trained "
        f"for, mean with {percent_text(findings)} intervals. A visual change shows the same levels, so what it costs "
        "is told level by level; a shift plays other levels.",
        table=Table(["change", "return", "lost", "actions", "levels", *(["policy"] if several else [])], rows)
        if rows
        else None,
        # Seeds of one policy differ in nothing that a note says.
        lines=list(dict.fromkeys(f"{point['family']}: {point['note']}" for point in points if point["note"])),
        pictures=[name for name in pictures if name.startswith("robustness_")],
    )


def robustness_plots(findings: Findings) -> Iterator[tuple[str, LinesData]]:
    """Return against strength as a plot of W&B's own, a line per visual change, in the first action mode."""
    for number, entry in enumerate(findings["robustness"]):
        mode = entry["curve"][0]["mode"]
        points = {
            (point["family"], point["strength"]): float(point["normalized_return"]["point"])
            for point in entry["curve"]
            if point["mode"] == mode
        }
        families = list(dict.fromkeys(family for family, _ in points if family in CHANGES))
        if families and ("none", 0) in points:
            lines = {family: [points["none", 0], *(points[family, s] for s in STRENGTHS)] for family in families}
            title = f"Robustness of {entry['policy']} ({mode} actions)"
            yield f"study/plots/robustness_{number}", LinesData([0.0, *map(float, STRENGTHS)], lines, title, "strength")


def _by_mode(curve: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """All changes in one action mode, then all in the next: values to compare stand under each other."""
    modes = list(dict.fromkeys(point["mode"] for point in curve))
    return sorted(curve, key=lambda point: modes.index(point["mode"]))


def regrets_section(findings: Findings, pictures: Sequence[str] = ()) -> Section:
    """What each selection rule would have chosen, and its regret against the oracle."""
    regrets = findings["regrets"] or {"rules": [], "mode": ""}
    rows = [
        [
            entry["among"],
            entry["rule"] + (" (looks at the test)" if entry["rule"] == "oracle" else ""),
            interval_text(entry["regret"], 3),
            f"{entry['test']:.3f}",
            MISSING if entry["rank_correlation"] is None else f"{entry['rank_correlation']:.2f}",
            entry["chosen"],
            ", ".join(SPLITS.get(name, name) for name in entry["sees"].split(", ")),
        ]
        for entry in sorted(regrets["rules"], key=_group_order)
    ]
    header = ["among", "rule", "regret", "test return", "rank corr.", "chosen", "sees"]
    return Section(
        title="What each selection rule would have chosen",
        short="Rules",
        note="Regret is the oracle's normalized test return minus that of the rule's choice, on the same levels "
        f"({regrets['mode']} actions); the rank correlation is of the rule's score with the test return, over "
        "configurations. Every policy has read the test for this table, so nothing may be chosen by it.",
        table=Table(header, rows) if rows else None,
        pictures=[name for name in pictures if name == REGRETS],
    )


def regret_pictures(findings: Findings) -> Iterator[Picture]:
    """The regret of every rule among all configurations, where any differs from the oracle."""
    rules = (findings["regrets"] or {"rules": []})["rules"]
    among_all = [entry for entry in rules if entry["among"] == "all" and entry["rule"] != "oracle"]
    if not any(entry["regret"]["low"] is not None for entry in among_all):
        return
    rows = {e["rule"]: {**e["regret"], "mean": e["regret"]["point"]} for e in among_all}
    told = ", ".join(f"{name} {interval_text(row, 3)}" for name, row in rows.items())
    yield Picture(
        name=REGRETS,
        caption="Regret of each rule among all configurations; a point alone is the oracle's own choice.",
        alt=f"Regret of each selection rule against the oracle: {told}.",
        draw=lambda shape: intervals(
            rows,
            title="Regret of each selection rule",
            xlabel="regret (normalized return)",
            zero_line=True,
            shape=shape,
        ),
    )


def _group_order(entry: Mapping[str, Any]) -> tuple[bool, int, str]:
    """Fewest levels first, all of them together last."""
    among = str(entry["among"])
    count = among.split(" ", 1)[0]
    return among == "all", int(count) if count.isdigit() else 0, among


def _strength(point: Mapping[str, Any]) -> str:
    return f", strength {point['strength']}" if point["family"] in CHANGES else ""
