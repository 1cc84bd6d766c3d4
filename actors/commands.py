"""`gengap collect` and `gengap watch`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from envs.console import Progress, say
from envs.errors import UsageError


def add_collect_arguments(parser: argparse.ArgumentParser) -> None:
    """Recipe, overrides and where to write."""
    parser.add_argument("recipe", nargs="?", help="name of a collection, for example maze (see --list)")
    parser.add_argument(
        "overrides", nargs="*", metavar="FIELD=VALUE", help="for example num_levels=50 options.noise=0.1"
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="the dataset's directory (default: runs/data/RECIPE)")
    parser.add_argument("--list", action="store_true", help="show every recipe and its fields")


def run_collect(args: argparse.Namespace) -> dict[str, Any]:
    """Record a dataset; the result names it, its size and its fingerprint."""
    from actors.recipes import RECIPES, build_collection

    if args.list:
        return _list_recipes()
    if args.recipe is None:
        raise UsageError(f"Name a recipe: {', '.join(RECIPES)}.")
    config = build_collection(args.recipe, args.overrides)
    out = args.out or Path("runs") / "data" / args.recipe

    from actors.collect import collect, describe

    say(f"Collect {describe(config)} into {out}")
    with Progress("collect", config.min_transitions, "transitions") as progress:
        dataset = collect(config, out, progress.update, address=args.address)
    returns = dataset.episodes["return"]
    print(f"{len(dataset)} transitions in {dataset.num_episodes} episodes, mean return {returns.mean():.3g}: {out}")
    return {
        "path": str(out),
        "num_transitions": len(dataset),
        "num_episodes": dataset.num_episodes,
        "num_levels": len(dataset.levels),
        "mean_return": float(returns.mean()),
        "fingerprint": dataset.fingerprint,
    }


def _list_recipes() -> dict[str, Any]:
    from actors.recipes import RECIPES
    from envs.overrides import field_names

    for name, recipe in RECIPES.items():
        print(f"{name:<20} {(recipe.__doc__ or '').splitlines()[0]}")
    fields = field_names(next(iter(RECIPES.values()))())
    print("fields: " + " ".join(fields))
    return {"recipes": list(RECIPES), "fields": fields}


def add_watch_arguments(parser: argparse.ArgumentParser) -> None:
    """Who plays which level, and the file."""
    parser.add_argument("run", help="run directory, checkpoint, or a source: random, maze-search, grid-expert")
    parser.add_argument("--env", metavar="NAME", help="environment; a checkpoint knows its own")
    parser.add_argument("--level", type=int, required=True, metavar="N", help="which level")
    parser.add_argument("--episode", type=int, default=0, metavar="K", help="which repetition on it (default 0)")
    parser.add_argument("--seed", type=int, default=0, metavar="SEED", help="experiment seed (default 0)")
    parser.add_argument("--mode", choices=("sampled", "greedy"), default="sampled", help="action mode")
    parser.add_argument("--fps", type=float, default=10.0, metavar="RATE", help="frames per second (default 10)")
    parser.add_argument("--scale", type=int, default=4, metavar="K", help="screen pixels per pixel (default 4)")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE", help="animation to write (.gif)")


def run_watch(args: argparse.Namespace) -> dict[str, Any]:
    """Write an animation of one episode; the result is its record."""
    from actors.animation import write_animation
    from actors.sources import EXPERTS, PLANNERS, SHIPPED, SourceSpec, build_source, checkpoint_of, env_of

    if args.fps <= 0 or args.scale < 1:
        raise UsageError(f"--fps is {args.fps} and --scale {args.scale}; both must be positive.")
    has_no_mode = args.run in (*EXPERTS, *PLANNERS)
    named = has_no_mode or args.run == "random" or args.run.startswith(SHIPPED)
    name = args.run if named else str(checkpoint_of(Path(args.run)))
    env = args.env or (None if named else env_of(Path(name)))
    if env is None:
        raise UsageError(f"{args.run!r} plays several environments; choose one with --env, for example grid/default.")
    options: dict[str, float | int | str | bool] = {} if has_no_mode else {"mode": args.mode}
    source = build_source(SourceSpec(env=env, name=name, options=options))
    episode = source.play(args.level, args.episode, args.seed)
    write_animation(episode, args.output, fps=args.fps, scale=args.scale)
    result = episode.result()
    print(f"{result.length} steps, return {result.episode_return:g}: {args.output}")
    return {
        "file": str(args.output),
        "env": env,
        "policy": episode.policy_id,
        "level": result.level,
        "episode": result.episode,
        "length": result.length,
        "episode_return": result.episode_return,
        "terminated": result.terminated,
        "truncated": result.truncated,
    }
