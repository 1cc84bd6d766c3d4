"""A process that steps environments for the learner. Everything but one byte per step goes through shared memory.

The learner writes actions, sends one byte, and gets one byte back when observations and rewards are there. Either side
notices the end of the other by the end of the socket. No torch here, so that a process starts fast and stays small.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import signal
import socket
import traceback
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from envs.registry import make_vec
from envs.spec import EnvSpec
from envs.vector import Observations
from trainers.slots import EnvSlots

START, STEP = 0, 64
"""A command is one of these plus the number of the group of slots."""
DONE, FAILED = b"d", b"f"
"""Answers; the second is followed by the text of the error."""

_STEP_FIELDS: dict[str, str] = {
    "actions": "int32",
    "following": "int64",
    "rewards": "float32",
    "terminated": "bool",
    "truncated": "bool",
}
_FINAL = "final."


@dataclass(frozen=True)
class SharedSlots:
    """Memory that the learner and the processes see, a row for each slot. Travels to a process as it starts."""

    env: EnvSpec
    num_envs: int
    raw: dict[str, Any]

    @classmethod
    def allocate(cls, context: Any, env: EnvSpec, num_envs: int) -> SharedSlots:
        """Without names in the file system: it goes when the last process goes, however that ends.

        Args:
            context: Of `multiprocessing`.
            env: Its columns must be of fixed shape.
            num_envs: B.
        """
        sizes = {
            name: int(np.prod(shape)) * np.dtype(dtype).itemsize for name, (dtype, shape) in _layout(env, num_envs)
        }
        return cls(env, num_envs, {name: context.RawArray(ctypes.c_uint8, size) for name, size in sizes.items()})

    def views(self) -> dict[str, npt.NDArray[Any]]:
        """Arrays over it: the fields of a step [B], the columns [B, *shape], and "final." columns where they are."""
        return {
            name: np.frombuffer(self.raw[name], dtype=dtype).reshape(shape)
            for name, (dtype, shape) in _layout(self.env, self.num_envs)
        }

    def columns(self, views: dict[str, npt.NDArray[Any]], slots: slice, final: bool = False) -> Observations:
        """The observations of a range of slots, or what truncated slots showed at their end."""
        return {name: views[_FINAL * final + name][slots] for name in self.env.observation_columns}


def _layout(env: EnvSpec, num_envs: int) -> list[tuple[str, tuple[str, tuple[int, ...]]]]:
    columns = {name: (column.dtype, (num_envs, *column.shape)) for name, column in env.observation_columns.items()}
    finals = {f"{_FINAL}{name}": entry for name, entry in columns.items()} if env.final_observation_known else {}
    steps = {name: (dtype, (num_envs,)) for name, dtype in _STEP_FIELDS.items()}
    return [*steps.items(), *columns.items(), *finals.items()]


def serve(channel: socket.socket, shared: SharedSlots, groups: tuple[slice, ...]) -> None:
    """The life of the process: obey commands until the learner hangs up.

    Args:
        channel: To the learner.
        shared: Where it reads actions and writes what they lead to.
        groups: For each group of slots the range that this process plays.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # the learner decides when it is over, after its checkpoint
    try:
        importlib.import_module("envs.plugins").load_in_worker()
        views = shared.views()
        hosts = [_Host(shared, views, slots) for slots in groups]
        while command := channel.recv(1):
            host = hosts[command[0] % STEP]
            if command[0] >= STEP:
                host.step()
            else:
                host.start()
            channel.sendall(DONE)
    except (BrokenPipeError, ConnectionResetError):
        return
    except Exception:
        with contextlib.suppress(OSError):
            channel.sendall(FAILED + traceback.format_exc().encode())


class _Host:
    """One range of slots."""

    def __init__(self, shared: SharedSlots, views: dict[str, npt.NDArray[Any]], slots: slice) -> None:
        self._slots = EnvSlots(make_vec(shared.env.name, slots.stop - slots.start))
        self._fields = {name: views[name][slots] for name in _STEP_FIELDS}
        self._columns = shared.columns(views, slots)
        self._finals = shared.columns(views, slots, final=True) if shared.env.final_observation_known else {}

    def start(self) -> None:
        _copy(self._slots.start(self._fields["following"]), self._columns)

    def step(self) -> None:
        step = self._slots.step(self._fields["actions"], self._fields["following"])
        _copy(step.observations, self._columns)
        if step.finals is not None:
            _copy(step.finals, self._finals)
        for name in ("rewards", "terminated", "truncated"):
            self._fields[name][:] = getattr(step, name)


def _copy(source: Observations, target: Observations) -> None:
    for name, rows in source.items():
        np.copyto(np.asarray(target[name]), np.asarray(rows))
