"""The sections that say how a study came about: selection, sealed test, data, trials, commands."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from metrics.ledger import ledger_table
from metrics.protocol import Role
from search.report_parts import MISSING, SPLITS, Findings, Section, Table, count_text, played_roles, time_text


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
    header, rows = ledger_table(records)
    return Section(
        title="Ledger of the sealed test",
        short="Sealed test",
        note="Test levels are played only with a recorded permit, after selection.",
        table=Table(header, rows or [["not yet", *[""] * (len(header) - 1)]]),
        warning=" ".join(_ledger_warnings(findings, repeated)),
    )


def _ledger_warnings(findings: Findings, repeated: int) -> Iterator[str]:
    if repeated:
        yield (
            f"{repeated} of {len(findings['ledger'])} reads repeat an earlier read of the same policy: choices made "
            "after the first one may have been guided by the test."
        )
    for entry in findings.get("grown", []):
        if entry["test_reads"]:
            yield (
                f"Trials were added at {time_text(entry['at'])} ({_changes_text(entry['changes'])}), when the test had "
                f"been read {entry['test_reads']} times: whoever added them may have seen it."
            )


def _changes_text(changes: Mapping[str, Sequence[Any]]) -> str:
    return "; ".join(f"{name} {before} to {after}" for name, (before, after) in changes.items())


def failures_section(findings: Findings) -> Section:
    """Every attempt of a trial that failed, and whether it was tried again."""
    rows = [
        [time_text(entry["at"]), entry["trial"], "tried again" if entry["retried"] else "given up", entry["error"]]
        for entry in findings.get("failures", [])
    ]
    return Section(
        title="Failed attempts",
        note="A trial that was tried again went on from its last checkpoint and counts like any other.",
        table=Table(["when", "trial", "then", "error"], rows) if rows else None,
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
    header = ["trial", "learning rate", "seed", "status", "selection", "W&B"]
    return Section(
        title="Trials and their W&B runs",
        short="Runs",
        note="W&B pages, or the folders of offline runs inside the study (to upload one: wandb sync FOLDER).",
        table=Table(header, rows) if rows else None,
    )


def reproduction_section(findings: Findings) -> Section:
    """Commands, time and machine."""
    rows = [["begun", time_text(findings["created"])]] if findings["created"] else []
    rows += [
        [f"trials added {time_text(entry['at'])}", _changes_text(entry["changes"])]
        for entry in findings.get("grown", [])
    ]
    rows += [[name, f"{seconds:,.1f} s"] for name, seconds in findings["timings_s"].items()]
    rows += [[name, str(value)] for name, value in findings["machine"].items()]
    return Section(
        title="Commands, time, machine",
        short="Commands",
        code=findings["commands"],
        table=Table(["what", "value"], rows) if rows else None,
    )
