"""Who runs where: what each role holds of a cluster, declared once, and how often it fits.

Env actors take CPUs, learners GPUs, evaluators a share of a CPU, and drivers of worker groups none at all. A cluster
file may reserve machines for a role by a custom resource (`ENV_SLOT`, `DRIVER_SLOT`); where no machine offers it, as on
one machine alone, it is not asked for.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import yaml

from envs.console import say
from envs.errors import UsageError

ENV_SLOT = "env_actor"
"""Custom resource of machines that host environments, as many as they have CPUs."""
DRIVER_SLOT = "train_driver"
"""Custom resource of the head: one for each driver whose memory it has."""
DRIVER_MEMORY_BYTES = 1e6
CAN_START = "GENGAP_CAN_START"
BOOTSTRAP = "~/ray_bootstrap_config.yaml"
BOOT_S = 1200.0
"""A machine that the autoscaler starts is given this long to boot, install and join."""

Bundle = dict[str, float]
"""Resource name -> amount that one actor holds on one machine."""


class ClusterRole(StrEnum):
    """Who asks for resources."""

    ENV_ACTOR = "env actor"
    EVALUATOR = "evaluator"
    LEARNER = "learner"
    DRIVER = "driver"


_CPUS = {ClusterRole.ENV_ACTOR: 1.0, ClusterRole.EVALUATOR: 0.5, ClusterRole.DRIVER: 0.0}
"""An evaluator waits for its longest episodes in the end, with most of its slots empty: two share a CPU."""


@dataclass(frozen=True)
class Machine:
    """Equal machines of a cluster."""

    resources: Mapping[str, float]
    count: int = 1
    running: bool = True
    """False for those that the autoscaler would start when they are asked for."""


@dataclass(frozen=True)
class Cluster:
    """What a cluster has, and what it may grow to."""

    machines: tuple[Machine, ...]

    @classmethod
    def of(cls, *resources: Mapping[str, float]) -> Cluster:
        """A cluster of running machines with these resources."""
        return cls(tuple(Machine(dict(each)) for each in resources))

    def offers(self, name: str) -> bool:
        """Whether any machine, running or not, has some of a resource."""
        return any(machine.resources.get(name, 0) > 0 for machine in self.machines)

    def fit(self, bundle: Bundle, *, running: bool = False) -> int:
        """How many copies of a bundle the machines hold when nothing else runs; a copy never spans two machines.

        Args:
            bundle: What one copy takes.
            running: Count only machines that run already.
        """
        return sum(
            machine.count * _copies(machine.resources, bundle)
            for machine in self.machines
            if machine.running or not running
        )

    def total(self, name: str) -> float:
        """How much of a resource all machines have together, those included that may still start."""
        return sum(machine.count * machine.resources.get(name, 0.0) for machine in self.machines)

    def describe(self) -> str:
        """Its machines in words."""
        running = [machine for machine in self.machines if machine.running]
        more = [machine for machine in self.machines if not machine.running and machine.count]
        text = f"{sum(machine.count for machine in running)} machine(s) with {_sum_words(running)}"
        return text + (f", and may start {sum(m.count for m in more)} more with {_sum_words(more)}" if more else "")


def bundle_of(role: ClusterRole, cluster: Cluster, *, threads: int = 1, gpu: bool = False) -> Bundle:
    """What one actor of a role holds.

    Args:
        role: Who asks.
        cluster: Says which machines are reserved for a role.
        threads: CPUs of a learner.
        gpu: Whether a learner computes on a GPU.
    """
    if role is ClusterRole.LEARNER:
        return {"CPU": float(threads), **({"GPU": 1.0} if gpu else {})}
    if role is ClusterRole.DRIVER:
        # Tune refuses a bundle of zero CPUs alone.
        held = {DRIVER_SLOT: 1.0} if cluster.offers(DRIVER_SLOT) else {"memory": DRIVER_MEMORY_BYTES}
        return {"CPU": _CPUS[role], **held}
    cpus = _CPUS[role]
    return {"CPU": cpus, **({ENV_SLOT: cpus} if cluster.offers(ENV_SLOT) else {})}


def actor_options(bundle: Bundle) -> dict[str, Any]:
    """A bundle as keyword arguments of ``ray.remote``."""
    custom = {name: amount for name, amount in bundle.items() if name not in ("CPU", "GPU", "memory")}
    return {"num_cpus": bundle.get("CPU", 0.0), "num_gpus": bundle.get("GPU", 0.0), "resources": custom}


def read_cluster(ray: Any) -> Cluster:
    """The cluster that Ray is connected to, with what its autoscaler may still start."""
    running = [Machine(dict(node["Resources"])) for node in ray.nodes() if node["Alive"]]
    return Cluster((*running, *_startable(running)))


def _startable(running: list[Machine]) -> list[Machine]:
    """Machines that the autoscaler may still start; Ray itself tells nobody, so the head's copy of the file does."""
    if not any(machine.resources.get(DRIVER_SLOT) for machine in running):
        return []  # none of our cluster files started this
    left = list(running)
    found = []
    for resources, most in declared_machines():
        alike = [machine for machine in left if _is_of_type(machine.resources, resources)]
        left = [machine for machine in left if machine not in alike]
        if most > len(alike):
            found.append(Machine(resources, most - len(alike), running=False))
    return found


