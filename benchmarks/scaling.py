"""What a large collection would do: numbers of this machine, a small model, and what several raylets say about it.

(a) One core at a time: how fast an env actor plays and records, how fast a dataset writer takes it, how fast replies
come out of the object store, what a reply costs, what waiting for many actors costs. Rates are per second of processor
time, because a machine with other work on it has fewer seconds.

(b) The same collection on clusters of 1, 2 and 4 raylets of this machine (``ray.cluster_utils``): calls, replies and
bytes in the object stores are counted and held against the model. Their wall time says nothing, because all raylets
share the same cores and no network lies between them.

(c) The model for many actors and many transitions, with its first bottleneck.

    python -m benchmarks.scaling --actors 1000 --transitions 1e10
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import pickle
import tempfile
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import ray

from actors.chunks import split
from actors.collect import CollectConfig
from actors.env_actor import Player, RecordTask, Reply, new_task_key, num_bytes
from actors.pool import ActorPool
from actors.sources import SourceSpec
from benchmarks.common import bare_ray, report
from benchmarks.scaling_model import Fleet, Measured, limits, predict, saturating_actors, writers_needed
from data.episode import Episode
from data.episode_table import EpisodeTable
from data.pack.frameless import without_columns
from data.pack.write import pack_actions
from data.store import Store
from data.writer import DatasetWriter
from envs.registry import make_spec

BAR = 0.1  # relative error of the predicted bytes
NUM_ENVS = 32
STORE_BYTES = 500_000_000


def task_of(config: CollectConfig, *, frameless: bool = False) -> RecordTask:
    source = SourceSpec(env=config.env, name=config.source, options=config.options)
    return RecordTask(key=new_task_key(), source=source, seed=0, num_envs=NUM_ENVS, frameless=frameless)


def play_and_write(
    config: CollectConfig, num_levels: int, folder: Path, *, frameless: bool
) -> tuple[float, float, float]:
    """Transitions a second of playing and of writing, both of processor time, and bytes of a transition.

    Frameless episodes are hashed where they are played; writing includes packing them, and bytes are what travels.
    """
    player, levels = Player(task_of(config, frameless=frameless)), [(level, 0) for level in range(num_levels)]
    env, travelled = make_spec(config.env), 0
    for _ in player.play(levels[:NUM_ENVS]):  # memory is touched and levels are made
        pass
    played_s = written_s = 0.0
    with DatasetWriter(folder / "data", without_columns(env) if frameless else env, {}) as writer:
        episodes, started_s = player.play(levels), time.process_time()
        for episode in episodes:
            assert isinstance(episode, Episode)
            before_s = time.process_time()
            writer.add(episode)
            written_s += time.process_time() - before_s
            travelled += len(pickle.dumps(episode)) if frameless else 0
        played_s = time.process_time() - started_s - written_s
        before_s = time.process_time()
        dataset = writer.finish()
        if frameless:
            pack_actions(Store(folder / "data"), folder / "file", checked=False, env=env)
        written_s += time.process_time() - before_s
    player.close()
    count = len(dataset)
    return count / played_s, count / written_s, (travelled or dataset.info.num_bytes) / count


class Answerer:
    """Yields replies of a given size."""

    def play(self, count: int, size: int) -> Iterator[Reply]:
        """So many replies of so many bytes."""
        for _ in range(count):
            yield Reply(0, [np.zeros(size, dtype=np.uint8)])


def replies(size: int, count: int) -> float:
    """Seconds of this process's processor time for each reply of so many bytes, touched once."""
    actor = ray.remote(Answerer).remote()
    stream = actor.play.options(num_returns="streaming", _generator_backpressure_num_objects=2)
    ray.get(next(stream.remote(1, size)))
    arriving = stream.remote(count, size)
    started_s = time.process_time()
    for reference in arriving:
        ray.get(reference).items[0].copy()
    spent_s = time.process_time() - started_s
    ray.kill(actor)
    return spent_s / count


def waiting(count: int, turns: int = 20) -> float:
    """Seconds of processor time to look once at the next results of so many actors, none of which is there."""

    def nothing() -> None: ...

    never = ray.remote(num_cpus=0, resources={"nowhere": 1})(nothing)

    pending = [never.remote() for _ in range(count)]
    ray.wait(pending, num_returns=1, timeout=0)
    started_s = time.process_time()
    for _ in range(turns):
        ray.wait(pending, num_returns=1, timeout=0)
    spent_s = time.process_time() - started_s
    for reference in pending:
        ray.cancel(reference)
    return spent_s / turns


def memory_per_episode(count: int = 20_000) -> float:
    """Bytes that the writing process keeps for every episode until the dataset is finished."""
    entry = {"seed": 0, "terminated": True, "truncated": False, "final_observation_known": True, "length": 400}
    tracemalloc.start()
    jobs = [(level, 0) for level in range(count)]
    held: list[Any] = [jobs, set(jobs), list(split(jobs, 100, NUM_ENVS)), dict.fromkeys(jobs, 400)]
    table = EpisodeTable()
    for level in range(count):
        names = {"level": level, "episode": 0, "return": 1.0, "source": "s", "policy": "p", "checksum": "00" * 16}
        table.load([{**entry, **names, "metrics": {}}])
    held.append(table)
    num_bytes, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return num_bytes / count


