"""Algorithms by name."""

from __future__ import annotations

import torch

from envs.errors import unknown_name
from envs.seeding import derive_seed
from envs.spec import EnvSpec
from trainers.algorithms.base import Algorithm
from trainers.algorithms.bc import BC
from trainers.algorithms.bcq import BCQ
from trainers.algorithms.bct import BCT
from trainers.algorithms.cql import CQL
from trainers.algorithms.dt import DT
from trainers.algorithms.ensemble import Ensemble
from trainers.algorithms.iql import IQL
from trainers.config import AlgorithmConfig, NetworkConfig

ALGORITHMS: dict[str, type[Algorithm]] = {
    "bc": BC,
    "bcq": BCQ,
    "bct": BCT,
    "cql": CQL,
    "dt": DT,
    "iql": IQL,
}

__all__ = ["ALGORITHMS", "Algorithm", "algorithm_class", "build_algorithm"]


def algorithm_class(name: str) -> type[Algorithm]:
    """The algorithm of that name.

    Raises:
        UsageError: If there is none, with the closest match.
    """
    if name not in ALGORITHMS:
        raise unknown_name("algorithm", name, ALGORITHMS)
    return ALGORITHMS[name]


def build_algorithm(spec: EnvSpec, algorithm: AlgorithmConfig, network: NetworkConfig, seed: int) -> Algorithm:
    """A freshly initialized algorithm; the same seed gives the same parameters, on every worker.

    Raises:
        UsageError: For an unknown algorithm or option.
    """
    chosen = algorithm_class(algorithm.name)

    def build(seed: int) -> Algorithm:
        # Initializers of torch draw from its global generator: fork it, so that nothing outside can tell.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return chosen(spec, network, algorithm.options)

    first = build(derive_seed(seed, "network"))
    if algorithm.members == 1:
        return first
    return Ensemble([first, *(build(derive_seed(seed, "network", index)) for index in range(1, algorithm.members))])
