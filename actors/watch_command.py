"""`gengap watch`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from envs.errors import UsageError


def add_arguments(parser: argparse.ArgumentParser) -> None:
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


def run(args: argparse.Namespace) -> dict[str, Any]:
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
