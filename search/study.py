"""Reads what a sweep wrote into one frozen object; plays and trains nothing."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from envs.errors import RunError, UsageError
from metrics.history import read_history
from metrics.ledger import Ledger
from metrics.table import EvaluationTable
from search.selection import Selection

STUDY_FILE = "study.json"
CONFIG_FILE = "config.json"
EVALUATIONS_FILE = "evaluations.parquet"
SELECTION_FILE = "selection.json"
LEDGER_FILE = "ledger.jsonl"
HISTORY_FILE = "metrics.jsonl"
RESULT_FILE = "result.json"
SUPERSEDED = "superseded"
FAILURES_FILE = "failures.jsonl"
"""A line for every attempt of a trial that failed; see `search.failures`."""
REGRETS_FILE = "rules.json"
RANDOM_POLICY = "random"
EXPERT_POLICY = "expert"


@dataclass(frozen=True, kw_only=True)
class TrialRecord:
    """One trained policy of a study."""

    trial_id: str
    config_id: str
    num_levels: int
    learning_rate: float
    train_seed: int
    mixture: str = ""
    status: str = "unknown"
    wandb_url: str | None = None


@dataclass(frozen=True, kw_only=True)
class DatasetRecord:
    """What was really recorded for one level count and mixture."""

    num_levels: int
    realised_transitions: int
    num_episodes: int
    fingerprint: str
    realised_levels: int | None = None
    """Levels that really occur in it."""
    mean_return: float | None = None
    mixture: str = ""
    strata: Mapping[str, Any] = field(default_factory=dict)
    """Stratum -> its levels, episodes, transitions, weight and repetitions."""
    measures: Mapping[str, float] = field(default_factory=dict)
    """Counts and measures of its diversity and quality, as drawn."""


@dataclass(frozen=True, kw_only=True)
class Study:
    """A study directory, read once."""

    directory: Path
    name: str
    env: str
    created: str = ""
    command: str = ""
    level_counts: tuple[int, ...] = ()
    strata: str = ""
    """Tag that the mixtures are over; empty for none."""
    axis: str = ""
    """What the values of a second axis are of, "transitions" or "noise", say; empty for none."""
    mixtures: tuple[str, ...] = ("",)
    """Mixtures over strata, or the values of the second axis."""
    num_transitions: int = 0
    seeds: tuple[int, ...] = ()
    learning_rates: tuple[float, ...] = ()
    datasets: tuple[DatasetRecord, ...] = ()
    trials: tuple[TrialRecord, ...] = ()
    timings_s: Mapping[str, float] = field(default_factory=dict)
    machine: Mapping[str, Any] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    table: EvaluationTable = field(default_factory=EvaluationTable.empty)
    """Empty until the policies were evaluated."""
    selection: Selection | None = None
    ledger: tuple[Mapping[str, Any], ...] = ()
    """Every read of the sealed test, in order."""
    grown: tuple[Mapping[str, Any], ...] = ()
    """Every time trials were added, in order: when, how, and how often the test had been read."""
    failures: tuple[Mapping[str, Any], ...] = ()
    """Every attempt of a trial that failed, in order: which, when, why, and whether it was tried again."""

    @property
    def searches_mixtures(self) -> bool:
        """Whether it is a mixture search: it then has arms, and one choice for each of them."""
        return "arms" in self.config

    regrets: Mapping[str, Any] | None = None
    """What `gengap rules` found, if it was asked."""

    def dataset(self, num_levels: int, mixture: str = "") -> DatasetRecord | None:
        """The dataset of a level count and mixture, if it was recorded."""
        wanted = (num_levels, mixture)
        return next((record for record in self.datasets if (record.num_levels, record.mixture) == wanted), None)

    def trial_directory(self, trial_id: str) -> Path:
        """Where a trial keeps its files."""
        return self.directory / "trials" / trial_id

    def history(self, trial_id: str) -> list[dict[str, Any]]:
        """The trial's metrics, each learner step once; empty if it has not begun."""
        path = self.trial_directory(trial_id) / HISTORY_FILE
        return read_history(path) if path.exists() else []

    def tracker(self, trial: TrialRecord) -> str:
        """The trial's W&B page, or else the folder of its offline files relative to the study, or nothing."""
        if trial.wandb_url:
            return trial.wandb_url
        folder = self.trial_directory(trial.trial_id) / "wandb"
        return str(folder.relative_to(self.directory)) if folder.is_dir() else ""


