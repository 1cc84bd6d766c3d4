"""How many trials of a study a cluster takes, and what is reserved for each."""

from __future__ import annotations

from typing import Protocol

from actors.placement import Cluster, ClusterRole, bundle_of
from trainers.config import ExperimentConfig
from trainers.launch import evaluators_bundle, learner_bundle
from trainers.loop import uses_evaluators


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
