"""A cluster of two machines on one: run inside namespaces of its own, where only its processes and addresses exist.

    unshare --pid --fork --mount-proc --net --mount python -m tests.deploy.one_machine FOLDER

It gives the loopback interface two addresses, serves SSH on both, and goes through docs/cluster.md with
deploy/onprem.yaml: `ray up`, `ray job submit` of a study, `ray down`. What differs from real machines: dependencies are
taken from this environment instead of installed again, and both machines share one disk. Prints one JSON object.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import sysconfig
import time
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parents[2]
HEAD, WORKER = "10.77.0.1", "10.77.0.2"
DASHBOARD = "http://127.0.0.1:8265"
STUDY = [
    "seeds=0,1", "level_counts=2,6", "num_transitions=200", "learning_rates=1e-3", "retrain_workers=1", "num_actors=2",
    "experiment.train.learner_steps=20", "experiment.train.evaluate_every=10", "experiment.train.batch_size=16",
    "experiment.evaluation.num_train_levels=2", "experiment.evaluation.num_validation_levels=2",
    "judge.num_train_levels=2", "judge.num_validation_levels=2", "judge.num_test_levels=2", "judge.num_envs=2",
]  # fmt: skip


def main(folder: Path) -> dict[str, Any]:
    """The walk; returns what was seen on the way."""
    for command in (["link", "set", "lo", "up"], *(["addr", "add", f"{ip}/24", "dev", "lo"] for ip in (HEAD, WORKER))):
        run(["ip", *command])
    run(["ip", "route", "add", "default", "via", HEAD, "dev", "lo"])
    home = make_client(folder)
    for ip in (HEAD, WORKER):
        start_machine(folder, ip)
    file = write_cluster_file(folder, home)
    seen: dict[str, Any] = {}
    started_s = time.monotonic()
    patiently(["ray", "up", "--yes", "--no-config-cache", str(file)])
    seen["up_s"] = round(time.monotonic() - started_s, 1)
    seen["nodes"] = wait_for_two_nodes(file)
    seen["join_s"] = round(time.monotonic() - started_s, 1)
    seen["wrong_token"] = run(["ray", "job", "list", "--address", DASHBOARD], check=False, RAY_AUTH_TOKEN="no")[-600:]
    words = ["sweep", "grid-diversity", *STUDY, "--out", f"{folder}/srv/study"]
    environment = {"env_vars": {"WANDB_MODE": "offline"}, "excludes": ["/docs", "/tests/golden"]}
    seen["job"] = run(
        ["ray", "job", "submit", "--address", DASHBOARD, "--working-dir", str(ROOT), "--runtime-env-json",
         json.dumps(environment), "--", "gengap", *words]
    )[-6000:]  # fmt: skip
    seen["listening"] = listening()
    started_s = time.monotonic()
    seen["down"] = run(["ray", "down", "--yes", str(file)])[-6000:]
    seen["down_s"] = round(time.monotonic() - started_s, 1)
    started_s = time.monotonic()
    seen["left"] = left_after(limit_s=180.0)  # workers end when they have missed the head for a minute
    seen["gone_s"] = round(time.monotonic() - started_s, 1)
    return seen


def run(command: list[str], *, check: bool = True, **variables: str) -> str:
    """Run to the end; what it printed.

    Raises:
        RuntimeError: With the output, if it fails and `check` is set.
    """
    result = subprocess.run(
        command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env={**os.environ, **variables}
    )
    if check and result.returncode:
        raise RuntimeError(f"{command[:6]} ended with {result.returncode}: {result.stdout[-4000:]}")
    return result.stdout


def patiently(command: list[str], between: list[str] | None = None, tries: int = 3) -> str:
    """Run, and again if it was only too slow: Ray gives a node 30 s to start, which a busy machine may not keep.

    Args:
        command: What to run.
        between: Clears away what a try has left.
        tries: How often.
    """
    for _ in range(tries - 1):
        with contextlib.suppress(RuntimeError):
            return run(command)
        if between is not None:
            run(between, check=False)
    return run(command)


def make_client(folder: Path) -> Path:
    """The home of the one who submits: a key for SSH, and the token of the cluster."""
    home = folder / "client"
    (home / ".ssh").mkdir(parents=True)
    (folder / "srv").mkdir()
    for name in ("host", "user"):
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(home / ".ssh" / name)])
    (home / ".ssh" / "authorized_keys").write_text((home / ".ssh" / "user.pub").read_text())
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    os.environ.update(HOME=str(home), PATH=path, RAY_UP_enable_autoscaler_v2="0", RAY_AUTH_MODE="token")
    os.environ.pop("PYTHONPATH", None)
    run(["ray", "get-auth-token", "--generate"])
    return home


def start_machine(folder: Path, ip: str) -> None:
    """Processes, a home and a folder for Ray that only this machine sees, behind an SSH server on its address."""
    home = folder / ip
    make_environment(home / "gengap" / ".venv")
    # SSH looks for keys in the home that the list of users names, whatever HOME says.
    users = [line.replace(":/root:", f":{home}:") for line in Path("/etc/passwd").read_text().splitlines()]
    (folder / f"passwd-{ip}").write_text("\n".join(users) + "\n")
    settings = [
        f"ListenAddress {ip}", f"HostKey {folder}/client/.ssh/host", "PasswordAuthentication no", "StrictModes no",
        f"AuthorizedKeysFile {folder}/client/.ssh/authorized_keys", "PermitRootLogin prohibit-password", "UsePAM no",
        "PidFile none", f"SetEnv PATH={os.environ['PATH']}",
    ]  # fmt: skip
    (folder / f"sshd-{ip}").write_text("\n".join(settings) + "\n")
    commands = [
        "mkdir -p /tmp/ray", "mount -t tmpfs none /tmp/ray", f"mount --bind {folder}/passwd-{ip} /etc/passwd",
        "mount -t tmpfs none /run", "mkdir -m 755 /run/sshd",
    ]  # fmt: skip
    # The shell stays, because the first process of a machine buries those that lost their parent.
    script = " && ".join([*commands, f"/usr/sbin/sshd -D -f {folder}/sshd-{ip} & wait"])
    own = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "--mount"]
    subprocess.Popen([*own, "bash", "-c", script])


def make_environment(place: Path) -> None:
    """A virtual environment that sees the packages of this one, and has a `ray` of its own."""
    run([sys.executable, "-m", "venv", "--without-pip", str(place)])
    site = next(place.glob("lib/python*/site-packages"))
    (site / "environment.pth").write_text(sysconfig.get_path("purelib"))
    script = f"#!{place}/bin/python\nimport sys\nfrom ray.scripts.scripts import main\nsys.exit(main())\n"
    (place / "bin" / "ray").write_text(script)
    (place / "bin" / "ray").chmod(0o755)


def write_cluster_file(folder: Path, home: Path) -> Path:
    """deploy/onprem.yaml for these two machines."""
    text = (ROOT / "deploy" / "onprem.yaml").read_text()
    changes = {
        "cluster_name: gengap": f"cluster_name: gengap-test-{os.getpid()}-{int(time.time())}",
        "head.example.org": HEAD,
        "[cpu-1.example.org, gpu-1.example.org]": f"[{WORKER}]",
        "min_workers: 2\nmax_workers: 2": "min_workers: 1\nmax_workers: 1",
        "ssh_user: gengap": "ssh_user: root",
        "~/.ssh/gengap": f"{home}/.ssh/user",
        "/srv/gengap": f"{folder}/srv",
        "pip install --quiet --constraint deploy/constraints.txt": "pip install --quiet --no-deps --no-build-isolation",
        # Two machines have more than the two cores that this one may have.
        "slots=$(nproc);": "slots=4;",
        "--node-ip-address": "--num-cpus=4 --node-ip-address",
    }
    for old, new in changes.items():
        assert old in text, old
        text = text.replace(old, new)
    path = folder / "cluster.yaml"
    path.write_text(text)
    return path


def wait_for_two_nodes(file: Path, limit_s: float = 300.0) -> list[dict[str, Any]]:
    """Addresses and resources of both nodes, once the head's autoscaler has brought the worker."""
    from ray.util.state import list_nodes

    deadline_s = time.monotonic() + limit_s
    while True:
        found = []
        with contextlib.suppress(Exception):  # the head answers a moment after it has started
            found = [node for node in list_nodes(address=DASHBOARD) if node.state == "ALIVE"]
        if len(found) == 2:
            return [{"ip": node.node_ip, "resources": dict(node.resources_total)} for node in found]
        if time.monotonic() > deadline_s:
            logs = run(["ray", "exec", str(file), "tail -n 40 /tmp/ray/session_latest/logs/monitor.*"], check=False)
            raise RuntimeError(f"The worker did not join: {found} {logs[-5000:]}")
        time.sleep(2)


def left_after(limit_s: float) -> list[str]:
    """Raylets that still run after a while; the dead that nobody has buried do not."""
    deadline_s = time.monotonic() + limit_s
    while True:
        found = [process.info for process in psutil.process_iter(["name", "status"])]
        alive = [each["name"] for each in found if "raylet" in each["name"] and each["status"] != psutil.STATUS_ZOMBIE]
        if not alive or time.monotonic() > deadline_s:
            return alive
        time.sleep(1)


def listening() -> list[str]:
    """Addresses on which something other than the SSH server listens for the dashboard's port."""
    found = psutil.net_connections("inet")
    return sorted({f"{c.laddr.ip}:{c.laddr.port}" for c in found if c.status == "LISTEN" and c.laddr.port == 8265})


if __name__ == "__main__":
    try:
        print("\n" + json.dumps(main(Path(sys.argv[1]))), flush=True)
    except (RuntimeError, AssertionError, subprocess.SubprocessError) as error:
        print("\n" + json.dumps({"error": str(error)}), flush=True)
