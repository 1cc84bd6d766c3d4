"""Algorithms by name."""

from __future__ import annotations

import torch

from envs.errors import unknown_name
from envs.seeding import derive_seed
from envs.spec import EnvSpec
from trainers.algorithms.base import Algorithm
from trainers.algorithms.bc import BC
from trainers.config import AlgorithmConfig, NetworkConfig

ALGORITHMS: dict[str, type[Algorithm]] = {
    "bc": BC,
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
    # Initializers of torch draw from its global generator: fork it, so that nothing outside can tell.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, "network"))
        return chosen(spec, network, algorithm.options)
