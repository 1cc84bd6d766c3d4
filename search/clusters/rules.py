"""What no schema sees: rules that a cluster file of this project keeps, each with what to write instead."""

from __future__ import annotations

import json
import re
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

from actors.placement import CAN_START, DRIVER_SLOT, ENV_SLOT
from search.clusters.files import ClusterFile

ROOT = Path(__file__).resolve().parents[2]
SHARED = "/srv/gengap"
"""The folder that all machines share."""

_SECRETS = {
    "a W&B key": re.compile(r"WANDB_API_KEY['\"]?\s*[:=]\s*['\"]?[0-9a-zA-Z]{20,}"),
    "an AWS key": re.compile(r"\bAKIA[0-9A-Z]{16}\b|aws_secret_access_key", re.IGNORECASE),
    "a private key": re.compile(r"BEGIN [A-Z ]*PRIVATE KEY"),
    "a token or key": re.compile(r"\b[0-9a-f]{32,}\b"),
    "a password": re.compile(r"^[^#]*(password|passwd)\s*[:=]\s*\S", re.IGNORECASE | re.MULTILINE),
}

Rule = Callable[[ClusterFile], Iterator[str]]


def rule_problems(file: ClusterFile) -> Iterator[str]:
    """Every rule's findings, in the order of the table."""
    for rule in RULES:
        yield from rule(file)


def no_secret(file: ClusterFile) -> Iterator[str]:
    """A cluster file is committed and copied; what must stay secret is named by a path or comes with a job."""
    for what, pattern in _SECRETS.items():
        if match := pattern.search(file.text):
            line = file.text.count("\n", 0, match.start()) + 1
            yield f"line {line} looks like {what}; take it from the environment or from a file of your own"


def same_versions(file: ClusterFile) -> Iterator[str]:
    """Ray refuses a client of another version; Python's pickles differ between minor versions."""
    import ray

    python = f"py{sys.version_info.major}{sys.version_info.minor}"
    for image in sorted({image for node in file.node_types for image in node.images}):
        tag = image.rpartition(":")[2]
        if ray.__version__ not in tag or python not in tag:
            yield (
                f"the image {image} must hold Ray {ray.__version__} and Python {python[2]}.{python[3:]}, as this "
                f"machine, and say so in its tag, for example :{ray.__version__}-{python}"
            )


def head_only_drives(file: ClusterFile) -> Iterator[str]:
    """The head dies of work that is not its own, and everything with it."""
    resources = file.head.resources
    if resources.get("CPU") != 0:
        yield f"the head offers {resources.get('CPU', 'all its')} CPUs; set 0, or environments and learners land on it"
    if resources.get(DRIVER_SLOT, 0) < 1:
        yield f"the head offers no {DRIVER_SLOT!r}; give it one for each GB of memory that drivers may take"
    if file.head.spot:
        yield "the head is a spot machine; losing it ends every job"


def work_has_a_place(file: ClusterFile) -> Iterator[str]:
    """Env actors ask for a slot that only CPU machines have; learners for a GPU and at least a CPU."""
    if file.provider == "local":
        if not any(ENV_SLOT in command for command in file.commands("worker_start_ray_commands")):
            yield f"no worker offers {ENV_SLOT!r}; start those without GPU with --resources='{{\"{ENV_SLOT}\": CORES}}'"
        return
    if not any(node.resources.get(ENV_SLOT, 0) for node in file.workers):
        yield f"no node type offers {ENV_SLOT!r}; give it to the machines for env actors, as many as they have CPUs"
    for node in file.workers:
        slots, cpus, gpus = (node.resources.get(name, 0) for name in (ENV_SLOT, "CPU", "GPU"))
        if slots and slots != cpus:
            yield f"{node.name} offers {slots:g} {ENV_SLOT!r} and {cpus:g} CPUs; an env actor takes one of each"
        if slots and gpus:
            yield f"{node.name} offers {ENV_SLOT!r} beside GPUs; env actors would take the threads of its learners"
        if gpus and cpus < gpus:
            yield f"{node.name} has {gpus:g} GPUs and {cpus:g} CPUs; each learner needs at least one CPU"


def counts_agree(file: ClusterFile) -> Iterator[str]:
    """Limits that contradict each other are not refused by Ray, but never reached."""
    for node in file.workers:
        if not 0 <= node.minimum <= node.maximum:
            yield f"{node.name} has {node.minimum} to {node.maximum} workers; they must be 0 <= min <= max"
        if node.maximum > file.max_workers:
            yield f"{node.name} may have {node.maximum} workers, but max_workers is {file.max_workers}"
    total = sum(node.maximum for node in file.workers)
    if file.max_workers > total:
        yield f"max_workers is {file.max_workers}, but all types together allow {total}"


def dashboard_stays_private(file: ClusterFile) -> Iterator[str]:
    """Whoever reaches the dashboard's port may run anything on the cluster."""
    if file.provider == "kuberay":
        if file.config["headGroupSpec"].get("serviceType", "ClusterIP") != "ClusterIP":
            yield "headGroupSpec.serviceType makes the dashboard public; it must be ClusterIP"
        if file.config["headGroupSpec"].get("enableIngress"):
            yield "headGroupSpec.enableIngress makes the dashboard public; leave it out"
        return
    starts = [command for command in file.commands("head_start_ray_commands") if "ray start" in command]
    for command in starts:
        if "--dashboard-host=127.0.0.1" not in command:
            yield "the head must start Ray with --dashboard-host=127.0.0.1; `ray dashboard FILE` brings it to you"
    if not starts:
        yield "head_start_ray_commands does not start Ray; the default's dashboard may be public"


