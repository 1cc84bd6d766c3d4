"""Checkpoints: complete, atomic, and unable to run code when they are read.

A run keeps ``checkpoints/step-00000600/`` for its last and its best step, with links ``last`` and ``best`` to them:

    model.safetensors   every parameter of the algorithm
    policy.json         what is needed to act: env spec, algorithm, network, policy id
    optimizer.pt        optimizer state (read with ``weights_only``)
    state.json          learner step and everything else that resuming needs
    config.json         the experiment

With weight averaging ``step-00000600-averaged/`` beside it (linked as ``averaged``) holds the same without the
optimizer, the policy's parameters being the averaged ones.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import torch
from safetensors.torch import load_file
from torch import Tensor

from data.files import atomic_write_json, disk_errors, sync_directory
from envs.errors import RunError
from envs.spec import EnvSpec
from trainers.checkpoint_files import new_checkpoint, save_state, save_tensors
from trainers.config import ExperimentConfig
from trainers.learner import Learner
from trainers.policy_files import (
    DESCRIPTION,
    PARAMETERS,
    describe_policy,
    load_average,
    read_policy,
    with_average,
)
from trainers.policy_files import policy_id as policy_id
from trainers.torch_policy import TorchPolicy

LAST, BEST, AVERAGED = "last", "best", "averaged"
POINTER = "pointer.json"


@dataclass(frozen=True, kw_only=True)
class Progress:
    """What resuming needs beside parameters and optimizer; the sampler needs only the step."""

    learner_step: int = 0
    loss_sums: dict[str, float] = field(default_factory=dict)
    """Sums since the last row of step metrics, so that the next row is the same as without the interruption."""
    evaluation: dict[str, float] = field(default_factory=dict)
    """The latest one; reported again on resuming, because its report may have been lost."""
    evaluated_step: int = 0
    best_step: int = 0
    best_score: float | None = None
    mixing: dict[str, Any] = field(default_factory=dict)
    """Where the controller of the mixture is."""

    def evaluated(self, learner_step: int, metrics: dict[str, float], score: float | None) -> Progress:
        """The progress after an evaluation; without a score the latest policy counts as the best."""
        better = score is None or self.best_score is None or score > self.best_score
        best = {"best_step": learner_step, "best_score": score} if better else {}
        return dataclasses.replace(self, evaluation=metrics, evaluated_step=learner_step, **best)  # type: ignore[arg-type]


def save_checkpoint(
    run_dir: Path, learner: Learner, progress: Progress, config: ExperimentConfig, spec: EnvSpec
) -> Path:
    """Write a checkpoint, point ``last`` (and ``best``, if it is) at it and delete those that neither names.

    Args:
        run_dir: ``checkpoints/`` is written in it.
        learner: Its algorithm and optimizer are saved.
        progress: Saved beside them.
        config: The experiment, saved beside them.
        spec: The environment of the policy.

    Returns:
        The checkpoint's directory.

    Raises:
        RunError: If the disk is full.
    """
    target = checkpoint_path(run_dir, progress.learner_step)
    with disk_errors(target):
        _save(target, learner, progress, config, spec)
    return target


def checkpoint_path(run_dir: Path, learner_step: int) -> Path:
    """Where a run keeps the checkpoint of a learner step."""
    return run_dir / "checkpoints" / f"step-{learner_step:08d}"


def latest_checkpoint(run_dir: Path) -> Path | None:
    """The checkpoint to resume a run from, or None."""
    return _resolved(run_dir / "checkpoints" / LAST)


def best_checkpoint(run_dir: Path) -> Path | None:
    """The checkpoint with the best validation return, or None."""
    return _resolved(run_dir / "checkpoints" / BEST)


def averaged_checkpoint(run_dir: Path) -> Path | None:
    """The checkpoint of averaged weights, or None."""
    return _resolved(run_dir / "checkpoints" / AVERAGED)


def restore(checkpoint: Path, learner: Learner) -> Progress:
    """Put a learner into the state of a checkpoint.

    Raises:
        RunError: If the checkpoint is damaged or of another network.
    """
    try:
        device = learner.context.device
        learner.algorithm.load_state_dict(load_file(checkpoint / PARAMETERS, device=str(device)))
        learner.optimizer.load_state_dict(
            torch.load(checkpoint / "optimizer.pt", map_location=device, weights_only=True)
        )
        if learner.average is not None:
            averaged = load_file(_averaged(checkpoint) / PARAMETERS, device=str(device))
            load_average(learner.average, learner.algorithm, averaged)
        progress = read_progress(checkpoint)
    except RunError:
        raise
    except Exception as error:
        raise _damaged(checkpoint, error) from error
    learner.learner_step = progress.learner_step
    return progress


def read_progress(checkpoint: Path) -> Progress:
    """The saved progress, without parameters."""
    try:
        return Progress(**json.loads((checkpoint / "state.json").read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise _damaged(checkpoint, error) from error


def load_policy(path: Path | str, device: torch.device | str = "cpu") -> TorchPolicy:
    """The policy of a checkpoint, ready to act anywhere.

    Args:
        path: A checkpoint directory, a link to one, or a directory with a pointer to one.
        device: Where it computes.

    Raises:
        RunError: If there is no complete checkpoint.
    """
    checkpoint = resolve_pointer(Path(path))
    try:
        return read_policy(checkpoint, device)
    except Exception as error:
        raise _damaged(checkpoint, error) from error


def write_pointer(folder: Path, checkpoint: Path, learner_step: int) -> None:
    """A few bytes that stand for a checkpoint where Ray wants to copy one."""
    atomic_write_json(folder / POINTER, {"checkpoint": str(checkpoint.resolve()), "learner_step": learner_step})


def resolve_pointer(path: Path) -> Path:
    """The checkpoint a pointer names, or its run's last one if that was pruned; other paths stay as they are.

    Raises:
        RunError: If neither exists.
    """
    if not (path / POINTER).exists():
        if not (path / DESCRIPTION).exists():
            raise RunError(
                f"There is no checkpoint at {path}; give the directory of one, for example RUN/checkpoints/best."
            )
        return path.resolve()
    named = Path(json.loads((path / POINTER).read_text())["checkpoint"])
    for candidate in (named, named.parent / LAST):
        if (candidate / "state.json").exists():
            return candidate.resolve()
    raise RunError(f"The checkpoint {named} that {path} points to is gone, and so is its run's last one.")


def _save(target: Path, learner: Learner, progress: Progress, config: ExperimentConfig, spec: EnvSpec) -> None:
    folder = target.parent
    folder.mkdir(parents=True, exist_ok=True)
    links = {LAST: target}
    if learner.average is not None:
        links[AVERAGED] = _averaged(target)
        _write(_averaged(target), learner, progress, config, spec, averaged=True)
    _write(target, learner, progress, config, spec)
    sync_directory(folder)
    if progress.best_step in (0, progress.learner_step):
        links[BEST] = target
    for name, path in links.items():
        _link(folder / name, path.name)
    sync_directory(folder)
    _prune(folder)


def _write(
    target: Path,
    learner: Learner,
    progress: Progress,
    config: ExperimentConfig,
    spec: EnvSpec,
    *,
    averaged: bool = False,
) -> None:
    """One checkpoint directory, complete or not there."""
    algorithm, average = learner.algorithm, learner.average if averaged else None
    policy = algorithm.policy() if average is None else average.policy
    tensors = algorithm.state_dict() if average is None else with_average(algorithm, average)
    with new_checkpoint(target) as temporary:
        save_tensors({name: _stored(tensor) for name, tensor in tensors.items()}, temporary / PARAMETERS)
        if average is None:
            save_state(learner.optimizer.state_dict(), temporary / "optimizer.pt")
        _write_texts(temporary, describe_policy(policy, algorithm, config, spec), progress, config)


def _write_texts(folder: Path, description: dict[str, Any], progress: Progress, config: ExperimentConfig) -> None:
    parts: dict[str, Any] = {
        DESCRIPTION: description,
        "state.json": dataclasses.asdict(progress),
        "config.json": dataclasses.asdict(config),
    }
    for name, value in parts.items():
        (folder / name).write_text(json.dumps(value, indent=1, sort_keys=True) + "\n")
    for file in folder.iterdir():
        _sync(file)


def _averaged(checkpoint: Path) -> Path:
    """Where the averaged weights of the same step lie."""
    resolved = checkpoint.resolve()
    return resolved.with_name(f"{resolved.name}-{AVERAGED}")


def _stored(tensor: Tensor) -> Tensor:
    return tensor.detach().cpu().contiguous().clone()


def _link(link: Path, target: str) -> None:
    temporary = link.parent / f".{link.name}-{uuid4().hex[:8]}"
    temporary.symlink_to(target)
    os.replace(temporary, link)


def _prune(folder: Path) -> None:
    kept = {os.readlink(folder / name) for name in (LAST, BEST, AVERAGED) if (folder / name).is_symlink()}
    for entry in folder.iterdir():
        if entry.is_dir() and not entry.is_symlink() and entry.name not in kept:
            shutil.rmtree(entry, ignore_errors=True)


def _resolved(link: Path) -> Path | None:
    return link.resolve() if (link / "state.json").exists() else None


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _damaged(checkpoint: Path, error: Exception) -> RunError:
    return RunError(
        f"The checkpoint {checkpoint} cannot be read ({type(error).__name__}: {error}). It is damaged or of another "
        "network; use another checkpoint or train again."
    )
