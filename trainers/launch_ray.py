"""Two or more workers under Ray Train: the worker function, and the driver that waits for it."""

from __future__ import annotations

import dataclasses
import os
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from actors.placement import Bundle, Cluster, Waiting, groups_wait, read_cluster, start_timeout
from data.files import atomic_write_json
from envs.errors import RunError, UsageError
from trainers.config import ExperimentConfig
from trainers.distributed import WorkerContext
from trainers.launch import learner_bundle, open_and_check, preflight, torch_threads
from trainers.loop import TrainResult, train
from trainers.reporter import NullReporter, Reporter, ReportTail, TrainReporter
from trainers.run_files import RESULT, open_reporter, prepare_run, read_json
from trainers.training_data import open_training_data

REPORTS = "reports.jsonl"
POLL_S = 0.2
GROUP_START_S = 90.0
"""Without a machine to boot, a worker group that has found no place by then will find none."""
START_TIMEOUT = "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S"
COLLECTIVE_TIMEOUT_S = 300
"""A worker whose partner died gives up after this long (the default of 1800 would block a machine for half an hour)."""
ENVIRONMENT = {
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",  # also the pace of reports
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",
    "TORCH_PROCESS_GROUP_SHUTDOWN_TIMEOUT_S": "5",
}


def run_distributed(
    config: ExperimentConfig,
    run_dir: Path,
    *,
    reporter: Reporter | None = None,
    resume: bool = True,
    group: str | None = None,
    console: bool = False,
    max_failures: int = 1,
) -> TrainResult:
    """Train with `train.num_workers` workers, gradients averaged over all; Ray must be initialized.

    Workers resume from the run's own last checkpoint, whether one died or everything did. `run_dir` must be visible
    on every node.

    Args:
        config: The experiment.
        run_dir: Everything is written here.
        reporter: Gets evaluations and checkpoints in this thread, as they come.
        resume: Go on from the last checkpoint in `run_dir`, if there is one.
        group: The tracker's group.
        console: Print a line per row of metrics.
        max_failures: How often workers that died are started again.

    Raises:
        UsageError: If the cluster is too small.
        RunError: If training failed.
    """
    import ray

    run_dir = run_dir.resolve()
    cluster = read_cluster(ray)
    preflight(config, cluster)
    bundle = learner_bundle(config.train, cluster)
    open_and_check(config)
    prepare_run(config, run_dir, resume=resume)
    for name, value in {**ENVIRONMENT, START_TIMEOUT: _start_timeout(config, cluster, bundle)}.items():
        os.environ.setdefault(name, value)
    settings = {
        "config": config,
        "run_dir": str(run_dir),
        "group": group,
        "console": console,
        "working_folder": os.getcwd(),
    }
    tail = ReportTail(run_dir / REPORTS, reporter or NullReporter())
    fit = _Fit(settings, config, run_dir, max_failures, bundle)
    waiting = Waiting(ray)
    while fit.is_running():
        fit.wait(POLL_S)
        tail.forward()
        waiting.tick(f"{config.train.num_workers} learners", bundle, still=lambda: groups_wait(ray))
    tail.forward()
    fit.raise_failure()
    return TrainResult.from_json(read_json(run_dir / RESULT))


def worker(settings: Mapping[str, Any]) -> None:
    """What every Ray Train worker runs."""
    import ray.train
    import ray.train.torch

    config: ExperimentConfig = settings["config"]
    run_dir = Path(settings["run_dir"])
    if Path(settings["working_folder"]).is_dir():
        os.chdir(settings["working_folder"])  # Ray Train runs workers elsewhere; dataset paths may be relative
    ray_context = ray.train.get_context()
    context = WorkerContext(
        rank=ray_context.get_world_rank(), world_size=ray_context.get_world_size(), device=ray.train.torch.get_device()
    )
    # All workers look before any of them can save: wrapping the model is collective.
    resume_from = prepare_run(config, run_dir, resume=True)
    data = open_training_data(config)
    local = None
    if context.is_first:
        local = open_reporter(
            config,
            run_dir,
            resume_from=resume_from,
            data=data.report,
            group=settings["group"],
            console=settings["console"],
        )
    reporter = TrainReporter(local, run_dir / REPORTS)
    try:
        with torch_threads(config.train.threads_per_worker):
            result = train(config, reporter, run_dir=run_dir, context=context, resume_from=resume_from, data=data)
    finally:
        reporter.close()
    if local is not None:
        atomic_write_json(run_dir / RESULT, dataclasses.replace(result, wandb_url=local.url).to_json())


