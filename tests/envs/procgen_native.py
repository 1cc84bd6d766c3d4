"""Single-level native engines, and the layout of their saved states: what the wrapper is compared with."""

from __future__ import annotations

import struct
from typing import Any, NamedTuple

import numpy as np

from envs.procgen import engine_class


class NativeEpisode(NamedTuple):
    frames: list[np.ndarray]
    rewards: list[float]
    ended: bool
    complete: bool


def native(game: str, mode: str, level: int) -> Any:
    """An engine that knows only this level; its seed is not the wrapper's."""
    return engine_class()(
        num=1,
        env_name=game,
        distribution_mode=mode,
        start_level=level,
        num_levels=1,
        num_threads=0,
        rand_seed=987,
    )


def play_native(engine: Any, actions: np.ndarray) -> NativeEpisode:
    """The frames seen (never the one after the end) and the rewards until the engine's end flag."""
    frames, rewards = [engine.observe()[1]["rgb"][0]], []
    for action in actions:
        engine.act(np.array([action], dtype=np.int32))
        reward, observations, first = engine.observe()
        rewards.append(float(reward[0]))
        if first[0]:
            return NativeEpisode(frames, rewards, True, bool(engine.get_info()[0]["prev_level_complete"]))
        frames.append(observations["rgb"][0])
    return NativeEpisode(frames, rewards, False, False)


class Clock(NamedTuple):
    """Where a saved state keeps the step limit and the steps played so far (both int32)."""

    limit_offset: int
    time_offset: int

    @classmethod
    def of(cls, state: bytes) -> Clock:
        """Walk over version, name, 17 ints and the two random generators, each a flag and a text."""
        offset = 4
        offset += 4 + struct.unpack_from("<i", state, offset)[0] + 17 * 4
        for _ in range(2):
            offset += 4
            offset += 4 + struct.unpack_from("<i", state, offset)[0]
        return cls(offset + 4 * 4, offset + 13 * 4)

    def limit(self, state: bytes) -> int:
        return int(struct.unpack_from("<i", state, self.limit_offset)[0])

    def time(self, state: bytes) -> int:
        return int(struct.unpack_from("<i", state, self.time_offset)[0])

    def advanced(self, state: bytes, time: int) -> bytes:
        return state[: self.time_offset] + struct.pack("<i", time) + state[self.time_offset + 4 :]