def ports_ask_for_the_token(file: ClusterFile) -> Iterator[str]:
    """Before Ray 2.61 only local clusters ask for a token by themselves."""
    if file.provider == "kuberay":
        if file.config.get("authOptions", {}).get("mode") != "token":
            yield "authOptions.mode is not token; without it every pod that reaches the head may run anything"
        return
    mode = "RAY_AUTH_MODE=token"
    everywhere = any(mode in option for option in file.config.get("docker", {}).get("run_options", []))
    for command in file.commands("head_start_ray_commands", "worker_start_ray_commands"):
        if "ray start" in command and mode not in command and not everywhere:
            yield f"`{command[:60]}...` starts Ray without {mode}; write it there or into docker.run_options"
    if not any(target.endswith("/.ray/auth_token") for target in file.config.get("file_mounts", {})):
        yield "file_mounts does not bring ~/.ray/auth_token; without it no machine can join"


def installs_this_project(file: ClusterFile) -> Iterator[str]:
    """Ray's own defaults install a nightly build; and only what is mounted can be installed."""
    if file.provider == "kuberay":
        return
    if not any("pip install" in command and "-e ." in command for command in file.commands("setup_commands")):
        yield "setup_commands does not install this project (`python -m pip install -e .` where it is mounted)"
    mounts = file.config.get("file_mounts", {})
    for name in sorted(project_parts() - set(mounts.values())):
        yield f"file_mounts lacks {name!r}, which this project is made of"
    for target, source in mounts.items():
        if source in (".", "./"):
            yield f"file_mounts copies this whole folder to {target}, runs/ and .env with it; name its parts"


def project_parts() -> set[str]:
    """Files and folders of the repository's top that an installation needs, by `pyproject.toml`."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = {name.split(".")[0] for name in project["tool"]["setuptools"]["packages"]}
    modules = {f"{name}.py" for name in project["tool"]["setuptools"]["py-modules"]}
    files = {project["project"]["readme"], *project["project"]["license-files"]}
    return {"pyproject.toml", "deploy", *packages, *modules, *files}


def one_shared_folder(file: ClusterFile) -> Iterator[str]:
    """Trials write where the driver reads: runs and datasets must be in one folder that every machine sees."""
    if not file.max_workers:
        return
    if file.provider == "kuberay":
        for node in file.node_types:
            mounts = [mount for c in node.config["spec"]["containers"] for mount in c.get("volumeMounts", [])]
            if not any(mount["mountPath"] == SHARED for mount in mounts):
                yield f"{node.name} does not mount {SHARED}; studies must be in a folder that all pods share"
        return
    commands = file.commands("initialization_commands")
    if not any(SHARED in command for command in commands):
        yield f"no machine is given the shared folder {SHARED}; see initialization_commands in cluster.yaml"
    if file.config.get("docker") and not any(
        f"{SHARED}:{SHARED}" in option for option in file.config["docker"].get("run_options", [])
    ):
        yield f"docker.run_options does not bring {SHARED} into the containers (-v {SHARED}:{SHARED})"


def growth_is_declared(file: ClusterFile) -> Iterator[str]:
    """The driver in a pod cannot ask what the autoscaler may start; a variable of the head says it."""
    if file.provider != "kuberay":
        return
    variables = file.head.config["spec"]["containers"][0].get("env", [])
    found = next((variable.get("value", "") for variable in variables if variable["name"] == CAN_START), "[]")
    wanted = [{"count": node.maximum, "resources": dict(node.resources)} for node in file.workers]
    if json.loads(found) != wanted:
        yield f"the head's variable {CAN_START} must be {json.dumps(wanted)}, as the worker groups say"


def own_machines(file: ClusterFile) -> Iterator[str]:
    """The provider for own machines keeps no count of them by itself."""
    if file.provider != "local":
        return
    addresses = file.config["provider"]["worker_ips"]
    if len(set(addresses)) != len(addresses) or file.config["provider"]["head_ip"] in addresses:
        yield "a machine is listed twice among head_ip and worker_ips; each may run one Ray node"
    if file.head.resources and file.workers[0].minimum != len(addresses):
        yield f"min_workers is not the number of worker_ips ({len(addresses)}); the others would never be started"
    if any(
        "stop --force" in c or "stop -f" in c
        for c in file.commands("head_start_ray_commands", "worker_start_ray_commands")
    ):
        yield "`ray stop --force` ends every Ray on that machine, other people's too; leave --force out"


RULES: tuple[Rule, ...] = (
    no_secret, same_versions, head_only_drives, work_has_a_place, counts_agree, dashboard_stays_private,
    ports_ask_for_the_token, installs_this_project, one_shared_folder, growth_is_declared, own_machines,
)  # fmt: skip


def missing_here(file: ClusterFile, folder: Path) -> Iterator[str]:
    """Local files that the cluster file names and this machine lacks; `ray up` would stop over them.

    Args:
        file: The cluster file.
        folder: Where `ray up` is started; relative paths start there.
    """
    if file.provider == "kuberay":
        return
    wanted = dict.fromkeys(file.config.get("file_mounts", {}).values())
    key = file.config.get("auth", {}).get("ssh_private_key")
    for source in [*wanted, *([key] if key else [])]:
        if (folder / Path(source).expanduser()).exists():
            continue
        advice = "; make it with `ray get-auth-token --generate`" if source.endswith("auth_token") else ""
        yield f"{source} does not exist here{advice or ', or you are in another folder than the repository'}"
