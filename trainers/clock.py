"""Where the time of a training loop goes."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager


class Clock:
    """Speed of learner steps, without the time spent on evaluations and checkpoints.

    Both are shown as ``train/perf/<what>_s``: `measure` is time inside the steps, `pause` time between them.
    """

    def __init__(self) -> None:
        self._since = time.perf_counter()
        self._steps = 0
        self._paused = 0.0
        self._measured: dict[str, float] = defaultdict(float)

    def tick(self) -> None:
        """Count a learner step."""
        self._steps += 1

    @contextmanager
    def measure(self, what: str) -> Iterator[None]:
        """Time of one part of a step; shown as the mean per step."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self._measured[what] += time.perf_counter() - started

    @contextmanager
    def pause(self) -> Iterator[None]:
        """Time that does not count."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self._paused += time.perf_counter() - started

    def flush(self, batch_size: int) -> dict[str, float]:
        """Rates since the last flush; `batch_size` is the number of transitions per step."""
        now = time.perf_counter()
        steps, elapsed = max(1, self._steps), max(1e-9, now - self._since - self._paused)
        rates = {"train/perf/transitions_per_s": self._steps * batch_size / elapsed}
        rates |= {f"train/perf/{what}_s": total / steps for what, total in self._measured.items()}
        self._since, self._steps, self._paused = now, 0, 0.0
        self._measured.clear()
        return rates
