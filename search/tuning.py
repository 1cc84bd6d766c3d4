"""The search itself: Ray Tune runs every trial of a study, and goes on where it was killed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Protocol

import ray
from ray import tune

from actors.placement import Bundle, Cluster, ClusterRole, Waiting, bundle_of, read_cluster
from data.files import atomic_write_json
from envs.console import Progress, say
from envs.errors import RunError
from search.config import SweepConfig
from search.failures import ATTEMPTS, FailureLog
from search.scheduler import METRIC, TIME_ATTRIBUTE, build_scheduler
from search.space import (
    DIVERGED,
    TrialSpec,
    experiment_of,
    has_diverged,
    param_space,
    trial_groups,
    trial_path,
    trial_specs,
)
from search.study import STUDY_FILE, read_json, times_grown
from trainers.checkpoint import latest_checkpoint, read_progress
from trainers.config import ExperimentConfig
from trainers.launch import evaluators_bundle, learner_bundle, run
from trainers.launch_together import run_together
from trainers.loop import DivergedError, uses_evaluators
from trainers.reporter import TuneReporter

RESULT = "result.json"
TUNE_FOLDER, TUNE_FILE = "tune", "tune.json"
TRAIN_METRIC = "eval/train/normalized_return"


def run_trials(config: SweepConfig, study_dir: Path) -> list[dict[str, Any]]:
    """Run every trial that has not finished; returns one record per trial, in grid order.

    Raises:
        RunError: If a trial failed, naming it and its error file.
    """
    pending = unsettled(config, study_dir)
    say(f"Search: {len(trial_specs(config))} trials, {len(pending)} to run, early stopping: {config.scheduler}")
    if pending:
        _check_results(_tuner(config, study_dir, pending).fit())
    return [_record(study_dir, spec) for spec in trial_specs(config)]


def run_trial(params: dict[str, Any], config: SweepConfig, study_dir: Path) -> None:
    """One trial, inside a Tune function, which reports evaluations to Tune.

    With one worker this process trains; with more it only waits for a Ray Train worker group. A trial whose loss
    diverges ends: trying it again would come to the same, and the other trials of the study are not to blame.
    """
    first = TrialSpec(**params["trial"])
    (specs,) = (group for group in trial_groups(config) if group[0] == first)
    unfinished = [spec for spec in specs if read_result(study_dir, spec) is None and not has_diverged(study_dir, spec)]
    if not unfinished:
        return
    if len(specs) > 1:
        _run_seeds(unfinished, config, study_dir)
        return
    run_dir = trial_path(study_dir, first.trial_id)
    try:
        run(
            experiment_of(config, first, study_dir),
            run_dir,
            reporter=TuneReporter(),
            group=f"{config.name}/{first.config_id}",
        )
    except DivergedError as error:
        _record_divergence(study_dir, first, error)


def _run_seeds(specs: list[TrialSpec], config: SweepConfig, study_dir: Path) -> None:
    """All seeds of a configuration that are not finished, in this process."""
    configs = {trial_path(study_dir, spec.trial_id): experiment_of(config, spec, study_dir) for spec in specs}
    group = f"{config.name}/{specs[0].config_id}"
    results = run_together(configs, reporter=TuneReporter(), group=group)
    for spec, result in zip(specs, results, strict=True):
        if isinstance(result, DivergedError):
            _record_divergence(study_dir, spec, result)


def _record_divergence(study_dir: Path, spec: TrialSpec, error: DivergedError) -> None:
    path = trial_path(study_dir, spec.trial_id) / DIVERGED
    atomic_write_json(path, {"trial_id": spec.trial_id, "error": str(error)})


def unsettled(config: SweepConfig, study_dir: Path) -> list[TrialSpec]:
    """Trials that have neither finished nor diverged, and were not stopped early in a search that has ended."""
    path = study_dir / STUDY_FILE
    ended = {trial["trial_id"] for trial in read_json(path).get("trials", [])} if path.exists() else set()
    return [
        spec
        for spec in trial_specs(config)
        if read_result(study_dir, spec) is None
        and not has_diverged(study_dir, spec)
        and not (spec.trial_id in ended and latest_checkpoint(trial_path(study_dir, spec.trial_id)))
    ]


def read_result(study_dir: Path, spec: TrialSpec) -> dict[str, Any] | None:
    """What a finished trial recorded, or None."""
    path = trial_path(study_dir, spec.trial_id) / RESULT
    if not path.exists():
        return None
    result: dict[str, Any] = json.loads(path.read_text())
    return result


def _tuner(config: SweepConfig, study_dir: Path, pending: list[TrialSpec]) -> tune.Tuner:
    trainable = _trainable(config, study_dir)
    experiment = tune_folder(study_dir.resolve())  # Ray takes a relative path for a URI without a scheme
    groups = [group for group in trial_groups(config) if set(group) & set(pending)]
    if tune.Tuner.can_restore(str(experiment)):
        say("Search: resuming the trials of an interrupted run")
        # A trial that ended by an error is tried again from its last checkpoint.
        return tune.Tuner.restore(str(experiment), trainable, resume_unfinished=True, restart_errored=True)
    return tune.Tuner(
        trainable,
        param_space=param_space(groups),
        tune_config=tune.TuneConfig(
            metric=METRIC,
            mode="max",
            scheduler=build_scheduler(config),
            max_concurrent_trials=concurrent_trials(config, read_cluster(ray)),
            trial_dirname_creator=_trial_name,
            trial_name_creator=_trial_name,
        ),
        run_config=tune.RunConfig(
            name=experiment.name,
            storage_path=str(study_dir.resolve()),
            verbose=0,
            callbacks=[TrialProgress(len(groups), trial_resources(config, read_cluster(ray))), FailureLog()],
            failure_config=tune.FailureConfig(max_failures=ATTEMPTS),
            checkpoint_config=tune.CheckpointConfig(num_to_keep=2),
        ),
    )


def tune_folder(study_dir: Path) -> Path:
    """Where Tune keeps the search that goes on now.

    What it keeps holds the trials of one search, with absolute paths. So trials that were added have a folder of their
    own, and so have those that are left in a study that was moved.
    """
    record, wanted = study_dir / TUNE_FILE, {"path": str(study_dir), "grown": times_grown(study_dir)}
    known = read_json(record) if record.exists() else {**wanted, "grown": 0, "folder": TUNE_FOLDER}
    folder = known["folder"]
    if {**known, **wanted} != known:
        number = sum(path.is_dir() for path in study_dir.glob(f"{TUNE_FOLDER}*"))
        folder = f"{TUNE_FOLDER}-{number}" if number else TUNE_FOLDER
    atomic_write_json(record, {**wanted, "folder": folder})
    return study_dir / str(folder)


class Placed(Protocol):
    """A study as far as placing its trials goes."""

    @property
    def experiment(self) -> ExperimentConfig:
        """Of every trial."""
        ...

    @property
    def max_concurrent_trials(self) -> int:
        """0: as many as fit."""
        ...


def concurrent_trials(config: Placed, cluster: Cluster) -> int:
    """How many trials may run at once without waiting for each other's CPUs or GPUs for ever.

    Tune sees only what a trial's own process holds, not its worker group, so it cannot count this itself.
    """
    train = config.experiment.train
    fitting = cluster.fit(learner_bundle(train, cluster)) // train.num_workers
    if train.num_workers > 1:
        fitting = min(fitting, cluster.fit(bundle_of(ClusterRole.DRIVER, cluster)))
    beside = evaluators_bundle(config.experiment, cluster).get("CPU", 0.0)
    if beside:
        fitting = min(fitting, int(cluster.total("CPU") // (train.num_workers * train.threads_per_worker + beside)))
    return max(1, min(fitting, config.max_concurrent_trials or fitting))


def trial_resources(config: Placed, cluster: Cluster) -> dict[str, float]:
    """What a trial's own process holds: everything if it trains, no CPU if it only waits for a worker group."""
    train = config.experiment.train
    return bundle_of(ClusterRole.DRIVER, cluster) if train.num_workers > 1 else learner_bundle(train, cluster)


