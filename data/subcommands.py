"""Tables of subcommands: one line for each, its code in a module of its own."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Mapping
from typing import Any, NamedTuple


class Subcommand(NamedTuple):
    """Where a subcommand lives: a module with ``add<suffix>_arguments(parser)`` and ``run<suffix>(args) -> dict``."""

    module: str
    help: str
    suffix: str = ""


def add_subcommands(parser: argparse.ArgumentParser, dest: str, table: Mapping[str, Subcommand], metavar: str) -> None:
    """Declare every subcommand of a table.

    Args:
        parser: Gets them.
        dest: Attribute that says which was chosen.
        table: Name -> where it lives.
        metavar: What the choice is called in the usage line.
    """
    commands = parser.add_subparsers(dest=dest, required=True, metavar=metavar)
    for name, command in table.items():
        text = f"{command.help[0].upper()}{command.help[1:]}."
        child = commands.add_parser(name, help=command.help, description=text)
        getattr(importlib.import_module(command.module), f"add{command.suffix}_arguments")(child)


def run_subcommand(args: argparse.Namespace, dest: str, table: Mapping[str, Subcommand]) -> dict[str, Any]:
    """Run the subcommand that was chosen; returns what --json prints."""
    command = table[getattr(args, dest)]
    values: dict[str, Any] = getattr(importlib.import_module(command.module), f"run{command.suffix}")(args)
    return values
