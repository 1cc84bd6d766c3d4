"""Procgen games as vector envs in which every episode is on a level the caller chose.

The native engine draws levels at random. It can save and restore the state of each game, so a level's initial state is
made once by an engine that knows only this level, kept, and restored whenever a slot starts the level. An episode is
then a function of (level, actions) alone, frame by frame, whoever plays in the other slots.
"""

from __future__ import annotations

import contextlib
import importlib
import platform
import sys
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from envs.cache import LeastRecentlyUsed
from envs.errors import UsageError
from envs.procgen_tables import ACTION_NAMES, FRAME_SHAPE, GAMES, NUM_LEVELS, return_bounds
from envs.spec import ColumnSpec, EnvSpec
from envs.vector import Actions, LevelVectorEnv, Mask, Observations, Transition

MODES = ("easy", "hard")
CACHE_BYTES = 128 * 2**20
"""Default bound on saved initial states: about 6,000 levels of 14 to 32 kB."""

_MAX_STATE_BYTES = 2**20  # the engine's own bound
_COUNTER_BYTES = 8
_NUM_OPTION_INTS = 13  # follow the game's name: the same in all states of one game and mode
_NUM_LEADING_INTS = 17  # the options, the level range and more, up to the level generator
_Frames = npt.NDArray[np.uint8]


def entries() -> dict[str, tuple[Callable[[], EnvSpec], Callable[..., LevelVectorEnv]]]:
    """All names of this module for the registry: ``procgen/<game>`` is easy, ``procgen/<game>-hard`` hard."""
    return {
        spec_name(game, mode): (partial(make_spec, game, mode), partial(ProcgenVectorEnv, game, mode))
        for game in GAMES
        for mode in MODES
    }


def spec_name(game: str, mode: str) -> str:
    """The registered name of a game in a mode."""
    return f"procgen/{game}" if mode == "easy" else f"procgen/{game}-{mode}"


def make_spec(game: str, mode: str) -> EnvSpec:
    """The contract of one game; needs no engine."""
    return EnvSpec(
        name=spec_name(game, mode),
        observation_columns={"image": ColumnSpec("uint8", FRAME_SHAPE)},
        num_actions=len(ACTION_NAMES),
        max_episode_steps=GAMES[game].max_episode_steps,
        level_universe=NUM_LEVELS,
        return_bounds=return_bounds(game, mode),
        action_names=ACTION_NAMES,
        final_observation_known=False,
    )


