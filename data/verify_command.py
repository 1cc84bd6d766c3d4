"""`gengap data verify`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from data.pack.layout import ACTIONS
from data.pack.verify import verify_pack
from data.remote import local_file
from data.verify import verify

_PACK_SUFFIX = ".pack"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "directory",
        type=Path,
        metavar="DATASET",
        help="dataset directory (the one that holds manifest.json), or a file that `gengap data pack` wrote",
    )


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Print every problem of a dataset; the exit code is 1 if there is one."""
    path: Path = args.directory
    kind = ""
    if path.is_file() or path.suffix == _PACK_SUFFIX:
        kind, problems = verify_pack(local_file(path))
    else:
        problems = verify(path)
    for problem in problems:
        print(f"  {problem}")
    print(f"{path} is {f'damaged: {len(problems)} problem(s)' if problems else 'sound'}.")
    if kind == ACTIONS and not problems:
        print("  what its levels and actions lead to is not played here; `gengap data unpack` proves it")
    return {"path": str(path), "sound": not problems, "problems": problems, "exit_code": int(bool(problems))}
