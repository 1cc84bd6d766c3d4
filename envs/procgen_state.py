"""What a planner reads in a saved Procgen state: where the agent is and what else exists.

Such states hold what no observation shows, so whatever reads them is privileged.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from envs.procgen import without_level_generator

VX, VY, ROTATION, HEALTH = 2, 3, 13, 26
"""Columns of `PlannerState.entities` after x and y; `TYPE` is the integer among them."""
TYPE = 6

_OPTIONS = ("paint_vel_info", "use_generated_assets", "use_monochrome_assets", "restrict_themes", "use_backgrounds")
_LEADING_INTS = 17  # the options, the level range and more, up to the level generator
_STEP_WORDS = 17  # reward, flags, timers and more, between the game's generator and the entities
_ENTITY_WORDS = 31
_WORDS_TO_ASSETS = 20  # from the entities to the text of the generator of assets

Words = npt.NDArray[np.float32]


class PlannerState:
    """One saved state, taken apart.

    Args:
        state: What the engine's ``get_state`` returned.
    """

    def __init__(self, state: bytes) -> None:
        level_generator = 8 + _int(state, 4) + 4 * _LEADING_INTS + 4
        generator = level_generator + 4 + _int(state, level_generator) + 4
        self._state = state
        self._entities_at = generator + 4 + _int(state, generator) + 4 * _STEP_WORDS

    @property
    def num_entities(self) -> int:
        """The agent and whatever moves, can be collected or can be opened."""
        return _int(self._state, self._entities_at - 4)

    @property
    def agent(self) -> Words:
        """The agent's row of `entities`: x, y (world units), vx, vy (per step) and more, float32 [31]."""
        return np.frombuffer(self._state, "<f4", _ENTITY_WORDS, self._entities_at)

    @property
    def entities(self) -> Words:
        """Float32 [N, 31], the agent first."""
        count = self.num_entities * _ENTITY_WORDS
        return np.frombuffer(self._state, "<f4", count, self._entities_at).reshape(-1, _ENTITY_WORDS)

    def tail(self, count: int) -> Words:
        """The last words before the end mark, float32 [count]: they belong to the game."""
        return np.frombuffer(self._state, "<f4", count, len(self._state) - 4 * (count + 1))

    def packed(self) -> bytes:
        """The same state without the texts of the two generators that no step reads: 13 kB less."""
        state = self._state
        start = self._entities_at + 4 * (self.num_entities * _ENTITY_WORDS + _WORDS_TO_ASSETS)
        length = _int(state, start)
        text = state[start + 4 : start + 4 + length]
        if len(text) == length and text.replace(b" ", b"").isdigit():
            state = state[:start] + bytes(4) + state[start + 4 + length :]
        return without_level_generator(state)


def drawn_plainly(state: bytes) -> bytes:
    """The same state with frames drawn as plain rectangles on black, up to 1.8 times as fast; nothing else changes."""
    options = 8 + _int(state, 4)
    changed = bytearray(state)
    for name, value in (("use_monochrome_assets", 1), ("use_backgrounds", 0)):
        start = options + 4 * _OPTIONS.index(name)
        changed[start : start + 4] = value.to_bytes(4, "little")
    return bytes(changed)


def _int(state: bytes, start: int) -> int:
    return int.from_bytes(state[start : start + 4], "little", signed=True)
