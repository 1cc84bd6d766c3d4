"""`gengap train RECIPE`: a policy from recorded data, or PPO online."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import Any

from envs.console import say
from envs.errors import UsageError, unknown_name


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Recipe, overrides, data and where to write."""
    parser.add_argument("recipe", nargs="?", help="name of an experiment, for example grid-bc (see --list)")
    parser.add_argument(
        "overrides", nargs="*", metavar="FIELD=VALUE", help="for example train.learner_steps=500 seed=3"
    )
    parser.add_argument(
        "--data", action="append", default=[], metavar="DIR", help="dataset to learn from; give it again for several"
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="where to write (default: runs/train/NAME-sSEED)")
    parser.add_argument(
        "--seeds", metavar="N,N,...", help="train one model per seed, all in this process (see train.together)"
    )
    parser.add_argument(
        "--vary",
        action="append",
        default=[],
        metavar="FIELD=VALUE,VALUE",
        help="train one model per value, for example train.learning_rate=1e-3,3e-4; combines with --seeds",
    )
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint in --out")
    parser.add_argument("--list", action="store_true", help="show every recipe and its fields")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Train; the result names the checkpoints and the last evaluation."""
    from trainers.online_config import ONLINE_RECIPES
    from trainers.recipes import RECIPES

    if args.list:
        return _list_recipes()
    if args.recipe is None:
        raise UsageError(f"Name a recipe: {', '.join([*RECIPES, *ONLINE_RECIPES])}.")
    if args.recipe in ONLINE_RECIPES:
        return _train_online(args)
    if args.recipe not in RECIPES:
        raise unknown_name("training recipe", args.recipe, [*RECIPES, *ONLINE_RECIPES])
    return _train_offline(args)


def _train_offline(args: argparse.Namespace) -> dict[str, Any]:
    from trainers.launch import run as launch
    from trainers.loop import uses_evaluators
    from trainers.recipes import build_experiment

    config = build_experiment(args.recipe, args.overrides)
    if args.data:
        config = dataclasses.replace(config, data=dataclasses.replace(config.data, datasets=tuple(args.data)))
    if args.seeds is not None or args.vary:
        from trainers.together_command import train_several

        return train_several(args, config)
    run_dir = args.out or _default_folder(config)
    if config.train.num_workers == 1 and not uses_evaluators(config):
        result = launch(config, run_dir, resume=args.resume, console=True)
    else:
        from actors.cluster import ray_session

        with ray_session(args.address):
            result = launch(config, run_dir, resume=args.resume, console=True)
    say(f"Trained {result.learner_step} learner steps in {result.wall_s:.0f} s; everything is in {run_dir}")
    say(f"Best policy (step {result.best_step}): {run_dir / 'checkpoints' / 'best'}")
    return {"run": str(run_dir), **result.to_json()}


def _train_online(args: argparse.Namespace) -> dict[str, Any]:
    from trainers.ppo_commands import run as train_by_playing

    if args.data:
        raise UsageError(f"{args.recipe!r} learns by playing; leave out --data.")
    if args.seeds is not None or args.vary:
        raise UsageError(f"{args.recipe!r} learns by playing, one model at a time; leave out --seeds and --vary.")
    return train_by_playing(args)


def _default_folder(config: Any) -> Path:
    return Path("runs") / "train" / f"{config.name}-s{config.seed}"


def _list_recipes() -> dict[str, Any]:
    from envs.overrides import field_names
    from trainers.online_config import ONLINE_RECIPES
    from trainers.recipes import RECIPES

    tables: tuple[dict[str, Any], ...] = (RECIPES, ONLINE_RECIPES)
    fields = {}
    for recipes in tables:
        for name, recipe in recipes.items():
            print(f"{name:<26} {(recipe.__doc__ or '').splitlines()[0]}")
        fields[next(iter(recipes))] = field_names(next(iter(recipes.values()))())
        print("  fields: " + " ".join(fields[next(iter(recipes))]))
    return {"recipes": [*RECIPES, *ONLINE_RECIPES], "fields": fields}
