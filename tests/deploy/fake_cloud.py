"""Ray's own autoscaler with Ray's stand-in for a cloud, whose machines are processes here; run in its own namespaces:

    unshare --pid --fork --mount-proc --net --mount python -m tests.deploy.fake_cloud FOLDER

The node types are those of cluster.yaml, smaller. It asks for env actors, a learner on a GPU and a driver by
`actors.placement`, and looks which machines were started for them, and that they go again. Prints one JSON object.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from actors.placement import Cluster, ClusterRole, actor_options, bundle_of, read_cluster
from actors.pool import ActorPool
from search.clusters.files import read_cluster_file
from tests.deploy.one_machine import patiently, run

ROOT = Path(__file__).resolve().parents[2]
ADDRESS = "10.78.0.1"
SLOTS = 2
"""CPUs of a small machine."""
IDLE_S = 6.0


def main(folder: Path) -> dict[str, Any]:
    """What happened, step by step."""
    start_head(folder)
    import ray

    ray.init("auto", logging_level="ERROR", log_to_driver=False)
    seen: dict[str, Any] = {"declared": wait_until(lambda: startable(read_cluster(ray)), 60)}
    cluster = read_cluster(ray)
    started_s = time.monotonic()
    said = io.StringIO()
    with contextlib.redirect_stderr(said), ActorPool(5) as pool:
        pool._waiting._next_s = 0.0
        pool._say_what_is_missing()
        seen["actors"] = len(pool.wait_until_started())
        seen["up_s"] = round(time.monotonic() - started_s, 1)
        seen["with_actors"] = machines(ray)
    seen["said"] = said.getvalue()
    for role in (ClusterRole.LEARNER, ClusterRole.DRIVER):
        task = ray.remote(**actor_options(bundle_of(role, cluster, gpu=True)))(where)
        seen[role.value] = resources_of(ray, ray.get(task.remote(), timeout=240))
    started_s = time.monotonic()
    wait_until(lambda: len(machines(ray)) == 1, 180)
    seen["down_s"] = round(time.monotonic() - started_s, 1)
    seen["at_rest"] = machines(ray)
    ray.shutdown()
    return seen


def where() -> str:
    """The node that this runs on."""
    import ray

    return ray.get_runtime_context().get_node_id()


def start_head(folder: Path) -> None:
    """A head that starts machines through Ray's fake provider."""
    from ray.autoscaler._private.fake_multi_node.node_provider import FAKE_HEAD_NODE_ID

    for command in (["link", "set", "lo", "up"], ["addr", "add", f"{ADDRESS}/24", "dev", "lo"]):
        run(["ip", *command])
    run(["ip", "route", "add", "default", "via", ADDRESS, "dev", "lo"])
    Path("/tmp/ray").mkdir(exist_ok=True)
    run(["mount", "-t", "tmpfs", "none", "/tmp/ray"])
    os.environ.update( RAY_FAKE_CLUSTER="1", RAY_enable_autoscaler_v2="1", RAY_CLOUD_INSTANCE_ID=FAKE_HEAD_NODE_ID,
        RAY_OVERRIDE_NODE_ID_FOR_TESTING=FAKE_HEAD_NODE_ID, AUTOSCALER_UPDATE_INTERVAL_S="1", RAY_AUTH_MODE="token",
        PYTHONPATH=str(ROOT),
    )  # fmt: skip
    run(["ray", "get-auth-token", "--generate"])
    (folder / "ray_bootstrap_config.yaml").write_text(json.dumps(autoscaling_config(FAKE_HEAD_NODE_ID)))
    command = [
        "ray",
        "start",
        "--head",
        "--port=6379",
        f"--autoscaling-config={folder / 'ray_bootstrap_config.yaml'}",
        "--num-cpus=0",
    ]
    # `ray stop` sees no process outside of these namespaces.
    patiently([*command, "--resources", '{"train_driver": 8}', "--disable-usage-stats"], between=["ray", "stop"])


def autoscaling_config(head_id: str) -> dict[str, Any]:
    """The node types of cluster.yaml as the fake provider takes them; it has a name of its own for the head's type."""
    from ray.autoscaler._private.fake_multi_node.node_provider import FAKE_HEAD_NODE_TYPE

    file = read_cluster_file(ROOT / "cluster.yaml")
    types = {}
    for node in file.node_types:
        resources = {name: min(int(value), SLOTS) for name, value in node.resources.items()}
        most = 0 if node.is_head else 3 if "env_actor" in resources else 1
        kept = dict(node.resources) if node.is_head else resources
        name = FAKE_HEAD_NODE_TYPE if node.is_head else node.name
        types[name] = {"resources": kept, "node_config": {}, "min_workers": 0, "max_workers": most}
    provider = {
        "type": "external",
        "module": "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider",
        "launch_multiple": True,
        "head_node_id": head_id,
    }
    empty = {name: [] for name in (
        "cluster_synced_files", "rsync_exclude", "rsync_filter", "initialization_commands", "setup_commands",
        "head_setup_commands", "worker_setup_commands", "head_start_ray_commands", "worker_start_ray_commands",
    )}  # fmt: skip
    return {
        "cluster_name": "fake", "max_workers": 4, "idle_timeout_minutes": IDLE_S / 60, "upscaling_speed": 1.0,
        "provider": provider, "available_node_types": types, "head_node_type": FAKE_HEAD_NODE_TYPE, "docker": {},
        "auth": {}, "file_mounts": {}, "file_mounts_sync_continuously": False, **empty,
    }  # fmt: skip


def startable(cluster: Cluster) -> list[tuple[dict[str, float], int]]:
    """Machines that may still start."""
    return [(dict(machine.resources), machine.count) for machine in cluster.machines if not machine.running]


def machines(ray: Any) -> list[dict[str, float]]:
    """What each running machine offers."""
    return [resources_of(ray, node["NodeID"]) for node in ray.nodes() if node["Alive"]]


def resources_of(ray: Any, node_id: str) -> dict[str, float]:
    """What one machine offers, by the names that cluster.yaml uses."""
    node = next(node for node in ray.nodes() if node["NodeID"] == node_id)
    names = ("CPU", "GPU", "env_actor", "train_driver")
    return {name: node["Resources"][name] for name in names if node["Resources"].get(name)}


def wait_until(condition: Any, limit_s: float) -> Any:
    """The first true value of a condition."""
    deadline_s = time.monotonic() + limit_s
    while not (value := condition()):
        if time.monotonic() > deadline_s:
            raise RuntimeError(f"Not within {limit_s} s.")
        time.sleep(0.5)
    return value


if __name__ == "__main__":
    try:
        print("\n" + json.dumps(main(Path(sys.argv[1]))), flush=True)
    except Exception as error:
        import traceback

        print("\n" + json.dumps({"error": f"{type(error).__name__}: {error} {traceback.format_exc()[-1500:]}"}))
