"""Several Ray nodes on one machine, in namespaces of their own: collect, train and sweep with work on different nodes.

    unshare --pid --fork --mount-proc --net --mount python -m tests.deploy.several_nodes FOLDER

Three nodes are made by `ray.cluster_utils.Cluster`, a fourth joins by `ray start`. Prints one JSON object.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from pathlib import Path
from typing import Any

from actors.collect import CollectConfig, collect
from actors.placement import read_cluster
from actors.pool import ActorPool
from envs.spec import LevelSet
from tests.deploy.one_machine import STUDY, patiently, run
from tests.trainers.helpers import grid_experiment

ADDRESS = "10.79.0.1"
HEAD = {"num_cpus": 0, "resources": {"train_driver": 8}, "include_dashboard": True}
WORKER = {"num_cpus": 2, "resources": {"env_actor": 2}}
LEVELS = LevelSet.range("grid/default", 0, 12)


def main(folder: Path) -> dict[str, Any]:
    """What happened, step by step."""
    for command in (["link", "set", "lo", "up"], ["addr", "add", f"{ADDRESS}/24", "dev", "lo"]):
        run(["ip", *command])
    run(["ip", "route", "add", "default", "via", ADDRESS, "dev", "lo"])
    Path("/tmp/ray").mkdir(exist_ok=True)
    run(["mount", "-t", "tmpfs", "none", "/tmp/ray"])
    os.environ.update(WANDB_MODE="offline")
    run(["ray", "get-auth-token", "--generate"])
    import ray
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args=HEAD)
    for _ in range(2):
        cluster.add_node(**WORKER)
    patiently(["ray", "start", "--address", cluster.address, "--num-cpus", "2", "--resources", '{"env_actor": 2}'])
    from actors.cluster import ray_session

    with ray_session(cluster.address):
        seen: dict[str, Any] = {"cluster": read_cluster(ray).describe()}
        seen["actors"] = actors_by_node(ray)
        seen["collected"] = collect_here(folder / "data", num_actors=5)
        seen["train"] = train_here(folder)
    words = ["sweep", "grid-diversity", *STUDY, "--out", str(folder / "study"), "--address", cluster.address]
    seen["sweep"] = run([sys.executable, "-c", "from gengap import main; main()", *words])[-3000:]
    cluster.shutdown()
    return seen


def actors_by_node(ray: Any) -> list[int]:
    """How many of five env actors each node hosts."""
    from ray.util.state import list_actors

    with ActorPool(5) as pool:
        pool.wait_until_started()
        nodes = [actor.node_id for actor in list_actors() if actor.class_name == "EnvActor" and actor.state == "ALIVE"]
    return sorted(nodes.count(node) for node in set(nodes))


def collect_here(out: Path, num_actors: int) -> str:
    """The fingerprint of a dataset that so many actors record."""
    wanted = CollectConfig(
        env="grid/default",
        source="grid-expert",
        levels=LEVELS,
        min_transitions=600,
        options={"noise": 0.2},
        num_actors=num_actors,
    )
    return collect(wanted, out).fingerprint


def train_here(folder: Path) -> dict[str, Any]:
    """Two workers that need a whole node each; on which nodes they were."""
    from ray.util.state import list_actors

    from trainers.launch_ray import run_distributed

    config = grid_experiment(folder / "data", learner_steps=30, evaluate_every=15)
    train = dataclasses.replace(config.train, num_workers=2, threads_per_worker=2)
    result = run_distributed(dataclasses.replace(config, train=train), folder / "run")
    workers = [actor for actor in list_actors(limit=1000) if "RayTrainWorker" in actor.class_name]
    return {"steps": result.learner_step, "nodes": len({actor.node_id for actor in workers}), "workers": len(workers)}


if __name__ == "__main__":
    try:
        print("\n" + json.dumps(main(Path(sys.argv[1]))), flush=True)
    except Exception as error:
        import traceback

        print("\n" + json.dumps({"error": f"{type(error).__name__}: {error} {traceback.format_exc()[-1500:]}"}))
