"""`gengap data COMMAND`: one line of a table for each subcommand."""

from __future__ import annotations

import argparse
import importlib
from typing import Any, NamedTuple


class Subcommand(NamedTuple):
    """Where a subcommand lives: a module with ``add_arguments(parser)`` and ``run(args) -> dict``.

    Those that act are named and not imported here: data comes before acting.
    """

    module: str
    help: str


SUBCOMMANDS = {
    "info": Subcommand("data.info_command", "say what a dataset holds"),
    "verify": Subcommand("data.verify_command", "read every byte of a dataset against its checksums"),
    "pack": Subcommand("actors.pack_command", "write a dataset as one small file: levels and actions, or frames"),
    "unpack": Subcommand("actors.unpack_command", "make a packed dataset again and prove it by its fingerprint"),
    "audit": Subcommand("actors.audit_command", "play the levels and actions of a dataset and compare what comes out"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the subcommands."""
    commands = parser.add_subparsers(dest="data_command", required=True, metavar="COMMAND")
    for name, command in SUBCOMMANDS.items():
        text = f"{command.help[0].upper()}{command.help[1:]}."
        child = commands.add_parser(name, help=command.help, description=text)
        importlib.import_module(command.module).add_arguments(child)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Run the chosen subcommand; returns what --json prints."""
    module = importlib.import_module(SUBCOMMANDS[args.data_command].module)
    values: dict[str, Any] = module.run(args)
    return values
