"""What a run learns from: recorded data, the mixture realised from it, and the batch of every learner step."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from data.dataset import Dataset
from data.measures import measure
from data.mixture import Mixture, RealisedMixture
from data.sampler import BatchSampler
from data.schedule import ControlledSchedule
from envs.errors import UsageError
from envs.spec import EnvSpec, LevelSet
from trainers.algorithms import algorithm_class
from trainers.batches import TensorBatch, to_tensors
from trainers.config import DataConfig, ExperimentConfig, TrainConfig
from trainers.distributed import WorkerContext
from trainers.resident import ResidentRows, make_resident


@dataclass(frozen=True, kw_only=True)
class TrainingData:
    """A realised mixture and how it is drawn."""

    spec: EnvSpec
    view: Dataset
    sampler: BatchSampler
    levels: LevelSet
    """Levels of the realised mixture."""
    episode_shares: npt.NDArray[np.float64]  # [E] share of the draws of each episode, to scale
    report: dict[str, Any]
    """The realised mixture, as JSON."""
    successors: bool = False
    """Whether batches carry the next observations."""
    resident: ResidentRows | None = None
    """The same transitions on the worker's device."""
    groups: tuple[str, ...] = ()
    """[S] names of the mixture's sources, in the order of the view."""
    group_sizes: tuple[int, ...] = ()
    """[S] transitions of each."""
    schedule: ControlledSchedule | None = None
    """Weights that a controller moves; the sampler follows them."""

    @property
    def other_levels(self) -> dict[str, LevelSet]:
        """The levels that are learned from of every other environment than the one in which the policy is judged."""
        others = [env for env in self.view.envs if env != self.spec.name]
        return {env: LevelSet.of(env, self.view.levels_of(env).tolist()) for env in others}

    @cached_property
    def diversity(self) -> dict[str, float]:
        """The realised diversity, counted and measured, and the mixture, under their metric names."""
        numbers = {name: value for name, value in self.report.items() if isinstance(value, int | float)}
        sources = self.report.get("sources", {})
        parts = {
            f"data/mixture/{what}/{name}": float(source[what])
            for name, source in sources.items()
            for what in ("weight", "transitions", "repetitions", "epochs")
            if what in source
        }
        named = {**numbers, **measure(self.view, self.episode_shares)}
        return {f"data/diversity/{name}": float(value) for name, value in named.items()} | parts

    def batch(self, learner_step: int, context: WorkerContext) -> TensorBatch:
        """This worker's share of the batch of a learner step (counted from 1); see `rows` for where it is."""
        return self.rows(self.sampler.indices(learner_step - 1, context.rank, context.world_size), context)

    def rows(self, indices: npt.NDArray[np.int64], context: WorkerContext) -> TensorBatch:
        """The transitions at `indices` [B]: on the device if the data is resident there, else in CPU memory."""
        if self.resident is not None:
            return self.resident.rows(indices)
        batch = to_tensors(self.view.batch(indices, successors=self.successors))
        return batch.pin_memory() if context.device.type == "cuda" else batch

    def placed(self, config: TrainConfig, context: WorkerContext) -> TrainingData:
        """The same data, where the config wants it.

        Raises:
            UsageError: If it must be in the device's memory and does not fit.
        """
        resident = make_resident(self.view, config, context, self.successors)
        return dataclasses.replace(self, resident=resident)


def open_training_data(config: ExperimentConfig) -> TrainingData:
    """Open the datasets of an experiment and realise its mixture.

    Every train seed sees the same transitions, in its own order.

    Raises:
        UsageError: If there is no dataset, one is of another environment, or the mixture cannot be realised.
        RunError: If a dataset is damaged.
    """
    datasets = open_datasets(config.data.datasets)
    check_envs(config, datasets)
    realised = build_mixture(config.data, list(datasets)).realise(datasets)
    if config.env not in realised.view.envs:
        raise UsageError(
            f"The mixture holds nothing of {config.env!r}, in which the policy is judged; give its dataset a weight."
        )
    _count_epochs(realised, config.train)
    schedule = _controlled(realised) if config.mixing.controller != "none" else None
    return TrainingData(
        spec=next(dataset.env for dataset in datasets.values() if dataset.env.name == config.env),
        view=realised.view,
        sampler=BatchSampler(realised.group_sizes, config.train.batch_size, config.seed, schedule or realised.schedule),
        levels=LevelSet.of(config.env, realised.view.levels_of(config.env).tolist()),
        episode_shares=realised.episode_shares,
        report=realised.report,
        successors=algorithm_class(config.algorithm.name).needs_successors,
        groups=tuple(realised.report["sources"]),
        group_sizes=realised.group_sizes,
        schedule=schedule,
    )


