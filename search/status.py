"""How far a study or a single run is, from its files alone: it may be running, interrupted or finished."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from envs.errors import UsageError
from metrics.history import read_history, series
from metrics.loggers import STEP
from search.space import DIVERGED, STOPPED, TrialSpec, dataset_path, trial_path
from search.study import CONFIG_FILE, HISTORY_FILE, RESULT_FILE, STUDY_FILE, Study, read_json, read_study

VALIDATION = "eval/validation/normalized_return"
RETRAINED_FOLDER = "retrained"


@dataclass(frozen=True, kw_only=True)
class RunStatus:
    """One run."""

    name: str
    state: str
    """"waiting", "begun", "stopped early", "diverged" or "finished"."""
    learner_step: int = 0
    learner_steps: int | None = None
    """How many the run will take; None if unknown."""
    validation: float | None = None
    """Last normalized return on validation levels."""
    idle_s: float | None = None
    """Seconds since it last wrote."""


def status(directory: Path) -> dict[str, Any]:
    """The state of a study's phases and trials, or of a single run.

    Raises:
        UsageError: If the directory is neither.
        RunError: If a file is damaged.
    """
    if (directory / STUDY_FILE).exists():
        return study_status(read_study(directory))
    if (directory / HISTORY_FILE).exists() or (directory / CONFIG_FILE).exists():
        return {"directory": str(directory), "runs": [asdict(run_status(directory))]}
    raise UsageError(
        f"{directory} holds neither a study ({STUDY_FILE}) nor a run ({HISTORY_FILE}); "
        "give the directory that `gengap sweep` or `gengap train` printed."
    )


def study_status(study: Study) -> dict[str, Any]:
    """Phases in their order, each with what is done of how much, and every trial."""
    recorded = {trial.trial_id: trial.status for trial in study.trials}
    specs = [
        TrialSpec(count, rate, seed, mixture)
        for count in study.level_counts
        for mixture in study.mixtures
        for rate in study.learning_rates
        for seed in study.seeds
    ]
    runs = [run_status(trial_path(study.directory, spec.trial_id), recorded.get(spec.trial_id)) for spec in specs]
    states = Counter(run.state for run in runs)
    wanted = {dataset_path(study.directory, spec) for spec in specs}
    datasets = sum(path.is_dir() for path in wanted)
    phases = {
        "collect": _done(datasets, len(wanted), "datasets"),
        "search": _done(states["finished"] + states["stopped early"] + states["diverged"], len(specs), "trials"),
        "judge": f"{len(study.table.policies)} policies",
        "select": f"{study.selection.overall} by rule {study.selection.rule}" if study.selection else "not yet",
        "retrain": run_status(study.directory / RETRAINED_FOLDER).state,
        "test": f"{len(study.ledger)} reads of the sealed test",
        "report": str(page) if (page := study.directory / "report" / "index.html").exists() else "not yet",
    }
    finished = phases["report"] != "not yet"
    return {
        "directory": str(study.directory),
        "study": study.name,
        "finished": finished,
        "phases": phases,
        "failures": [dict(entry) for entry in study.failures],
        "runs": [asdict(run) for run in runs],
        "next": "" if finished else f"gengap sweep --resume {study.directory}",
    }


def run_status(directory: Path, recorded: str | None = None) -> RunStatus:
    """The state of one run.

    Args:
        directory: The run's folder; it need not exist yet.
        recorded: The state that the study recorded, if it did.
    """
    path, config = directory / HISTORY_FILE, directory / CONFIG_FILE
    if not path.exists():
        return RunStatus(name=directory.name, state=recorded or "waiting")
    history = read_history(path)
    _, validation = series(history, VALIDATION)
    return RunStatus(
        name=directory.name,
        state="finished" if (directory / RESULT_FILE).exists() else recorded or _ended(directory) or "begun",
        learner_step=int(history[-1][STEP]) if history else 0,
        learner_steps=read_json(config).get("train", {}).get("learner_steps") if config.exists() else None,
        validation=validation[-1] if validation else None,
        idle_s=round(max(0.0, time.time() - path.stat().st_mtime), 1),
    )


def _ended(directory: Path) -> str | None:
    """How a trial ended that left no result."""
    if (directory / DIVERGED).exists():
        return "diverged"
    return "stopped early" if (directory / STOPPED).exists() else None


def status_lines(value: dict[str, Any]) -> list[str]:
    """What `status` found, for reading."""
    lines = [f"{value.get('study', 'run')}  {value['directory']}"]
    lines += [f"  {name:<8} {text}" for name, text in value.get("phases", {}).items()]
    if failed := value.get("failures"):
        last = failed[-1]
        again = "tried again" if last["retried"] else "given up"
        lines.append(f"  failed   {len(failed)} attempts; the last: {last['trial']} ({again}): {last['error']}")
    width = max((len(run["name"]) for run in value["runs"]), default=0)
    lines += [_run_line(run, width) for run in value["runs"]]
    return lines + ([f"Continue it with: {value['next']}"] if value.get("next") else [])


def _run_line(run: dict[str, Any], width: int) -> str:
    total = f" of {run['learner_steps']:,}" if run["learner_steps"] else ""
    steps = f"step {run['learner_step']:,}{total}" if run["state"] != "waiting" else ""
    score = "" if run["validation"] is None else f"validation {run['validation']:.3f} (normalized)"
    idle = f"last wrote {run['idle_s']:,.0f} s ago" if run["state"] == "begun" and run["idle_s"] is not None else ""
    return "  ".join(part for part in (f"  {run['name']:<{width}}", f"{run['state']:<13}", steps, score, idle) if part)


def _done(count: int, total: int, unit: str) -> str:
    return f"{count} of {total} {unit}"
