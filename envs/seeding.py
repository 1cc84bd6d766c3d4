"""Seeds and uniforms derived from names, so that no result depends on an actor, a rank or a retry."""

from __future__ import annotations

import hashlib
import json

import numpy as np

Name = str | int


def derive_seed(*names: Name) -> int:
    """A 63-bit seed that depends on nothing but the names given, in order.

    Example:
        >>> derive_seed(0, "grid/default", 17) == derive_seed(0, "grid/default", 17)
        True
    """
    # JSON keeps ("a", "bc") and ("ab", "c"), and 1 and "1", apart; NumPy integers count as integers.
    text = json.dumps([name if isinstance(name, str) else int(name) for name in names])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1


def rng_for(*names: Name) -> np.random.Generator:
    """An independent generator for these names."""
    return np.random.Generator(np.random.PCG64(derive_seed(*names)))


class UniformStream:
    """The uniforms of one episode: the t-th call returns the t-th number of (experiment seed, env, level, episode)."""

    def __init__(self, experiment_seed: int, env: str, level: int, episode: int, chunk: int = 256) -> None:
        self._rng = rng_for(experiment_seed, env, level, episode)
        self._chunk = chunk
        self._values = np.empty(0)
        self._next = 0

    def draw(self) -> float:
        """The next uniform in [0, 1)."""
        if self._next == len(self._values):
            self._values, self._next = self._rng.random(self._chunk), 0
        self._next += 1
        return float(self._values[self._next - 1])
