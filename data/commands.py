"""`gengap data info|verify`."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from data.dataset import Dataset
from data.diversity import describe, summarize_returns
from data.files import format_bytes
from data.verify import verify
from envs.spec import describe_levels


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the subcommands."""
    commands = parser.add_subparsers(dest="data_command", required=True, metavar="COMMAND")
    info = commands.add_parser("info", help="say what a dataset holds", description="Say what a dataset holds.")
    check = commands.add_parser(
        "verify",
        help="read a dataset against its checksums",
        description="Read every byte of a dataset against its checksums; exit code 1 if one differs.",
    )
    for command in (info, check):
        command.add_argument("directory", type=Path, help="dataset directory (the one that holds manifest.json)")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Run the chosen subcommand; returns what --json prints."""
    return COMMANDS[args.data_command](args)


def run_info(args: argparse.Namespace) -> dict[str, Any]:
    """Print what a dataset holds."""
    dataset = Dataset.open(args.directory)
    info = dataset.info
    counts, returns = describe(dataset), summarize_returns(dataset.episodes["return"])
    values = {
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
        "provenance": dict(info.provenance),
    }
    levels = describe_levels(tuple(dataset.levels.tolist()))
    print(f"{info.env.name} in {info.path} ({format_bytes(info.num_bytes)}, license {info.license})")
    print(f"  {len(dataset)} transitions in {dataset.num_episodes} episodes on levels {levels}")
    print(f"  sources: {', '.join(dataset.sources)}; recorded {info.created}")
    print(
        f"  return: mean {returns['mean']:.4g}, median {returns['median']:.4g}, {returns['min']:g}..{returns['max']:g}"
    )
    print(f"  mean length {counts['mean_length']:.1f} steps, effective levels {counts['effective_levels']:.1f}")
    print(f"  fingerprint {info.fingerprint}")
    return values


def run_verify(args: argparse.Namespace) -> dict[str, Any]:
    """Print every problem of a dataset; the exit code is 1 if there is one."""
    problems = verify(args.directory)
    for problem in problems:
        print(f"  {problem}")
    print(f"{args.directory} is {f'damaged: {len(problems)} problem(s)' if problems else 'sound'}.")
    return {"path": str(args.directory), "sound": not problems, "problems": problems, "exit_code": int(bool(problems))}


COMMANDS: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {"info": run_info, "verify": run_verify}
