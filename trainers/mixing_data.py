"""The data that controllers measure on beside the training data: a target, and a reference policy."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file

from data.dataset import Dataset
from data.sampler import BatchSampler
from envs.errors import UsageError
from envs.seeding import derive_seed
from envs.spec import LevelSet
from metrics.protocol import FIRST_TEST_LEVEL, Role
from trainers.algorithms import Algorithm, build_algorithm
from trainers.checkpoint import resolve_pointer
from trainers.config import AlgorithmConfig, ExperimentConfig, NetworkConfig
from trainers.evaluation import NO_PROTOCOL, protocol_of
from trainers.policy_files import DESCRIPTION, PARAMETERS
from trainers.training_data import TrainingData, open_datasets

_OWN_LEVELS = ("strict", "strict-distinct", NO_PROTOCOL)
"""Protocols whose test levels are exactly those from `FIRST_TEST_LEVEL` on."""


def open_target(config: ExperimentConfig, data: TrainingData) -> TrainingData | None:
    """The datasets of `mixing.target`, one group each; None if there is none.

    Raises:
        UsageError: If one is of another environment or holds levels of the sealed test.
    """
    if not config.mixing.target:
        return None
    datasets = open_datasets(config.mixing.target, "mixing.target")
    for name, dataset in datasets.items():
        if dataset.env.name != config.env:
            raise UsageError(
                f"The target {name!r} was recorded in {dataset.env.name!r}, but the experiment is on {config.env!r}."
            )
        _check_not_sealed(name, LevelSet.of(config.env, dataset.levels.tolist()), config, data)
    view = Dataset.concat(list(datasets.values()))
    sizes = tuple(len(dataset) for dataset in datasets.values())
    return TrainingData(
        spec=data.spec,
        view=view,
        sampler=BatchSampler(sizes, config.mixing.probe_size, derive_seed(config.seed, "target")),
        levels=LevelSet.of(config.env, view.levels.tolist()),
        episode_shares=view.episodes["length"].astype(np.float64),
        report={},
        successors=data.successors,
        groups=tuple(datasets),
        group_sizes=sizes,
    )


def _check_not_sealed(name: str, levels: LevelSet, config: ExperimentConfig, data: TrainingData) -> None:
    protocol = config.evaluation.protocol
    sealed = sum(level >= FIRST_TEST_LEVEL for level in levels) if protocol in _OWN_LEVELS else 0
    if protocol != NO_PROTOCOL:
        sealed += levels.overlap(protocol_of(config.evaluation, data.spec, data.levels).split(Role.TEST).levels)
    if sealed:
        raise UsageError(
            f"The target {name!r} holds levels of the sealed test; weights may follow training and validation levels "
            "only. Record the target on validation levels, for example first_level=1000000."
        )


def load_reference(path: str, data: TrainingData, device: torch.device) -> Algorithm:
    """The algorithm of a checkpoint, to compare losses with.

    Raises:
        UsageError: If it is of another environment.
        RunError: If there is no complete checkpoint.
    """
    checkpoint = resolve_pointer(Path(path))
    description = json.loads((checkpoint / DESCRIPTION).read_text())
    if description["env"]["name"] != data.spec.name:
        raise UsageError(
            f"The reference {path} was trained in {description['env']['name']!r}; this run is on {data.spec.name!r}."
        )
    algorithm = build_algorithm(
        data.spec, AlgorithmConfig(**description["algorithm"]), NetworkConfig(**description["network"]), seed=0
    )
    algorithm.load_state_dict(load_file(checkpoint / PARAMETERS))
    return algorithm.to(device).eval()
