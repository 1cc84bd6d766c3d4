"""Where metrics go: ``write(step, values)`` and ``close()``. JSON lines are the record; everything else is a copy."""

from __future__ import annotations

import importlib
import json
import logging
import math
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TextIO

import numpy as np

from envs.errors import RunError, UsageError

STEP = "learner_step"
"""The x-axis of every metric."""
Values = Mapping[str, Any]
"""Flat names -> numbers, strings or booleans (NumPy scalars count as numbers)."""
_log = logging.getLogger(__name__)
_TAIL_BYTES = 65_536
_NON_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


class Logger(Protocol):
    """Receives the metrics of a run in order of learner steps."""

    def write(self, step: int, values: Values) -> None:
        """Record the values of one learner step."""
        ...

    def close(self) -> None:
        """Finish; a second call does nothing."""
        ...


class NullLogger:
    """Records nothing."""

    def write(self, step: int, values: Values) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


class ConsoleLogger:
    """One plain line a row.

    Args:
        stream: Where to print; None is standard output at the time of writing.
        show: Which names to print; None prints all numbers.
    """

    def __init__(self, stream: TextIO | None = None, show: Callable[[str], bool] | None = None) -> None:
        self._stream = stream
        self._show = show or (lambda name: True)

    def write(self, step: int, values: Values) -> None:
        """Print ``step 200  loss/total 1.234  ...``; nothing if no name is shown."""
        row = plain(values)
        shown = [f"{name} {_short(value)}" for name, value in row.items() if self._show(name)]
        if shown:
            print("  ".join([f"step {step}", *shown]), file=self._stream or sys.stdout, flush=True)

    def close(self) -> None:
        """Nothing to release."""


class JsonLinesLogger:
    """An append-only file with one JSON object a row: ``{"learner_step": 20, "train/loss/total": 1.5, ...}``.

    A row is with the operating system before `write` returns, so a killed process loses none. Opened on an existing
    file it appends a marker ``{"event": "resume", "from_step": S}``: rows beyond S will be replayed, and
    `metrics.history` leaves the old ones out.

    Args:
        path: The file; folders are made.
        resume_from: Learner step of the checkpoint that training continues from; None starts over.

    Raises:
        RunError: If the file cannot be written.
    """

    def __init__(self, path: Path, resume_from: int | None = None) -> None:
        self.path = path
        self._closed = False
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            existing = _drop_torn_line(path)
            self._file = path.open("a", encoding="utf-8")
        except OSError as error:
            raise RunError(f"The metrics file {path} cannot be opened: {error}.") from error
        if existing:
            self._append({"event": "resume", "from_step": -1 if resume_from is None else int(resume_from)})

    def write(self, step: int, values: Values) -> None:
        """Append one row.

        Raises:
            RunError: If the disk refuses it: training without its record would be in vain.
        """
        self._append({STEP: int(step), **plain(values)})

    def _append(self, row: Mapping[str, Any]) -> None:
        try:
            self._file.write(encode(row) + "\n")
            self._file.flush()
        except (OSError, ValueError) as error:
            raise RunError(f"The metrics file {self.path} cannot be written: {error}.") from error

    def close(self) -> None:
        """Force everything to the disk."""
        if not self._closed:
            self._closed = True
            os.fsync(self._file.fileno())
            self._file.close()


class TensorBoardLogger:
    """Event files for TensorBoard; numbers only.

    Args:
        directory: Where the event files go.
        resume_from: Steps beyond it are purged from the view.

    Raises:
        UsageError: If tensorboardX is not installed.
    """

    def __init__(self, directory: Path, resume_from: int | None = None) -> None:
        try:
            writer = importlib.import_module("tensorboardX").SummaryWriter
        except ImportError as error:
            raise UsageError(
                "TensorBoard logs need tensorboardX: pip install tensorboardX, or turn them off."
            ) from error
        self._writer = writer(str(directory), purge_step=None if resume_from is None else resume_from + 1)

    def write(self, step: int, values: Values) -> None:
        """Add every number as a scalar."""
        for name, value in plain(values).items():
            if isinstance(value, int | float):
                self._writer.add_scalar(name, value, global_step=step)

    def close(self) -> None:
        """Flush the event file."""
        self._writer.close()


class MultiLogger:
    """Several loggers as one: JSON lines first, and a failing copy never reaches training.

    A logger that raises is dropped with one warning. The exception is `JsonLinesLogger`, whose `RunError` passes: it
    is the record. The `close` of one logger never keeps the others from closing.
    """

    def __init__(self, loggers: Sequence[Logger]) -> None:
        self._records = [logger for logger in loggers if isinstance(logger, JsonLinesLogger)]
        self._copies = [logger for logger in loggers if not isinstance(logger, JsonLinesLogger)]

    def write(self, step: int, values: Values) -> None:
        """Write to all."""
        for record in self._records:
            record.write(step, values)
        for copy in list(self._copies):
            try:
                copy.write(step, values)
            except Exception as error:
                self._copies.remove(copy)
                _log.warning("%s failed at step %d and is dropped: %s", type(copy).__name__, step, error)

    def close(self) -> None:
        """Close all, the record first."""
        loggers: list[Logger] = [*self._records, *self._copies]
        self._records, self._copies = [], []
        for logger in loggers:
            try:
                logger.close()
            except Exception as error:
                _log.warning("%s could not be closed: %s", type(logger).__name__, error)


def plain(values: Values) -> dict[str, Any]:
    """The same values as plain Python objects; a NumPy or torch scalar becomes a number."""
    return {name: value.item() if hasattr(value, "item") else value for name, value in values.items()}


def encode(row: Mapping[str, Any]) -> str:
    """Strict JSON on one line; numbers that are not finite become the strings "NaN", "Infinity", "-Infinity"."""
    return json.dumps({name: _finite(value) for name, value in row.items()}, allow_nan=False, default=str)


def decode(line: str | bytes) -> dict[str, Any]:
    """The inverse of `encode`.

    Raises:
        ValueError: If the line is no JSON object.
    """
    row = json.loads(line)
    if not isinstance(row, dict):
        raise ValueError(f"a JSON object was expected, got {type(row).__name__}")
    return {name: _NON_FINITE.get(value, value) if isinstance(value, str) else value for name, value in row.items()}


def _finite(value: Any) -> Any:
    if not isinstance(value, float) or math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float | np.floating) else str(value)


def _drop_torn_line(path: Path) -> bool:
    """Cut off a last line without its end, left by a killed writer; whether any row remains."""
    end = path.stat().st_size if path.exists() else 0
    if not end:
        return False
    with path.open("rb+") as file:
        start, newline = end, -1
        while start and newline < 0:
            start = max(0, start - _TAIL_BYTES)
            file.seek(start)
            newline = file.read(_TAIL_BYTES).rfind(b"\n")
        complete = start + newline + 1
        if complete < end:
            file.truncate(complete)
    return complete > 0
