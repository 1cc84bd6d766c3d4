"""A cluster of two machines on one: run inside namespaces of its own, where only its processes and addresses exist.

    unshare --pid --fork --mount-proc --net --mount python -m tests.deploy.one_machine FOLDER

It gives the loopback interface two addresses, serves SSH on both, and goes through docs/cluster.md with
deploy/onprem.yaml: `ray up`, `ray job submit` of a study, `ray down`. What differs from real machines: dependencies are
taken from this environment instead of installed again, and both machines share one disk. Prints one JSON object.
"""

from __future__ import annotations

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
    "seeds=0,1", "level_counts=2,6", "num_transitions=200", "learning_rates=1e-3", "retrain_workers=2", "num_actors=2",
    "experiment.train.learner_steps=20", "experiment.train.evaluate_every=10", "experiment.train.batch_size=16",
    "experiment.evaluation.num_train_levels=2", "experiment.evaluation.num_validation_levels=2",
    "judge.num_train_levels=2", "judge.num_validation_levels=2", "judge.num_test_levels=2", "judge.num_envs=2",
]  # fmt: skip


def main(folder: Path) -> dict[str, Any]:
    """The walk; returns what was seen on the way."""
    for command in (["link", "set", "lo", "up"], *(["addr", "add", f"{ip}/24", "dev", "lo"] for ip in (HEAD, WORKER))):
        run(["ip", *command])
    run(["ip", "route", "add", "default", "via", HEAD, "dev", "lo"])
    Path("/tmp/ray").mkdir(exist_ok=True)
    run(["mount", "-t", "tmpfs", "none", "/tmp/ray"])
    home = make_home(folder)
    # SSH looks for keys in the home that the list of users names, whatever HOME says.
    users = [line.replace(":/root:", f":{home}:") for line in Path("/etc/passwd").read_text().splitlines()]
    (folder / "passwd").write_text("\n".join(users) + "\n")
    run(["mount", "--bind", str(folder / "passwd"), "/etc/passwd"])
    start_sshd(folder, home)
    file = write_cluster_file(folder, home)
    seen: dict[str, Any] = {}
    started_s = time.monotonic()
    run(["ray", "up", "--yes", "--no-config-cache", str(file)])
    seen["up_s"] = round(time.monotonic() - started_s, 1)
    seen["nodes"] = wait_for_two_nodes(home)
    seen["join_s"] = round(time.monotonic() - started_s, 1)
    seen["without_token"] = run(["ray", "job", "list", "--address", DASHBOARD], check=False, RAY_AUTH_TOKEN="wrong")[
        -600:
    ]
    command = [f"{home}/gengap/.venv/bin/gengap", "sweep", "grid-diversity", *STUDY, "--out", f"{folder}/srv/study"]
    seen["job"] = run(
        ["ray", "job", "submit", "--address", DASHBOARD, "--working-dir", str(ROOT), "--runtime-env-json",
         json.dumps({"env_vars": {"WANDB_MODE": "offline"}, "excludes": ["/docs", "/tests/golden"]}), "--", *command]
    )[-6000:]  # fmt: skip
    seen["listening"] = listening()
    started_s = time.monotonic()
    run(["ray", "down", "--yes", str(file)])
    seen["down_s"] = round(time.monotonic() - started_s, 1)
    seen["left"] = [name for name in (process.name() for process in psutil.process_iter()) if "raylet" in name]
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


def make_home(folder: Path) -> Path:
    """A home directory with keys, a token and a virtual environment that sees this one's packages."""
    home = folder / "home"
    (home / ".ssh").mkdir(parents=True)
    (folder / "srv").mkdir()
    for name in ("host", "user"):
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(home / ".ssh" / name)])
    (home / ".ssh" / "authorized_keys").write_text((home / ".ssh" / "user.pub").read_text())
    run([sys.executable, "-m", "venv", "--without-pip", str(home / "gengap" / ".venv")])
    own = home / "gengap" / ".venv"
    site = next(own.glob("lib/python*/site-packages"))
    (site / "environment.pth").write_text(sysconfig.get_path("purelib"))
    script = f"#!{own}/bin/python\nimport sys\nfrom ray.scripts.scripts import main\nsys.exit(main())\n"
    (own / "bin" / "ray").write_text(script)
    (own / "bin" / "ray").chmod(0o755)
    variables = {
        "HOME": str(home),
        "PATH": f"{own / 'bin'}:{os.environ['PATH']}",
        "RAY_UP_enable_autoscaler_v2": "0",
        "RAY_AUTH_MODE": "token",
    }
    os.environ.update(variables)
    os.environ.pop("PYTHONPATH", None)
    run(["ray", "get-auth-token", "--generate"])
    return home


def start_sshd(folder: Path, home: Path) -> None:
    """An SSH server of this namespace, on its port 22."""
    run(["mount", "-t", "tmpfs", "none", "/run"])
    Path("/run/sshd").mkdir(mode=0o755)
    settings = [
        f"HostKey {home}/.ssh/host", f"AuthorizedKeysFile {home}/.ssh/authorized_keys", "PasswordAuthentication no",
        "PermitRootLogin prohibit-password", "StrictModes no", "UsePAM no", "PidFile none",
        f"SetEnv PATH={os.environ['PATH']}",
    ]  # fmt: skip
    (folder / "sshd_config").write_text("\n".join(settings) + "\n")
    subprocess.Popen(["/usr/sbin/sshd", "-D", "-f", str(folder / "sshd_config")])


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


def wait_for_two_nodes(home: Path, limit_s: float = 400.0) -> list[dict[str, Any]]:
    """Addresses and resources of both nodes, once the head's autoscaler has brought the worker."""
    code = "import json, ray; ray.init('auto', logging_level='ERROR'); print('\\n' + json.dumps(ray.nodes()))"
    deadline_s = time.monotonic() + limit_s
    while True:
        lines = run(["python", "-c", code], check=False).splitlines()
        found = json.loads(lines[-1]) if lines and lines[-1].startswith("[") else []
        nodes = [node for node in found if node["Alive"]]
        if len(nodes) == 2:
            return [{"ip": node["NodeManagerAddress"], "resources": node["Resources"]} for node in nodes]
        if time.monotonic() > deadline_s:
            logs = run(["sh", "-c", "tail -n 60 /tmp/ray/session_latest/logs/monitor.*"], check=False)
            raise RuntimeError(f"The worker did not join: {lines[-3:]} {logs[-5000:]}")
        time.sleep(2)


def listening() -> list[str]:
    """Addresses on which something other than the SSH server listens for the dashboard's port."""
    found = psutil.net_connections("inet")
    return sorted({f"{c.laddr.ip}:{c.laddr.port}" for c in found if c.status == "LISTEN" and c.laddr.port == 8265})


if __name__ == "__main__":
    try:
        print("\n" + json.dumps(main(Path(sys.argv[1]))), flush=True)
    except (RuntimeError, AssertionError, subprocess.SubprocessError) as error:
        print("\n" + json.dumps({"error": str(error)}), flush=True)
