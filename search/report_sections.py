"""The report's sections as plain data; `report` writes them as Markdown, `report_html` as a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from metrics.protocol import Role
from search.headline import interval_text

Findings = Mapping[str, Any]
SPLITS = {
    Role.TRAIN.value: "train",
    Role.TRAIN_HELDOUT.value: "train (held out)",
    Role.VALIDATION.value: "validation",
    Role.TEST.value: "test",
}
MISSING = "—"
REPEATED = "REPEATED READ"
SHOWN_STRATA = 6
HELDOUT_NOTE = " What is lost on unseen levels like training was memorized; what is lost beyond them is the shift."


@dataclass(frozen=True)
class Table:
    """A header and rows of texts."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True, kw_only=True)
class Section:
    """A heading with a note, a table, pictures and lines of code, each optional."""

    title: str
    note: str = ""
    table: Table | None = None
    pictures: Sequence[str] = ()
    """Names of pictures."""
    code: Sequence[str] = ()
    warning: str = ""


def build_sections(findings: Findings, pictures: Sequence[str]) -> list[Section]:
    """All sections in the order of reading; those with nothing to show are left out.

    Args:
        findings: What `report.json` holds.
        pictures: Names of the pictures that were drawn.
    """
    sections = [
        returns_section(findings, pictures),
        aggregates_section(findings),
        gap_section(findings, pictures),
        mixtures_section(findings, pictures),
        modes_section(findings),
        Section(
            title="Level by level",
            note="Mean normalized return over train seeds on each held-out level, hardest levels first.",
            pictures=[name for name in pictures if name.startswith("levels_")],
        ),
        Section(
            title="Training curves",
            note="Normalized return of the selected configurations while they learned; the line is the mean over train "
            "seeds, the band spans them.",
            pictures=[name for name in pictures if name.startswith("curves_")],
        ),
        selection_section(findings),
        ledger_section(findings),
        datasets_section(findings),
        trials_section(findings),
        reproduction_section(findings),
    ]
    return [section for section in sections if section.table or section.pictures or section.code]


def returns_section(findings: Findings, pictures: Sequence[str]) -> Section:
    """Raw returns at every level count, with the random policy, the expert and retrained policies below."""
    rows = [
        [f"{entry['num_levels']:,}", count_text(entry["realised_transitions"]), *_cells(entry["returns"], findings)]
        for entry in findings["levels"]
    ]
    others = [("random policy", findings["random"]), ("recorded expert", findings["expert"])]
    others += [(other["policy"], other) for other in findings["other_policies"]]
    rows += [[name, MISSING, *_cells(value["returns"], findings)] for name, value in others if value["returns"]]
    percent = f"{100 * findings['bootstrap']['confidence']:.3g} %"
    return Section(
        title="Return against the number of training levels",
        note=f"Episode return ({findings['mode']} actions), mean with {percent} intervals over levels and train seeds.",
        table=Table(["training levels", "transitions", *(SPLITS[role] for role in played_roles(findings))], rows),
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
        note="Mean and interquartile mean (IQM). The first two intervals resample levels and train seeds: they speak "
        "of new levels. The stratified ones resample train seeds within each level: they speak of training again on "
        f"these levels. {settings['num_resamples']:,} resamples with seed {settings['seed']}, so the digits repeat.",
        table=Table(
            ["split", "training levels", "seeds x levels", "mean", "IQM", "mean, stratified", "IQM, stratified"], rows
        ),
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
        note="Normalized return on training levels minus on held-out levels, of the same policies."
        + (HELDOUT_NOTE if "train_heldout" in roles else ""),
        table=Table(["training levels", *(f"train minus {SPLITS[role]}" for role in roles)], rows) if roles else None,
        pictures=[name for name in pictures if name == "gap"],
    )


def mixtures_section(findings: Findings, pictures: Sequence[str]) -> Section:
    """Every mixture over strata at every level count, at the same number of transitions."""
    rows = [
        [
            f"{entry['num_levels']:,}",
            entry["mixture"],
            _strata_text(entry["strata"]),
            count_text(entry["realised_transitions"]),
            *_cells(entry["returns"], findings),
        ]
        for entry in findings["mixtures"]
    ]
    roles = (SPLITS[role] for role in played_roles(findings))
    header = ["training levels", "mixture", "share of draws", "transitions", *roles]
    return Section(
        title=f"Mixtures over {findings['strata']}",
        note="The configuration selected among each mixture's trials; it divides levels, transitions and draws.",
        table=Table(header, rows) if rows else None,
        pictures=[name for name in pictures if name == "mixtures"],
    )


def modes_section(findings: Findings) -> Section:
    """Returns in the action modes that selection did not look at."""
    rows = [
        [mode, f"{entry['num_levels']:,}", *_cells(value["returns"], findings)]
        for entry in findings["levels"]
        for mode, value in entry["modes"].items()
    ]
    header = ["actions", "training levels", *(SPLITS[role] for role in played_roles(findings))]
    return Section(
        title="Other action modes",
        note=f"The same policies acting otherwise; everything above uses {findings['mode']} actions.",
        table=Table(header, rows) if rows else None,
    )


