"""From a config to a run: in this process for one worker, under Ray Train for more. The loop is the same."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch

from data.files import atomic_write_json
from envs.errors import UsageError
from trainers.config import ExperimentConfig, TrainConfig
from trainers.distributed import WorkerContext
from trainers.evaluation import check_playable
from trainers.feed import Feed, build_for_data
from trainers.loop import Evaluate, TrainResult
from trainers.loop import train as run_loop
from trainers.mixing import open_controller
from trainers.mixing_data import open_target
from trainers.reporter import MultiReporter, Reporter
from trainers.run_files import RESULT, open_reporter, prepare_run
from trainers.training_data import TrainingData, open_training_data


def run(
    config: ExperimentConfig,
    run_dir: Path,
    *,
    reporter: Reporter | None = None,
    resume: bool = True,
    group: str | None = None,
    console: bool = False,
    init_from: Path | None = None,
) -> TrainResult:
    """Train as the config says: in this process with one worker, by a Ray Train worker group with more.

    Args:
        config: The experiment.
        run_dir: Everything is written here.
        reporter: Also gets evaluations and checkpoints, for example a `TuneReporter`.
        resume: Go on from the last checkpoint in `run_dir`, if there is one.
        group: The tracker's group, for example the study.
        console: Print a line per row of metrics.
        init_from: Another run's checkpoint to go on from (parameters, optimizer, learner step) where `run_dir` has
            none; with one worker only.

    Raises:
        UsageError: For a config that fits neither its data nor the cluster.
        RunError: If training failed.
    """
    if config.train.num_workers == 1:
        return run_inline(
            config, run_dir, reporter=reporter, resume=resume, group=group, console=console, init_from=init_from
        )
    if init_from is not None:
        raise UsageError(
            f"A run of {config.train.num_workers} workers cannot go on from another's checkpoint; set "
            "train.num_workers=1."
        )
    from trainers.launch_ray import run_distributed

    return run_distributed(config, run_dir, reporter=reporter, resume=resume, group=group, console=console)


train = run
"""The name in the public API."""


def run_inline(
    config: ExperimentConfig,
    run_dir: Path,
    *,
    reporter: Reporter | None = None,
    resume: bool = True,
    group: str | None = None,
    console: bool = False,
    evaluate: Evaluate | None = None,
    init_from: Path | None = None,
) -> TrainResult:
    """Train in this process; see `run`.

    Args:
        config: The experiment; its `num_workers` is not looked at.
        run_dir: Everything is written here.
        reporter: Also gets evaluations and checkpoints.
        resume: Go on from the last checkpoint in `run_dir`, if there is one.
        group: The tracker's group.
        console: Print a line per row of metrics.
        evaluate: None plays the protocol's train and validation levels.
        init_from: Another run's checkpoint to go on from where `run_dir` has none.
    """
    run_dir = run_dir.resolve()
    context = WorkerContext(device=pick_device(config.train))
    data = open_and_check(config)
    resume_from = prepare_run(config, run_dir, resume=resume) or init_from
    local = open_reporter(config, run_dir, resume_from=resume_from, data=data.report, group=group, console=console)
    both = MultiReporter([local] if reporter is None else [local, reporter])
    with contextlib.closing(both), torch_threads(config.train.threads_per_worker):
        result = run_loop(
            config, both, run_dir=run_dir, context=context, resume_from=resume_from, evaluate=evaluate, data=data
        )
    result = dataclasses.replace(result, wandb_url=local.url)
    atomic_write_json(run_dir / RESULT, result.to_json())
    return result


def open_and_check(config: ExperimentConfig) -> TrainingData:
    """The training data, once everything that the config names is known to fit; nothing is written before that.

    Raises:
        UsageError: Naming what does not fit.
    """
    data = open_training_data(config)
    Feed(data, build_for_data(config, data.spec, data.view), config, WorkerContext())
    open_controller(config, data)
    open_target(config, data)
    check_playable(config, data.spec, data.levels)
    return data


def pick_device(config: TrainConfig) -> torch.device:
    """The device of the only worker.

    Raises:
        UsageError: If a GPU is asked for and there is none.
    """
    if config.use_gpu and not torch.cuda.is_available():
        raise UsageError("train.use_gpu is true, but torch finds no CUDA device here; set train.use_gpu=false.")
    return torch.device("cuda", 0) if config.use_gpu else torch.device("cpu")


@contextlib.contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """`count` threads for torch's operators; the process gets its former number back."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def preflight(config: ExperimentConfig, cluster_resources: Mapping[str, float]) -> None:
    """Refuse what can never be placed, instead of waiting for it for ever.

    Args:
        config: The experiment.
        cluster_resources: Totals by name, as from ``ray.cluster_resources()``.

    Raises:
        UsageError: Saying what is needed, what there is, and which field to change.
    """
    workers, settings = config.train.num_workers, config.train
    needed = {"CPU": float(workers * settings.threads_per_worker)}
    if settings.use_gpu:
        needed["GPU"] = float(workers)
    for name, amount in needed.items():
        available = cluster_resources.get(name, 0.0)
        if amount > available:
            field = "train.use_gpu=false" if name == "GPU" else f"train.num_workers to at most {int(available)}"
            raise UsageError(
                f"{workers} workers need {amount:g} {name}s, but the cluster has {available:g}. Set {field}, or join a "
                "larger cluster with --address."
            )
