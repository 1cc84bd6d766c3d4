"""Reading a run's metrics back: each learner step exactly once, whatever was killed and replayed."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from envs.errors import RunError
from metrics.loggers import STEP, decode

Row = dict[str, Any]


def read_history(path: Path) -> list[Row]:
    """The rows of a `metrics.loggers.JsonLinesLogger` file, by increasing learner step.

    Rows of the same step (training metrics and an evaluation, say) are merged. A marker ``{"event": "resume",
    "from_step": S}`` supersedes earlier rows beyond S. A last line torn by a kill is left out.

    Raises:
        RunError: If the file is missing or another line is damaged.
    """
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise RunError(f"The metrics file {path} cannot be read: {error}.") from error
    rows = []
    for number, line in enumerate(lines[:-1], start=1):
        try:
            rows.append(decode(line))
        except ValueError as error:
            raise RunError(f"Line {number} of the metrics file {path} is damaged: {error}.") from error
    return replay(rows)


def replay(rows: Iterable[Row]) -> list[Row]:
    """Apply resume markers to rows in the order they were written; see `read_history`."""
    by_step: dict[int, Row] = {}
    for row in rows:
        if row.get("event") == "resume":
            by_step = {step: kept for step, kept in by_step.items() if step <= row["from_step"]}
        elif STEP in row:
            by_step[row[STEP]] = by_step.get(row[STEP], {}) | row
    return [by_step[step] for step in sorted(by_step)]


def series(history: Iterable[Row], name: str) -> tuple[list[int], list[float]]:
    """Learner steps and values of one metric, where it was recorded."""
    points = [(int(row[STEP]), float(row[name])) for row in history if row.get(name) is not None]
    return [step for step, _ in points], [value for _, value in points]
