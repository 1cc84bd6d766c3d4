"""``gengap report``, ``gengap status`` and ``gengap compare``: they read files; only ``report --animate`` plays."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from envs.errors import UsageError
from search.level_scores import Bootstrap


def add_report_arguments(parser: argparse.ArgumentParser) -> None:
    """The study and how its intervals are formed."""
    parser.add_argument("directory", type=Path, metavar="DIR", help="study directory, for example runs/maze-diversity")
    parser.add_argument(
        "--animate",
        action="store_true",
        help="first play the episodes that the report shows (training levels and unseen ones outside the sealed test), "
        "from the trials' checkpoints; a sweep does it by itself",
    )
    parser.add_argument(
        "--robustness",
        action="store_true",
        help="first play the selected configuration under visual changes and shifts (validation levels, never the "
        "sealed test), from the trials' checkpoints; a sweep does it with robustness=true",
    )
    parser.add_argument(
        "--wandb",
        choices=("auto", "online", "offline", "disabled"),
        default="disabled",
        help="also make the report's panels a W&B run of the study (default: %(default)s; a sweep does it by itself)",
    )
    _add_bootstrap(parser)


def run_report(args: argparse.Namespace) -> dict[str, Any]:
    """Write the report and say what it found."""
    # Matplotlib and Jinja take a second to import; status and --help do without.
    from search.report import MARKDOWN_FILE, NUMBERS_FILE
    from search.studies import report_any
    from search.study import read_json

    if args.animate or args.robustness:
        _play_for(args)
    page = report_any(args.directory, _bootstrap(args), wandb=args.wandb)
    numbers = read_json(page.with_name(NUMBERS_FILE))
    files = {"page": page, "markdown": page.with_name(MARKDOWN_FILE), "numbers": page.with_name(NUMBERS_FILE)}
    print(f"{numbers['headline']}\n{numbers['explanation']}")
    for name, path in files.items():
        print(f"{name + ':':<10} {path}")
    chosen = ("headline", "explanation", "effect_detected", "test_difference_of_ends", "gap_at_ends", "differences")
    shown = {name: numbers[name] for name in chosen if name in numbers}
    return {name: str(path) for name, path in files.items()} | shown


def _play_for(args: argparse.Namespace) -> None:
    """What the report is to show besides the study's results."""
    from actors.evaluate import evaluate
    from search.showing import show_study
    from search.studies import is_mixture_search
    from search.study import read_study
    from search.sweep import play_robustness, read_config

    if args.robustness and is_mixture_search(args.directory):
        raise UsageError(
            f"{args.directory} is a mixture search, whose report has no robustness curve; leave out --robustness, or "
            "evaluate one of its trials: gengap evaluate TRIAL --robustness."
        )
    study = read_study(args.directory)
    if args.animate:
        show_study(study)
    if args.robustness:
        if study.selection is None:
            raise UsageError(f"The study {args.directory} has selected nothing yet, so there is nothing to play.")
        play_robustness(read_config(args.directory), args.directory.resolve(), study.selection, evaluate)


def add_status_arguments(parser: argparse.ArgumentParser) -> None:
    """The study or run."""
    parser.add_argument("directory", type=Path, metavar="DIR", help="directory of a study or of one run")


def run_status(args: argparse.Namespace) -> dict[str, Any]:
    """Say how far it is."""
    from search.mixture_status import mixture_status
    from search.status import status, status_lines
    from search.studies import is_mixture_search

    mixtures = is_mixture_search(args.directory)
    value = mixture_status(args.directory) if mixtures else status(args.directory)
    print("\n".join(status_lines(value)))
    return value


def add_compare_arguments(parser: argparse.ArgumentParser) -> None:
    """The two sides."""
    text = (
        "study, folder of a trial, run that `gengap evaluate` has played, folder with evaluations.parquet, or an "
        "evaluation table; append :POLICY or, for a study, :LEVELS (number of training levels) to pick one"
    )
    parser.add_argument("a", metavar="A", help=text)
    parser.add_argument("b", metavar="B", help="the same; differences are B minus A")
    _add_bootstrap(parser)


def run_compare(args: argparse.Namespace) -> dict[str, Any]:
    """Compare level by level and print one line per split."""
    from search.compare import compare, compare_lines

    value = compare(args.a, args.b, _bootstrap(args))
    print("\n".join(compare_lines(value)))
    return value


def _add_bootstrap(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seed", type=int, default=0, help="seed of the bootstrap (default: %(default)s)")
    parser.add_argument(
        "--resamples", type=int, default=2000, metavar="N", help="bootstrap resamples per interval (default: 2000)"
    )
    parser.add_argument(
        "--confidence", type=float, default=0.95, help="coverage of the intervals, 0 to 1 (default: %(default)s)"
    )


def _bootstrap(args: argparse.Namespace) -> Bootstrap:
    return Bootstrap(seed=args.seed, num_resamples=args.resamples, confidence=args.confidence)
