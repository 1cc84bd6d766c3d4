"""`gengap data audit`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from actors.pack_command import add_worker_arguments, workers_of
from envs.console import Progress

_SHOWN = 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("directory", type=Path, help="dataset directory (the one that holds manifest.json)")
    add_worker_arguments(parser)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Say how much of a dataset is rendered as it was recorded; the exit code is 1 if an episode is not."""
    from actors.pack import audit
    from data.store import read_manifest

    info = read_manifest(args.directory.absolute())
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
