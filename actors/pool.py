"""A pool of actors that carries out orders: spreads them, replaces the dead and the hung, loses and doubles nothing."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from actors.env_actor import EnvActor
from envs.errors import RunError, UsageError

_POLL_S = 1.0


@dataclass
class _Running:
    """An order that an actor is carrying out."""

    index: int
    actor: Any
    started_s: float = field(default_factory=time.monotonic)


class ActorPool:
    """Ray actors that host environments.

    An order is repeated elsewhere when its actor dies or exceeds the deadline. That is safe because orders are
    idempotent: their seeds derive from names. Each order's result is handed out exactly once.

    Args:
        num_actors: How many actors; each takes `num_cpus`.
        num_cpus: CPUs of each actor.
        deadline_s: Seconds after which an order's actor counts as hung and is killed.
        max_attempts: How often one order is tried before the pool gives up.
    """

    def __init__(
        self, num_actors: int, *, num_cpus: float = 1, deadline_s: float = 900.0, max_attempts: int = 3
    ) -> None:
        if num_actors < 1:
            raise UsageError(f"A pool of {num_actors} actors was asked for; it needs at least 1.")
        self.num_actors = num_actors
        self._num_cpus, self._deadline_s, self._max_attempts = num_cpus, deadline_s, max_attempts
        self._incarnation = 0
        self._actors: list[Any] = []
        self.num_replaced = 0
        """Actors that died or hung and were replaced."""

    def __enter__(self) -> ActorPool:
        import ray

        available = ray.cluster_resources().get("CPU", 0.0)
        if self._num_cpus > available:
            raise UsageError(
                f"An actor needs {self._num_cpus:g} CPUs, but the cluster has {available:g}; ask for fewer."
            )
        # More actors than fit would wait for each other's CPUs for ever.
        fitting = int(available // self._num_cpus) if self._num_cpus else self.num_actors
        self._actors = [self._start() for _ in range(min(self.num_actors, fitting))]
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End every actor."""
        import ray

        for actor in self._actors:
            ray.kill(actor)
        self._actors = []

    def process_ids(self) -> list[int]:
        """Process ids of the actors (for tests that kill one)."""
        import ray

        return [pid for _, pid in ray.get([actor.identify.remote() for actor in self._actors])]

    def map(self, function: str, orders: Sequence[Any]) -> Iterator[tuple[int, Any]]:
        """Carry out every order; yields (index of the order, result) as they finish.

        Args:
            function: ``"module:function"``, called in the actor as ``function(host, order)``.
            orders: Picklable and idempotent.

        Raises:
            RunError: If an order failed `max_attempts` times because its actors died or hung.
            UsageError: If the function raised one.
        """
        import ray

        waiting = deque(range(len(orders)))
        attempts = [0] * len(orders)
        idle = list(self._actors)
        running: dict[Any, _Running] = {}
        while waiting or running:
            while waiting and idle:
                index, actor = waiting.popleft(), idle.pop()
                attempts[index] += 1
                running[actor.call.remote(function, orders[index])] = _Running(index, actor)
            done, _ = ray.wait(list(running), num_returns=1, timeout=_POLL_S)
            for reference in done:
                task = running.pop(reference)
                try:
                    result = ray.get(reference)
                except ray.exceptions.RayTaskError as error:
                    raise _user_error(error) from None
                except (ray.exceptions.RayActorError, ray.exceptions.ActorUnavailableError) as error:
                    self._retry(task, waiting, attempts, idle, str(error))
                    continue
                idle.append(task.actor)
                yield task.index, result
            for reference, task in list(running.items()):
                if time.monotonic() - task.started_s > self._deadline_s:
                    del running[reference]
                    self._retry(task, waiting, attempts, idle, f"no answer in {self._deadline_s:g} s")

    def _retry(self, task: _Running, waiting: deque[int], attempts: list[int], idle: list[Any], reason: str) -> None:
        if attempts[task.index] >= self._max_attempts:
            raise RunError(
                f"Part {task.index} of the work failed {attempts[task.index]} times, each time with its actor "
                f"(the last: {reason.strip().splitlines()[0]}). Look for a level that crashes or a lack of memory."
            )
        waiting.appendleft(task.index)
        idle.append(self._replace(task.actor))

    def _replace(self, actor: Any) -> Any:
        import ray

        ray.kill(actor)
        self.num_replaced += 1
        replacement = self._start()
        self._actors = [replacement if known is actor else known for known in self._actors]
        return replacement

    def _start(self) -> Any:
        import ray

        self._incarnation += 1
        # Restarts are ours, not Ray's: Ray's would repeat a call without telling anyone.
        options = {"num_cpus": self._num_cpus, "max_restarts": 0, "max_task_retries": 0}
        return ray.remote(**options)(EnvActor).remote(self._incarnation)


def _user_error(error: Any) -> Exception:
    cause = getattr(error, "cause", None)
    if isinstance(cause, UsageError | RunError):
        return cause
    return RunError(f"An actor failed: {cause or error}")
