"""Policies that a run keeps on the way, as small float16 weights, so that one of a wanted strength can be chosen.

``kept/steps-000000819200.safetensors`` holds a policy's parameters, the JSON file beside it what it is and the mean
return of the training episodes that ended last before it.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save
from torch import Tensor

from data.files import atomic_write_bytes, atomic_write_json
from envs.errors import RunError, UsageError
from envs.spec import EnvSpec
from trainers.checkpoint import policy_id
from trainers.config import NetworkConfig
from trainers.networks import PolicyNetwork, build_policy_network

FOLDER = "kept"


@dataclass(frozen=True, kw_only=True)
class KeptPolicy:
    """One of them."""

    weights: Path
    policy_id: str
    """Of the rounded weights."""
    env: dict[str, Any]
    network: dict[str, Any]
    env_steps: int
    learner_step: int
    elapsed_s: float
    return_mean: float
    """Raw return of training episodes, sampled actions; NaN where none had ended."""
    num_episodes: int
    """How many that is."""


def keep_policy(
    run_dir: Path,
    network: PolicyNetwork,
    spec: EnvSpec,
    config: NetworkConfig,
    *,
    env_steps: int,
    learner_step: int,
    elapsed_s: float,
    returns: Sequence[float],
) -> KeptPolicy:
    """Write a policy; the JSON file is written last and makes it count.

    Raises:
        RunError: If the disk is full.
    """
    folder = run_dir / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    tensors = half(network.state_dict())
    path = folder / f"steps-{env_steps:012d}.safetensors"
    kept = KeptPolicy(
        weights=path,
        policy_id=policy_id(build_network(spec, config, tensors)),
        env=spec.to_json(),
        network=dataclasses.asdict(config),
        env_steps=env_steps,
        learner_step=learner_step,
        elapsed_s=elapsed_s,
        return_mean=float(np.mean(returns)) if len(returns) else float("nan"),
        num_episodes=len(returns),
    )
    atomic_write_bytes(path, save(tensors))
    values = {**dataclasses.asdict(kept), "weights": path.name}
    atomic_write_json(path.with_suffix(".json"), {**values, "return_mean": kept.return_mean if len(returns) else None})
    return kept


def half(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Float16 copies in ordinary memory."""
    return {name: tensor.detach().to("cpu", torch.float16).contiguous() for name, tensor in state.items()}


def build_network(spec: EnvSpec, config: NetworkConfig, tensors: dict[str, Tensor]) -> PolicyNetwork:
    """A policy network with these parameters."""
    with torch.random.fork_rng(devices=[]):
        network = build_policy_network(spec, config)
    network.load_state_dict(tensors)  # float16 is widened on the way
    return network


def kept_policies(run_dir: Path) -> list[KeptPolicy]:
    """What a run has kept, in order of environment steps.

    Raises:
        RunError: If a description is damaged.
    """
    found = []
    for path in sorted((run_dir / FOLDER).glob("steps-*.json")):
        try:
            values = json.loads(path.read_text())
            values["return_mean"] = float("nan") if values["return_mean"] is None else float(values["return_mean"])
            found.append(KeptPolicy(**{**values, "weights": path.with_name(values["weights"])}))
        except (ValueError, KeyError, TypeError) as error:
            raise RunError(
                f"{path} is damaged ({type(error).__name__}: {error}); delete it with its weights."
            ) from error
    return found


def load_kept(kept: KeptPolicy) -> dict[str, Tensor]:
    """The float16 parameters.

    Raises:
        RunError: If the file is damaged.
    """
    try:
        tensors: dict[str, Tensor] = load_file(kept.weights)
    except Exception as error:
        raise RunError(f"{kept.weights} cannot be read ({type(error).__name__}: {error}).") from error
    return tensors


def forget_after(run_dir: Path, env_steps: int) -> None:
    """Delete what was kept beyond the checkpoint that a run goes on from: those updates are made again, otherwise."""
    for kept in kept_policies(run_dir):
        if kept.env_steps > env_steps:
            kept.weights.with_suffix(".json").unlink(missing_ok=True)
            kept.weights.unlink(missing_ok=True)


def select_near(kept: Sequence[KeptPolicy], fractions: Sequence[float]) -> list[KeptPolicy]:
    """For each fraction of the final return the policy whose mean return is nearest to it.

    The last policy is the final one and stands for the fraction 1; of equally near ones the earliest is taken.

    Args:
        kept: In order of environment steps.
        fractions: Each above 0 and at most 1.

    Raises:
        UsageError: If nothing was kept, a fraction is out of range, or two fractions lead to the same policy.
    """
    known = [policy for policy in kept if policy.num_episodes]
    if not known:
        raise UsageError("The run has kept no policies; train with keep_every_env_steps, for example 500000.")
    if wrong := [fraction for fraction in fractions if not 0 < fraction <= 1]:
        raise UsageError(
            f"The fraction {wrong[0]:g} of the final return is not allowed; it lies above 0 and at most 1."
        )
    final = known[-1]
    chosen = [
        final if fraction == 1 else min(known, key=lambda one: abs(one.return_mean - fraction * final.return_mean))
        for fraction in fractions
    ]
    if len({policy.env_steps for policy in chosen}) < len(chosen):
        raise UsageError(
            f"The run kept {len(known)} policies, too few to tell the fractions {list(fractions)} of its final return "
            f"{final.return_mean:.2f} apart; keep more of them (keep_every_env_steps)."
        )
    return chosen