def declared_machines() -> list[tuple[dict[str, float], int]]:
    """Resources of the kinds of workers that the autoscaler starts, each with the most of them there may be.

    They are read from the variable `CAN_START`, a JSON list of ``{"count": 6, "resources": {"CPU": 16}}``, or from the
    file that `ray up` leaves on the head.

    Raises:
        UsageError: If the variable holds something else.
    """
    if text := os.environ.get(CAN_START):
        try:
            return [
                ({k: float(v) for k, v in kind["resources"].items()}, int(kind["count"])) for kind in json.loads(text)
            ]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UsageError(f"{CAN_START} is {text!r}, no list of counts and resources: {error!r}.") from None
    file = Path(BOOTSTRAP).expanduser()
    if not file.exists():
        return []
    config = yaml.safe_load(file.read_text())
    types = {name: kind for name, kind in config["available_node_types"].items() if name != config["head_node_type"]}
    return [
        (_amounts(kind["resources"]), kind.get("max_workers", 0)) for kind in types.values() if kind.get("resources")
    ]


def _amounts(resources: Mapping[str, Any]) -> dict[str, float]:
    return {name: float(amount) for name, amount in resources.items()}


def _is_of_type(machine: Mapping[str, float], declared: Mapping[str, float]) -> bool:
    names = {"CPU", "GPU", ENV_SLOT, DRIVER_SLOT, *declared} - {"memory", "object_store_memory"}
    return all(math.isclose(machine.get(name, 0.0), declared.get(name, 0.0)) for name in names)


def groups_wait(ray: Any) -> bool:
    """Whether a placement group, for example of a worker group, has found no place yet."""
    states = [group["state"] for group in ray.util.placement_group_table().values()]
    return any(state in ("PENDING", "RESCHEDULING", "PREPARED") for state in states)


def start_timeout(cluster: Cluster, bundle: Bundle, count: int, usual_s: float) -> float:
    """How long `count` actors may take to start: longer where machines must boot first."""
    return usual_s if cluster.fit(bundle, running=True) >= count or cluster.fit(bundle) < 1 else max(usual_s, BOOT_S)


class Waiting:
    """Says what is waited for, so that nothing stands still in silence.

    Args:
        ray: The initialized module.
        every_s: Seconds until the first line, and between two.
    """

    def __init__(self, ray: Any, every_s: float = 20.0) -> None:
        self._ray, self._every_s = ray, every_s
        self._next_s = time.monotonic() + every_s

    def tick(self, what: str, bundle: Bundle, still: Callable[[], bool] | None = None) -> None:
        """Call it while waiting, as often as you like.

        Args:
            what: For example ``"2 of 4 env actors"``.
            bundle: What each of them needs.
            still: Asked before a line is said; None says it in any case.
        """
        now_s = time.monotonic()
        if now_s < self._next_s:
            return
        self._next_s = now_s + self._every_s
        if still is None or still():
            say(f"Waiting for {what}: {bundle_words(bundle)} each. {self._situation(bundle)}")

    def _situation(self, bundle: Bundle) -> str:
        cluster = read_cluster(self._ray)
        free = self._ray.available_resources()
        now = ", ".join(f"{free.get(name, 0.0):g} {name}" for name in _shown(bundle))
        text = f"The cluster has {cluster.describe()}; free: {now}."
        if not cluster.fit(bundle):
            return text + " None of its machines is large enough: add one, or ask for less."
        return text if cluster.fit(bundle, running=True) else text + " Such a machine must start first."


def bundle_words(bundle: Bundle) -> str:
    """For example ``"1 CPU, 1 GPU"``."""
    return ", ".join(f"{bundle[name]:g} {name}" for name in _shown(bundle)) or "nothing"


def _shown(bundle: Bundle) -> list[str]:
    return [name for name, amount in bundle.items() if amount and name != "memory"]


def _sum_words(machines: list[Machine]) -> str:
    totals: dict[str, float] = {}
    for machine in machines:
        for name, amount in machine.resources.items():
            totals[name] = totals.get(name, 0.0) + amount * machine.count
    return ", ".join(f"{totals.get(name, 0.0):g} {name}s" for name in ("CPU", "GPU"))


def _copies(resources: Mapping[str, float], bundle: Bundle) -> int:
    ratios = [resources.get(name, 0.0) / amount for name, amount in bundle.items() if amount > 0]
    return int(min(ratios) + 1e-9) if ratios else 10**6
