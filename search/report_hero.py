"""The first screen of a report: the answer with its interval, what it stands on, whether the test was sealed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from search.headline import best_entry, interval_text, random_band
from search.report_parts import SPLITS, Findings

HELDOUT = ("test", "validation", "train_heldout")


@dataclass(frozen=True)
class Tile:
    """One number to take away."""

    label: str
    value: str
    note: str
    flag: bool = False
    """Something a reader must know before believing the rest."""


def build_tiles(findings: Findings) -> list[Tile]:
    """Return on unseen levels, gap, sample sizes, state of the sealed test."""
    return [*_return_tile(findings), *_gap_tile(findings), *_sample_tile(findings), seal_tile(findings)]


def seal_tile(findings: Findings) -> Tile:
    """Whether the sealed test was read, how often, and by which rule it was chosen who reads it."""
    records, rule = findings["ledger"], findings["selection"]["rule"]
    repeated = sum(bool(record.get("repeated")) for record in records)
    if findings["selection"]["oracle"]:
        return Tile("Sealed test", "seen by the rule", f"“{rule}” is an oracle: an upper bound, not a result", True)
    if not records:
        return Tile("Sealed test", "not read yet", f"selected by “{rule}”; what stands here is not the test")
    policies = len({record["policy_id"] for record in records})
    if repeated:
        note = f"{len(records)} reads by {policies} policies; later choices may have been guided by the test"
        return Tile("Sealed test", f"{repeated} repeated reads" if repeated > 1 else "1 repeated read", note, True)
    return Tile("Sealed test", "read once each", f"by {policies} policies, after selection by “{rule}”")


def _return_tile(findings: Findings) -> Iterator[Tile]:
    best = best_entry(findings)
    role = _role(best["returns"]) if best else None
    if best and role:
        note = f"episode return, {findings['mode']} actions; {_random_text(findings, role)}".removesuffix("; ")
        label = f"{SPLITS[role].capitalize()} return at {best['num_levels']:,} levels"
        yield Tile(label, interval_text(best["returns"][role]), note)


def _gap_tile(findings: Findings) -> Iterator[Tile]:
    best = best_entry(findings)
    if best and best["gap"]:
        others = [entry for entry in findings["levels"] if entry is not best and entry["gap"]]
        note = f"train minus {SPLITS[best['gap']['role']]}, normalized" + (
            f"; {interval_text(others[0]['gap'], signed=True)} at {others[0]['num_levels']:,} levels" if others else ""
        )
        yield Tile(f"Gap at {best['num_levels']:,} levels", interval_text(best["gap"], signed=True), note)


def _sample_tile(findings: Findings) -> Iterator[Tile]:
    entries: list[dict[str, Any]] = [entry for entry in findings["levels"] if _role(entry["returns"])]
    if entries:
        role = _role(entries[-1]["returns"])
        summary = entries[-1]["returns"][role]
        seeds = "1 train seed" if summary["num_runs"] == 1 else f"{summary['num_runs']} train seeds"
        note = f"by {seeds} at each of {len(entries)} level counts"
        yield Tile("Sample size", f"{summary['num_levels']:,} {SPLITS[str(role)]} levels", note)


def _random_text(findings: Findings, role: str) -> str:
    """The random policy's return on that split, or on the one where it was played."""
    random = random_band(findings)
    if random is None:
        return ""
    played = next(name for name in (role, *SPLITS) if findings["random"]["returns"].get(name) == random)
    return f"random policy {interval_text(random)}" + ("" if played == role else f" on {SPLITS[played]} levels")


def _role(returns: dict[str, Any]) -> str | None:
    return next((role for role in HELDOUT if role in returns), None)
