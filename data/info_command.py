"""`gengap data info`."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from data.dataset import Dataset
from data.diversity import describe, summarize_returns
from data.files import format_bytes
from envs.spec import describe_levels


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("directory", type=Path, help="dataset directory (the one that holds manifest.json)")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Print what a dataset holds."""
    dataset = Dataset.open(args.directory)
    info = dataset.info
    counts, returns = describe(dataset), summarize_returns(dataset.episodes["return"])
    values: dict[str, Any] = {
        "path": str(info.path),
        "env": info.env.name,
        "fingerprint": info.fingerprint,
        "license": info.license,
        "created": info.created,
        "schema_version": info.schema_version,
        "num_bytes": info.num_bytes,
        "sources": list(dataset.sources),
        "policies": list(info.policies),
        **counts,
        "episode_return": returns,
        "metrics": summarize_metrics(dataset.metrics),
        "provenance": dict(info.provenance),
    }
    levels = describe_levels(tuple(dataset.levels.tolist()))
    print(f"{info.env.name} in {info.path} ({format_bytes(info.num_bytes)}, license {info.license})")
    print(f"  {len(dataset)} transitions in {dataset.num_episodes} episodes on levels {levels}")
    print(f"  sources: {', '.join(dataset.sources)}; recorded {info.created}")
    print(
        f"  return: mean {returns['mean']:.4g}, median {returns['median']:.4g}, {returns['min']:g}..{returns['max']:g}"
    )
    for name, summary in values["metrics"].items():
        print(f"  {name}: mean {summary['mean']:.4g} of {summary['num_episodes']} episodes")
    print(f"  mean length {counts['mean_length']:.1f} steps, effective levels {counts['effective_levels']:.1f}")
    print(f"  fingerprint {info.fingerprint}")
    return values


def summarize_metrics(metrics: Mapping[str, npt.NDArray[np.float64]]) -> dict[str, dict[str, float]]:
    """Mean and number of the episodes that have it, for every metric that some episode has.

    Args:
        metrics: Name -> values [E], NaN where unknown.
    """
    known = {name: values[~np.isnan(values)] for name, values in metrics.items()}
    return {
        name: {"mean": float(values.mean()), "num_episodes": len(values)}
        for name, values in known.items()
        if len(values)
    }