def trial_bundles(config: Placed, cluster: Cluster) -> list[dict[str, float]]:
    """What is reserved together for a trial: its own process, and the evaluators that it starts."""
    experiment = config.experiment
    beside = experiment.evaluation.num_evaluators if uses_evaluators(experiment) else 0
    if experiment.train.num_workers > 1:
        beside = 0  # they belong to the worker group
    return [trial_resources(config, cluster), *([bundle_of(ClusterRole.EVALUATOR, cluster)] * beside)]


def _trainable(config: SweepConfig, study_dir: Path) -> Any:
    trainable = tune.with_parameters(run_trial, config=config, study_dir=study_dir.resolve())
    return tune.with_resources(trainable, tune.PlacementGroupFactory(trial_bundles(config, read_cluster(ray))))


def _trial_name(trial: Any) -> str:
    return TrialSpec(**trial.config["trial"]).trial_id


def _check_results(results: tune.ResultGrid) -> None:
    if not results.num_errors:
        return
    failed = [result for result in results if result.error is not None]
    raise RunError(
        f"{len(failed)} of {len(results)} trials failed; the first in {failed[0].path}: {failed[0].error}. "
        "Mend the cause and run the same command again: finished trials are kept."
    )


def _record(study_dir: Path, spec: TrialSpec) -> dict[str, Any]:
    """A trial that early stopping ended has no result file, but its checkpoints stand."""
    result = read_result(study_dir, spec)
    last = latest_checkpoint(trial_path(study_dir, spec.trial_id))
    return {
        "trial_id": spec.trial_id,
        "config_id": spec.config_id,
        "num_levels": spec.num_levels,
        "learning_rate": spec.learning_rate,
        "train_seed": spec.seed,
        **({"mixture": spec.mixture} if spec.mixture else {}),
        "status": _status(study_dir, spec, result),
        "wandb_url": "" if result is None else result.get("wandb_url", ""),
        "learner_step": None if last is None else read_progress(last).learner_step,
    }


