"""From a config to a run: in this process for one worker, under Ray Train for more. The loop is the same."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path

import torch

from actors.placement import Bundle, Cluster, ClusterRole, bundle_of, bundle_words
from data.files import atomic_write_json
from envs.errors import UsageError
from trainers.config import ExperimentConfig, TrainConfig
from trainers.cuda_graph import check_graphs
from trainers.distributed import WorkerContext
from trainers.evaluation import check_playable
from trainers.feed import Feed, build_for_data
from trainers.loop import Evaluate, TrainResult, uses_evaluators
from trainers.loop import train as run_loop
from trainers.mixing import open_controller
from trainers.mixing_data import open_target
from trainers.reporter import MultiReporter, Reporter
from trainers.resident import check_resident
from trainers.run_files import RESULT, open_reporter, prepare_run
from trainers.sharding import check_shard
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
    with evaluator_cluster(config), contextlib.closing(both), torch_threads(config.train.threads_per_worker):
        result = run_loop(
            config, both, run_dir=run_dir, context=context, resume_from=resume_from, evaluate=evaluate, data=data
        )
    result = dataclasses.replace(result, wandb_url=local.url)
    atomic_write_json(run_dir / RESULT, result.to_json())
    return result


@contextlib.contextmanager
def evaluator_cluster(config: ExperimentConfig) -> Iterator[None]:
    """A local Ray for the evaluators, where there are some and none is running yet."""
    if not uses_evaluators(config):
        yield
        return
    from actors.cluster import ray_session

    with ray_session():
        yield


def open_and_check(config: ExperimentConfig) -> TrainingData:
    """The training data, once everything that the config names is known to fit; nothing is written before that.

    Raises:
        UsageError: Naming what does not fit.
    """
    data = open_training_data(config)
    check(config, data)
    return data


def check(config: ExperimentConfig, data: TrainingData) -> None:
    """Refuse what does not fit the data or cannot be played.

    Raises:
        UsageError: Naming what does not fit.
    """
    if config.train.resident == "always":
        check_resident(data.spec)
    if config.train.shard:
        check_shard(config)
    if config.train.cuda_graphs:
        check_graphs(config, data.spec)
    Feed(data, build_for_data(config, data.spec, data.view), config, WorkerContext())
    open_controller(config, data)
    open_target(config, data)
    check_playable(config, data.spec, data.levels)


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


def learner_bundle(config: TrainConfig, cluster: Cluster) -> Bundle:
    """What one worker of a training run holds."""
    return bundle_of(ClusterRole.LEARNER, cluster, threads=config.threads_per_worker, gpu=config.use_gpu)


def preflight(config: ExperimentConfig, cluster: Cluster, field: str = "train.num_workers") -> None:
    """Refuse what can never be placed, instead of waiting for it for ever.

    Args:
        config: The experiment.
        cluster: What there is, and what may still start.
        field: The field that says how many workers there are.

    Raises:
        UsageError: Saying what is needed, what there is, and which field to change.
    """
    workers, bundle = config.train.num_workers, learner_bundle(config.train, cluster)
    fitting, beside = cluster.fit(bundle), evaluators_bundle(config, cluster).get("CPU", 0.0)
    needed = workers * bundle["CPU"] + beside
    if workers <= fitting and beside and needed > cluster.total("CPU"):
        raise UsageError(
            f"{workers} workers and {config.evaluation.num_evaluators} evaluators need {needed:g} CPUs, but the "
            f"cluster has {cluster.describe()}. Set evaluation.num_evaluators=0, or join a larger cluster with "
            "--address."
        )
    if workers <= fitting:
        return
    if config.train.use_gpu and not cluster.offers("GPU"):
        remedy = "train.use_gpu=false"
    elif fitting:
        remedy = f"{field} to at most {fitting}"
    else:
        remedy = "train.threads_per_worker to what one machine has"
    raise UsageError(
        f"{workers} workers need {bundle_words(bundle)} each, but the cluster has {cluster.describe()}: {fitting} of "
        f"them fit. Set {remedy}, or join a larger cluster with --address."
    )


def evaluators_bundle(config: ExperimentConfig, cluster: Cluster) -> Bundle:
    """What all evaluators beside a training hold together; nothing where there are none."""
    if not uses_evaluators(config):
        return {}
    one = bundle_of(ClusterRole.EVALUATOR, cluster)
    return {name: amount * config.evaluation.num_evaluators for name, amount in one.items()}