class _Fit:
    """`TorchTrainer.fit` in a thread of its own, so that this one can hand reports to Tune meanwhile."""

    def __init__(
        self, settings: Mapping[str, Any], config: ExperimentConfig, run_dir: Path, max_failures: int, bundle: Bundle
    ) -> None:
        self._trainer = _build_trainer(settings, config, run_dir, max_failures, bundle)
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="ray-train-fit", daemon=True)
        self._thread.start()

    def is_running(self) -> bool:
        return self._thread.is_alive()

    def wait(self, timeout_s: float) -> None:
        self._thread.join(timeout_s)

    def raise_failure(self) -> None:
        if self._failure is None:
            return
        raise explain(self._failure) from self._failure

    def _work(self) -> None:
        try:
            self._trainer.fit()
        except BaseException as error:  # raised again in the thread that waits
            self._failure = error


def _start_timeout(config: ExperimentConfig, cluster: Cluster, bundle: Bundle) -> str:
    return str(start_timeout(cluster, bundle, config.train.num_workers, GROUP_START_S))


def _build_trainer(
    settings: Mapping[str, Any], config: ExperimentConfig, run_dir: Path, max_failures: int, bundle: Bundle
) -> Any:
    import ray.train
    from ray.train.torch import TorchConfig, TorchTrainer

    storage = run_dir / "ray_train"
    storage.mkdir(exist_ok=True)
    # A fresh name per start: under an old one Ray Train would restore its own snapshot over our checkpoint.
    generation = len(list(storage.iterdir()))
    return TorchTrainer(
        worker,
        train_loop_config=dict(settings),
        torch_config=TorchConfig(timeout_s=COLLECTIVE_TIMEOUT_S),
        scaling_config=ray.train.ScalingConfig(
            num_workers=config.train.num_workers, use_gpu=config.train.use_gpu, resources_per_worker=bundle
        ),
        run_config=ray.train.RunConfig(
            name=f"generation-{generation}",
            storage_path=str(storage),
            # Without a limit Ray Train waits for ever for workers that cannot be placed.
            failure_config=ray.train.FailureConfig(max_failures=max_failures, controller_failure_limit=1),
            checkpoint_config=ray.train.CheckpointConfig(num_to_keep=2),
        ),
    )


def explain(failure: BaseException) -> UsageError | RunError:
    """What went wrong, for the person who started the run: our own error if there is one among the causes."""
    causes = list(_causes(failure))
    for cause in causes:
        if isinstance(cause, UsageError | RunError):
            return cause
    if any(type(cause).__name__ == "WorkerGroupStartupTimeoutError" for cause in causes):
        return RunError(
            "The workers found no free place in the cluster: other work holds its CPUs or GPUs. Wait for it to end, "
            "lower train.num_workers, or add nodes (RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S sets how long to wait)."
        )
    return RunError(f"Distributed training failed: {type(causes[-1]).__name__}: {causes[-1]}")


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An error and everything that led to it, outermost first."""
    seen: list[BaseException] = []
    waiting: list[Any] = [error]
    while waiting:
        current = waiting.pop(0)
        if not isinstance(current, BaseException) or current in seen:
            continue
        yield current
        seen.append(current)
        failures = getattr(current, "worker_failures", {})
        inner = [getattr(current, name, None) for name in ("controller_failure", "cause", "__cause__")]
        waiting += [*failures.values(), *inner]
