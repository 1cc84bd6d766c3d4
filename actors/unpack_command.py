"""`gengap data unpack`."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

from actors.pack_command import add_worker_arguments, workers_of
from envs.console import Progress, say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("file", type=Path, help="file that `gengap data pack` wrote")
    parser.add_argument("-o", "--output", "--out", type=Path, required=True, metavar="DIR", help="dataset to write")
    add_worker_arguments(parser)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Write the dataset; the result names its fingerprint, which was proven."""
    from actors.pack import unpack
    from data.files import format_bytes
    from data.pack.packed import Packed

    with Packed(args.file) as packed:
        total, size = packed.num_transitions, packed.unpacked_bytes
    say(f"Unpack {total:,} transitions of {packed.env.name} from {packed.kind}, about {format_bytes(size)}")
    started_s = time.monotonic()
    with Progress("unpack", total, "transitions") as progress:
        dataset = unpack(args.file, args.output, workers=workers_of(args), advance=progress.update)
    rate = len(dataset) / max(time.monotonic() - started_s, 1e-9)
    print(f"{len(dataset):,} transitions in {dataset.num_episodes} episodes: {args.output}")
    print(f"  proven to be what was packed: fingerprint {dataset.fingerprint}")
    return {
        "path": str(args.output),
        "kind": packed.kind,
        "num_transitions": len(dataset),
        "num_episodes": dataset.num_episodes,
        "fingerprint": dataset.fingerprint,
        "transitions_per_s": rate,
    }