def _status(study_dir: Path, spec: TrialSpec, result: dict[str, Any] | None) -> str:
    if has_diverged(study_dir, spec):
        return "diverged"
    return "stopped early" if result is None else "finished"


class TrialProgress(tune.Callback):
    """A line per evaluation, one per finished trial with the time left, and one when nothing can start."""

    def __init__(self, total: int, bundle: Bundle) -> None:
        self._total, self._done, self._bundle = total, 0, bundle
        # Made on first use: Tune pickles its callbacks.
        self._progress: Progress | None = None
        self._waiting: Waiting | None = None

    def on_step_end(self, iteration: int, trials: list[Any], **_: Any) -> None:
        """Say what the next trial waits for, if none runs."""
        states = [trial.status for trial in trials]
        if "PENDING" not in states or "RUNNING" in states:
            self._waiting = None  # what follows the end of a trial at once is no waiting
        else:
            self._waiting = self._waiting or Waiting(ray)
            self._waiting.tick(f"the first of {states.count('PENDING')} trials", self._bundle)

    def on_trial_result(self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **_: Any) -> None:
        """Show what a trial has reached."""
        step, train, validation = (result.get(name) for name in (TIME_ATTRIBUTE, TRAIN_METRIC, METRIC))
        if step is not None and train is not None and validation is not None:
            self._update(
                f"{_trial_name(trial)} step {step}: train {train:.2f}, validation {validation:.2f}, normalized"
            )

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        """Count it."""
        self._done += 1
        self._update(f"{_trial_name(trial)} ended")

    def _update(self, note: str) -> None:
        self._progress = self._progress or Progress("search", self._total, "trials", every_s=0.0)
        self._progress.update(self._done, note=note)
