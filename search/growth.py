"""Adding trials to a study that has begun: which fields may grow, and the record that they did."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from data.files import atomic_write_json
from envs.errors import UsageError
from envs.overrides import apply_overrides, parse_overrides
from search.config import SweepConfig
from search.judging import study_levels
from search.mixture_config import MixtureSearchConfig
from search.space import trial_specs
from search.studies import read_any_config
from search.study import CONFIG_FILE, LEDGER_FILE, STUDY_FILE, read_json
from search.study_log import locked

GRID_FIELDS = ("level_counts", "mixtures", "learning_rates", "seeds")
MIXTURE_FIELDS = ("num_proposals", "arms", "confirm_seeds")
"""What may grow in a study of either kind."""
FREE_FIELDS = ("max_concurrent_trials", "num_actors", "num_collectors")
"""How a machine is used; they change no value."""


def grow_study(study_dir: Path, words: Sequence[str], command: str) -> SweepConfig | MixtureSearchConfig:
    """Add trials to a study on disk; running it then makes only what is missing.

    Args:
        study_dir: A study of either kind.
        words: ``FIELD=VALUE``, with the whole new value: ``seeds=0,1,2``.
        command: What the user typed, for the record.

    Returns:
        The grown configuration, which is the study's own from now on.

    Raises:
        UsageError: For a field that may not grow, or a value that takes something away.
    """
    with locked(study_dir):
        before = read_any_config(study_dir)
        after: SweepConfig | MixtureSearchConfig = apply_overrides(before, parse_overrides(words))
        study = read_json(study_dir / STUDY_FILE)
        changes = check_growth(before, after, study)
        if not changes:
            return after
        ledger = study_dir / LEDGER_FILE
        entry = {
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "command": command,
            "changes": changes,
            "test_reads": len(ledger.read_text().splitlines()) if ledger.exists() else 0,
        }
        # The record first: a study that says it grew and did not is grown by the same command again.
        atomic_write_json(study_dir / STUDY_FILE, {**study, "grown": [*study.get("grown", []), entry]})
        atomic_write_json(study_dir / CONFIG_FILE, dataclasses.asdict(after))
        return after


def check_growth(
    before: SweepConfig | MixtureSearchConfig, after: SweepConfig | MixtureSearchConfig, study: Mapping[str, Any]
) -> dict[str, list[Any]]:
    """What grows, as ``{field: [before, after]}``.

    Args:
        before: The study's configuration.
        after: What is wanted.
        study: Its ``study.json``.

    Raises:
        UsageError: If the trials of both would not compare, or something is taken away.
    """
    changed = [f.name for f in dataclasses.fields(before) if getattr(before, f.name) != getattr(after, f.name)]
    allowed = GRID_FIELDS if isinstance(before, SweepConfig) else MIXTURE_FIELDS
    for name in changed:
        if name not in (*allowed, *FREE_FIELDS):
            raise UsageError(
                f"{name!r} cannot change in a study that has begun: its trials would not compare. Allowed to grow: "
                f"{', '.join(allowed)}; free to change: {', '.join(FREE_FIELDS)}. For another study choose a new --out."
            )
    grown = [name for name in changed if name in allowed]
    for name in grown:
        _check_kept(name, getattr(before, name), getattr(after, name))
    if grown and isinstance(before, SweepConfig) and isinstance(after, SweepConfig):
        _check_grid(before, after, grown, study)
    return {name: [_plain(getattr(before, name)), _plain(getattr(after, name))] for name in grown}


def _check_kept(name: str, before: Any, after: Any) -> None:
    if isinstance(before, int):
        lost = after < before
    elif isinstance(before, dict):
        lost = any(after.get(key) != value for key, value in before.items())
    else:
        lost = not set(before) <= set(after)
    if lost:
        raise UsageError(
            f"{name} is {_plain(before)} in this study and {_plain(after)} was given; trials can be added, not taken "
            "away or changed. Write the old value and what is new."
        )


def _check_grid(before: SweepConfig, after: SweepConfig, grown: Sequence[str], study: Mapping[str, Any]) -> None:
    if {spec.trial_id for spec in trial_specs(before)} - {trial["trial_id"] for trial in study.get("trials", [])}:
        raise UsageError(
            "The search of this study has not ended, so it cannot grow yet. Finish it first: gengap sweep --resume."
        )
    if "seeds" in grown and before.scheduler != "none":
        raise UsageError(
            f"seeds cannot grow under scheduler={before.scheduler}: configurations were stopped by the mean of the "
            "seeds they had, and new ones would run longer than those. Begin another study with scheduler=none."
        )
    if set(study_levels(after)) != set(study_levels(before)):
        raise UsageError(
            "The new level counts or mixtures learn from levels that the study did not have. Its held-out levels are "
            "chosen to look like none that any of its policies learns from, so they would change under what was judged "
            f"already. Stay within {len(study_levels(before))} levels, or begin another study."
        )


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
