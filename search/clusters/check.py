"""`gengap doctor --cluster FILE`: everything that can be known about a cluster file before it costs anything."""

from __future__ import annotations

from pathlib import Path

from envs.console import say
from search.clusters.files import ClusterFile, read_cluster_file
from search.clusters.rules import missing_here, rule_problems
from search.clusters.schema import schema_problems


def cluster_problems(path: Path) -> list[str]:
    """What Ray, the cloud's own description and our rules find in a file, whoever looks at it.

    Raises:
        UsageError: If it is no cluster file.
    """
    return _problems(read_cluster_file(path))


def _problems(file: ClusterFile) -> list[str]:
    return [*schema_problems(file), *rule_problems(file)]


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
    return [*_problems(file), *missing_here(file, folder)]


def describe(file: ClusterFile) -> str:
    """The machines in one line, with the resources that Ray schedules by."""
    parts = []
    for node in file.node_types:
        count = "1" if node.is_head else f"{node.minimum} to {node.maximum}"
        offers = ", ".join(f"{value:g} {name}" for name, value in node.resources.items()) or "what they say at start"
        parts.append(f"{count} x {node.name} ({offers}{', spot' if node.spot else ''})")
    return "; ".join(parts)
