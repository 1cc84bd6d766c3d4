"""When a session of training ends before the training does."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Iterator


class Stopping:
    """Whether to save and stop now.

    Args:
        lease_s: Time from now on; None is without end.
    """

    def __init__(self, lease_s: float | None = None) -> None:
        self._ends_at = None if lease_s is None else time.monotonic() + lease_s
        self._reason: str | None = None

    def reason(self, next_s: float = 0.0) -> str | None:
        """Why to stop: "SIGTERM" or "lease_s"; None to go on. What it said once it says again.

        Args:
            next_s: What would be done next takes about so long.
        """
        if self._reason is None and self._ends_at is not None and time.monotonic() + next_s >= self._ends_at:
            self._reason = "lease_s"
        return self._reason

    @contextlib.contextmanager
    def on_sigterm(self) -> Iterator[None]:
        """Within it the first SIGTERM asks to stop, and the next one does what it did before.

        Signals reach the main thread only; in another one this does nothing.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.getsignal(signal.SIGTERM)

        def ask(number: int, frame: object) -> None:
            self._reason = "SIGTERM"
            signal.signal(signal.SIGTERM, before)

        signal.signal(signal.SIGTERM, ask)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, before)
