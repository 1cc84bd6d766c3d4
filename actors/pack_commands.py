"""`gengap data pack`, `unpack` and `audit`."""

from __future__ import annotations

import argparse
import dataclasses
import os
import time
from pathlib import Path
from typing import Any

from envs.console import Progress, say
from envs.errors import UsageError

_SHOWN = 5


def add_pack_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("directory", type=Path, help="dataset directory (the one that holds manifest.json)")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE", help="file to write")
    parser.add_argument("--frames", action="store_true", help="keep the observations, for data of any origin")
    parser.add_argument(
        "--check",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="render every episode again and keep the rows that come out otherwise (default: do)",
    )
    parser.add_argument(
        "--half",
        action="store_true",
        help="round log-probabilities of actions to 2 bytes; the dataset then has another fingerprint",
    )
    parser.add_argument(
        "--level", type=int, default=9, metavar="N", help="compression of frames, 1 (fast) to 19 (small); default 9"
    )
    add_worker_arguments(parser)


def run_pack(args: argparse.Namespace) -> dict[str, Any]:
    """Write the file; the result says how large it is."""
    from actors.pack import pack
    from data.files import format_bytes
    from data.remote import local_dataset
    from data.store import read_manifest

    if not 1 <= args.level <= 19:
        raise UsageError(f"--level is {args.level}; allowed: 1 (fast) to 19 (small).")
    info = read_manifest(local_dataset(args.directory))
    with Progress("pack", info.num_transitions, "transitions") as progress:
        report = pack(
            args.directory,
            args.output,
            frames=args.frames,
            check=args.check,
            half=args.half,
            level=args.level,
            workers=workers_of(args),
            advance=progress.update,
        )
    print(
        f"{report.num_transitions:,} transitions as {report.kind} in {format_bytes(report.num_bytes)} "
        f"({report.bytes_per_transition:.3g} bytes each, {info.num_bytes / report.num_bytes:,.0f} times less): "
        f"{args.output}"
    )
    if report.num_patched_episodes:
        print(
            f"  {report.num_patched_episodes} of {report.num_episodes} episodes come out otherwise here; "
            f"{report.num_patched_rows} of their rows are kept as they were recorded"
        )
    if not args.frames and not args.check:
        print("  not compared with what is rendered here: only `gengap data unpack` proves it")
    if report.fingerprint != info.fingerprint:
        print(f"  rounded: {info.fingerprint} becomes another dataset")
    print(f"  fingerprint {report.fingerprint}")
    values = {"file": str(args.output), "bytes_per_transition": report.bytes_per_transition}
    return {**values, "unpacked_bytes": info.num_bytes, "checked": args.check, **dataclasses.asdict(report)}


def add_unpack_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("file", type=Path, help="file that `gengap data pack` wrote")
    parser.add_argument("-o", "--output", "--out", type=Path, required=True, metavar="DIR", help="dataset to write")
    add_worker_arguments(parser)
    parser.add_argument(
        "--processes",
        type=int,
        default=_cores(),
        metavar="N",
        help="without actors, processes that render and write, at most one for every 100,000 transitions and the first "
        "(default: one for each core, here %(default)s)",
    )


def run_unpack(args: argparse.Namespace) -> dict[str, Any]:
    """Write the dataset; the result names its fingerprint, which was proven."""
    from actors.unpack import unpack
    from data.files import format_bytes
    from data.pack.packed import Packed
    from data.remote import local_file

    with Packed(local_file(args.file)) as packed:
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


def add_audit_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("directory", type=Path, help="dataset directory (the one that holds manifest.json)")
    add_worker_arguments(parser)


def run_audit(args: argparse.Namespace) -> dict[str, Any]:
    """Say how much of a dataset is rendered as it was recorded; the exit code is 1 if an episode is not."""
    from actors.pack import audit
    from data.remote import local_dataset
    from data.store import read_manifest

    info = read_manifest(local_dataset(args.directory))
    with Progress("audit", info.num_transitions, "transitions") as progress:
        values = audit(args.directory, workers=workers_of(args), advance=progress.update)
    same, total = values["num_same_episodes"], values["num_episodes"]
    print(f"{same} of {total} episodes of {args.directory} are what their levels and actions lead to here")
    print(f"  {values['num_same_rows']:,} of {values['num_rows']:,} frames agree ({values['same_rows']:.2%})")
    if values["num_other_ends"]:
        print(f"  {values['num_other_ends']} episodes end otherwise")
    for found in values["different"][:_SHOWN]:
        where = f"from frame {found['first_row']} on" if "first_row" in found else "in its end"
        lengths = f"{found['length']} steps, {found['length_here']} here"
        print(f"  level {found['level']} episode {found['episode']} by {found['source']} differs {where} ({lengths})")
    return {"path": str(args.directory), "env": info.env.name, **values, "exit_code": int(same != total)}


def add_worker_arguments(parser: argparse.ArgumentParser) -> None:
    """Who renders; for every command that does."""
    parser.add_argument(
        "--actors", type=int, default=0, metavar="N", help="Ray actors that render; 0 (default) is this process"
    )
    parser.add_argument(
        "--slots", type=int, default=32, metavar="N", help="environments of each, fewer for long episodes; default 32"
    )


def workers_of(args: argparse.Namespace) -> Any:
    """What `add_worker_arguments` declared."""
    from actors.replaying import Workers

    return Workers(
        num_actors=args.actors,
        num_envs=args.slots,
        address=getattr(args, "address", None),
        num_processes=getattr(args, "processes", 1),
    )


def _cores() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
