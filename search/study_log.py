"""Keeps `study.json` true while a study runs."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from data.files import atomic_write_json
from search.study import STUDY_FILE


class StudyLog:
    """Keeps `study.json` up to date: what exists, what it cost."""

    def __init__(self, study_dir: Path, header: dict[str, Any]) -> None:
        self._path = study_dir / STUDY_FILE
        before = json.loads(self._path.read_text()) if self._path.exists() else {}
        self._value: dict[str, Any] = {"timings_s": {}, **before, **header}

    def add(self, **values: Any) -> None:
        """Set fields and write the file."""
        self._value |= values
        atomic_write_json(self._path, self._value)

    def timed(self, phase: str) -> _Timer:
        """A context that records how long a phase took, in seconds."""
        return _Timer(self, phase)

    def record_time(self, phase: str, seconds: float) -> None:
        """Add to the duration of a phase; one that was interrupted and resumed counts every part."""
        before = self._value["timings_s"].get(phase, 0.0)
        self.add(timings_s={**self._value["timings_s"], phase: round(before + seconds, 1)})


class _Timer:
    def __init__(self, log: StudyLog, phase: str) -> None:
        self._log, self._phase = log, phase

    def __enter__(self) -> None:
        self._start_s = time.monotonic()

    def __exit__(self, *_: object) -> None:
        self._log.record_time(self._phase, time.monotonic() - self._start_s)
