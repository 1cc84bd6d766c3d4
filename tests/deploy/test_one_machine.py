"""The real thing on one machine: `ray up`, a submitted study, `ray down`; an autoscaler that starts and ends nodes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.metrics.wandb_reader import read_rows

ROOT = Path(__file__).resolve().parents[2]
NAMESPACES = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "--net", "--mount"]

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.timeout(900)]


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder whose path is short enough for sockets."""
    with tempfile.TemporaryDirectory(prefix="gg") as path:
        yield Path(path)


def alone(module: str, folder: Path, *programs: str) -> dict[str, Any]:
    """Run a module in namespaces of its own, so that no other process or port of this machine can be touched."""
    for program in ("unshare", "ip", *programs):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed here (apt-get install openssh-server rsync iproute2 util-linux)")
    if subprocess.run([*NAMESPACES, "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True).returncode:
        pytest.skip("this user may not make namespaces (run as root, or allow user namespaces)")
    environment = {
        **os.environ, "PYTHONPATH": str(ROOT), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(folder), "RAY_AUTH_MODE": "token",
    }  # fmt: skip
    environment.pop("RAY_ADDRESS", None)
    result = subprocess.run(
        [*NAMESPACES, sys.executable, "-m", module, str(folder)],
        env=environment, cwd=ROOT, text=True, capture_output=True, timeout=880,
    )  # fmt: skip
    assert result.stdout.strip(), result.stderr[-3000:]
    seen: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    assert "error" not in seen, seen["error"]
    return seen


def test_ray_up_a_submitted_study_and_ray_down(folder: Path) -> None:
    seen = alone("tests.deploy.one_machine", folder, "/usr/sbin/sshd", "rsync", "ssh")
    print({name: value for name, value in seen.items() if name.endswith("_s")})
    nodes = {node["ip"]: node["resources"] for node in seen["nodes"]}
    assert sorted(nodes) == ["10.77.0.1", "10.77.0.2"]
    assert nodes["10.77.0.1"]["train_driver"] == 8
    assert "CPU" not in nodes["10.77.0.1"], "the head runs no environments and no learners"
    assert (nodes["10.77.0.2"]["CPU"], nodes["10.77.0.2"]["env_actor"]) == (4, 4)
    assert seen["listening"] == ["127.0.0.1:8265"], "the dashboard is not public"
    assert any(word in seen["wrong_token"] for word in ("401", "403", "nauthor", "token")), seen["wrong_token"]
    assert "succeeded" in seen["job"], seen["job"]
    study = folder / "srv" / "study"
    assert (study / "report" / "index.html").exists()
    logs = sorted(study.glob("trials/*/wandb/offline-run-*/*.wandb"))
    assert len(logs) == 4, "level counts x seeds"
    for log in logs:
        steps = [row["learner_step"] for row in read_rows(log) if "train/loss/total" in row]
        assert steps[-1] == 20
    assert "Command failed" not in seen["down"], seen["down"]
    assert seen["left"] == [], "ray down left nothing running"


def test_the_autoscaler_starts_the_right_machines_and_ends_them(folder: Path) -> None:
    seen = alone("tests.deploy.fake_cloud", folder)
    print({name: value for name, value in seen.items() if name.endswith("_s")})
    cpu, gpu, head = {"CPU": 2.0, "env_actor": 2.0}, {"CPU": 2.0, "GPU": 1.0}, {"train_driver": 8.0}
    assert seen["declared"] == [[cpu, 3], [gpu, 1]], "what may still start is known before anything runs"
    assert seen["actors"] == 5
    assert sorted(map(str, seen["with_actors"])) == sorted(map(str, [head, cpu, cpu, cpu])), "and no GPU machine"
    assert "Waiting for 5 of 5 env actors: 1 CPU, 1 env_actor each" in seen["said"]
    assert "may start 4 more with 8 CPUs, 1 GPUs" in seen["said"]
    assert seen["learner"] == gpu
    assert seen["driver"] == head
    assert seen["at_rest"] == [head], "idle machines were ended"


def test_collecting_training_and_sweeping_on_several_nodes(folder: Path, tmp_path: Path) -> None:
    seen = alone("tests.deploy.several_nodes", folder)
    assert seen["cluster"].startswith("4 machine(s) with 6 CPUs")
    assert sum(seen["actors"]) == 5
    assert len(seen["actors"]) == 3, "no node can host more than two"
    assert seen["train"] == {"steps": 30, "nodes": 2, "workers": 2}
    assert (folder / "study" / "report" / "index.html").exists(), seen["sweep"]
    # What is recorded does not depend on where.
    alone_here = subprocess.run(
        [sys.executable, "-c", RECORD_ALONE, str(tmp_path / "data")], cwd=ROOT, text=True, capture_output=True
    )
    assert alone_here.stdout.split()[-1:] == [seen["collected"]], alone_here.stderr[-2000:]


RECORD_ALONE = """
import sys
from pathlib import Path
from tests.deploy.several_nodes import collect_here
print(collect_here(Path(sys.argv[1]), num_actors=1))
"""
