"""`gengap rules STUDY`: what each selection rule would have chosen, and its regret against the oracle."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from data.files import atomic_write_json
from envs.console import say
from envs.errors import UsageError
from metrics.protocol import ACTION_MODES
from search.study import REGRETS_FILE


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The study, and the permission to read the test with all of its policies."""
    parser.add_argument("directory", type=Path, metavar="STUDY", help="directory of a finished `gengap sweep`")
    parser.add_argument(
        "--test",
        metavar="REASON",
        help="read the sealed test with every policy that has not; the reason is written into the study's ledger",
    )
    parser.add_argument("--mode", choices=ACTION_MODES, default="sampled", help="action mode (default: %(default)s)")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Print the table and write it into the study."""
    from actors.cluster import ray_session
    from search.judging import crafted_of
    from search.regret import check_tested, rule_regrets
    from search.study import read_study
    from search.sweep import read_config, test_everything

    study = read_study(args.directory)
    config = read_config(args.directory)
    table = study.table
    if args.test is not None:
        if not args.test.strip():
            raise UsageError("--test is empty; it needs a reason, which is written into the ledger.")
        with ray_session(args.address):
            table = test_everything(config, args.directory, args.test)
    check_tested(table, args.mode)  # crafted shifts take minutes
    crafted = None
    try:
        crafted = crafted_of(config, args.directory)
    except UsageError as error:
        say(f"Without crafted shifts: {error}")
    entries = rule_regrets(table, crafted, mode=args.mode)
    path = args.directory / REGRETS_FILE
    atomic_write_json(path, {"mode": args.mode, "rules": entries})
    _print(entries)
    say(
        f"Written to {path}. Every policy has read this test, so choose nothing by it. The table "
        f"becomes a section of the study's report: gengap report {args.directory}"
    )
    return {"study": str(args.directory), "mode": args.mode, "rules": entries}


def _print(entries: list[dict[str, Any]]) -> None:
    print(f"{'among':<16} {'rule':<15} {'chosen':<28} {'test':>6} {'regret':>24} {'rank correlation':>17}")
    for entry in sorted(entries, key=lambda entry: entry["among"]):
        regret, correlation = entry["regret"], entry["rank_correlation"]
        interval = f" [{regret['low']:.3f}, {regret['high']:.3f}]" if regret["low"] is not None else ""
        text = f"{regret['point']:.3f}{interval}"
        shown = "-" if correlation is None else f"{correlation:.2f}"
        left = f"{entry['among']:<16} {entry['rule']:<15} {entry['chosen']:<28} {entry['test']:>6.3f}"
        print(f"{left} {text:>24} {shown:>17}")
