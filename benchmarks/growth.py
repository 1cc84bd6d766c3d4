"""What a process and its children hold now, and how fast each figure grows over many looks."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import ray

SETTLE_S = 10.0
"""Killed actors get this long to be gone."""
WARM_UP = 0.25
"""Share of the looks that are left out: caches fill and libraries are imported."""


def resources_now() -> dict[str, float]:
    """Figures of this process, its children and its Ray cluster."""
    from ray._private.internal_api import get_memory_info_reply, get_state_from_address

    process, waited_s = psutil.Process(), time.monotonic()
    while _num_actors(process) and time.monotonic() - waited_s < SETTLE_S:
        time.sleep(0.2)
    children = process.children(recursive=True)
    address = ray.get_runtime_context().gcs_address
    store = get_memory_info_reply(get_state_from_address(address)).store_stats
    return {
        "memory_mb": process.memory_info().rss / 1e6,
        "file_handles": float(process.num_fds()),
        "threads": float(process.num_threads()),
        "processes": float(len(children)),
        "actors": float(_num_actors(process)),
        "object_store_mb": store.object_store_bytes_used / 1e6,
        "children_memory_mb": sum(map(_memory, children)) / 1e6,
    }


def thread_names() -> Counter[str]:
    """Threads of this process by the names that the system knows, the libraries' own among them; empty off Linux."""
    names = [_thread_name(task) for task in Path("/proc/self/task").glob("*")]
    return Counter(name for name in names if name)


def growth(samples: Sequence[Mapping[str, float]], bars: Mapping[str, float]) -> dict[str, dict[str, Any]]:
    """A straight line over the rounds through every figure, least squares, without the first looks.

    Args:
        samples: Figures after each round, with ``hours``.
        bars: Figure -> what it may grow by in a hundred rounds; a figure without one is described only.

    Returns:
        Figure -> slope per hundred rounds, twice its standard error, first and last value, and whether it counts as
        flat: the slope is below the bar or not distinguishable from none.
    """
    kept = samples[int(WARM_UP * len(samples)) :]
    rounds = np.arange(len(kept)) / 100
    found: dict[str, dict[str, Any]] = {}
    for name in (name for name in samples[0] if name != "hours"):
        values = np.array([sample[name] for sample in kept])
        slope, error = line(rounds, values)
        bar = bars.get(name, np.inf)
        found[name] = {
            "slope": round(slope, 2),
            "plus_minus": round(2 * error, 2) if np.isfinite(error) else None,
            "first": round(float(values[0]), 2),
            "last": round(float(values[-1]), 2),
            "flat": bool(slope <= bar or slope <= 2 * error),
        }
    return found


def line(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Slope of the least-squares line and its standard error; no slope can be told from fewer than three points."""
    if len(x) < 3 or np.ptp(x) == 0:
        return 0.0, float("inf")
    centered = x - x.mean()
    slope = float(centered @ y / (centered @ centered))
    residuals = y - y.mean() - slope * centered
    return slope, float(np.sqrt(residuals @ residuals / (len(x) - 2) / (centered @ centered)))


def _num_actors(process: psutil.Process) -> int:
    return sum("EnvActor" in _name(child) for child in process.children(recursive=True))


def _name(process: psutil.Process) -> str:
    try:
        return str(process.name())
    except psutil.Error:
        return ""


def _thread_name(task: Path) -> str:
    try:
        return (task / "comm").read_text().strip()
    except OSError:  # it has ended meanwhile
        return ""


def _memory(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.Error:
        return 0
