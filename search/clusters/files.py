"""A cluster file as its checks see it: for `ray up` (AWS, Google Cloud, own machines) or for the KubeRay operator."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from envs.errors import UsageError, unknown_name

Provider = Literal["aws", "gcp", "local", "kuberay"]
PROVIDERS: tuple[Provider, ...] = ("aws", "gcp", "local", "kuberay")


@dataclass(frozen=True, kw_only=True)
class NodeType:
    """One kind of machine."""

    name: str
    is_head: bool
    resources: Mapping[str, float]
    """What Ray schedules by; empty where the machine itself says it when it starts."""
    minimum: int
    maximum: int
    spot: bool
    images: tuple[str, ...]
    config: Mapping[str, Any]
    """What goes to the cloud: the provider's node config, or the pod's template."""


@dataclass(frozen=True, kw_only=True)
class ClusterFile:
    """A cluster file and what it describes."""

    path: Path
    text: str
    provider: Provider
    config: Mapping[str, Any]
    """The whole file for `ray up`; the ``RayCluster`` spec for KubeRay."""
    documents: tuple[Mapping[str, Any], ...]
    """Every YAML document in it."""
    node_types: tuple[NodeType, ...]
    max_workers: int

    @property
    def head(self) -> NodeType:
        """The head's type."""
        return next(node for node in self.node_types if node.is_head)

    @property
    def workers(self) -> tuple[NodeType, ...]:
        """All other types."""
        return tuple(node for node in self.node_types if not node.is_head)

    def commands(self, *names: str) -> list[str]:
        """The shell commands under these keys, those of node types included."""
        places = [self.config, *self.config.get("available_node_types", {}).values()]
        return [command for place in places for name in names for command in place.get(name) or []]


def read_documents(path: Path) -> tuple[dict[str, Any], ...]:
    """The YAML documents of a cluster file.

    Raises:
        UsageError: If it is no such file, saying what is missing.
    """
    try:
        documents = tuple(document for document in yaml.safe_load_all(path.read_text()) if document is not None)
    except OSError as error:
        raise UsageError(f"{path} cannot be read ({error.strerror}); name a cluster file, as cluster.yaml.") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UsageError(f"{path} is no YAML: {' '.join(str(error).split())[:300]}") from None
    if not documents or not all(isinstance(document, dict) for document in documents):
        raise UsageError(f"{path} holds no cluster: it must be a mapping with `provider`, or a RayCluster.")
    if not is_kuberay(documents):
        provider = documents[0].get("provider")
        found = provider.get("type") if isinstance(provider, dict) else None
        if found not in PROVIDERS[:-1]:
            raise unknown_name("provider.type", str(found), PROVIDERS[:-1])
    return documents


def is_kuberay(documents: tuple[dict[str, Any], ...]) -> bool:
    """Whether they are for Kubernetes."""
    return "apiVersion" in documents[0]


def read_cluster_file(path: Path) -> ClusterFile:
    """Read a file for `ray up`, or for the KubeRay operator.

    Raises:
        UsageError: If it is no such file, saying what is missing.
    """
    documents = read_documents(path)
    with understood(path):
        return (_kuberay if is_kuberay(documents) else _ray_up)(path, path.read_text(), documents)


@contextlib.contextmanager
def understood(path: Path) -> Iterator[None]:
    """Turns what reading a file of the wrong shape raises into one clear line.

    Raises:
        UsageError: Naming what is missing or of the wrong kind.
    """
    try:
        yield
    except UsageError:
        raise
    except (LookupError, TypeError, AttributeError, ValueError) as error:
        raise UsageError(f"{path} lacks or misstates {error}; compare it with the files in deploy/.") from None


def _ray_up(path: Path, text: str, documents: tuple[dict[str, Any], ...]) -> ClusterFile:
    config = documents[0]
    provider = config["provider"]["type"]
    nodes = tuple(_local_nodes(config) if provider == "local" else _cloud_nodes(config))
    workers = sum(node.maximum for node in nodes if not node.is_head)
    return ClusterFile(
        path=path,
        text=text,
        provider=provider,
        config=config,
        documents=documents,
        node_types=nodes,
        max_workers=config.get("max_workers", workers),
    )


