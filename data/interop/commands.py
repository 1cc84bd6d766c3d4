"""`gengap data import FORMAT` and `gengap data export FORMAT`."""

from __future__ import annotations

import argparse
from typing import Any

from data.subcommands import Subcommand, add_subcommands, run_subcommand

IMPORTS = {
    "gen_dgrl": Subcommand("data.interop.gen_dgrl", "the Procgen archives of the benchmark's paper (.tar, .tar.xz)"),
    "webshop": Subcommand("data.interop.webshop_import", "human demonstrations of WebShop (.jsonl)"),
    "minari": Subcommand("data.interop.minari_command", "a Minari dataset on this machine", "_import"),
}
EXPORTS = {"minari": Subcommand("data.interop.minari_command", "a Minari dataset", "_export")}


def add_import_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the formats that can be read."""
    add_subcommands(parser, "format", IMPORTS, "FORMAT")


def run_import(args: argparse.Namespace) -> dict[str, Any]:
    """Import; the result names the new dataset."""
    return run_subcommand(args, "format", IMPORTS)


def add_export_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the formats that can be written."""
    add_subcommands(parser, "format", EXPORTS, "FORMAT")


def run_export(args: argparse.Namespace) -> dict[str, Any]:
    """Export; the result names what was written."""
    return run_subcommand(args, "format", EXPORTS)