def selection_section(findings: Findings) -> Section:
    """What was selected, by which rule, and what it could see."""
    selection = findings["selection"]
    played = [role for role in SPLITS if role in played_roles(findings) or role == Role.TEST.value]
    seen = ", ".join(SPLITS[role] for role in played if role in selection["visible_roles"])
    hidden = ", ".join(SPLITS[role] for role in played if role not in selection["visible_roles"]) or "nothing"
    rows = [
        [f"{c['num_levels']:,}", c["config_id"], ", ".join(c["policies"]), f"{c['score']:.3f}", c["reason"]]
        for c in selection["choices"]
    ]
    return Section(
        title="Selection",
        note=f"Rule “{selection['rule']}”. It could see: {seen}. Hidden from it: {hidden}. "
        f"Selected among all level counts: {selection['overall']}.",
        table=Table(["training levels", "configuration", "policies", "score", "why"], rows),
        warning="This rule is an oracle: it looked at the test. Its test returns are an upper bound, not a result."
        if selection["oracle"]
        else "",
    )


def ledger_section(findings: Findings) -> Section:
    """Every read of the sealed test, repeated ones flagged."""
    records = findings["ledger"]
    repeated = sum(bool(record.get("repeated")) for record in records)
    rows = [
        [
            time_text(str(record.get("issued_at", ""))).removesuffix(" UTC"),
            str(record["policy_id"]),
            str(record["rule"]),
            str(record["reason"]),
            REPEATED if record.get("repeated") else "first read",
        ]
        for record in records
    ]
    return Section(
        title="Ledger of the sealed test",
        note="Test levels are played only with a recorded permit, after selection.",
        table=Table(["when (UTC)", "policy", "rule", "reason", "read"], rows or [["not yet", "", "", "", ""]]),
        warning=f"{repeated} of {len(records)} reads repeat an earlier read of the same policy: choices made after the "
        "first one may have been guided by the test."
        if repeated
        else "",
    )


def datasets_section(findings: Findings) -> Section:
    """What was really recorded."""
    rows = [
        [
            f"{record['num_levels']:,}" + (f", {record['mixture']}" if record["mixture"] else ""),
            count_text(record["realised_levels"]),
            count_text(record["realised_transitions"]),
            count_text(record["num_episodes"]),
            MISSING if record["mean_return"] is None else f"{record['mean_return']:.2f}",
            record["fingerprint"],
        ]
        for record in findings["datasets"]
    ]
    header = ["training levels", "realised levels", "realised transitions", "episodes", "mean return", "fingerprint"]
    return Section(title="Data", table=Table(header, rows) if rows else None)


def trials_section(findings: Findings) -> Section:
    """Every trial with its status and where its metrics are tracked."""
    chosen = {policy for choice in findings["selection"]["choices"] for policy in choice["policies"]}
    rows = [
        [
            trial["trial_id"],
            f"{trial['learning_rate']:g}",
            str(trial["train_seed"]),
            trial["status"],
            "selected" if trial["trial_id"] in chosen else "",
            trial["tracker"] or MISSING,
        ]
        for trial in findings["trials"]
    ]
    header = ["trial", "learning rate", "seed", "status", "", "W&B"]
    return Section(
        title="Trials",
        note="W&B pages, or the folders of offline runs inside the study (to upload one: wandb sync FOLDER).",
        table=Table(header, rows) if rows else None,
    )


def reproduction_section(findings: Findings) -> Section:
    """Commands, time and machine."""
    rows = [[name, f"{seconds:,.1f} s"] for name, seconds in findings["timings_s"].items()]
    rows += [[name, str(value)] for name, value in findings["machine"].items()]
    return Section(
        title="Commands, time, machine", code=findings["commands"], table=Table(["", ""], rows) if rows else None
    )


def played_roles(findings: Findings) -> list[str]:
    """Splits that any listed policy played, training first."""
    entries = [*findings["levels"], findings["random"], findings["expert"], *findings["other_policies"]]
    return [role for role in SPLITS if any(role in entry["returns"] for entry in entries)]


def count_text(value: int | None) -> str:
    """``"20,000"``, or a dash."""
    return MISSING if value is None else f"{value:,}"


def time_text(timestamp: str) -> str:
    """``"2026-01-02 03:04:05 UTC"`` for ISO 8601 in UTC; anything else as it is."""
    return timestamp.removesuffix("+00:00").replace("T", " ") + " UTC" if timestamp.endswith("+00:00") else timestamp


def _strata_text(strata: Mapping[str, Any]) -> str:
    shares = sorted(((part["weight"], name) for name, part in strata.items()), reverse=True)
    shown = [f"{name} {100 * weight:.0f} %" for weight, name in shares[:SHOWN_STRATA]]
    return ", ".join(shown + ([f"and {len(shares) - SHOWN_STRATA} more"] if len(shares) > SHOWN_STRATA else []))


def _cells(returns: Mapping[str, Any], findings: Findings) -> list[str]:
    return [interval_text(returns[role]) if role in returns else MISSING for role in played_roles(findings)]
