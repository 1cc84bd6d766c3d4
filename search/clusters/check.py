"""`gengap doctor --cluster FILE`: everything that can be known about a cluster file before it costs anything."""

from __future__ import annotations

from pathlib import Path

from envs.console import say
from search.clusters.files import ClusterFile, is_kuberay, read_cluster_file, read_documents, understood
from search.clusters.rules import missing_here, rule_problems
from search.clusters.schema import cloud_problems, kuberay_problems, ray_problems


def cluster_problems(path: Path) -> list[str]:
    """What Ray, the cloud's own description and our rules find in a file, whoever looks at it.

    Raises:
        UsageError: If it is no cluster file.
    """
    documents = read_documents(path)
    # Our rules rely on the shape that Ray asks for.
    if not is_kuberay(documents) and (refused := list(ray_problems(documents[0]))):
        return refused
    file = read_cluster_file(path)
    with understood(path):
        found = list(kuberay_problems(file)) if file.provider == "kuberay" else list(cloud_problems(file))
        return [*found, *rule_problems(file)]


def check_cluster(path: Path, folder: Path) -> list[str]:
    """The same, and what is missing on this machine; says what kind of cluster it is.

    Args:
        path: The file.
        folder: Where `ray up` will be started.

    Raises:
        UsageError: If it is no cluster file.
    """
    file = read_cluster_file(path)
    say(f"{path}: {file.provider}, {describe(file)}")
    return [*cluster_problems(path), *missing_here(file, folder)]


def describe(file: ClusterFile) -> str:
    """The machines in one line, with the resources that Ray schedules by."""
    parts = []
    for node in file.node_types:
        count = "1" if node.is_head else f"{node.minimum} to {node.maximum}"
        offers = ", ".join(f"{value:g} {name}" for name, value in node.resources.items()) or "what they say at start"
        parts.append(f"{count} x {node.name} ({offers}{', spot' if node.spot else ''})")
    return "; ".join(parts)