def measure(config: CollectConfig, num_levels: int, *, frameless: bool = False) -> Measured:
    with tempfile.TemporaryDirectory() as folder:
        actor, writer, size = play_and_write(config, num_levels, Path(folder), frameless=frameless)
    small, large = replies(1_000, 300), replies(16 << 20, 12)
    return Measured(
        actor_per_s=actor,
        bytes_per_transition=size,
        writer_per_s=writer,
        receive_bytes_per_s=(16 << 20) / max(large - small, 1e-6),
        reply_s=small,
        wait_s_per_actor=waiting(1_000) / 1_000,
    )


class CountingPool(ActorPool):
    """Counts what an ordinary pool asks and is told."""

    calls = 0
    num_replies = 0

    def _assign(self, task: Any, chunks: Any) -> None:
        before = len(chunks)
        super()._assign(task, chunks)
        self.calls += before - len(chunks)

    def _receive(self, place: Any, chunks: Any) -> Iterator[Any]:
        self.num_replies += place.stream is not None
        yield from super()._receive(place, chunks)


@contextlib.contextmanager
def raylets(count: int) -> Iterator[Any]:
    """A cluster of so many nodes with one logical CPU each, this process on the first."""
    from ray.cluster_utils import Cluster

    node = {"num_cpus": 1, "object_store_memory": STORE_BYTES}
    cluster = Cluster(initialize_head=True, head_node_args={**node, "include_dashboard": False})
    for _ in range(count - 1):
        cluster.add_node(**node)
    try:
        with bare_ray(address=cluster.address):
            yield cluster
    finally:
        ray.shutdown()
        cluster.shutdown()


def created_bytes() -> float:
    """Bytes of all objects that ever lay in the stores of the cluster, each copy counted."""
    from ray._private.internal_api import get_memory_info_reply, get_state_from_address

    address = ray.get_runtime_context().gcs_address
    return float(get_memory_info_reply(get_state_from_address(address)).store_stats.cumulative_created_bytes)


def check(config: CollectConfig, count: int, num_levels: int, *, frameless: bool = False) -> dict[str, float]:
    """One collection on so many raylets: what was predicted and what was counted.

    Replies of frameless episodes are so small that Ray sends them without its object store.
    """
    jobs = [(level, 0) for level in range(num_levels)]
    transitions, payload = 0, 0.0
    with raylets(count), CountingPool(count) as pool:
        pool.wait_until_started()
        nodes, before = _nodes_used(), created_bytes()
        started_s, cpu_s = time.perf_counter(), time.process_time()
        for episode in pool.play_episodes(task_of(config, frameless=frameless), jobs):
            transitions, payload = transitions + len(episode), payload + num_bytes(episode)
        wall_s, cpu_s = time.perf_counter() - started_s, time.process_time() - cpu_s
        stored = created_bytes() - before
    return {
        "raylets": count,
        "nodes_used": nodes,
        "calls": pool.calls,
        "calls_predicted": len(list(split(jobs, count, NUM_ENVS))),
        "replies": pool.num_replies - pool.calls,  # the end of every stream is news too
        "payload_mb": payload / 1e6,
        "stored_mb": stored / 1e6,
        # Where the driver is not, an object is made once there and once here.
        "stored_predicted_mb": payload * (2 - 1 / count) / 1e6,
        "driver_cpu_s": cpu_s,
        "wall_s": wall_s,
        "transitions": transitions,
    }


def _nodes_used() -> int:
    """Nodes on which env actors live."""
    import ray._private.state

    alive = [actor for actor in ray._private.state.actors().values() if actor["State"] == "ALIVE"]
    return len({actor["Address"]["NodeID"] for actor in alive if "EnvActor" in actor["ActorClassName"]})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--envs", nargs="+", default=["procgen/maze", "grid/default", "shop/default"])
    parser.add_argument("--levels", type=int, default=64, help="episodes of each measurement")
    parser.add_argument("--actors", type=int, default=1_000)
    parser.add_argument("--transitions", type=float, default=1e10)
    parser.add_argument("--raylets", type=int, nargs="*", default=[1, 2, 4])
    args = parser.parse_args()
    configs = [CollectConfig(env=env, source="random", num_levels=args.levels) for env in args.envs]
    found, fleet = {}, Fleet(num_actors=args.actors)
    with bare_ray(num_cpus=2):
        for config in configs:
            for name, frameless in ((config.env, False), (f"{config.env}, frameless", True)):
                found[name] = measured = measure(config, args.levels, frameless=frameless)
                print(name, dataclasses.asdict(measured), flush=True)
    checks = [check(configs[0], count, args.levels) for count in args.raylets]
    packed = [check(configs[0], count, args.levels, frameless=True) for count in args.raylets[-1:]]
    for row in [*checks, *packed]:
        print(row, flush=True)
    errors = [abs(row["stored_mb"] / row["stored_predicted_mb"] - 1) for row in checks]
    exact = all(row["calls"] == row["calls_predicted"] for row in checks)
    predictions = {}
    for env, measured in found.items():
        needed = writers_needed(measured, fleet)
        predictions[env] = {
            "measured": dataclasses.asdict(measured),
            "limits": limits(measured, fleet),
            "one_writer": predict(measured, fleet, args.transitions),
            "actors_per_writer": saturating_actors(measured, fleet),
            "writers_needed": needed,
            "enough_writers": predict(measured, dataclasses.replace(fleet, num_writers=needed), args.transitions),
        }
    worst = max(errors, default=0.0)
    report(
        "scaling",
        round(worst, 3),
        "relative error of the predicted bytes in the object stores",
        BAR,
        exact and worst <= BAR,
        memory_per_episode=round(memory_per_episode()),
        checks=checks,
        frameless_checks=packed,
        predictions=predictions,
    )


if __name__ == "__main__":
    main()
