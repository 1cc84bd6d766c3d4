"""The sections that hold a study's results: returns, gap, levels, profiles, mixtures, curves, statistics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from search.headline import interval_text
from search.report_parts import MISSING, SPLITS, Findings, Section, Table, cells, count_text, percent_text, played_roles

SHOWN_STRATA = 6
_WORST = {
    "median": "median",
    "optimality_gap": "optimality gap",
    "cvar": "CVaR 10 % of scores",
    "level_cvar": "CVaR 10 % of levels",
}
HELDOUT_NOTE = " What is lost on unseen levels like training was memorized; what is lost beyond them is the shift."


def returns_section(findings: Findings, pictures: Sequence[str]) -> Section:
    """Raw returns at every level count, with the random policy, the expert and retrained policies below."""
    surface = findings.get("surface")
    rows = [
        [
            f"{entry['num_levels']:,}",
            *cells(entry["returns"], findings),
            interval_text(entry["gap"], signed=True) if entry["gap"] else MISSING,
            count_text(entry["realised_transitions"]),
        ]
        for entry in findings["levels"]
    ]
    others = [("random policy", findings["random"]), ("recorded expert", findings["expert"])]
    others += [(other["policy"], other) for other in findings["other_policies"]]
    rows += [[name, *cells(value["returns"], findings), MISSING, MISSING] for name, value in others if value["returns"]]
    return Section(
        title="Return against the number of training levels",
        short="Returns",
        note=f"Episode return ({findings['mode']} actions), mean with {percent_text(findings)} intervals over levels "
        "and train seeds; the gap is in normalized returns."
        + (f" Each row is of the best {surface['axis']} by the selection rule." if surface else ""),
        table=Table(
            ["training levels", *(SPLITS[role] for role in played_roles(findings)), "gap", "transitions"], rows
        ),
        pictures=[name for name in pictures if name == "returns"],
    )


def aggregates_section(findings: Findings) -> Section:
    """Normalized mean and IQM on every split."""
    rows = []
    for role in played_roles(findings):
        for entry in findings["levels"]:
            if role in entry["statistics"]:
                values, summary = entry["statistics"][role], entry["normalized"][role]
                played = f"{summary['num_runs']} x {summary['num_levels']}"
                keys = ("mean", "iqm", "mean_stratified", "iqm_stratified")
                intervals = [interval_text(values[key]) for key in keys]
                rows.append([SPLITS[role], f"{entry['num_levels']:,}", played, *intervals])
    settings = findings["bootstrap"]
    return Section(
        title="Normalized return per split",
        short="Statistics",
        note="Mean and interquartile mean (IQM). The first two intervals resample levels and train seeds: they speak "
        "of new levels. The stratified ones resample train seeds within each level: they speak of training again on "
        f"these levels. {settings['num_resamples']:,} resamples with seed {settings['seed']}, so the digits repeat.",
        table=Table(
            ["split", "training levels", "seeds x levels", "mean", "IQM", "mean, stratified", "IQM, stratified"], rows
        ),
    )


def worst_section(findings: Findings) -> Section:
    """Median, optimality gap and the worst tenth on every split, and how probably more levels are better."""
    rows = [
        [SPLITS[role], f"{entry['num_levels']:,}", *(interval_text(entry["aggregates"][role][name]) for name in _WORST)]
        for role in played_roles(findings)
        for entry in findings["levels"]
        if role in entry["aggregates"]
    ]
    return Section(
        title="The middle, the worst and the best",
        short="Worst levels",
        note="Normalized return. Median over levels; optimality gap: how much lacks to the best on average; CVaR 10 %: "
        "mean of the worst tenth of all scores, and of the levels (means over train seeds). Intervals resample levels "
        f"and train seeds.{_improvement_text(findings['test_difference_of_ends'])}",
        table=Table(["split", "training levels", *_WORST.values()], rows) if rows else None,
    )


def _improvement_text(ends: Mapping[str, Any] | None) -> str:
    if ends is None or "probability_of_improvement" not in ends:
        return ""
    return (
        f" On a {SPLITS[ends['role']]} level, a policy of {ends['last']:,} training levels scores above one of "
        f"{ends['first']:,} with probability {interval_text(ends['probability_of_improvement'])}, ties counting half."
    )


def gap_section(findings: Findings, pictures: Sequence[str]) -> Section:
    """Train minus held-out normalized return."""
    roles = [
        role
        for role in ("test", "validation", "train_heldout")
        if any(role in entry["gaps"] for entry in findings["levels"])
    ]
    rows = [
        [
            f"{entry['num_levels']:,}",
            *(interval_text(entry["gaps"][role], signed=True) if role in entry["gaps"] else MISSING for role in roles),
        ]
        for entry in findings["levels"]
    ]
    return Section(
        title="Generalization gap",
        short="Gap",
        note="Normalized return on training levels minus on held-out levels, of the same policies."
        + (HELDOUT_NOTE if "train_heldout" in roles else ""),
        table=Table(["training levels", *(f"train minus {SPLITS[role]}" for role in roles)], rows) if roles else None,
        pictures=[name for name in pictures if name == "gap"],
        beside=True,
    )


def mixtures_section(findings: Findings, pictures: Sequence[str]) -> Section:
    """Every mixture over strata at every level count, at the same number of transitions."""
    rows = [
        [
            f"{entry['num_levels']:,}",
            entry["mixture"],
            _strata_text(entry["strata"]),
            count_text(entry["realised_transitions"]),
            *cells(entry["returns"], findings),
        ]
        for entry in (findings["mixtures"] if findings["strata"] else ())
    ]
    roles = (SPLITS[role] for role in played_roles(findings))
    header = ["training levels", "mixture", "share of draws", "transitions", *roles]
    return Section(
        title=f"Mixtures over {findings['strata']}",
        short="Mixtures",
        note="The configuration selected among each mixture's trials; it divides levels, transitions and draws.",
        table=Table(header, rows) if rows else None,
        pictures=[name for name in pictures if name.startswith("mixtures")],
    )


def modes_section(findings: Findings) -> Section:
    """Returns in the action modes that selection did not look at."""
    rows = [
        [mode, f"{entry['num_levels']:,}", *cells(value["returns"], findings)]
        for entry in findings["levels"]
        for mode, value in entry["modes"].items()
    ]
    header = ["actions", "training levels", *(SPLITS[role] for role in played_roles(findings))]
    return Section(
        title="Other action modes",
        short="Action modes",
        note=f"The same policies acting otherwise; everything above uses {findings['mode']} actions.",
        table=Table(header, rows) if rows else None,
    )


def profiles_section(findings: Findings, pictures: Sequence[str]) -> Section:
    """Shares of levels above every return."""
    return Section(
        title="Performance profiles",
        short="Profiles",
        note="On which share of the levels a policy scores above t: a curve above another at every t is better "
        "everywhere, curves that cross are good at different things.",
        pictures=[name for name in pictures if name == "profiles"],
    )


def levels_section(pictures: Sequence[str]) -> Section:
    """Every held-out level as a column."""
    return Section(
        title="Level by level",
        short="Levels",
        note="Mean normalized return over train seeds on each held-out level; the hardest levels stand left.",
        pictures=[name for name in pictures if name.startswith("levels_")],
    )


def curves_section(findings: Findings, pictures: Sequence[str]) -> Section:
    """Train and validation while learning, in one plot per level count."""
    return Section(
        title="Training curves",
        short="Curves",
        note="Normalized return of the selected configurations while they learned; the line is the mean over train "
        "seeds, the band spans them. All plots share one vertical axis: the space between the lines is the gap.",
        pictures=[name for name in pictures if name.startswith("curves_")],
    )


def _strata_text(strata: Mapping[str, Any]) -> str:
    shares = sorted(((part["weight"], name) for name, part in strata.items()), key=lambda share: (-share[0], share[1]))
    shown = [f"{name} {100 * weight:.0f} %" for weight, name in shares[:SHOWN_STRATA]]
    return ", ".join(shown + ([f"and {len(shares) - SHOWN_STRATA} more"] if len(shares) > SHOWN_STRATA else []))
