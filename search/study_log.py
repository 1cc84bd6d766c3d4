"""Keeps `study.json` true while a study runs."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from data.files import atomic_write_json, make_directory
from envs.errors import UsageError
from envs.overrides import config_from_json
from search.study import CONFIG_FILE, STUDY_FILE, read_json

ConfigT = TypeVar("ConfigT")


def begin_study(config: Any, out: Path, command: str, header: dict[str, Any]) -> StudyLog:
    """Begin a study, or go on with the same one.

    Args:
        config: The study, a dataclass.
        out: Its directory.
        command: How it was started.
        header: What `study.json` says of the study.

    Raises:
        UsageError: If the directory holds a study with another configuration.
    """
    path = out / CONFIG_FILE
    if path.exists() and read_study_config(type(config), out) != config:
        raise UsageError(
            f"{out} holds another study (its {CONFIG_FILE} differs). Choose another --out, or continue that one with "
            f"gengap sweep --resume {out}; FIELD=VALUE after it adds trials."
        )
    started = {} if path.exists() else {"created": datetime.now(UTC).isoformat(timespec="seconds"), "command": command}
    atomic_write_json(path, dataclasses.asdict(config))
    log = StudyLog(out, {**header, **started})
    log.add()
    return log


def read_study_config(kind: type[ConfigT], study_dir: Path) -> ConfigT:
    """The configuration of a study on disk.

    Args:
        kind: Class of the configuration.
        study_dir: The study.

    Raises:
        UsageError: If the directory holds none, or one with fields that no study has.
        RunError: If the file is damaged.
    """
    path = study_dir / CONFIG_FILE
    if not path.exists():
        raise UsageError(f"{study_dir} holds no study (no {CONFIG_FILE}); give the directory that --out named.")
    return config_from_json(kind, read_json(path))


@contextlib.contextmanager
def locked(out: Path) -> Iterator[None]:
    """Refuse a second process on the same study; the lock ends with its process, however that ends.

    Raises:
        UsageError: If another process works on it.
    """
    make_directory(out)
    with (out / ".lock").open("w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(f"Another process works on {out}; wait for it, or choose another --out.") from None
        yield


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

    def has(self, field: str) -> bool:
        """Whether a field was written, by this process or an earlier one."""
        return field in self._value

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
