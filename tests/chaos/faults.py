"""Environments that break on purpose, inside env actors and out."""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from actors.env_actor import Player
from envs.vector import LevelVectorEnv, Transition

LEVEL = 7
"""Whoever plays it first finds the fault."""


def is_first(folder: Path) -> bool:
    """Whether this is the first call of all processes."""
    try:
        (folder / "fault").touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def segfault() -> None:
    ctypes.string_at(0)


def hang() -> None:
    time.sleep(3600)


def leave() -> None:
    os._exit(0)


ONCE: dict[str, Callable[[], None]] = {"segfaults": segfault, "hangs": hang, "leaves": leave}


def break_env(env: LevelVectorEnv, fault: str, folder: Path) -> None:
    """Let an environment do something terrible in its third step on `LEVEL`, once, or be slow, or give NaN always."""
    advance, state = env._advance, {"slow": False}

    def broken(actions: Any, active: Any) -> Transition:
        here = active & (env._levels == LEVEL) & (env._steps == 3)
        if fault == "straggles" and not state["slow"]:
            state["slow"] = is_first(folder)
        if state["slow"]:
            time.sleep(0.2)
        if fault in ONCE and here.any() and is_first(folder):
            ONCE[fault]()
        moved = advance(actions, active)
        if fault == "gives NaN":
            return moved._replace(rewards=np.where(here, np.float32(np.nan), moved.rewards))
        return moved

    env._advance = broken  # type: ignore[method-assign]


def faulty(kind: Any, fault: str, folder: Path) -> Any:
    """A task like `kind` whose environment is broken; the class is a local one so that it travels by value."""

    class Faulty(kind):  # type: ignore[misc]
        def build(self) -> Player:
            player = Player(self)
            break_env(player._stage[0], fault, folder)
            return player

    return Faulty
