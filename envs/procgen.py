"""Procgen games as vector envs in which every episode is on a level the caller chose.

The native engine draws levels at random. It can save and restore the state of each game, so a level's initial state is
made once by an engine that knows only this level, kept, and restored whenever a slot starts the level. An episode is
then a function of (level, actions) alone, frame by frame, whoever plays in the other slots.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from envs.cache import LeastRecentlyUsed
from envs.errors import UsageError
from envs.procgen_engine import (
    MAX_STATE_BYTES,
    LevelMaker,
    engine_class,
    initial_state,
    native_engine,
    state_header_bytes,
    whole_level,
    without_level_generator,
)
from envs.procgen_state import PlannerState
from envs.procgen_tables import ACTION_NAMES, FRAME_SHAPE, GAMES, NUM_LEVELS, return_bounds
from envs.spec import ColumnSpec, EnvSpec
from envs.vector import Actions, LevelVectorEnv, Mask, Observations, Transition

__all__ = [
    "MODES",
    "ProcgenVectorEnv",
    "engine_class",
    "entries",
    "initial_state",
    "make_spec",
    "native_engine",
    "spec_name",
    "whole_level",
    "without_level_generator",
]

MODES = ("easy", "hard")
CACHE_BYTES = 128 * 2**20
"""Default bound on saved initial states: about 10,000 levels of 8 to 26 kB."""

_COUNTER_BYTES = 8
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
        if isinstance(num_threads, bool) or not isinstance(num_threads, int) or num_threads < 0:
            raise UsageError(f"num_threads is {num_threads!r}; the engine takes a whole number, 0 or more.")
        self._game, self._mode = game, mode
        self._engine = native_engine(game, mode, num_envs, num_threads=num_threads)
        self._initial_states = LeastRecentlyUsed(_InitialStates(game, mode).state, cache_bytes, len)
        self._frames: _Frames = self._engine.observe()[1]["rgb"]
        self._frames_are_stale = False
        self._copies = True
        self._buffer = self._engine._ffi.new(f"char[{MAX_STATE_BYTES}]")
        self._state_header = self._read_state(0)[: state_header_bytes(game)]

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

    def moved(self, slots: npt.NDArray[np.intp]) -> ProcgenVectorEnv:
        """An environment with these running slots only."""
        other = ProcgenVectorEnv(self._game, self._mode, len(slots))
        for index, slot in enumerate(slots.tolist()):
            other.load_state(index, self.save_state(slot))
        return other

    def _read_state(self, index: int) -> bytes:
        length = self._engine.call_c_func("get_state", index, self._buffer, MAX_STATE_BYTES)
        return bytes(self._engine._ffi.buffer(self._buffer, length))

    def first_looks(self, levels: npt.NDArray[np.int64]) -> list[bytes]:
        """The first frames of whole levels; the player's view in coinrun or ninja shows too little of them."""
        # The camera on the whole level instead of the player.
        maker = LevelMaker(self._game, self._mode, center_agent=False)
        looks = [maker.first_frame(int(level)).tobytes() for level in levels]
        maker.close()
        return looks

    def close_extras(self, **kwargs: Any) -> None:
        """Free the engine."""
        self._engine.close()


class _InitialStates:
    """Makes the states that an environment starts its levels from; its engine is built when it is first needed."""

    def __init__(self, game: str, mode: str) -> None:
        self._names = (game, mode)
        self._maker: LevelMaker | None = None

    def state(self, level: int) -> bytes:
        """The state at the beginning of a level, without the texts that no step reads."""
        self._maker = self._maker or LevelMaker(*self._names)
        return PlannerState(self._maker.state(level)).packed()
