"""Progress of long work: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from typing import Any

RESUMED = "there already"
"""Note of an update that says what an earlier run had done, which does not count in the rate."""


def say(text: str) -> None:
    """One line for the person, on standard error so that standard output stays for results."""
    print(text, file=sys.stderr, flush=True)


class Progress:
    """Progress of one piece of work, with its rate and the time left.

    Args:
        label: What is counted, for example ``"collect 100 levels"``.
        total: How many units there are.
        unit: Name of one unit.
        every_s: Seconds between plain lines where there is no terminal.
    """

    def __init__(self, label: str, total: float, unit: str = "", every_s: float = 10.0) -> None:
        self._label, self._total, self._unit, self._every_s = label, total, unit, every_s
        self._start_s = self._last_s = time.monotonic()
        self._done = self._before = 0.0
        self._bar: Any = None
        if sys.stderr.isatty():
            self._bar = _rich_bar()
            self._bar.start()
            self._task = self._bar.add_task(label, total=total)

    def update(self, done: float, total: float | None = None, note: str = "") -> None:
        """Say how much is done so far; a plain line is printed at most every `every_s` seconds."""
        self._done, self._total = done, self._total if total is None else total
        if note == RESUMED:
            self._before = done
        if self._bar is not None:
            self._bar.update(self._task, completed=done, total=self._total, description=f"{self._label} {note}")
            return
        now_s = time.monotonic()
        if now_s - self._last_s >= self._every_s:
            self._last_s = now_s
            say(self._line(note))

    def close(self) -> None:
        """End the display with one summary line."""
        if self._bar is not None:
            self._bar.stop()
        say(
            f"{self._label}: {self._done:,.0f} {self._unit} in {time.monotonic() - self._start_s:.1f} s".replace(
                "  ", " "
            )
        )

    def _line(self, note: str) -> str:
        elapsed_s, done, before = time.monotonic() - self._start_s, self._done - self._before, self._before
        rate = done / elapsed_s if elapsed_s > 0 else 0.0
        # The first results of many actors come late and all at once: a rate from them would be nonsense.
        known = done >= 0.02 * (self._total - before) and rate > 0
        left = f", {(self._total - self._done) / rate:.0f} s left" if known else ""
        speed = f", {rate:,.1f}/s" if rate > 0 else ""
        tail = f" ({note})" if note else ""
        return f"{self._label}: {self._done:,.0f} of {self._total:,.0f} {self._unit}{speed}{left}{tail}"

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _rich_bar() -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True))
