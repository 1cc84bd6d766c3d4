"""What sections of a report are made of: plain data that `report` writes as Markdown and `report_html` as a page."""

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


@dataclass(frozen=True)
class Table:
    """A header and rows of texts."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Talk:
    """One step of a transcript: what the policy read (its beginning), what it did of how much, what it got."""

    step: int
    read: str
    action: str
    offered: str
    reward: str


@dataclass(frozen=True)
class Scene:
    """One episode to look at: a picture that moves, or a transcript."""

    title: str
    """What came of it, for example "Lost on an unseen level"."""
    caption: str
    picture: str = ""
    """Name of an animation."""
    talk: Sequence[Talk] = ()
    rest: str = ""
    """What the transcript leaves out."""


@dataclass(frozen=True, kw_only=True)
class Section:
    """A heading with a note, a table, pictures, scenes and lines of code, each optional."""

    title: str
    short: str = ""
    """Name in the page's list of contents; empty for the title."""
    note: str = ""
    table: Table | None = None
    pictures: Sequence[str] = ()
    """Names of pictures."""
    scenes: Sequence[Scene] = ()
    lines: Sequence[str] = ()
    code: Sequence[str] = ()
    warning: str = ""
    beside: bool = False
    """Picture and table side by side where there is room."""

    @property
    def empty(self) -> bool:
        """Whether there is nothing to show."""
        return not (self.table or self.pictures or self.scenes or self.lines or self.code)


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


def percent_text(findings: Findings) -> str:
    """``"95 %"``: what the intervals cover."""
    return f"{100 * findings['bootstrap']['confidence']:.3g} %"


def cells(returns: Mapping[str, Any], findings: Findings) -> list[str]:
    """A value with its interval for every split that was played by anyone, in their order."""
    return [interval_text(returns[role]) if role in returns else MISSING for role in played_roles(findings)]
