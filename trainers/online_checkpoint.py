"""Checkpoints of online training, with the files of `trainers.checkpoint`: `load_policy` reads both kinds."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from pathlib import Path
from typing import Any
from uuid import uuid4

import torch
from safetensors.torch import load_file

from data.files import disk_errors, sync_directory
from envs.errors import RunError
from envs.spec import EnvSpec
from trainers.actor_critic import PPOLearner
from trainers.checkpoint import METRICS, policy_id, sync_file
from trainers.checkpoint_files import new_checkpoint, save_state, save_tensors
from trainers.ppo import Moments

LAST = "last"


def save_learner(run_dir: Path, learner: PPOLearner, spec: EnvSpec, config: Any, progress: Any) -> Path:
    """Write ``checkpoints/update-<n>``, point ``checkpoints/last`` at it and delete the ones before.

    Args:
        run_dir: The run.
        learner: Parameters, optimizer, reward scale and counters are saved; nothing of the environments is.
        spec: The environment of the policy.
        config: The run's configuration, a dataclass with a field ``network``.
        progress: A dataclass of plain values, returned by `restore_learner`.

    Raises:
        RunError: If the disk is full.
    """
    folder = run_dir / "checkpoints"
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        if (run_dir / METRICS).exists():  # rows before a checkpoint are not written again after it
            sync_file(run_dir / METRICS)
        target = folder / f"update-{learner.updates:06d}"
        with new_checkpoint(target) as temporary:
            _write(temporary, learner, spec, config, progress)
        sync_directory(folder)
        link = folder / f".{LAST}-{uuid4().hex[:8]}"
        link.symlink_to(target.name)
        os.replace(link, folder / LAST)
        sync_directory(folder)  # before what it replaces is deleted
    for entry in folder.iterdir():
        if entry.is_dir() and not entry.is_symlink() and entry.name != target.name:
            shutil.rmtree(entry, ignore_errors=True)
    return target


def restore_learner(run_dir: Path, learner: PPOLearner) -> dict[str, Any] | None:
    """Put the learner into the state of the run's last checkpoint.

    Returns:
        The progress that was saved with it, or None if the run has no checkpoint yet.

    Raises:
        RunError: If the checkpoint is damaged or of another network.
    """
    checkpoint = run_dir / "checkpoints" / LAST
    if not (checkpoint / "state.json").exists():
        return None
    try:
        learner.module.load_state_dict(load_file(checkpoint / "model.safetensors", device=str(learner.device)))
        state = torch.load(checkpoint / "optimizer.pt", map_location=learner.device, weights_only=True)
        learner.optimizer.load_state_dict(state)
        counters = json.loads((checkpoint / "state.json").read_text())
        learner.updates, learner.learner_step = counters["updates"], counters["learner_step"]
        learner.rewards.moments = Moments(**counters["reward_moments"])
    except Exception as error:
        raise RunError(
            f"The checkpoint {checkpoint} cannot be read ({type(error).__name__}: {error}). It is damaged or of "
            "another network; train into another directory."
        ) from error
    progress: dict[str, Any] = counters["progress"]
    return progress


def _write(folder: Path, learner: PPOLearner, spec: EnvSpec, config: Any, progress: Any) -> None:
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in learner.module.state_dict().items()}
    save_tensors(tensors, folder / "model.safetensors")
    save_state(learner.optimizer.state_dict(), folder / "optimizer.pt")
    parts: dict[str, Any] = {
        "policy.json": {
            "policy_id": policy_id(learner.module.policy),
            "env": spec.to_json(),
            "network": dataclasses.asdict(config.network),
            "prefix": "policy.",
        },
        "state.json": {
            "updates": learner.updates,
            "learner_step": learner.learner_step,
            "reward_moments": dataclasses.asdict(learner.rewards.moments),
            "progress": dataclasses.asdict(progress),
        },
        "config.json": dataclasses.asdict(config),
    }
    for name, value in parts.items():
        (folder / name).write_text(json.dumps(value, indent=1, sort_keys=True) + "\n")
    for file in folder.iterdir():
        sync_file(file)
