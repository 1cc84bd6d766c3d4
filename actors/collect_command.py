"""`gengap collect`."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from envs.console import Progress, say
from envs.errors import UsageError
from envs.files import format_bytes

if TYPE_CHECKING:
    from actors.collect import CollectConfig
    from data.dataset import Dataset


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Recipe, overrides and where to write."""
    parser.add_argument("recipe", nargs="?", help="name of a collection, for example maze (see --list)")
    parser.add_argument(
        "overrides", nargs="*", metavar="FIELD=VALUE", help="for example num_levels=50 options.noise=0.1"
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="the dataset's directory (default: runs/data/RECIPE)")
    parser.add_argument(
        "--series",
        metavar="FIELD=VALUE,VALUE,...",
        help="one dataset per value of a field, in DIR/FIELD-VALUE, for example num_levels=200,1000,10000",
    )
    parser.add_argument(
        "--packed",
        action="store_true",
        help="write one file of levels and actions, as `gengap data pack` does; frames never leave the actors that see "
        "them (default --out: runs/data/RECIPE.pack)",
    )
    parser.add_argument("--list", action="store_true", help="show every recipe and its fields")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Record a dataset, or a series; the result names each, its size and its fingerprint."""
    from actors.recipes import RECIPES, build_collection
    from actors.training_episodes import RECIPE

    if args.list:
        return _list_recipes()
    if args.recipe is None:
        raise UsageError(f"Name a recipe: {', '.join([*RECIPES, RECIPE])}.")
    if args.packed:
        return _collect_packed(args)
    out = args.out or Path("runs") / "data" / args.recipe
    if args.recipe == RECIPE:
        return _collect_training(args, out)
    if args.series is not None:
        return _collect_series(args, out)
    return _collect(build_collection(args.recipe, args.overrides), out, args.address)


def _collect_series(args: argparse.Namespace, out: Path) -> dict[str, Any]:
    """One dataset per value; those that exist are kept."""
    from actors.collect import recorded
    from actors.recipes import build_collection

    name, _, values = args.series.partition("=")
    words = [f"{name}={value.strip()}" for value in values.split(",") if value.strip()]
    if not words:
        raise UsageError(f"--series is {args.series!r}; write FIELD=VALUE,VALUE, for example num_levels=200,1000.")
    configs = {out / word.replace("=", "-"): build_collection(args.recipe, [*args.overrides, word]) for word in words}
    results = []
    for place, config in configs.items():
        if (dataset := recorded(config, place)) is not None:
            say(f"{place} is there already")
            results.append(_summary(dataset, place))
        else:
            results.append(_collect(config, place, args.address))
    return {"datasets": results}


def _collect(config: CollectConfig, out: Path, address: str | None) -> dict[str, Any]:
    from actors.collect import collect
    from actors.collect_config import describe

    say(f"Collect {describe(config)} into {out}")
    with Progress("collect", config.min_transitions, "transitions") as progress:
        dataset = collect(config, out, progress.update, address=address)
    _print(dataset, out)
    share = dataset.info.provenance["measured"].get("return_fraction")
    if share is not None:
        print(f"  {share:.1%} of the return of {config.source}; {config.return_fraction:.1%} wanted")
    return _summary(dataset, out)


def _collect_packed(args: argparse.Namespace) -> dict[str, Any]:
    """One file; the result says how large it is."""
    from actors.collect_packed import collect_packed
    from actors.recipes import RECIPES, build_collection

    if args.series is not None or args.recipe not in RECIPES:
        what = "--series" if args.series is not None else f"the recipe {args.recipe!r}"
        raise UsageError(f"--packed was given with {what}; it goes with one of the recipes {', '.join(RECIPES)}.")
    config = build_collection(args.recipe, args.overrides)
    out = args.out or Path("runs") / "data" / f"{args.recipe}.pack"
    say(f"Collect at least {config.min_transitions:,} transitions of {config.env}, levels and actions only, into {out}")
    with Progress("collect", config.min_transitions, "transitions") as progress:
        report = collect_packed(config, out, progress.update, address=args.address)
    size = f"{format_bytes(report.num_bytes)}, {report.bytes_per_transition:.3g} bytes a transition"
    print(f"{report.num_transitions} transitions in {report.num_episodes} episodes ({size}): {out}")
    print(f"  `gengap data unpack {out} -o DIR` renders the frames and proves the fingerprint {report.fingerprint}")
    return {"path": str(out), "bytes_per_transition": report.bytes_per_transition, **dataclasses.asdict(report)}


def _collect_training(args: argparse.Namespace, out: Path) -> dict[str, Any]:
    from actors.training_episodes import build_training, collect_training

    config = build_training(args.overrides)
    say(f"Render the episodes that the training {config.run} recorded into {out}")
    with Progress("collect", config.max_transitions or 0, "transitions") as progress:
        dataset = collect_training(config, out, progress.update, address=args.address)
    _print(dataset, out)
    return _summary(dataset, out)


def _print(dataset: Dataset, out: Path) -> None:
    mean = dataset.episodes["return"].mean()
    print(f"{len(dataset)} transitions in {dataset.num_episodes} episodes, mean return {mean:.3g}: {out}")


def _summary(dataset: Dataset, out: Path) -> dict[str, Any]:
    return {
        "path": str(out),
        "num_transitions": len(dataset),
        "num_episodes": dataset.num_episodes,
        "num_levels": len(dataset.levels),
        "mean_return": float(dataset.episodes["return"].mean()),
        "fingerprint": dataset.fingerprint,
    }


def _list_recipes() -> dict[str, Any]:
    from actors.recipes import RECIPES
    from actors.training_episodes import RECIPE, TrainingConfig
    from envs.overrides import field_names

    for name, recipe in RECIPES.items():
        print(f"{name:<20} {(recipe.__doc__ or '').splitlines()[0]}")
    fields = field_names(next(iter(RECIPES.values()))())
    print("fields: " + " ".join(fields))
    print(f"{RECIPE:<20} The episodes that a PPO training recorded; run=DIR names it.")
    print("fields: " + " ".join(field_names(TrainingConfig())))
    return {"recipes": [*RECIPES, RECIPE], "fields": fields}
