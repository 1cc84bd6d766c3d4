"""Episode source + levels + budget -> one file of levels and actions; no frame leaves the process that saw it."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

import numpy as np

from actors.collect import CollectConfig, Progress, record, recorded
from actors.render import Scripts, render
from actors.sources import SourceSpec, build_source
from data.files import disk_errors
from data.pack.frameless import without_columns
from data.pack.patches import difference
from data.pack.write import PackReport, pack_actions
from data.store import Store
from envs.console import say
from envs.errors import UsageError
from envs.registry import make_spec, make_vec

_TRIED = 2


def collect_packed(
    config: CollectConfig, file: Path, progress: Progress | None = None, *, address: str | None = None
) -> PackReport:
    """Record a packed dataset, or go on with one that was interrupted.

    Where they are played, episodes are checked, hashed and lose their frames: what travels and is written is some bytes
    a transition. The file is the one that `actors.pack.pack` makes of the dataset that `collect` records, unchecked:
    nothing is rendered twice, so `actors.pack.unpack` is what proves it.

    Args:
        config: What to record.
        file: The file; it must not exist.
        progress: Called as episodes arrive.
        address: As of `actors.collect.collect`.

    Raises:
        UsageError: As `collect` does; if `file` exists, if actions are not what is recorded, or if they do not
            determine what this environment shows.
        RunError: If the disk is full, or actors keep dying. The same call goes on with what was committed.
    """
    if file.exists():
        raise UsageError(f"{file} exists already and is not overwritten. Remove it or choose another name.")
    env = make_spec(config.env)
    _refuse_labels(config)
    actions = file.with_name(f".{file.name}.actions")
    if recorded(config, actions) is None:
        check_replayable(config.env, config.level_set.levels[0], config.seed)
        record(config, actions, without_columns(env), progress, address=address, frameless=True)
    else:
        say(f"All episodes are in {actions} already; they are packed now")
    report = pack_actions(Store(actions), file, checked=False, env=env)
    with disk_errors(actions):
        shutil.rmtree(actions)
    return report


def _refuse_labels(config: CollectConfig) -> None:
    for part in config.parts:
        if part.source.options.get("relabel"):
            raise UsageError(
                f"{part.source.name!r} with relabel=true stores an expert's label in place of the action taken, so its "
                "frames cannot be rendered again. Collect without --packed, or without relabel."
            )


def check_replayable(env_name: str, level: int, seed: int) -> None:
    """Play random episodes twice, the second time from their actions, before anything is recorded without frames.

    Raises:
        UsageError: If the environment shows something else.
    """
    source = build_source(SourceSpec(env=env_name, name="random"))
    jobs = [(level, episode) for episode in range(_TRIED)]
    with contextlib.closing(make_vec(env_name, 1)) as env:
        for episode in list(source.play_jobs(env, jobs, seed)):
            levels, starts = np.array([level]), np.array([0, len(episode)])
            (again,) = render(env, Scripts(env_name, levels, starts, episode.actions), [0])
            patch = difference(0, episode.observations, again.observations, episode.rewards, again.rewards)
            if patch is not None or (again.terminated, again.truncated) != (episode.terminated, episode.truncated):
                raise UsageError(
                    f"{env_name!r} shows something else when the same actions are taken again on level {level}, so "
                    "actions are no record of it. Collect without --packed."
                )
