"""`gengap data import minari` and `gengap data export minari`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from data.dataset import Dataset


def add_import_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the import."""
    parser.add_argument("dataset", help="directory of a Minari dataset, or its id under $MINARI_DATASETS_PATH")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="dataset directory to create")
    parser.add_argument("--source", metavar="NAME", help="origin of the episodes (default: the algorithm it names)")
    parser.add_argument("--license", metavar="SPDX", help="terms of the data (default: those it was exported with)")


def run_import(args: argparse.Namespace) -> dict[str, Any]:
    """Import; the result names the new dataset."""
    from data.interop.minari_import import import_minari

    dataset = import_minari(args.dataset, args.out, source=args.source, license=args.license)
    print(f"{dataset.num_episodes} episodes, {len(dataset)} transitions of {dataset.env.name} are in {args.out}")
    return {
        "path": str(args.out),
        "env": dataset.env.name,
        "num_episodes": dataset.num_episodes,
        "num_transitions": len(dataset),
        "fingerprint": dataset.fingerprint,
    }


def add_export_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the export."""
    parser.add_argument("directory", type=Path, help="dataset directory (the one that holds manifest.json)")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="directory to create")
    parser.add_argument("--id", metavar="ID", help="NAMESPACE/NAME-vN (default: gengap/ENVIRONMENT-v0)")


def run_export(args: argparse.Namespace) -> dict[str, Any]:
    """Export; the result names the Minari dataset."""
    from data.interop.minari_export import export_minari

    dataset = Dataset.open(args.directory)
    name = export_minari(dataset, args.out, args.id)
    print(f"{dataset.num_episodes} episodes, {len(dataset)} transitions are in {args.out} as the Minari dataset {name}")
    return {
        "path": str(args.out),
        "dataset_id": name,
        "num_episodes": dataset.num_episodes,
        "num_transitions": len(dataset),
    }