def read_study(directory: Path) -> Study:
    """Read a study, finished or not.

    Raises:
        UsageError: If the directory does not exist or is no study.
        RunError: If a file in it is damaged.
    """
    value = read_json(study_file(directory))
    evaluations, selection = directory / EVALUATIONS_FILE, directory / SELECTION_FILE
    config, regrets = directory / CONFIG_FILE, directory / REGRETS_FILE
    try:
        return Study(
            directory=directory,
            **_header(value),
            datasets=tuple(_record(DatasetRecord, item) for item in value.get("datasets", [])),
            trials=tuple(_record(TrialRecord, item) for item in value.get("trials", [])),
            config=read_json(config) if config.exists() else {},
            table=EvaluationTable.read(evaluations) if evaluations.exists() else EvaluationTable.empty(),
            selection=Selection.from_json(read_json(selection)) if selection.exists() else None,
            ledger=tuple(Ledger(directory / LEDGER_FILE).records()),
            failures=tuple(_lines(directory / FAILURES_FILE)),
            regrets=read_json(regrets) if regrets.exists() else None,
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise RunError(
            f"The study {directory} lacks something in {STUDY_FILE} or {SELECTION_FILE} ({error!r}); "
            "it was written by another version or damaged. Continue it with `gengap sweep --resume`."
        ) from error


def study_file(directory: Path) -> Path:
    """The file that makes a directory a study.

    Raises:
        UsageError: If it is missing, with the studies that lie beside or below.
    """
    if not directory.is_dir():
        raise UsageError(f"{directory} is no directory. {_nearby(directory.parent)}")
    if not (directory / STUDY_FILE).exists():
        whole = next((path for path in directory.resolve().parents[:3] if (path / STUDY_FILE).exists()), None)
        if whole is not None:
            raise UsageError(f"{directory} is a part of the study {whole}; give the whole study's directory.")
        raise UsageError(f"{directory} is no study: it has no {STUDY_FILE}. {_nearby(directory)}")
    return directory / STUDY_FILE


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file.

    Raises:
        RunError: If it cannot be read or is damaged.
    """
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise RunError(f"{path} cannot be read as a JSON object: {error}. Restore it or sweep again.") from error


def _lines(path: Path) -> list[dict[str, Any]]:
    """The complete lines of a file of JSON lines; none if there is no file."""
    text = path.read_text() if path.exists() else ""
    return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]


def set_aside(study_dir: Path, paths: Iterable[Path]) -> None:
    """Move what is no longer part of a study's answer to ``superseded/``; nothing is deleted."""
    folder = study_dir / SUPERSEDED
    folder.mkdir(exist_ok=True)
    place = folder / f"{len(list(folder.iterdir())):03d}"
    place.mkdir()
    for path in paths:
        path.rename(place / path.name)


def _header(value: Mapping[str, Any]) -> dict[str, Any]:
    command = value.get("command", "")
    return {
        "name": value["name"],
        "env": value["env"],
        "created": str(value.get("created", "")),
        "command": command if isinstance(command, str) else " ".join(command),
        "level_counts": tuple(sorted(value.get("level_counts", []))),
        "strata": str(value.get("strata", "")),
        "axis": str(value.get("axis", "")),
        "mixtures": tuple(value.get("mixtures", [""])),
        "num_transitions": int(value.get("num_transitions", 0)),
        "seeds": tuple(value.get("seeds", [])),
        "learning_rates": tuple(value.get("learning_rates", [])),
        "timings_s": dict(value.get("timings_s", {})),
        "machine": dict(value.get("machine", {})),
        "grown": tuple(value.get("grown", [])),
    }


def _record(cls: Any, item: Mapping[str, Any]) -> Any:
    # Later versions may add keys; a report of an older one does not need them.
    return cls(**{name: value for name, value in item.items() if name in cls.__dataclass_fields__})


def _nearby(directory: Path) -> str:
    found = sorted(path.parent for path in directory.glob(f"*/{STUDY_FILE}")) if directory.is_dir() else []
    if not found:
        return "Give the directory that `gengap sweep` printed, for example runs/maze-diversity."
    return "Studies here: " + ", ".join(str(path) for path in found[:10]) + "."
