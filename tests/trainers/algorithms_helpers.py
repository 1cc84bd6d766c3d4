"""Cases of algorithms, and batches that fit them."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch

from envs.registry import make_spec
from envs.spec import EnvSpec
from tests.trainers.helpers import random_batch
from trainers.algorithms import ALGORITHMS, Algorithm, build_algorithm
from trainers.batches import TensorBatch
from trainers.config import AlgorithmConfig, NetworkConfig

SEQUENCE_MODELS = ("bct", "dt")
GRID = make_spec("grid/default")
SMALL = NetworkConfig(encoder="small", hidden_size=16)
BYTES = NetworkConfig(encoder="bytes", hidden_size=16)

Case = tuple[str, NetworkConfig, AlgorithmConfig]


def algorithm_config(name: str, members: int = 1, **options: Any) -> AlgorithmConfig:
    if name in SEQUENCE_MODELS:
        options = {"context": 4, "layers": 1, "heads": 2, "width": 16, **options}
    return AlgorithmConfig(name=name, options=options, members=members)


def cases() -> list[Case]:
    """Every algorithm on every kind of environment it can learn from, and every option on at least one."""
    networks = [
        ("grid/default", SMALL),
        ("grid/default", NetworkConfig(encoder="impala", hidden_size=16)),
        ("quiz/default", BYTES),
        ("quiz/default", NetworkConfig(encoder="cross", hidden_size=16)),
    ]
    plain = [
        (env, network, algorithm_config(name))
        for env, network in networks
        for name in sorted(ALGORITHMS)
        if env == "grid/default" or name not in SEQUENCE_MODELS
    ]
    variants = [
        algorithm_config("bc", distillation=0.5),
        algorithm_config("bcq", bins=11),
        algorithm_config("bcq", sharing="maps", target_update="copy"),
        algorithm_config("bcq", sharing="nothing", acting="epsilon"),
        algorithm_config("cql", bins=11),
        algorithm_config("cql", acting="epsilon", target_update="copy", reward_scale=10.0),
        algorithm_config("dt", timesteps=True, clamped=False, scaled_returns=False),
        algorithm_config("iql", bins=11),
        algorithm_config("iql", sharing="nothing", target_update="copy"),
        algorithm_config("iql", level_groups=3),
        *(algorithm_config(name, members=2) for name in ("bc", "bcq", "cql", "iql")),
    ]
    looks = [
        NetworkConfig(encoder="small", hidden_size=16, pooling="average"),
        NetworkConfig(encoder="small", hidden_size=16, pixels="raw"),
        NetworkConfig(encoder="small", hidden_size=16, pixels="unit"),
    ]
    text = [algorithm_config("bcq", bins=5), algorithm_config("cql", bins=5), algorithm_config("iql", members=2)]
    return [
        *plain,
        *(("grid/default", SMALL, variant) for variant in variants),
        *(("grid/default", look, algorithm_config("bc")) for look in looks),
        *(("quiz/default", BYTES, variant) for variant in text),
    ]


def describe(case: Case) -> str:
    env, network, algorithm = case
    options = {name: value for name, value in algorithm.options.items() if name not in ("layers", "heads", "width")}
    look = [value for value in (network.pixels, network.pooling) if value not in ("centered", "flatten")]
    words = [algorithm.name, env.split("/")[0], network.encoder, *look, *(f"{k}={v}" for k, v in options.items())]
    return "-".join(words) + (f"-x{algorithm.members}" if algorithm.members > 1 else "")


def build(case: Case, seed: int = 0) -> Algorithm:
    env, network, algorithm = case
    return build_algorithm(make_spec(env), algorithm, network, seed)


def batch_for(algorithm: Algorithm, spec: EnvSpec, items: int, seed: int = 0) -> TensorBatch:
    """Noise in the form that the algorithm reads: some ends, stored probabilities, levels, and windows with padding."""
    size = items * algorithm.window
    batch, generator = random_batch(spec, size, seed), torch.Generator().manual_seed(seed)
    ends = torch.rand(size, generator=generator) < 0.3
    valid = torch.ones(items, algorithm.window, dtype=torch.bool)
    valid[0, algorithm.window // 2 + 1 :] = False
    return dataclasses.replace(
        batch,
        terminated=ends,
        levels=torch.arange(size) % 10,
        timesteps=torch.arange(size) % 7,
        behavior_log_probs=torch.log_softmax(torch.randn(size, spec.num_actions, generator=generator), dim=1),
        returns_to_go=torch.rand(size, generator=generator),
        valid=valid.reshape(-1),
        window=algorithm.window,
    )
