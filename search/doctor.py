"""What this machine can do, and what to do about what it cannot."""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import os
import platform
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

PACKAGES = ("ray", "torch", "gymnasium", "numpy", "pyarrow", "pandas", "wandb", "safetensors", "matplotlib")


class Check(NamedTuple):
    """One line of the report."""

    name: str
    ok: bool
    found: str
    advice: str = ""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What to look at."""
    parser.add_argument(
        "--cluster", type=Path, metavar="FILE", help="check a file for `ray up` or KubeRay instead of this machine"
    )
    parser.add_argument("--no-ray", action="store_true", help="do not start a local Ray (saves about 5 s)")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Print every check; exit code 1 if one fails that a run needs."""
    if args.cluster is not None:
        return _run_cluster(args.cluster)
    checks = [check_machine(), check_gpu(), check_imports(), check_procgen(), check_disk(Path.cwd()), check_wandb()]
    if not args.no_ray:
        checks.append(check_ray(args.address))
    for check in checks:
        print(f"{'ok  ' if check.ok else 'FAIL'} {check.name:<10} {check.found}")
        if check.advice:
            print(f"     {'':<10} -> {check.advice}")
    return {
        "checks": [check._asdict() for check in checks],
        "exit_code": 0 if all(check.ok for check in checks) else 1,
    }


def _run_cluster(path: Path) -> dict[str, Any]:
    from search.clusters.check import check_cluster

    problems = check_cluster(path, Path.cwd())
    for problem in problems:
        print(f"FAIL {problem}")
    if not problems:
        print(f"ok   {path}: everything that can be known here; whether the machines can be had, only the cloud knows")
    return {"cluster": str(path), "problems": problems, "exit_code": 1 if problems else 0}


def check_machine() -> Check:
    """Python, cores and memory."""
    import psutil

    memory_gib = psutil.virtual_memory().total / 2**30
    found = (
        f"Python {platform.python_version()}, {usable_cores()} cores, {memory_gib:.0f} GiB memory, {platform.machine()}"
    )
    supported = (3, 11) <= tuple(int(part) for part in platform.python_version_tuple()[:2]) < (3, 13)
    return Check("machine", supported, found, "" if supported else "Use Python 3.11 or 3.12.")


def usable_cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def check_gpu() -> Check:
    """CUDA devices; none is fine."""
    import torch

    count = torch.cuda.device_count()
    if not count:
        return Check("gpu", True, "none: training runs on the CPU")
    return Check("gpu", True, ", ".join(torch.cuda.get_device_name(index) for index in range(count)))


def check_imports() -> Check:
    """Everything that is used can be imported; a too new pyarrow refuses NumPy 1 only then."""
    modules = (*PACKAGES, "ray.train", "ray.tune", "pyarrow.parquet")
    problems = [problem for module in modules if (problem := _import_problem(module))]
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES if not _import_problem(name))
    return Check("packages", not problems, versions, "; ".join(problems))


def _import_problem(module: str) -> str:
    return _problem_of(lambda: importlib.import_module(module), module)


def _problem_of(action: Callable[[], Any], name: str) -> str:
    try:
        action()
    except Exception as error:
        return f"{name}: {error}"
    return ""


def check_procgen() -> Check:
    """The engine plays one step of one game."""
    from envs.registry import make_vec

    def play() -> None:
        env = make_vec("procgen/maze", 1)
        env.reset(seed=0)
        env.close()

    problem = _problem_of(play, "procgen")
    if not problem:
        return Check("procgen", True, "16 games")
    return Check(
        "procgen", platform.machine() != "x86_64", "not available", f"{problem}. The grid and the toy texts work."
    )


def check_disk(path: Path) -> Check:
    """Free space where runs are written."""
    free_gib = shutil.disk_usage(path).free / 2**30
    return Check("disk", free_gib > 2, f"{free_gib:.0f} GiB free in {path}", "" if free_gib > 2 else "Free 2 GiB.")


def check_wandb() -> Check:
    """Whether runs go online."""
    from metrics.wandb_logger import has_api_key

    if has_api_key():
        return Check("wandb", True, "API key found: runs are streamed online")
    return Check("wandb", True, "no API key: runs are written offline", "`wandb login`, or `wandb sync` afterwards.")


def check_ray(address: str | None) -> Check:
    """A local cluster starts (or the given one answers) and runs one task."""
    from actors.cluster import ray_session

    def ping() -> str:
        with ray_session(address) as ray:
            resources = ray.cluster_resources()
            assert ray.get(ray.remote(num_cpus=0)(_one).remote(), timeout=60) == 1
            return f"{resources.get('CPU', 0):g} CPUs, {resources.get('GPU', 0):g} GPUs, {len(ray.nodes())} node(s)"

    try:
        return Check("ray", True, ping())
    except Exception as error:
        return Check("ray", False, "does not start", str(error))


def _one() -> int:
    return 1
