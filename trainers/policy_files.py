"""Policies in checkpoints: what names one, what is needed to act with it, and how it is read."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from envs.spec import EnvSpec
from trainers.algorithms import Algorithm, build_algorithm
from trainers.averaging import WeightAverage
from trainers.config import AlgorithmConfig, ExperimentConfig, NetworkConfig, Precision
from trainers.networks import build_policy_network
from trainers.sequence_policy import build_policy
from trainers.torch_policy import TorchPolicy

PARAMETERS = "model.safetensors"
DESCRIPTION = "policy.json"


def policy_id(network: nn.Module) -> str:
    """``"policy-"`` and twelve hex digits of the parameters."""
    digest = hashlib.blake2b(digest_size=6)
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return f"policy-{digest.hexdigest()}"


def network_id(checkpoint: Path) -> str:
    """What a checkpoint says that its parameters are called; empty where it does not say."""
    try:
        return str(json.loads((checkpoint / DESCRIPTION).read_text()).get("policy_id", ""))
    except (OSError, ValueError):
        return ""


def describe_policy(policy: nn.Module, algorithm: Algorithm, config: ExperimentConfig, spec: EnvSpec) -> dict[str, Any]:
    """What `read_policy` needs beside the parameters, as JSON; ``prefix`` where the policy is a part by itself."""
    description = {
        "policy_id": policy_id(policy),
        "env": spec.to_json(),
        "network": dataclasses.asdict(config.network),
        "algorithm": dataclasses.asdict(config.algorithm),
        "precision": config.train.precision,
    }
    own = algorithm.policy()
    prefixes = [f"{name}." for name, module in algorithm.named_modules() if module is own]
    return {**description, **({"prefix": prefixes[0]} if prefixes else {})}


def read_policy(checkpoint: Path, device: torch.device | str) -> TorchPolicy:
    """The policy of a checkpoint; what is wrong with damaged files is left to the caller to tell."""
    description = json.loads((checkpoint / DESCRIPTION).read_text())
    spec = EnvSpec.from_json(description["env"])
    tensors = load_file(checkpoint / PARAMETERS)
    network = _network(spec, description, tensors)
    precision: Precision = description.get("precision", "auto")
    policy = build_policy(network.eval(), spec, description["policy_id"], device, precision)
    policy.freeze()
    return policy


def _network(spec: EnvSpec, description: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> nn.Module:
    network = NetworkConfig(**description["network"])
    if "algorithm" in description:
        algorithm = build_algorithm(spec, AlgorithmConfig(**description["algorithm"]), network, seed=0)
        algorithm.load_state_dict(tensors)
        return algorithm.policy()
    with torch.random.fork_rng(devices=[]):
        policy = build_policy_network(spec, network)
    prefix = description["prefix"]
    policy.load_state_dict(
        {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
    )
    return policy


def with_average(algorithm: Algorithm, average: WeightAverage) -> dict[str, Tensor]:
    """The algorithm's tensors by name, those of the policy replaced by the averages."""
    averages = {id(own): mean for own, mean in zip(_tensors(average.source), _tensors(average.policy), strict=True)}
    named = chain(algorithm.named_parameters(), algorithm.named_buffers())
    return {name: averages.get(id(tensor), tensor) for name, tensor in named}


def load_average(average: WeightAverage, algorithm: Algorithm, tensors: Mapping[str, Tensor]) -> None:
    """Put back what `with_average` gave."""
    names = {id(tensor): name for name, tensor in chain(algorithm.named_parameters(), algorithm.named_buffers())}
    with torch.no_grad():
        for own, mean in zip(_tensors(average.source), _tensors(average.policy), strict=True):
            mean.copy_(tensors[names[id(own)]])


def _tensors(module: nn.Module) -> Iterator[Tensor]:
    return chain(module.parameters(), module.buffers())
