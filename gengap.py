"""The command line and the public Python API. Importing this module imports neither torch nor ray."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import importlib.util
import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

API = {
    "LevelSet": "envs.spec",
    "EnvSpec": "envs.spec",
    "make_vec": "envs.registry",
    "register": "envs.registry",
    "Dataset": "data.dataset",
    "Mixture": "data.mixture",
    "collect": "actors.collect",
    "evaluate": "actors.evaluate",
    "train": "trainers.launch",
    "sweep": "search.sweep",
}
"""Public name -> the module that defines it."""

__all__ = [*API, "main"]

PACKAGES = ("envs", "data", "metrics", "actors", "trainers", "search")


def claim_packages() -> None:
    """Bind the names of our packages to ours, so that a project with a folder called ``data`` cannot replace them."""
    home = Path(__file__).resolve().parent
    for name in PACKAGES:
        spec = importlib.util.spec_from_file_location(
            name, home / name / "__init__.py", submodule_search_locations=[str(home / name)]
        )
        if name in sys.modules or spec is None or spec.loader is None:
            continue
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])


def prepare_worker() -> None:
    """What a Ray worker does first: claim our names, then load the driver's plugins."""
    claim_packages()
    importlib.import_module("envs.plugins").load_in_worker()


claim_packages()


def __getattr__(name: str) -> Any:
    if name in API:
        return getattr(importlib.import_module(API[name]), name)
    raise AttributeError(f"module 'gengap' has no attribute {name!r}; it offers {', '.join(API)}.")


EXIT_CODES = "Exit codes: 0 done, 1 failed, 2 wrong use, 130 interrupted (Ctrl-C or SIGTERM)."


class Command(NamedTuple):
    """Where a command lives: a module with ``add<suffix>_arguments(parser)`` and ``run<suffix>(args) -> dict``."""

    module: str
    suffix: str
    help: str


COMMANDS = {
    "envs": Command("envs.commands", "", "list, time, audit and replay environments"),
    "collect": Command("actors.collect_command", "", "record episodes of a behavior policy as a dataset"),
    "data": Command("data.commands", "", "show, verify, import and export datasets"),
    "train": Command("trainers.commands", "", "train a policy from recorded data, or PPO online"),
    "evaluate": Command("trainers.evaluate_command", "_evaluate", "play a trained policy on the levels of each split"),
    "sweep": Command("search.sweep_command", "", "search data diversity and hyperparameters, then report"),
    "status": Command("search.report_commands", "_status", "how far a study is"),
    "report": Command("search.report_commands", "_report", "write the page, the table and the pictures of a study"),
    "rules": Command("search.rules_command", "", "what each selection rule would have chosen, and what that costs"),
    "compare": Command("search.report_commands", "_compare", "compare two runs level by level"),
    "watch": Command("actors.watch_command", "", "write an animation of a policy on one level"),
    "doctor": Command("search.doctor", "", "what this machine can do, and what is missing"),
}


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run one command; `EXIT_CODES` says how it ends."""
    words = list(sys.argv[1:] if argv is None else argv)
    chosen = next((word for word in words if not word.startswith("-")), None)
    if chosen is not None and chosen not in COMMANDS:
        from envs.errors import unknown_name

        _fail(unknown_name("command", chosen, COMMANDS), 2)
    parser = build_parser(chosen)
    args, rest = parser.parse_known_args(words)
    # argparse takes positional arguments only up to the first option; overrides may stand anywhere.
    if rest and not (hasattr(args, "overrides") and all("=" in word and not word.startswith("-") for word in rest)):
        parser.error(f"unrecognized arguments: {' '.join(rest)}; see gengap {chosen} --help")
    if rest:
        args.overrides = [*args.overrides, *rest]
    if args.command is None:
        parser.print_help()
        sys.exit(0)
    sys.exit(_execute(args))


def build_parser(chosen: str | None) -> argparse.ArgumentParser:
    """The parser; only the chosen command's module is imported, so ``--help`` stays instant."""
    parser = argparse.ArgumentParser(
        prog="gengap",
        description="Find which training data makes an agent work on levels it has never seen.",
        epilog=EXIT_CODES,
    )
    parser.add_argument("--version", action="version", version=f"gengap {_version()}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    for name, command in COMMANDS.items():
        child = commands.add_parser(name, help=command.help, description=command.help.capitalize() + ".")
        if name == chosen:
            _function(command, "add", "arguments")(child)
            _add_common(child)
    return parser


def _add_common(parser: argparse.ArgumentParser) -> None:
    """Options that every command has, on its subcommands too."""
    for target in _leaves(parser):
        target.add_argument("--json", action="store_true", help="print one JSON object as the last line of output")
        target.add_argument(
            "--plugin", action="append", default=[], metavar="MODULE", help="module that registers own environments"
        )
        target.add_argument("--address", metavar="ADDRESS", help="join this Ray cluster; without it a local one starts")


def _leaves(parser: argparse.ArgumentParser) -> list[argparse.ArgumentParser]:
    """The parsers of the subcommands that have none below them; the parser itself if it has none."""
    groups = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    return [leaf for group in groups for child in group.choices.values() for leaf in _leaves(child)] or [parser]


def _execute(args: argparse.Namespace) -> int:
    from envs.errors import RunError, UsageError
    from envs.plugins import load_entry_points, load_plugins

    _catch_signals(_interrupt)
    try:
        load_plugins(args.plugin)
        load_entry_points()
        result = _function(COMMANDS[args.command], "run", "")(args)
    except UsageError as error:
        return _say_error(error, 2)
    except (RunError, OSError) as error:
        return _say_error(error, 1)
    except KeyboardInterrupt:
        return _say_error("Interrupted. Run the same command again to go on where it stopped.", 130)
    if getattr(args, "json", False):
        print(json.dumps(result, default=str, allow_nan=False), flush=True)
    return int(result.get("exit_code", 0)) if isinstance(result, dict) else 0


def _catch_signals(handler: Callable[..., NoReturn]) -> None:
    signal.signal(signal.SIGTERM, handler)
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:  # a job in the background of a shell ignores it
        signal.signal(signal.SIGINT, handler)


def _interrupt(*_: object) -> NoReturn:
    """SIGTERM unwinds like Ctrl-C, so that local clusters and half-written files are cleaned up."""
    _catch_signals(_stop_at_once)
    raise KeyboardInterrupt


def _stop_at_once(*_: object) -> NoReturn:
    """The second signal does not wait for the clean-up: what is committed is kept, every process ends now."""
    import psutil

    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            child.kill()
    os.write(2, b"gengap: Stopped at once. Run the same command again to go on from what was saved.\n")
    os._exit(130)


def _function(command: Command, verb: str, noun: str) -> Callable[..., Any]:
    """``add_arguments`` / ``run``, or ``add_collect_arguments`` / ``run_collect``."""
    name = f"{verb}{command.suffix}" + (f"_{noun}" if noun else "")
    function: Callable[..., Any] = getattr(importlib.import_module(command.module), name)
    return function


def _say_error(error: Exception | str, code: int) -> int:
    print(f"gengap: {error}", file=sys.stderr, flush=True)
    if os.environ.get("GENGAP_TRACEBACK") and isinstance(error, Exception):
        raise error
    return code


def _fail(error: Exception, code: int) -> NoReturn:
    sys.exit(_say_error(error, code))


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("gengap")
    except PackageNotFoundError:
        return f"unknown (not installed, run from {Path(__file__).parent})"


if __name__ == "__main__":
    main()
