"""The native Procgen engine: how it is built, and the states of single levels in it."""

from __future__ import annotations

import contextlib
import importlib
import platform
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from envs.errors import UsageError

MAX_STATE_BYTES = 2**20
"""The engine's own bound on a saved state."""

_NUM_LEADING_INTS = 17  # the options, the level range and more, up to the level generator
_NUM_OPTION_INTS = 13  # follow the game's name: the same in all states of one game and mode
_FORCED_RESET = np.array([-1], dtype=np.int32)


def native_engine(game: str, mode: str, num: int, **options: Any) -> Any:
    """The unwrapped gym3 environment, its own random level choice seeded, without threads unless `options` say so.

    Raises:
        UsageError: Where Procgen cannot run on this machine.
    """
    engine = engine_class()(
        num=num,
        env_name=game,
        distribution_mode=mode,
        **{"num_threads": 0, "rand_seed": 0, **options},
    )
    # Looked up for the first time, a native function needs a lock. The garbage collector may free a forgotten engine
    # while this thread holds it, and would wait for ever.
    _ = engine._c_lib.libenv_close
    return engine


def engine_class() -> Any:
    """Procgen's gym3 class, imported without `gym`'s banner.

    Raises:
        UsageError: Where Procgen cannot run on this machine.
    """
    if not (sys.platform == "linux" and platform.machine() == "x86_64"):
        raise UsageError(
            f"Procgen runs on Linux x86-64 only; this machine is {sys.platform} {platform.machine()}. "
            "Use 'grid/default' here, or run on a Linux machine."
        )
    try:
        with _without_gym_banner():
            from procgen import ProcgenGym3Env
    except ImportError as error:
        raise UsageError(f"Procgen cannot be imported ({error}). Install it: pip install procgen-mirror.") from error
    return ProcgenGym3Env


@contextlib.contextmanager
def _without_gym_banner() -> Iterator[None]:
    """Procgen imports `gym`, which prints a notice looked up by version; an empty table has none to print."""
    try:
        table = importlib.import_module("gym_notices.notices").notices
    except ImportError:
        yield
        return
    saved = dict(table)
    table.clear()
    try:
        yield
    finally:
        table.update(saved)


def initial_state(game: str, mode: str, level: int) -> bytes:
    """The state of a fresh engine that knows only this level (0.5 to 1.5 ms)."""
    engine = native_engine(game, mode, 1, start_level=level, num_levels=1)
    try:
        engine.observe()
        return without_level_generator(engine.get_state()[0])
    finally:
        engine.close()


def without_level_generator(state: bytes) -> bytes:
    """A saved state with the text of one random generator emptied: 6.7 kB less and a quarter faster to restore.

    That generator only draws the next level, in a slot that is reset before it plays on. The generator of the game
    itself follows and stays. A state that is not laid out as expected is returned as it is.
    """
    name_length = int.from_bytes(state[4:8], "little")
    start = 8 + name_length + 4 * _NUM_LEADING_INTS + 4
    length = int.from_bytes(state[start : start + 4], "little")
    text = state[start + 4 : start + 4 + length]
    if len(text) != length or not text.replace(b" ", b"").isdigit():
        return state
    return state[:start] + bytes(4) + state[start + 4 + length :]


def whole_level(game: str, mode: str, level: int) -> npt.NDArray[np.uint8]:
    """The first frame [64, 64, 3] with the camera on the whole level instead of the player."""
    engine = native_engine(game, mode, 1, start_level=level, num_levels=1, center_agent=False)
    try:
        frame: npt.NDArray[np.uint8] = engine.observe()[1]["rgb"][0]
        return frame
    finally:
        engine.close()


def state_header_bytes(game: str) -> int:
    """How many bytes at the beginning of a state are the same in all states of one game and mode."""
    return 8 + len(game) + 4 * _NUM_OPTION_INTS


class LevelMaker:
    """Makes initial states of single levels with one engine, which is reset to one level after the other.

    What is played from them equals what a fresh engine that knows only this level plays, frame by frame, and making
    them takes about half the time.

    Args:
        game: One of the 16 games.
        mode: ``"easy"`` or ``"hard"``.
        options: Of the engine.
    """

    def __init__(self, game: str, mode: str, **options: Any) -> None:
        self._engine = native_engine(game, mode, 1, start_level=0, num_levels=1, **options)
        self._engine.observe()
        self._buffer = self._engine._ffi.new(f"char[{MAX_STATE_BYTES}]")
        state, start = self._read(), state_header_bytes(game)
        self._before, self._after = state[:start], state[start + 8 :]

    def state(self, level: int) -> bytes:
        """The state at the beginning of a level, without the text of the generator that draws levels."""
        self.first_frame(level)
        return without_level_generator(self._read())

    def first_frame(self, level: int) -> npt.NDArray[np.uint8]:
        """The frame [64, 64, 3] at the beginning of a level."""
        # The first two integers after the options are the range that levels are drawn from.
        only = np.array([level, level + 1], dtype="<i4").tobytes()
        state = self._before + only + self._after
        self._engine.call_c_func("set_state", 0, state, len(state))
        self._engine.act(_FORCED_RESET)
        frame: npt.NDArray[np.uint8] = self._engine.observe()[1]["rgb"][0]
        return frame

    def close(self) -> None:
        """Free the engine."""
        self._engine.close()

    def _read(self) -> bytes:
        length = self._engine.call_c_func("get_state", 0, self._buffer, MAX_STATE_BYTES)
        return bytes(self._engine._ffi.buffer(self._buffer, length))
