"""Ray Tune runs the trials of a mixture search: proposers are asked as places come free, seeds stand side by side."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune.schedulers import TrialScheduler
from ray.tune.search import Searcher

from actors.placement import read_cluster
from data.files import atomic_write_json
from envs.console import Progress, say
from envs.errors import RunError
from search.failures import ATTEMPTS, FailureLog
from search.keys import withhold_keys
from search.mixture_arms import Arms
from search.mixture_config import RETURN, MixtureSearchConfig
from search.mixture_trials import MixtureTrial, experiment_of
from search.placing import concurrent_trials, trial_bundles
from search.scheduler import TIME_ATTRIBUTE, Report, halving, reported_scores
from search.space import DIVERGED, trial_path
from search.study import RESULT_FILE
from search.tuning import start_folder
from trainers.launch import run
from trainers.loop import DivergedError
from trainers.reporter import TuneReporter


def search_mixtures(config: MixtureSearchConfig, arms: Arms, study_dir: Path) -> None:
    """Run the trials of every arm that have not ended.

    Raises:
        RunError: If a trial failed, naming it and its error file.
    """
    searcher = ArmSearcher(arms)
    remaining = sum(config.num_proposals - len(proposer.asked) for proposer in arms.proposers.values())
    count = remaining * len(config.seeds) + len(searcher.queue)
    total = len(arms.proposers) * config.num_proposals * len(config.seeds)
    say(f"Search: {total} trials of {len(arms.proposers)} arms, {count} to run, early stopping: {config.scheduler}")
    if count:
        _fit(config, study_dir, count, searcher=searcher, scheduler=early_stopping(config, arms, study_dir))


def confirm_mixtures(
    config: MixtureSearchConfig, trials: Sequence[MixtureTrial], study_dir: Path, *, label: str = "confirm"
) -> None:
    """Run full trainings that have no result yet.

    Raises:
        RunError: If one failed.
    """
    pending = [t for t in trials if not (trial_path(study_dir, t.trial_id) / RESULT_FILE).exists()]
    say(f"{label.capitalize()}: {len(trials)} full runs on fresh seeds, {len(pending)} to run")
    if pending:
        _fit(config, study_dir, len(pending), trials=pending, label=label)


def run_mixture_trial(params: dict[str, Any], config: MixtureSearchConfig, study_dir: Path) -> None:
    """One trial, inside a Tune function; a trial whose loss diverges ends, and is not tried again."""
    trial = MixtureTrial.from_json(params["trial"])
    run_dir = trial_path(study_dir, trial.trial_id)
    if (run_dir / RESULT_FILE).exists() or (run_dir / DIVERGED).exists():
        return
    experiment = experiment_of(config, trial, study_dir)
    try:
        run(experiment, run_dir, reporter=TuneReporter(), group=f"{config.name}/{trial.config_id}")
    except DivergedError as error:
        atomic_write_json(run_dir / DIVERGED, {"trial_id": trial.trial_id, "error": str(error)})


class ArmSearcher(Searcher):
    """Hands Tune the seeds of one configuration after the other, and the arms what came of them.

    Nothing of it needs saving: the arms are restored from the study's own log.
    """

    def __init__(self, arms: Arms) -> None:
        super().__init__()
        self._arms = arms
        self.queue: deque[MixtureTrial] = deque(arms.unfinished())
        self._running: dict[str, MixtureTrial] = {}

    def set_search_properties(self, metric: str | None, mode: str | None, config: dict[str, Any], **spec: Any) -> bool:
        """Nothing to learn: the study says what is searched."""
        return True

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The next trial, or that there is none."""
        if not self.queue:
            self.queue.extend(self._arms.next_trials())
        if not self.queue:
            return str(Searcher.FINISHED)
        self._running[trial_id] = self.queue.popleft()
        return {"trial": dataclasses.asdict(self._running[trial_id])}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Tell the arm; a trial that ended by an error is run again when the study is resumed."""
        trial = self._running.pop(trial_id, None)
        if trial is not None and not error:
            self._arms.end(trial)

    def save(self, checkpoint_path: str) -> None:
        """Nothing: see above."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: see above."""

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles its searcher now and then; open files and proposers stay here."""
        return {}


def _fit(
    config: MixtureSearchConfig,
    study_dir: Path,
    count: int,
    *,
    searcher: ArmSearcher | None = None,
    scheduler: TrialScheduler | None = None,
    trials: Sequence[MixtureTrial] = (),
    label: str = "search",
) -> None:
    withhold_keys()
    cluster, folder = read_cluster(ray), start_folder(study_dir)
    trainable = tune.with_resources(
        tune.with_parameters(run_mixture_trial, config=config, study_dir=study_dir.resolve()),
        tune.PlacementGroupFactory(trial_bundles(config, cluster)),
    )
    grid = {"trial": tune.grid_search([dataclasses.asdict(trial) for trial in trials])} if trials else None
    tuner = tune.Tuner(
        trainable,
        param_space=grid,
        tune_config=tune.TuneConfig(
            metric=config.objectives[0] if config.objectives[0].startswith(RETURN) else RETURN,
            mode="max",
            search_alg=searcher,
            num_samples=count if searcher is not None else 1,
            scheduler=scheduler,
            max_concurrent_trials=concurrent_trials(config, cluster),
            trial_dirname_creator=_trial_name,
            trial_name_creator=_trial_name,
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            name=folder.name,  # what counts is in the study's log and in the trials' folders
            storage_path=str(folder.parent),
            verbose=0,
            callbacks=[MixtureProgress(label, count), FailureLog()],
            failure_config=tune.FailureConfig(max_failures=ATTEMPTS),
            checkpoint_config=tune.CheckpointConfig(num_to_keep=2),
        ),
    )
    _check(tuner.fit())


def early_stopping(config: MixtureSearchConfig, arms: Arms, study_dir: Path) -> TrialScheduler | None:
    """The scheduler that the study names, which knows what its trials have reported before; None for none."""
    if config.scheduler == "none":
        return None
    every = config.experiment.train.evaluate_every
    scheduler = halving(_arm_of, _config_of, len(config.seeds), config.trial_steps, every)
    scheduler.recall(earlier_reports(arms, study_dir))
    return scheduler


def earlier_reports(arms: Arms, study_dir: Path) -> list[Report]:
    """What the trials of a study have reported so far, in the order of learner steps."""
    reports = [
        ({"trial": dataclasses.asdict(trial)}, step, score)
        for trial in arms.trials()
        for step, score in reported_scores(trial_path(study_dir, trial.trial_id)).items()
    ]
    return sorted(reports, key=lambda report: report[1])


def _arm_of(config: dict[str, Any]) -> str:
    return str(config["trial"]["arm"])


def _config_of(config: dict[str, Any]) -> str:
    return MixtureTrial.from_json(config["trial"]).config_id


def _trial_name(trial: Any) -> str:
    return MixtureTrial.from_json(trial.config["trial"]).trial_id


def _check(results: tune.ResultGrid) -> None:
    failed = [result for result in results if result.error is not None]
    if failed:
        raise RunError(
            f"{len(failed)} of {len(results)} trials failed; the first in {failed[0].path}: {failed[0].error}. "
            "Mend the cause and run the same command again: finished trials are kept."
        )


class MixtureProgress(tune.Callback):
    """A line per finished trial with the time left."""

    def __init__(self, label: str, total: int) -> None:
        self._label, self._total, self._done = label, total, 0
        self._progress: Progress | None = None  # made on first use: Tune pickles its callbacks

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        """The clock runs from the first start."""
        self._progress = self._progress or Progress(self._label, self._total, "trials", every_s=0.0)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        """Count it."""
        self._done += 1
        score, step = trial.last_result.get(RETURN), trial.last_result.get(TIME_ATTRIBUTE)
        reached = "ended" if score is None else f"step {step}: validation {score:.3f}, normalized"
        if self._progress is not None:
            self._progress.update(self._done, note=f"{_trial_name(trial)} {reached}")
