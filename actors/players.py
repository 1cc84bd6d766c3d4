"""Where an evaluation is played: in this process, or by Ray actors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from actors.evaluate import evaluate, evaluate_on_pool
from metrics.table import EvaluationTable

Play = Callable[..., EvaluationTable]
"""(policy, protocol, **options) -> table; see `actors.evaluate.evaluate`."""


@contextmanager
def players(num_actors: int, address: str | None = None) -> Iterator[Play]:
    """What plays one policy after the other.

    Args:
        num_actors: Ray actors that share the work; 0 plays in this process, without Ray.
        address: Ray cluster to join; None starts a local one if actors are asked for.
    """
    if num_actors == 0:
        yield evaluate
        return
    from actors.cluster import ray_session
    from actors.placement import ClusterRole
    from actors.pool import ActorPool

    with ray_session(address), ActorPool(num_actors, role=ClusterRole.EVALUATOR) as pool:
        yield partial(evaluate_on_pool, pool)
