"""Attempts of trials that failed: written down when Tune tries again or gives up, read by status and report."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ray import tune

from search.study import FAILURES_FILE, STUDY_FILE

ATTEMPTS = 2
"""How often Tune tries a failed trial again before it gives up; `gengap sweep --resume` then tries it again."""


class FailureLog(tune.Callback):
    """Appends a line to the study's ``failures.jsonl`` for every attempt that failed."""

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        """It is tried again, from its last checkpoint."""
        _append(trial, retried=True)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        """It was given up."""
        _append(trial, retried=False)


def _append(trial: Any, *, retried: bool) -> None:
    # Found by the file, not remembered: Tune pickles its callbacks, and a study may be moved before it is resumed.
    study_dir = next((path for path in Path(trial.path).parents if (path / STUDY_FILE).exists()), None)
    if study_dir is None:
        return
    at = datetime.now(UTC).isoformat(timespec="seconds")
    row = {"trial": str(trial), "at": at, "error": _reason(trial.error_file), "retried": retried}
    with (study_dir / FAILURES_FILE).open("a") as stream:
        stream.write(json.dumps(row) + "\n")


def _reason(error_file: str | None) -> str:
    """The last line of a traceback: the error itself."""
    if error_file is None or not Path(error_file).exists():
        return "its process died"
    lines: Sequence[str] = Path(error_file).read_text(errors="replace").strip().splitlines()
    return lines[-1].strip() if lines else "unknown"
