"""Trained policies that come with the package, as float16 weights with their provenance beside them.

``<name>.safetensors`` holds the policy's parameters, ``<name>.json`` the environment, the network, how it was trained
and what it reaches. They are behavior policies to collect data with, not records.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from envs.errors import RunError, unknown_name
from envs.spec import EnvSpec
from trainers.config import NetworkConfig
from trainers.networks import build_policy_network
from trainers.torch_policy import TorchPolicy

FOLDER = Path(__file__).parent


def expert_names(folder: Path = FOLDER) -> list[str]:
    """Every policy in the folder."""
    return sorted(path.stem for path in folder.glob("*.safetensors"))


def read_provenance(name: str, folder: Path = FOLDER) -> dict[str, Any]:
    """How the policy was trained and what it reaches.

    Raises:
        UsageError: For an unknown name, with the closest match.
    """
    if name not in expert_names(folder):
        raise unknown_name("expert", name, expert_names(folder))
    provenance: dict[str, Any] = json.loads((folder / f"{name}.json").read_text())
    return provenance


def load_expert(name: str, folder: Path = FOLDER, device: torch.device | str = "cpu") -> TorchPolicy:
    """The policy, ready to act.

    Args:
        name: For example ``"starpilot"``.
        folder: Where to look.
        device: Where it computes.

    Raises:
        UsageError: For an unknown name, with the closest match.
        RunError: If the files are damaged.
    """
    provenance = read_provenance(name, folder)
    try:
        spec = EnvSpec.from_json(provenance["env_spec"])
        with torch.random.fork_rng(devices=[]):
            network = build_policy_network(spec, NetworkConfig(**provenance["network"]))
        network.load_state_dict(load_file(folder / f"{name}.safetensors"))  # float16 is widened on the way
    except Exception as error:
        raise RunError(f"The expert {name!r} in {folder} is damaged: {type(error).__name__}: {error}") from error
    policy = TorchPolicy(network.eval(), spec, provenance["policy_id"], device)
    policy.freeze()
    return policy
