"""The search itself: Ray Tune runs the trials of a study that have not ended, and goes on where it was killed.

What was reached lies in the folders of the trials, never in Tune's own state: a study may go on with another number of
machines, whose places are counted anew, and no pickle of a study's directory is ever opened.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ray
from ray import tune

from actors.placement import Bundle, Waiting, read_cluster
from data.files import atomic_write_json
from envs.console import Progress, say
from envs.errors import RunError
from search.config import SweepConfig
from search.failures import ATTEMPTS, FailureLog
from search.keys import withhold_keys
from search.placing import concurrent_trials, trial_bundles, trial_resources
from search.scheduler import METRIC, TIME_ATTRIBUTE, build_scheduler, earlier_reports
from search.space import (
    DIVERGED,
    STOPPED,
    TrialSpec,
    experiment_of,
    group_of,
    has_diverged,
    has_stopped,
    param_space,
    trial_groups,
    trial_path,
    trial_specs,
)
from trainers.checkpoint import latest_checkpoint, read_progress
from trainers.launch import run
from trainers.launch_together import run_together
from trainers.loop import DivergedError
from trainers.reporter import TuneReporter

RESULT = "result.json"
TUNE_FOLDER = "tune"
TRAIN_METRIC = "eval/train/normalized_return"


def run_trials(config: SweepConfig, study_dir: Path) -> list[dict[str, Any]]:
    """Run every trial that has not finished; returns one record per trial, in grid order.

    Raises:
        RunError: If a trial failed, naming it and its error file.
    """
    pending = pending_groups(config, study_dir)
    total = len(trial_groups(config))
    say(f"Search: {total} trials, {len(pending)} to run, early stopping: {config.scheduler}")
    if pending:
        _check_results(_tuner(config, study_dir, pending).fit())
    return [_record(study_dir, spec) for spec in trial_specs(config)]


def pending_groups(config: SweepConfig, study_dir: Path) -> list[list[TrialSpec]]:
    """What is still to run: the groups of `trial_groups` with a member that has not ended.

    A trial that ended by an error counts as not ended: it is tried again from its last checkpoint.
    """
    return [group for group in trial_groups(config) if any(not has_ended(study_dir, spec) for spec in group)]


def run_trial(params: dict[str, Any], config: SweepConfig, study_dir: Path) -> None:
    """One trial, inside a Tune function, which reports evaluations to Tune.

    With one worker this process trains; with more it only waits for a Ray Train worker group. A trial whose loss
    diverges ends: trying it again would come to the same, and the other trials of the study are not to blame.
    """
    specs = group_of(config, params)
    first = specs[0]
    unfinished = [spec for spec in specs if not has_ended(study_dir, spec)]
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


def read_result(study_dir: Path, spec: TrialSpec) -> dict[str, Any] | None:
    """What a finished trial recorded, or None."""
    path = trial_path(study_dir, spec.trial_id) / RESULT
    if not path.exists():
        return None
    result: dict[str, Any] = json.loads(path.read_text())
    return result


def has_ended(study_dir: Path, spec: TrialSpec) -> bool:
    """Whether a trial finished, diverged, or was stopped early."""
    found = read_result(study_dir, spec) is not None
    return found or has_diverged(study_dir, spec) or has_stopped(study_dir, spec)


def start_folder(study_dir: Path) -> Path:
    """Where Tune keeps the state of one start of a study: a folder of its own, because no start reads another's."""
    folder = study_dir.resolve() / TUNE_FOLDER  # Ray takes a relative path for a URI without a scheme
    folder.mkdir(exist_ok=True)
    return folder / f"{len(list(folder.iterdir())):03d}"


def _tuner(config: SweepConfig, study_dir: Path, pending: Sequence[Sequence[TrialSpec]]) -> tune.Tuner:
    withhold_keys()
    cluster, folder = read_cluster(ray), start_folder(study_dir)
    trainable = tune.with_parameters(run_trial, config=config, study_dir=study_dir.resolve())
    progress = TrialProgress(len(pending), trial_resources(config, cluster))
    return tune.Tuner(
        tune.with_resources(trainable, tune.PlacementGroupFactory(trial_bundles(config, cluster))),
        param_space=param_space(pending),
        tune_config=tune.TuneConfig(
            metric=METRIC,
            mode="max",
            scheduler=build_scheduler(config, earlier_reports(config, study_dir)),
            max_concurrent_trials=concurrent_trials(config, cluster),
            trial_dirname_creator=_trial_name,
            trial_name_creator=_trial_name,
        ),
        run_config=tune.RunConfig(
            name=folder.name,
            storage_path=str(folder.parent),
            verbose=0,
            callbacks=[EarlyStops(config, study_dir), progress, FailureLog()],
            failure_config=tune.FailureConfig(max_failures=ATTEMPTS),
            checkpoint_config=tune.CheckpointConfig(num_to_keep=2),
        ),
    )


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


class EarlyStops(tune.Callback):
    """Notes in the folders of a trial's specs that it was stopped early; nothing else of the decision outlives Tune."""

    def __init__(self, config: SweepConfig, study_dir: Path) -> None:
        self._config, self._study_dir = config, study_dir.resolve()

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        """A trial that ended by itself has left a result, or why it diverged."""
        for spec in group_of(self._config, trial.config):
            if not has_ended(self._study_dir, spec):
                step = trial.last_result.get(TIME_ATTRIBUTE)
                note = {"trial_id": spec.trial_id, TIME_ATTRIBUTE: step}
                atomic_write_json(trial_path(self._study_dir, spec.trial_id) / STOPPED, note)


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
