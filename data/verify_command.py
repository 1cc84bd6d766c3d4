"""`gengap data verify`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from data.verify import verify


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("directory", type=Path, help="dataset directory (the one that holds manifest.json)")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Print every problem of a dataset; the exit code is 1 if there is one."""
    problems = verify(args.directory)
    for problem in problems:
        print(f"  {problem}")
    print(f"{args.directory} is {f'damaged: {len(problems)} problem(s)' if problems else 'sound'}.")
    return {"path": str(args.directory), "sound": not problems, "problems": problems, "exit_code": int(bool(problems))}
