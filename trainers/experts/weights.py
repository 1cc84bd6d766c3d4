"""Writing an expert's files, within what the package can carry."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save
from torch import Tensor

from data.files import atomic_write_bytes, atomic_write_json, format_bytes
from envs.errors import UsageError
from envs.spec import EnvSpec
from trainers.checkpoint import policy_id
from trainers.config import NetworkConfig
from trainers.experts import FOLDER, expert_names, read_provenance
from trainers.kept import build_network, half, kept_policies, load_kept, select_near

MAX_GAMES = 8
MAX_BYTES = 40_000_000


@dataclasses.dataclass(frozen=True, kw_only=True)
class Candidate:
    """A policy of a finished run that is to be published."""

    name: str
    tensors: dict[str, Tensor]
    """Float16 parameters of the policy network."""
    env: dict[str, Any]
    network: dict[str, Any]
    env_steps: int
    learner_step: int
    elapsed_s: float
    chosen: dict[str, Any]
    """Why it was chosen: the rule, and what it saw."""


def last_policy(run_dir: Path, name: str) -> Candidate:
    """The policy of a run's last checkpoint."""
    checkpoint = run_dir / "checkpoints" / "last"
    description = json.loads((checkpoint / "policy.json").read_text())
    state = json.loads((checkpoint / "state.json").read_text())
    prefix = description["prefix"]
    tensors = load_file(checkpoint / "model.safetensors")
    return Candidate(
        name=name,
        tensors=half({key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}),
        env=description["env"],
        network=description["network"],
        env_steps=state["progress"]["env_steps"],
        learner_step=state["learner_step"],
        elapsed_s=state["progress"]["elapsed_s"],
        chosen={"rule": "last"},
    )


def policies_near(run_dir: Path, name: str, fractions: Sequence[float]) -> list[Candidate]:
    """The kept policies near these fractions of the final return; ``NAME``, and ``NAME-75`` for the fraction 0.75.

    Raises:
        UsageError: If the run did not keep enough of them.
    """
    kept = kept_policies(run_dir)
    chosen = select_near(kept, fractions)
    final = kept[-1].return_mean
    return [
        Candidate(
            name=name if fraction == 1 else f"{name}-{100 * fraction:g}",
            tensors=load_kept(policy),
            env=policy.env,
            network=policy.network,
            env_steps=policy.env_steps,
            learner_step=policy.learner_step,
            elapsed_s=policy.elapsed_s,
            chosen={
                "rule": "training return nearest to a fraction of the final one",
                "fraction": fraction,
                "training_return": round(policy.return_mean, 3),
                "final_training_return": round(final, 3),
                "num_episodes": policy.num_episodes,
                "candidates": len(kept),
            },
        )
        for fraction, policy in zip(fractions, chosen, strict=True)
    ]


def check_room(candidates: Sequence[Candidate], folder: Path = FOLDER) -> None:
    """Refuse what the package should not carry; files of the same names are replaced.

    Raises:
        UsageError: Beyond eight games or 40 MB of weights in all.
    """
    new = {candidate.name: len(save(candidate.tensors)) for candidate in candidates}
    others = [name for name in expert_names(folder) if name not in new]
    games = {read_provenance(name, folder)["env_spec"]["name"] for name in others}
    games |= {candidate.env["name"] for candidate in candidates}
    if len(games) > MAX_GAMES:
        raise UsageError(
            f"With these there would be experts for {len(games)} games ({', '.join(sorted(games))}); at most "
            f"{MAX_GAMES} are published. Remove those of another game first."
        )
    total = sum(new.values()) + sum((folder / f"{name}.safetensors").stat().st_size for name in others)
    if total > MAX_BYTES:
        raise UsageError(
            f"With these the weights would take {format_bytes(total)}; at most {format_bytes(MAX_BYTES)} are "
            "published. Remove others first, or publish a smaller network."
        )


def write_expert(candidate: Candidate, config: Mapping[str, Any], folder: Path = FOLDER) -> dict[str, Any]:
    """Write ``<name>.safetensors`` in float16 and a ``<name>.json`` that `load_expert` can read.

    Args:
        candidate: What.
        config: The run's configuration.
        folder: Where.

    Returns:
        What the JSON file holds.
    """
    spec, network = EnvSpec.from_json(candidate.env), NetworkConfig(**candidate.network)
    atomic_write_bytes(folder / f"{candidate.name}.safetensors", save(candidate.tensors))
    provenance = {
        "name": candidate.name,
        "license": "MIT",
        "policy_id": policy_id(build_network(spec, network, candidate.tensors)),
        "env_spec": candidate.env,
        "network": candidate.network,
        "num_parameters": sum(tensor.numel() for tensor in candidate.tensors.values()),
        "chosen": candidate.chosen,
        "training": {
            "algorithm": "PPO",
            "levels": f"0..{config['num_levels'] - 1}",
            "env_steps": candidate.env_steps,
            "learner_steps": candidate.learner_step,
            "wall_s": round(candidate.elapsed_s),
            "seed": config["seed"],
            "config": {key: value for key, value in config.items() if key != "tracking"},
        },
    }
    atomic_write_json(folder / f"{candidate.name}.json", provenance)
    return provenance