class ProcgenVectorEnv(LevelVectorEnv):
    """B slots of one game.

    The engine shows the next episode's first frame together with the end flag, so the frame after the last action is
    never seen: a slot that ended returns the last frame it did show, and `final_observation_known` is False.

    An end in the very step of the step limit is a truncation unless the level was completed in it; the engine does not
    tell a death there apart.

    Args:
        game: One of the 16 games.
        mode: ``"easy"`` or ``"hard"``.
        num_envs: Slots.
        num_threads: Threads of the engine; 0 steps in the calling thread, best where several actors share a machine.
        cache_bytes: Bound on the memory of saved initial states; the least recently used go first.
    """

    def __init__(
        self, game: str, mode: str, num_envs: int, *, num_threads: int = 0, cache_bytes: int = CACHE_BYTES
    ) -> None:
        super().__init__(make_spec(game, mode), num_envs)
        self._game, self._mode = game, mode
        self._engine = native_engine(game, mode, num_envs, num_threads=num_threads)
        self._initial_states = LeastRecentlyUsed(partial(initial_state, game, mode), cache_bytes, len)
        self._frames: _Frames = self._engine.observe()[1]["rgb"]
        self._frames_are_stale = False
        self._copies = True
        self._buffer = self._engine._ffi.new(f"char[{_MAX_STATE_BYTES}]")
        self._state_header = self._read_state(0)[: 8 + len(game) + 4 * _NUM_OPTION_INTS]

    def set_copy(self, copy: bool) -> bool:
        """Without copies the frames returned are the engine's own memory."""
        before, self._copies = self._copies, copy
        self._engine._reuse_arrays = not copy
        if copy and not before:
            self._frames = self._frames.copy()
        return before

    def _start(self, slots: npt.NDArray[np.intp], in_place: bool) -> None:
        for slot in slots:
            state = self._initial_states.get(int(self._levels[slot]))
            self._engine.call_c_func("set_state", int(slot), state, len(state))
        if in_place and not self._frames_are_stale:
            self._frames[slots] = self._engine._ob["rgb"][slots]
        else:
            self._frames_are_stale = True

    def _advance(self, actions: Actions, active: Mask) -> Transition:
        self._refresh_frames()
        self._engine.act(actions)
        rewards, observations, first = self._engine.observe()
        self._replace_frames(observations["rgb"], first | ~active)
        truncated = first & (self._steps >= self.task.max_episode_steps)
        if truncated.any():
            complete = np.array([info["prev_level_complete"] for info in self._engine.get_info()], dtype=np.bool_)
            truncated &= ~complete
        return Transition(rewards, first ^ truncated, truncated)

    def _observe(self) -> Observations:
        self._refresh_frames()
        return {"image": self._frames}

    def _refresh_frames(self) -> None:
        if self._frames_are_stale:
            self._replace_frames(self._engine.observe()[1]["rgb"], ~self._active)
            self._frames_are_stale = False

    def _replace_frames(self, frames: _Frames, kept: Mask) -> None:
        # `frames` is the engine's own fresh copy, so it can be completed here and handed out without another one.
        if self._copies and kept.any():
            frames[kept] = self._frames[kept]
        self._frames = frames

    def save_state(self, index: int) -> bytes:
        """Everything that determines the rest of the running episode in one slot (14 to 32 kB).

        Raises:
            UsageError: If the slot is not running.
        """
        if not self._active[index]:
            raise UsageError(f"Slot {index} of {self.task.name!r} is not running; only running slots can be saved.")
        counters = np.array([self._levels[index], self._steps[index]], dtype="<i4").tobytes()
        return counters + without_level_generator(self._read_state(index))

    def load_state(self, index: int, state: bytes) -> None:
        """Continue a saved episode in a slot, of this environment or of another one of the same game and mode.

        Raises:
            UsageError: If the state is of another game or mode.
        """
        if not state.startswith(self._state_header, _COUNTER_BYTES):
            raise UsageError(f"This is no state of {self.task.name!r}; load what its own `save_state` returned.")
        self._levels[index], self._steps[index] = np.frombuffer(state, dtype="<i4", count=2)
        self._active[index] = True
        self._engine.call_c_func("set_state", index, state[_COUNTER_BYTES:], len(state) - _COUNTER_BYTES)
        self._frames_are_stale = True

    def _read_state(self, index: int) -> bytes:
        length = self._engine.call_c_func("get_state", index, self._buffer, _MAX_STATE_BYTES)
        return bytes(self._engine._ffi.buffer(self._buffer, length))

    def first_looks(self, levels: npt.NDArray[np.int64]) -> list[bytes]:
        """The first frames of whole levels; the player's view in coinrun or ninja shows too little of them."""
        return [whole_level(self._game, self._mode, int(level)).tobytes() for level in levels]

    def close_extras(self, **kwargs: Any) -> None:
        """Free the engine."""
        self._engine.close()


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


def whole_level(game: str, mode: str, level: int) -> _Frames:
    """The first frame [64, 64, 3] with the camera on the whole level instead of the player."""
    engine = native_engine(game, mode, 1, start_level=level, num_levels=1, center_agent=False)
    try:
        frame: _Frames = engine.observe()[1]["rgb"][0]
        return frame
    finally:
        engine.close()


def native_engine(game: str, mode: str, num: int, **options: Any) -> Any:
    """The unwrapped gym3 environment, its own random level choice seeded, without threads unless `options` say so.

    Raises:
        UsageError: Where Procgen cannot run on this machine.
    """
    return engine_class()(
        num=num,
        env_name=game,
        distribution_mode=mode,
        **{"num_threads": 0, "rand_seed": 0, **options},
    )


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