def _cloud_nodes(config: Mapping[str, Any]) -> Iterator[NodeType]:
    docker = config.get("docker", {})
    for name, entry in config["available_node_types"].items():
        is_head = name == config["head_node_type"]
        own = entry.get("docker", {}).get("worker_image") or docker.get("head_image" if is_head else "worker_image")
        image = own or docker.get("image")
        yield NodeType(
            name=name,
            is_head=is_head,
            resources=entry.get("resources", {}),
            minimum=entry.get("min_workers", 0),
            maximum=0 if is_head else entry.get("max_workers", config.get("max_workers", 0)),
            spot=_is_spot(entry["node_config"]),
            images=(image,) if image else (),
            config=entry["node_config"],
        )


def _is_spot(node_config: Mapping[str, Any]) -> bool:
    market = node_config.get("InstanceMarketOptions", {}).get("MarketType")
    scheduling = node_config.get("scheduling", {})
    merged = scheduling if isinstance(scheduling, dict) else {k: v for part in scheduling for k, v in part.items()}
    return market == "spot" or merged.get("provisioningModel") == "SPOT" or bool(merged.get("preemptible"))


def _local_nodes(config: Mapping[str, Any]) -> Iterator[NodeType]:
    """The head, and the workers; a machine's resources are what its start command says."""
    addresses = config["provider"]["worker_ips"]
    for is_head in (True, False):
        commands = config.get("head_start_ray_commands" if is_head else "worker_start_ray_commands") or []
        yield NodeType(
            name="head" if is_head else "worker",
            is_head=is_head,
            resources=started_resources(" ".join(commands)),
            minimum=0 if is_head else config.get("min_workers", len(addresses)),
            maximum=0 if is_head else min(len(addresses), config.get("max_workers", len(addresses))),
            spot=False,
            images=(),
            config={},
        )


def started_resources(command: str) -> dict[str, float]:
    """What a ``ray start`` command declares by ``--num-cpus`` and a literal ``--resources``."""
    found: dict[str, float] = {}
    if match := re.search(r"--num-cpus[= ](\d+)", command):
        found["CPU"] = float(match[1])
    if match := re.search(r"--resources[= ]'(\{[^']*\})'", command):
        found |= json.loads(match[1])
    return found


def _kuberay(path: Path, text: str, documents: tuple[dict[str, Any], ...]) -> ClusterFile:
    specs = [
        document["spec"] if document["kind"] == "RayCluster" else document["spec"]["rayClusterSpec"]
        for document in documents
        if document.get("kind") in ("RayCluster", "RayJob")
    ]
    if len(specs) != 1:
        raise UsageError(f"{path} holds {len(specs)} Ray clusters; a file describes one RayCluster or RayJob.")
    spec = specs[0]
    groups = [("head", True, spec["headGroupSpec"])]
    groups += [(group["groupName"], False, group) for group in spec["workerGroupSpecs"]]
    nodes = tuple(_group(name, is_head, group) for name, is_head, group in groups)
    return ClusterFile(
        path=path,
        text=text,
        provider="kuberay",
        config=spec,
        documents=documents,
        node_types=nodes,
        max_workers=sum(node.maximum for node in nodes),
    )


def _group(name: str, is_head: bool, group: Mapping[str, Any]) -> NodeType:
    pod = group["template"]["spec"]
    return NodeType(
        name=name,
        is_head=is_head,
        resources={key: float(value) for key, value in group.get("resources", {}).items()},
        minimum=0 if is_head else group["minReplicas"],
        maximum=0 if is_head else group["maxReplicas"],
        spot=False,  # a pod does not say what its machine is
        images=tuple(container["image"] for container in pod["containers"]),
        config=group["template"],
    )
