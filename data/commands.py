"""`gengap data COMMAND`."""

from __future__ import annotations

import argparse
from typing import Any

from data.subcommands import Subcommand, add_subcommands, run_subcommand

# Modules of later packages are named and not imported: data comes before measuring and acting.
SUBCOMMANDS = {
    "info": Subcommand("metrics.card_command", "say what a dataset holds, on a terminal or as a page"),
    "verify": Subcommand("data.verify_command", "read every byte of a dataset against its checksums"),
    "pack": Subcommand("actors.pack_commands", "write a dataset as one file: its actions, or frames", "_pack"),
    "unpack": Subcommand("actors.pack_commands", "make a packed dataset again and prove its fingerprint", "_unpack"),
    "audit": Subcommand("actors.pack_commands", "play levels and actions again, compare with what is stored", "_audit"),
    "push": Subcommand("data.push", "copy a dataset, checkpoint or packed file to a bucket"),
    "import": Subcommand("data.interop.commands", "make a dataset from files of another format", "_import"),
    "export": Subcommand("data.interop.commands", "write a dataset in another format", "_export"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the subcommands."""
    add_subcommands(parser, "data_command", SUBCOMMANDS, "COMMAND")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Run the chosen subcommand; returns what --json prints."""
    return run_subcommand(args, "data_command", SUBCOMMANDS)
