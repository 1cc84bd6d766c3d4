"""What a run writes beside its checkpoints, and the checks before it starts or goes on.

config.json     the experiment
run.json        run id of the trackers, code version
metrics.jsonl   every row of metrics: the record, of which all trackers get a copy
result.json     the result, once it is finished
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

from data.files import atomic_write_json, make_directory
from envs.errors import RunError, UsageError
from metrics.loggers import ConsoleLogger, JsonLinesLogger, Logger, MultiLogger, TensorBoardLogger
from metrics.wandb_logger import WandbLogger
from trainers.checkpoint import METRICS, latest_checkpoint, read_progress
from trainers.config import ExperimentConfig
from trainers.reporter import LocalReporter
from trainers.version import code_version

HOW_NOT_WHAT = (
    "train.num_workers",
    "train.threads_per_worker",
    "train.use_gpu",
    "train.resident",
    "train.compile",
    "train.cuda_graphs",
    "train.shard",
    "train.together",
    "tracking.",
    "evaluation.num_evaluators",
    "evaluation.num_actors",
)
"""Fields that a resumed run may change: they do not change what is learned."""
CONFIG, RUN, RESULT = "config.json", "run.json", "result.json"


def prepare_run(config: ExperimentConfig, run_dir: Path, *, resume: bool) -> Path | None:
    """Make a run's directory, or check that a run can go on in it.

    Args:
        config: The experiment.
        run_dir: Its directory.
        resume: Whether an earlier run there may be continued.

    Returns:
        The checkpoint to go on from, or None.

    Raises:
        UsageError: If the directory holds another experiment, or a run although `resume` is off, if there can be no
            directory of that name, or if a number of the config is not finite; nothing is written then.
    """
    wanted = config_json(config)
    if (run_dir / CONFIG).exists():
        if not resume:
            raise UsageError(f"{run_dir} already holds a run. Continue it with --resume, or choose another --out.")
        _check_same(read_json(run_dir / CONFIG), wanted, run_dir)
    make_directory(run_dir)
    atomic_write_json(run_dir / CONFIG, wanted)
    if not (run_dir / RUN).exists():
        atomic_write_json(run_dir / RUN, {"run_id": _new_run_id(config), "code_version": code_version()})
    return latest_checkpoint(run_dir)


def open_reporter(
    config: ExperimentConfig,
    run_dir: Path,
    *,
    resume_from: Path | None,
    data: Mapping[str, Any],
    group: str | None = None,
    console: bool = False,
) -> LocalReporter:
    """The loggers of a prepared run: JSON lines first, then the copies that the config asks for.

    Args:
        config: The experiment.
        run_dir: Its prepared directory.
        resume_from: The checkpoint that training goes on from.
        data: The realised mixture, which becomes part of the tracker's run config.
        group: The tracker's group, for example the study.
        console: Whether to print a line per row.
    """
    step = None if resume_from is None else read_progress(resume_from).learner_step
    loggers: list[Logger] = [JsonLinesLogger(run_dir / METRICS, resume_from=step)]
    if console:
        loggers.append(ConsoleLogger(show=_is_headline))
    if config.tracking.tensorboard:
        loggers.append(TensorBoardLogger(run_dir / "tensorboard", resume_from=step))
    tracker = None if config.tracking.wandb == "disabled" else _wandb(config, run_dir, data, group)
    if tracker is not None:
        loggers.append(tracker)
    return LocalReporter(MultiLogger(loggers), tracker)


def config_json(config: Any) -> dict[str, Any]:
    """A config as it reads back from JSON.

    Raises:
        UsageError: If a number in it is not finite; JSON has none such.
    """
    fields = dataclasses.asdict(config)
    try:
        value: dict[str, Any] = json.loads(json.dumps(fields, allow_nan=False))
    except ValueError:
        wrong = [f"{name}={entry}" for name, entry in flat_fields(fields).items() if _not_finite(entry)]
        raise UsageError(f"{', '.join(wrong)} is not finite; every number of a config must be.") from None
    return value


def _not_finite(entry: Any) -> bool:
    values = entry if isinstance(entry, list | tuple) else (entry,)
    return any(isinstance(value, float) and not math.isfinite(value) for value in values)


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file.

    Raises:
        RunError: If it is missing or damaged.
    """
    try:
        value: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise RunError(f"{path} cannot be read: {error}.") from error
    return value


def _wandb(config: ExperimentConfig, run_dir: Path, data: Mapping[str, Any], group: str | None) -> WandbLogger:
    run = read_json(run_dir / RUN)
    return WandbLogger(
        project=config.tracking.project,
        run_id=run["run_id"],
        group=group or config.name,
        name=f"{config.name}-s{config.seed}" if group is None else run_dir.name,
        config={**config_json(config), "realised": dict(data), "code_version": run["code_version"]},
        directory=run_dir,
        mode=config.tracking.wandb,
        finish_timeout_s=config.tracking.finish_timeout_s,
        tags=() if group is None else (group.partition("/")[0],),
    )


def _new_run_id(config: ExperimentConfig) -> str:
    slug = re.sub(r"[^a-z0-9]+", "-", config.name.lower()).strip("-")[:40]
    return f"{slug}-s{config.seed}-{uuid4().hex[:8]}"


def _check_same(found: Mapping[str, Any], wanted: Mapping[str, Any], run_dir: Path) -> None:
    before, now = flat_fields(found), flat_fields(wanted)
    changed = [name for name in sorted(before.keys() | now.keys()) if before.get(name) != now.get(name)]
    changed = [name for name in changed if not name.startswith(HOW_NOT_WHAT)]
    if "data.datasets" in changed and _moved(before["data.datasets"], now["data.datasets"], run_dir):
        changed.remove("data.datasets")
    if changed:
        name = changed[0]
        others = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
        raise UsageError(
            f"{run_dir} holds another experiment: {name} is {before.get(name)!r} there and {now.get(name)!r} here"
            f"{others}. Resume with the same config, or choose another --out."
        )


def _moved(before: Sequence[str], now: Sequence[str], run_dir: Path) -> bool:
    """Whether datasets are the same ones of a study that lies elsewhere now: under the same names within it."""
    study = run_dir.absolute().parent.parent
    inside = [Path(path).relative_to(study).parts for path in now if Path(path).is_relative_to(study)]
    if not len(before) == len(now) == len(inside):
        return False
    return all(Path(old).parts[-len(parts) :] == parts for old, parts in zip(before, inside, strict=True))


def found_datasets(paths: Sequence[str], run_dir: Path) -> tuple[str, ...]:
    """Where a run's datasets are: one that is gone is looked for in the study that the run lies in, if that moved."""
    study = run_dir.absolute().parent.parent
    moved = {path: study.joinpath(*Path(path).parts[-2:]) for path in paths}
    return tuple(str(moved[path]) if not Path(path).exists() and moved[path].exists() else path for path in paths)


def flat_fields(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Fields by their dotted names."""
    flat: dict[str, Any] = {}
    for name, entry in value.items():
        flat |= flat_fields(entry, f"{prefix}{name}.") if isinstance(entry, dict) and entry else {prefix + name: entry}
    return flat


def _is_headline(name: str) -> bool:
    shown = ("train/loss/total", "train/perf/transitions_per_s")
    return name in shown or (name.startswith("eval/") and name.endswith("/normalized_return"))
