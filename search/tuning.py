"""The search itself: Ray Tune runs every trial of a study, and goes on where it was killed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ray import tune

from envs.console import Progress, say
from envs.errors import RunError
from search.config import SweepConfig
from search.scheduler import METRIC, build_scheduler
from search.space import TrialSpec, experiment_of, param_space, trial_path, trial_specs
from trainers.launch import run_inline
from trainers.reporter import TuneReporter

RESULT = "result.json"
TUNE_FOLDER = "tune"


def run_trials(config: SweepConfig, study_dir: Path) -> list[dict[str, Any]]:
    """Run every trial that has not finished; returns one record per trial, in grid order.

    Raises:
        RunError: If a trial failed, naming it and its error file.
    """
    pending = [spec for spec in trial_specs(config) if read_result(study_dir, spec) is None]
    say(f"Search: {len(trial_specs(config))} trials, {len(pending)} to run, early stopping: {config.scheduler}")
    if pending:
        _check_errors(_tuner(config, study_dir).fit())
    return [_record(study_dir, spec) for spec in trial_specs(config)]


def run_trial(params: dict[str, Any], config: SweepConfig, study_dir: Path) -> None:
    """One trial, inside a Tune function: train in this process and report evaluations to Tune."""
    spec = TrialSpec(**params["trial"])
    if read_result(study_dir, spec) is not None:
        return
    run_dir = trial_path(study_dir, spec.trial_id)
    run_inline(experiment_of(config, spec, study_dir), run_dir, reporter=TuneReporter(), group=config.name)


def read_result(study_dir: Path, spec: TrialSpec) -> dict[str, Any] | None:
    """What a finished trial recorded, or None."""
    path = trial_path(study_dir, spec.trial_id) / RESULT
    if not path.exists():
        return None
    result: dict[str, Any] = json.loads(path.read_text())
    return result


def _tuner(config: SweepConfig, study_dir: Path) -> tune.Tuner:
    trainable = _trainable(config, study_dir)
    experiment = study_dir / TUNE_FOLDER
    if tune.Tuner.can_restore(str(experiment)):
        say("Search: resuming the trials of an interrupted run")
        # A trial that ended by an error is tried again from its last checkpoint.
        return tune.Tuner.restore(str(experiment), trainable, resume_unfinished=True, restart_errored=True)
    return tune.Tuner(
        trainable,
        param_space=param_space(config),
        tune_config=tune.TuneConfig(
            metric=METRIC,
            mode="max",
            scheduler=build_scheduler(config),
            max_concurrent_trials=config.max_concurrent_trials or None,
            trial_dirname_creator=_trial_name,
            trial_name_creator=_trial_name,
        ),
        run_config=tune.RunConfig(
            name=TUNE_FOLDER,
            storage_path=str(study_dir.resolve()),
            verbose=0,
            callbacks=[TrialProgress(len(trial_specs(config)))],
            failure_config=tune.FailureConfig(max_failures=2),
            checkpoint_config=tune.CheckpointConfig(num_to_keep=2),
        ),
    )


def _trainable(config: SweepConfig, study_dir: Path) -> Any:
    resources = {"CPU": config.experiment.train.threads_per_worker, "GPU": int(config.experiment.train.use_gpu)}
    return tune.with_resources(
        tune.with_parameters(run_trial, config=config, study_dir=study_dir.resolve()),
        {name: count for name, count in resources.items() if count},
    )


def _trial_name(trial: Any) -> str:
    return TrialSpec(**trial.config["trial"]).trial_id


def _check_errors(results: tune.ResultGrid) -> None:
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
    return {
        "trial_id": spec.trial_id,
        "config_id": spec.config_id,
        "num_levels": spec.num_levels,
        "learning_rate": spec.learning_rate,
        "train_seed": spec.seed,
        "status": "stopped early" if result is None else "finished",
        "wandb_url": "" if result is None else result.get("wandb_url", ""),
        "learner_step": None if result is None else result.get("learner_step"),
    }


class TrialProgress(tune.Callback):
    """One line per finished trial, with the time left."""

    def __init__(self, total: int) -> None:
        self._total, self._done = total, 0
        self._progress: Progress | None = None  # made on first use: Tune pickles its callbacks

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Count it and show what it reached."""
        self._done += 1
        self._progress = self._progress or Progress("search", self._total, "trials", every_s=0.0)
        score = (trial.last_result or {}).get(METRIC)
        note = _trial_name(trial) + ("" if score is None else f": validation {score:.2f} (normalized)")
        self._progress.update(self._done, note=note)
