"""Which episodes of a study are worth seeing: chosen from its evaluation table, never from the sealed test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from metrics.protocol import Role
from search.config import slug
from search.selection import Choice
from search.study import Study

UNSEEN_ROLES = (Role.VALIDATION, Role.TRAIN_HELDOUT)
"""Unseen levels that may be played again: each look at a test level would be a read of the sealed test."""
SHEET_LEVELS = 16
WON = 0.5
"""A level counts as won from this normalized return on: half of what there is to get."""


@dataclass(frozen=True, kw_only=True)
class Example:
    """One episode that was evaluated, and how ordinary it is."""

    policy: str
    num_levels: int
    """Training levels of the policy."""
    role: str
    env: str
    level: int
    episode: int
    mode: str
    episode_return: float
    normalized_return: float
    length: int
    num_alike: int
    """Levels of the split on which the policy's return is the same."""
    num_played: int
    """Levels of the split that it played."""
    arm: str = ""
    """That found the mixture that the policy learned from, in a mixture search."""

    @property
    def name(self) -> str:
        """Of its files."""
        return f"{self.role}-{slug(self.arm) or self.num_levels}"

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """Levels of one split, with the returns of one policy."""

    policy: str
    num_levels: int
    role: str
    env: str
    levels: tuple[int, ...]
    episode_returns: tuple[float, ...]
    won: tuple[bool, ...]
    num_won: int
    """Of all levels that were played, not only those on the sheet."""
    num_played: int

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return asdict(self)


def choose_examples(study: Study) -> list[Example]:
    """For the policies of the fewest and of the most levels: the best training level and the worst unseen one.

    In a mixture search for those of the baseline and of the arm that is best on validation levels. Of several equal
    levels the one of median length is taken: a typical one, not the fastest.
    """
    examples = []
    for choice in _ends(study):
        for role, best in ((Role.TRAIN, True), (_unseen_role(study), False)):
            rows = _rows(study, choice, role)
            if not rows.empty:
                arm = choice.mixture if study.searches_mixtures else ""
                examples.append(_example(rows, choice, best=best, arm=arm))
    return examples


def choose_sheets(study: Study) -> list[Sheet]:
    """Training levels and unseen levels, evenly spread over those that the policy selected among all played."""
    choice = _best(study)
    tables = [(role, _rows(study, choice, role)) for role in (Role.TRAIN, _unseen_role(study))] if choice else []
    return [_sheet(rows, choice, role) for role, rows in tables if choice and not rows.empty]


def _sheet(rows: pd.DataFrame, choice: Choice, role: Role) -> Sheet:
    rows = rows.sort_values("level")
    won = rows["normalized_return"] >= WON
    shown = np.unique(np.linspace(0, len(rows) - 1, SHEET_LEVELS).round().astype(int))
    return Sheet(
        policy=choice.policies[0],
        num_levels=choice.num_levels,
        role=role.value,
        env=str(rows["env"].iloc[0]),
        levels=tuple(int(level) for level in rows["level"].iloc[shown]),
        episode_returns=tuple(float(value) for value in rows["episode_return"].iloc[shown]),
        won=tuple(bool(value) for value in won.iloc[shown]),
        num_won=int(won.sum()),
        num_played=len(rows),
    )


def _example(rows: pd.DataFrame, choice: Choice, *, best: bool, arm: str) -> Example:
    scores = rows["normalized_return"]
    alike = rows[np.isclose(scores, scores.max() if best else scores.min())].sort_values(["length", "level"])
    row = alike.iloc[(len(alike) - 1) // 2]
    return Example(
        policy=str(row["policy"]),
        num_levels=choice.num_levels,
        role=str(row["role"]),
        env=str(row["env"]),
        level=int(row["level"]),
        episode=int(row["episode"]),
        mode=str(row["mode"]),
        episode_return=float(row["episode_return"]),
        normalized_return=float(row["normalized_return"]),
        length=int(row["length"]),
        num_alike=len(alike),
        num_played=len(rows),
        arm=arm,
    )


def _rows(study: Study, choice: Choice, role: Role) -> pd.DataFrame:
    """The first episode of the choice's first policy on each level of a split."""
    frame = study.table.frame
    mode = study.selection.mode if study.selection else "sampled"
    wanted = (frame["role"] == role.value) & (frame["mode"] == mode) & (frame["policy"] == choice.policies[0])
    return frame[wanted & (frame["episode"] == 0)]


def _unseen_role(study: Study) -> Role:
    played = study.table.roles
    return next((role for role in UNSEEN_ROLES if role.value in played), UNSEEN_ROLES[0])


def _ends(study: Study) -> Sequence[Choice]:
    choices = _choices(study)
    if study.searches_mixtures:
        best = _best(study)
        return [choice for choice in choices if choice.mixture == study.config["baseline"] or choice is best]
    return choices if len(choices) < 2 else (choices[0], choices[-1])


def _best(study: Study) -> Choice | None:
    """The choice among all: what was selected overall, or of a mixture search's full runs those that validate best."""
    if not study.searches_mixtures:
        overall = study.selection.overall if study.selection else ""
        return next((choice for choice in _choices(study) if choice.config_id == overall), None)
    frame = study.table.frame
    seen = frame[(frame["role"] == Role.VALIDATION.value) & (frame["mode"] == "sampled")]
    means = seen.groupby("policy")["normalized_return"].mean()
    played = [choice for choice in _choices(study) if set(choice.policies) <= set(means.index)]
    return max(played, key=lambda choice: float(means[list(choice.policies)].mean()), default=None)


def _choices(study: Study) -> tuple[Choice, ...]:
    return study.selection.choices if study.selection else ()
