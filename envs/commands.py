"""`gengap envs list|bench|audit|replay|reward`."""

from __future__ import annotations

import argparse
import fnmatch
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from envs.audit import audit_levels
from envs.bench import bench
from envs.console import Progress
from envs.errors import UsageError, unknown_name
from envs.level_text import parse_levels
from envs.registry import env_names, find_shift, make_spec, shift_names
from envs.replay import replay
from envs.shifts import ROLE_RANGES
from envs.shop import door
from envs.spec import EnvSpec

SHOP = "shop"
"""The environment that `replay` and `reward` serve as JSON lines."""


class _LevelAnywhere(argparse.ArgumentParser):
    """Takes a level behind the options too, where argparse no longer expects one."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        values, rest = super().parse_known_args(args, namespace)
        if len(rest) == 1 and rest[0].isdecimal() and getattr(values, "level", 0) is None:
            values.level, rest = int(rest[0]), []
        return values, rest


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the subcommands."""
    commands = parser.add_subparsers(dest="envs_command", required=True, metavar="COMMAND", parser_class=_LevelAnywhere)
    for name, add in _ADD.items():
        add(commands.add_parser(name, help=_HELP[name], description=_HELP[name].capitalize() + "."))


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Run the chosen subcommand; returns what --json prints."""
    return _RUN[args.envs_command](args)


def _add_list(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("pattern", nargs="?", default="*", help="names to show, for example 'procgen/*-hard'")


def run_list(args: argparse.Namespace) -> dict[str, Any]:
    """Print names and contracts, and the shifts that train in one of them."""
    names = fnmatch.filter(env_names(), args.pattern)
    if not names:
        raise unknown_name("environment pattern", args.pattern, env_names())
    rows = [_describe(make_spec(name)) for name in names]
    print(f"{'name':<24}{'actions':>8}{'max steps':>10}  observations")
    for row in rows:
        print(f"{row['name']:<24}{row['num_actions']:>8}{row['max_episode_steps']:>10}  {row['observations']}")
    shifts = [_describe_shift(name) for name in shift_names()]
    shown = [shift for shift in shifts if shift["train"] in names]
    if shown:
        print(f"\n{'protocol':<24}{'validated on':<20}{'tested on':<20}what is new there")
    for shift in shown:
        print(f"{shift['name']:<24}{shift['validation']:<20}{shift['test']:<20}{shift['measures']}")
    return {"environments": rows, "shifts": shown}


def _describe_shift(name: str) -> dict[str, str]:
    shift = find_shift(name)
    return {"name": name, "measures": shift.measures, **{role: shift.env(role) for role in ROLE_RANGES}}


def _describe(spec: EnvSpec) -> dict[str, Any]:
    columns = {
        name: f"{column.dtype}[{'n' if column.ragged else ','.join(map(str, column.shape))}]"
        for name, column in spec.observation_columns.items()
    }
    return {
        "name": spec.name,
        "num_actions": spec.num_actions,
        "max_episode_steps": spec.max_episode_steps,
        "num_levels": spec.level_universe,
        "observations": ", ".join(f"{name} {shape}" for name, shape in columns.items()),
        "return_bounds": {table: list(bounds) for table, bounds in spec.return_bounds.items()},
    }


def _add_bench(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", help="environment, for example procgen/maze")
    parser.add_argument("--num-envs", type=int, default=64, metavar="B", help="slots stepped together (default 64)")
    parser.add_argument("--steps", type=int, default=500, metavar="T", help="steps of every slot (default 500)")
    parser.add_argument("--num-levels", type=int, default=200, metavar="L", help="levels played (default 200)")
    parser.add_argument("--num-threads", type=int, metavar="N", help="threads of the Procgen engine (default 0)")


def run_bench(args: argparse.Namespace) -> dict[str, Any]:
    """Time random play through the wrapper, beside the native engine where there is one."""
    for option in ("num_envs", "steps", "num_levels"):
        if getattr(args, option) < 1:
            raise UsageError(f"--{option.replace('_', '-')} is {getattr(args, option)}; allowed: 1 or more.")
    if args.num_threads is not None and not args.name.startswith("procgen/"):
        raise UsageError(f"--num-threads is for the Procgen engine; {args.name!r} has none, so leave it out.")
    result = bench(args.name, args.num_envs, args.steps, args.num_levels, args.num_threads or 0)
    print(f"{args.name}, {args.num_envs} slots, random actions, {result['num_episodes']} episodes:")
    print(f"  levels seen before  {result['warm_steps_per_s']:>10,.0f} steps/s")
    print(f"  levels seen first   {result['cold_steps_per_s']:>10,.0f} steps/s")
    if "native_steps_per_s" in result:
        share = result["warm_steps_per_s"] / result["native_steps_per_s"]
        print(f"  native engine       {result['native_steps_per_s']:>10,.0f} steps/s (we reach {share:.0%})")
    return result


def _add_audit(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", help="environment, for example procgen/coinrun")
    parser.add_argument("--levels", default="0:1000", metavar="A:B", help="levels A to B-1, or a list (default 0:1000)")
    parser.add_argument("--against", metavar="A:B", help="say which of them this range holds already, e.g. 0:200")


def run_audit(args: argparse.Namespace) -> dict[str, Any]:
    """Count duplicate levels by their first picture."""
    levels = parse_levels(args.name, args.levels)
    against = parse_levels(args.name, args.against) if args.against else None
    total = len(levels) + (len(against) if against else 0)
    with Progress(f"audit {args.name}", total, "levels") as progress:
        audit = audit_levels(levels, against, progress.update)
    repeated = audit.num_levels - audit.num_distinct
    print(f"{audit.num_levels} levels of {args.name}, {audit.num_distinct} distinct by their first picture")
    print(f"  {repeated} ({repeated / audit.num_levels:.1%}) repeat an earlier level of the range")
    if audit.seen_before is not None:
        share = len(audit.seen_before) / audit.num_levels
        print(f"  {len(audit.seen_before)} ({share:.1%}) occur in {args.against} already")
    return {"env": args.name, **audit._asdict()}


def _add_replay(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", help="environment, for example procgen/maze, or shop")
    parser.add_argument("level", type=int, nargs="?", help="level number; the shop takes goals from standard input")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--actions", metavar="LIST", help="numbers with commas, or a .json or .npy file of them")
    how.add_argument("--random", type=int, metavar="SEED", help="random actions of this seed, to the end")
    door.add_arguments(parser, plays=True)


def run_replay(args: argparse.Namespace) -> dict[str, Any]:
    """Play a level with given actions; the hash identifies every observation on the way."""
    if args.name == SHOP:
        return door.run_replay(args)
    spec = make_spec(args.name)
    if args.level is None or (args.actions is None and args.random is None):
        raise UsageError(f"{args.name} needs a level, and --actions LIST or --random SEED; only {SHOP} is played live.")
    if args.actions is None:
        if args.random < 0:
            raise UsageError(f"--random is {args.random}; a seed is 0 or more.")
        rng = np.random.default_rng(args.random)
        actions = rng.integers(0, spec.num_actions, spec.max_episode_steps, dtype=np.int32)
    else:
        actions = read_actions(args.actions)
    result = replay(args.name, args.level, actions)
    end = "terminated" if result["terminated"] else "truncated" if result["truncated"] else "not ended"
    print(f"{args.name} level {args.level}: {result['length']} steps, return {result['episode_return']:g}, {end}")
    print(f"  observations {result['observations_hash']}")
    return result


def read_actions(text: str) -> npt.NDArray[Any]:
    """Actions [T], of any integer type, from ``"1,2,3"`` or the name of a ``.json`` or ``.npy`` file.

    Raises:
        UsageError: If they are not a non-empty list of whole numbers, or the file cannot be read.
    """
    values: npt.NDArray[Any]
    try:
        if text.endswith(".npy"):
            values = np.load(text, allow_pickle=False)
        elif text.endswith(".json"):
            values = np.array(json.loads(Path(text).read_text()))
        else:
            values = np.array([int(word) for word in text.split(",")])
    except OSError as error:
        why = error.strerror or "damaged"
        raise UsageError(
            f"--actions {text}: {why}; name a .json or .npy file, or write numbers with commas."
        ) from error
    except (ValueError, EOFError) as error:
        raise UsageError(f"{text!r} holds no actions ({error}); write numbers with commas, or name a file.") from error
    if values.ndim != 1 or len(values) == 0 or not np.issubdtype(values.dtype, np.integer):
        raise UsageError(f"{text!r} holds {values.dtype} {values.shape}; actions are a non-empty list of integers.")
    return values


def _add_reward(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", help="environment, for example procgen/jumper, or shop")
    parser.add_argument("returns", nargs="*", type=float, metavar="RETURN", help="raw episode returns to normalize")
    door.add_arguments(parser, plays=False)


def run_reward(args: argparse.Namespace) -> dict[str, Any]:
    """Print what a return is worth under every normalization table."""
    if args.name == SHOP:
        return door.run_reward(args)
    spec = make_spec(args.name)
    for value in args.returns:
        if not math.isfinite(value):
            raise UsageError(f"A return is {value}; give finite numbers.")
    normalized = {table: spec.normalize(args.returns, table).tolist() for table in spec.return_bounds}
    for table, (low, high) in spec.return_bounds.items():
        values = "".join(
            f"  {raw:g} -> {value:.3f}" for raw, value in zip(args.returns, normalized[table], strict=True)
        )
        print(f"{spec.name} {table}: (return - {low:g}) / {high - low:g}{values}")
    bounds = {table: list(pair) for table, pair in spec.return_bounds.items()}
    return {"env": spec.name, "return_bounds": bounds, "returns": args.returns, "normalized": normalized}


_HELP = {
    "list": "list environments and what they show",
    "bench": "measure steps per second with random actions",
    "audit": "count levels that are the same level under another number",
    "replay": "play a level with given actions and print a hash of every observation",
    "reward": "say how raw returns are normalized",
}
_ADD: dict[str, Callable[[argparse.ArgumentParser], None]] = {
    "list": _add_list,
    "bench": _add_bench,
    "audit": _add_audit,
    "replay": _add_replay,
    "reward": _add_reward,
}
_RUN: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
    "list": run_list,
    "bench": run_bench,
    "audit": run_audit,
    "replay": run_replay,
    "reward": run_reward,
}
