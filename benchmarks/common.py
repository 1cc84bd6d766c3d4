"""What every benchmark shares: the machine, and the JSON object on the last line.

Run a benchmark from the repository root, for example ``python -m benchmarks.data_batches``.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from actors.cluster import QUIET
from envs.plugins import runtime_env


def machine() -> dict[str, Any]:
    """What the numbers were measured on."""
    values: dict[str, Any] = {
        "cpu": _cpu_name(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }
    if hasattr(os, "getloadavg"):
        values["load_1min"] = round(os.getloadavg()[0], 1)
    return values


@contextlib.contextmanager
def bare_ray(**settings: Any) -> Iterator[None]:
    """Ray without its dashboard, which only Tune needs and which is half of the work of starting."""
    import ray

    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    common = {"log_to_driver": False, "logging_level": "ERROR", "namespace": "gengap", "runtime_env": runtime_env()}
    ray.init(**settings, **common, **({} if "address" in settings else {"include_dashboard": False}))
    try:
        yield
    finally:
        ray.shutdown()


def report(name: str, value: float, unit: str, bar: float, holds: bool, **extra: Any) -> None:
    """Print the result as one JSON object on one line.

    Args:
        name: What was measured.
        value: The measured value, in `unit`.
        unit: For example ``"transitions/s"``.
        bar: What `value` is held against.
        holds: Whether every bar of this benchmark is met.
        extra: Further JSON values that belong to the result.
    """
    result = {"name": name, "value": value, "unit": unit, "bar": bar, "holds": bool(holds), **extra}
    print(json.dumps({**result, "machine": machine()}), flush=True)


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "unknown"
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")
