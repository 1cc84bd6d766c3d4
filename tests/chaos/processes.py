"""Commands as a person starts them, and whatever of theirs is still alive."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path
from uuid import uuid4

import psutil

from tests.conftest import REPOSITORY

MARK = "GENGAP_TEST_MARK"
"""Environment variable that every process of a command inherits, wherever it belongs."""


class Command:
    """A running ``gengap`` command.

    Args:
        words: What follows ``gengap``.
        cwd: Its folder.
    """

    def __init__(self, *words: object, cwd: Path = REPOSITORY) -> None:
        # Like the installed command: no working folder on the path; Ctrl-C is heard even where the tests ignore it.
        code = (
            "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); sys.path.pop(0); "
            "from gengap import main; main()"
        )
        self._mark = uuid4().hex
        path = {"PYTHONPATH": str(REPOSITORY), "WANDB_MODE": "offline", MARK: self._mark, "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            [sys.executable, "-c", code, *map(str, words)],
            cwd=cwd,
            env={**os.environ, **path},
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )

    def end(self, timeout_s: float = 120.0) -> tuple[int, str]:
        """Wait for its end; returns the exit code and what it said on standard error."""
        _, said = self.process.communicate(timeout=timeout_s)
        return self.process.returncode, said

    def alive(self) -> list[str]:
        """Names of its processes, itself left out."""
        return [process.info["name"] for process in self._marked() if process.pid != self.process.pid]

    def kill(self) -> None:
        """End everything."""
        for process in self._marked():
            with contextlib.suppress(psutil.Error):
                process.kill()
        self.process.wait()

    def _marked(self) -> list[psutil.Process]:
        found = []
        for process in psutil.process_iter(["name"]):
            with contextlib.suppress(psutil.Error, OSError):
                if process.environ().get(MARK) == self._mark and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found

    def left(self, within_s: float = 20.0) -> list[str]:
        """Names of the processes that remain after a while."""
        deadline_s = time.monotonic() + within_s
        while (alive := self.alive()) and time.monotonic() < deadline_s:
            time.sleep(0.3)
        return alive


def wait_for(check: object, command: Command, timeout_s: float = 150.0) -> None:
    """Wait until something is so while a command runs."""
    deadline_s = time.monotonic() + timeout_s
    while not check():  # type: ignore[operator]
        assert command.process.poll() is None, command.end()[1][-2000:]
        assert time.monotonic() < deadline_s, "it never came to that"
        time.sleep(0.05)
