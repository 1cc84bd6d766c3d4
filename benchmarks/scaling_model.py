"""How collection scales: the slowest of its parts sets the pace. Rates are measured; prices are parameters."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What one core and one process do; see `benchmarks.scaling`."""

    actor_per_s: float
    """Transitions that one env actor plays and records in a second of processor time."""
    bytes_per_transition: float
    """As recorded, which is what travels and lies on disk."""
    writer_per_s: float
    """Transitions that the process which writes takes a second, checksums included."""
    receive_bytes_per_s: float
    """Bytes of replies that the same process fetches from the object store a second."""
    reply_s: float
    """What the same process pays for each reply, whatever its size."""
    wait_s_per_actor: float
    """What looking for the next reply costs it for every actor that is waited for."""


@dataclass(frozen=True, kw_only=True)
class Fleet:
    """What is rented."""

    num_actors: int
    num_writers: int = 1
    """Processes that collect disjoint levels into datasets of their own; a mixture concatenates these as views."""
    link_bytes_per_s: float = 1.25e9
    """Network into a writer's node: 10 Gbit/s."""
    actors_per_node: int = 32
    price_per_node_hour: float = 1.0
    """In any currency."""
    price_per_gb_month: float = 0.02
    batch_s: float = 1.0
    """An actor answers at least so often (`actors.env_actor`)."""
    batch_bytes: float = 32 * 2**20


def limits(measured: Measured, fleet: Fleet) -> dict[str, float]:
    """Transitions a second that each part could do if the others were free."""
    actors_each = fleet.num_actors / fleet.num_writers
    bytes_each = measured.bytes_per_transition
    per_actor_bytes = measured.actor_per_s * bytes_each
    replies_per_s = max(1 / fleet.batch_s, per_actor_bytes / fleet.batch_bytes)  # of one busy actor
    transitions_per_reply = measured.actor_per_s / replies_per_s
    handling_s = measured.reply_s + measured.wait_s_per_actor * actors_each
    # The writing process fetches, handles and writes in turn.
    per_transition_s = (
        1 / measured.writer_per_s + bytes_each / measured.receive_bytes_per_s + handling_s / transitions_per_reply
    )
    return {
        "env actors": fleet.num_actors * measured.actor_per_s,
        "writer process": fleet.num_writers / per_transition_s,
        "network into the writer's node": fleet.num_writers * fleet.link_bytes_per_s / bytes_each,
    }


def predict(measured: Measured, fleet: Fleet, num_transitions: float) -> dict[str, float | str]:
    """Pace, first bottleneck, time, bytes and cost of a collection."""
    parts = limits(measured, fleet)
    bottleneck = min(parts, key=parts.__getitem__)
    rate = parts[bottleneck]
    hours = num_transitions / rate / 3600
    nodes = math.ceil(fleet.num_actors / fleet.actors_per_node)
    num_bytes = num_transitions * measured.bytes_per_transition
    return {
        "transitions_per_s": rate,
        "bottleneck": bottleneck,
        "hours": hours,
        "actors_busy": rate / parts["env actors"],
        "terabytes": num_bytes / 1e12,
        "traffic_mb_per_s": rate * measured.bytes_per_transition / 1e6,
        "nodes": float(nodes),
        "cost_of_nodes": hours * nodes * fleet.price_per_node_hour,
        "cost_of_storage_month": num_bytes / 1e9 * fleet.price_per_gb_month,
    }


def saturating_actors(measured: Measured, fleet: Fleet) -> int:
    """How many actors one writer process can take before it is what they wait for; at least one."""
    count = 1
    while predict(measured, _with(fleet, count + 1), 1)["bottleneck"] == "env actors":
        count += 1
    return count


def writers_needed(measured: Measured, fleet: Fleet) -> int:
    """How many writer processes keep all actors busy."""
    count = 1
    while predict(measured, _with(fleet, fleet.num_actors, count), 1)["bottleneck"] != "env actors":
        count += 1
    return count


def _with(fleet: Fleet, num_actors: int, num_writers: int = 1) -> Fleet:
    return Fleet(**{**vars(fleet), "num_actors": num_actors, "num_writers": num_writers})
