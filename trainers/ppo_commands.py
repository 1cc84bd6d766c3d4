"""``gengap train`` for online recipes such as ``procgen-ppo``."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import re
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np

from actors.cluster import ray_session
from data.files import atomic_write_json, check_disk_space, format_bytes, make_directory
from envs.console import Progress, say
from envs.errors import UsageError
from envs.registry import make_spec
from metrics.loggers import Logger, TensorBoardLogger, Values
from metrics.wandb_logger import WandbLogger
from trainers.actor_critic import build_actor_critic
from trainers.online import train_online
from trainers.online_config import OnlineConfig, build_online
from trainers.run_files import CONFIG, RUN, config_json, read_json
from trainers.version import code_version

CHANGEABLE = (
    "env_steps",
    "max_time_s",
    "num_streams",
    "num_env_processes",
    "threads",
    "use_gpu",
    "compile",
    "checkpoint_every_s",
    "keep_every_env_steps",
    "lease_s",
    "fragment_timeout_s",
    "tracking",
)
"""Fields that may differ when a run goes on: how long and where it trains, not what it learns from what."""
_CHECKPOINT_BYTES = 24  # of a parameter: itself and two moments, twice while the newer replaces the older
_KEPT_BYTES = 2
_RECORD_BYTES = 3  # of an environment step


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Train, or with ``--resume`` go on with the training that the directory holds.

    Args:
        args: ``recipe``, ``overrides``, ``out``, ``resume`` and ``address`` of the command line.

    Returns:
        The last row of metrics, the checkpoint and the directory.

    Raises:
        UsageError: For a wrong recipe or field, or a directory that holds a run already.
    """
    config = build_online(args.recipe, args.overrides)
    run_dir = args.out or Path("runs") / "train" / f"{config.name}-{config.env.split('/')[-1]}-s{config.seed}"
    run_id = prepare(config, run_dir, resume=args.resume)
    say(
        f"Training for {config.env_steps:,} environment steps on levels 0..{config.num_levels - 1} of {config.env}. "
        f"The frames of two updates take {format_bytes(2 * frame_bytes(config))} of memory, everything else at most "
        f"about {format_bytes(disk_bytes(config))} of disk in {run_dir}. After an interruption --resume goes on."
    )
    with ray_session(args.address) if config.num_streams else contextlib.nullcontext():
        result = train_online(config, run_dir, extra_loggers=_loggers(config, run_dir, run_id))
    say(f"Trained {result['env_steps']:,} environment steps in {result['elapsed_s']:.0f} s: {result['checkpoint']}")
    if not result["finished"]:
        say(f"Saved and stopped ({result['stopped_by']}); the same command with --resume goes on.")
    return {"run": str(run_dir), **result}


def prepare(config: OnlineConfig, run_dir: Path, *, resume: bool) -> str:
    """Check the levels, the disk and what the directory holds, then write ``config.json`` and ``run.json``.

    Returns:
        The run id of the trackers, the same after a resumption.

    Raises:
        UsageError: If the directory holds another run, or a run although `resume` is off.
    """
    make_spec(config.env).check_levels(config.levels)
    check_disk_space(run_dir, disk_bytes(config))
    wanted = config_json(config)
    if (run_dir / CONFIG).exists():
        if not resume:
            raise UsageError(f"{run_dir} already holds a run. Continue it with --resume, or choose another --out.")
        _check_same(read_json(run_dir / CONFIG), wanted, run_dir)
    make_directory(run_dir)
    atomic_write_json(run_dir / CONFIG, wanted)
    if not (run_dir / RUN).exists():
        slug = re.sub(r"[^a-z0-9]+", "-", f"{config.name}-{config.env}".lower())
        run_id = f"{slug}-s{config.seed}-{uuid4().hex[:8]}"
        atomic_write_json(run_dir / RUN, {"run_id": run_id, "code_version": code_version()})
    return str(read_json(run_dir / RUN)["run_id"])


def _check_same(found: dict[str, Any], wanted: dict[str, Any], run_dir: Path) -> None:
    # A run of an earlier version lacks the fields that came later; it did what their defaults say.
    found = _completed(found, config_json(OnlineConfig(name="", env="")))
    changed = [name for name in wanted if name not in CHANGEABLE and found[name] != wanted[name]]
    if changed:
        name = changed[0]
        raise UsageError(
            f"{run_dir} holds another run: {name} is {found.get(name)!r} there and {wanted[name]!r} here. Resume with "
            "the same settings, or choose another --out."
        )


def _completed(found: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    return {
        name: _completed(found[name], value)
        if isinstance(value, dict) and isinstance(found.get(name), dict)
        else found.get(name, value)
        for name, value in defaults.items()
    }


def disk_bytes(config: OnlineConfig) -> int:
    """About what a run writes at most."""
    module = build_actor_critic(make_spec(config.env), config.network, config.seed)
    every = config.keep_every_env_steps
    num_kept = 0 if every is None else config.env_steps // max(every, config.steps_per_update) + 1
    per_parameter = _CHECKPOINT_BYTES + _KEPT_BYTES * num_kept
    recorded = _RECORD_BYTES * config.env_steps if config.record_episodes else 0
    return per_parameter * sum(parameter.numel() for parameter in module.parameters()) + recorded


def frame_bytes(config: OnlineConfig) -> int:
    """Memory of the fixed observation columns between two updates, in bytes."""
    columns = make_spec(config.env).observation_columns.values()
    row = sum(_size(column.dtype, column.shape) for column in columns if not column.ragged)
    return row * config.steps_per_update


class ProgressLogger:
    """Shows environment steps and the latest mean return while training goes on."""

    def __init__(self, config: OnlineConfig) -> None:
        self._progress = Progress(f"train {config.env}", config.env_steps, "environment steps", every_s=30.0)

    def write(self, step: int, values: Values) -> None:
        """Move the display."""
        returned = values.get("train/episode/return_mean")
        note = "" if returned is None else f"return {returned:.2f}"
        self._progress.update(float(values["env_steps"]), note=note)

    def close(self) -> None:
        """End the display."""
        self._progress.close()


def _loggers(config: OnlineConfig, run_dir: Path, run_id: str) -> tuple[Logger, ...]:
    loggers: list[Logger] = [ProgressLogger(config)]
    if config.tracking.tensorboard:
        loggers.append(TensorBoardLogger(run_dir / "tensorboard"))
    if config.tracking.wandb != "disabled":
        loggers.append(
            WandbLogger(
                project=config.tracking.project,
                run_id=run_id,
                group=config.name,
                name=f"{config.name}-{config.env}-s{config.seed}",
                config={**dataclasses.asdict(config), "code_version": code_version()},
                directory=run_dir,
                mode=config.tracking.wandb,
                finish_timeout_s=config.tracking.finish_timeout_s,
            )
        )
    return tuple(loggers)


def _size(dtype: str, shape: tuple[int, ...]) -> int:
    return int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