def check_envs(config: ExperimentConfig, datasets: Mapping[str, Dataset]) -> None:
    """Refuse datasets of environments that the experiment does not name.

    Raises:
        UsageError: Naming the dataset, or that there is none of the environment in which the policy is judged.
    """
    others = config.data.other_envs
    if config.env in others or len(set(others)) < len(others):
        raise UsageError(f"data.other_envs is {list(others)}; it holds environments besides {config.env!r}, each once.")
    if config.evaluation.each_env and (not others or config.evaluation.num_evaluators):
        raise UsageError(
            f"evaluation.each_env judges in every one of data.other_envs, which is {list(others)}, while the learner "
            f"waits; set those, and evaluation.num_evaluators, which is {config.evaluation.num_evaluators}, to 0."
        )
    if others and config.data.strata:
        raise UsageError(
            f"data.strata={config.data.strata} divides the levels of one environment, and the data is of "
            f"{1 + len(others)}; give data.weights over the datasets."
        )
    for name, dataset in datasets.items():
        if dataset.env.name not in (config.env, *others):
            raise UsageError(
                f"The dataset {name!r} was recorded in {dataset.env.name!r}, but the experiment is on {config.env!r}. "
                f"Set env={dataset.env.name}, give a dataset of {config.env!r}, or mix both with "
                f"data.other_envs={dataset.env.name}."
            )
    found = {dataset.env.name for dataset in datasets.values()}
    if missing := sorted({config.env, *others} - found):
        raise UsageError(f"No dataset was recorded in {', '.join(missing)}; the datasets are of {sorted(found)}.")


def _count_epochs(realised: RealisedMixture, config: TrainConfig) -> None:
    """Record how often a transition of each source will have been drawn at the end."""
    draws = config.learner_steps * config.batch_size
    for source in realised.report["sources"].values():
        source["epochs"] = source["weight"] * draws / source["transitions"]


def _controlled(realised: RealisedMixture) -> ControlledSchedule:
    """Starts with the mixture's own weights, or by size."""
    return ControlledSchedule([source["weight"] for source in realised.report["sources"].values()])


def open_datasets(paths: Sequence[str], field: str = "data.datasets") -> dict[str, Dataset]:
    """The datasets by the name of their folder, or by their path where two folders share a name.

    Raises:
        UsageError: If none is given, or one twice.
    """
    if not paths:
        raise UsageError(
            "The experiment names no dataset. Record one with `gengap collect`, then give it with --data DIR "
            "or data.datasets=\"('DIR',)\"."
        )
    folders = [Path(path).name for path in paths]
    unique = len(set(folders)) == len(folders)
    names = folders if unique else list(paths)
    if len(set(names)) < len(names):
        raise UsageError(f"{field} lists a dataset twice: {list(paths)}; give each once.")
    return {name: Dataset.open(path) for name, path in zip(names, paths, strict=True)}


def build_mixture(config: DataConfig, names: list[str]) -> Mixture:
    """The mixture that a config describes over the named datasets.

    Raises:
        UsageError: If there is not one weight per dataset, weights do not sum to one, or are over datasets and strata.
    """
    if config.strata_weights and not config.strata:
        raise UsageError("data.strata_weights needs the tag in data.strata, for example data.strata=department.")
    if config.strata and config.weights:
        raise UsageError("data.weights are over datasets and data.strata over levels; leave one of them out.")
    if config.weights and len(config.weights) != len(names):
        raise UsageError(
            f"data.weights has {len(config.weights)} entries for {len(names)} datasets; give one each, or none."
        )
    by_dataset = dict(zip(names, config.weights, strict=True)) if config.weights else {}
    return Mixture(
        weights=config.strata_weights if config.strata else by_dataset,
        strata=config.strata or None,
        several_envs=bool(config.other_envs),
        num_levels=config.num_levels,
        levels_per_source=config.levels_per_source,
        source_fraction=config.source_fraction,
        max_transitions=config.max_transitions,
        on_shortage=config.on_shortage,
        repetition_cap=config.repetition_cap,
        episode_order=config.episode_order,
        best_fraction=config.best_fraction,
        best_of=config.best_of,
    )
