"""`gengap --help` answers in under half a second: the command line imports nothing heavy."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.common import report

BAR_S = 0.5
REPEATS = 7


def seconds(command: list[str]) -> float:
    """Wall time of one command."""
    started_s = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started_s


def main() -> None:
    command = [sys.executable, str(Path(__file__).resolve().parents[1] / "gengap.py"), "--help"]
    value = statistics.median(seconds(command) for _ in range(REPEATS))
    bare = statistics.median(seconds([sys.executable, "-c", "pass"]) for _ in range(REPEATS))
    report("gengap_help_s", value, "s", BAR_S, value < BAR_S, bare_python_s=bare)


if __name__ == "__main__":
    main()
