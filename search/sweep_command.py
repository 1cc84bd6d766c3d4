"""`gengap sweep RECIPE`: the main job."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from pathlib import Path
from typing import Any

from envs.errors import UsageError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Recipe, overrides and where to write."""
    parser.add_argument(
        "recipe", nargs="?", help="name of a study, for example maze-diversity or shop-strata (see --list)"
    )
    parser.add_argument(
        "overrides", nargs="*", metavar="FIELD=VALUE", help="for example seeds=0,1,2 judge.protocol=shop-I3"
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="where to write (default: runs/RECIPE)")
    parser.add_argument(
        "--resume",
        type=Path,
        metavar="DIR",
        help="go on with the study in DIR (or at the address that --storage named, into --out); with FIELD=VALUE add "
        "trials to it, whose finished ones are never run again: the whole new value of seeds, learning_rates, "
        "level_counts or mixtures (seeds=0,1,2), of a mixture search num_proposals, confirm_seeds or arms.NAME",
    )
    parser.add_argument(
        "--storage",
        metavar="URL",
        help="also keep the study at an address while it runs, for example s3://bucket/studies/maze, so that it "
        "survives this disk",
    )
    parser.add_argument(
        "--storage-every",
        type=float,
        default=60.0,
        metavar="SECONDS",
        help="how often what changed is sent there (default: %(default)s s)",
    )
    parser.add_argument("--list", action="store_true", help="show every recipe and its fields")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Run or resume a study; the result names the report and its headline."""
    if args.list:
        return _list_recipes()
    from search.studies import sweep_any

    command = shlex.join(["gengap", *sys.argv[1:]])
    config, out = _resumed(args, command) if args.resume is not None else _new_config(args)
    page = sweep_any(
        config,
        out,
        address=args.address,
        command=command,
        storage=args.storage,
        storage_every_s=args.storage_every,
    )
    report = json.loads((page.parent / "report.json").read_text())
    print(f"{report['headline']}\n{report['explanation']}")
    return {"study": str(out), "page": str(page), "headline": report["headline"]}


def _resumed(args: argparse.Namespace, command: str) -> tuple[Any, Path]:
    from search.growth import grow_study
    from search.studies import read_any_config

    words = [word for word in (args.recipe, *args.overrides) if word is not None]
    if words and "=" not in words[0]:
        raise UsageError(f"--resume takes its recipe from {args.resume}; leave out {words[0]!r}.")
    out = _brought_back(args)
    return (grow_study(out, words, command) if words else read_any_config(out)), out


def _brought_back(args: argparse.Namespace) -> Path:
    """The directory to go on in: the one that was named, or a copy of what is stored at an address."""
    from data.remote import remote_url
    from search.storage import is_stored_at, restore_study

    url = remote_url(args.resume)
    if url is None:
        return Path(args.resume)
    out: Path = args.out or Path("runs") / url.rsplit("/", 1)[-1]
    if not is_stored_at(out, url):  # what is here is at least as new as what is there
        restore_study(url, out)
    return out


def _new_config(args: argparse.Namespace) -> tuple[Any, Path]:
    from search.mixture_recipes import MIXTURE_RECIPES
    from search.recipes import RECIPES, build_study

    if args.recipe is None:
        raise UsageError(f"Name a recipe ({', '.join([*RECIPES, *MIXTURE_RECIPES])}) or a study to --resume.")
    config = build_study(args.recipe, args.overrides)
    return config, args.out or Path("runs") / args.recipe


def _list_recipes() -> dict[str, Any]:
    from envs.overrides import field_names
    from search.mixture_recipes import MIXTURE_RECIPES
    from search.recipes import RECIPES

    every = {**RECIPES, **MIXTURE_RECIPES}
    for name, recipe in every.items():
        print(f"{name:<24} {(recipe.__doc__ or '').splitlines()[0]}")
    fields = field_names(next(iter(RECIPES.values()))())
    print("Fields: " + " ".join(fields))
    own = [name for name in field_names(next(iter(MIXTURE_RECIPES.values()))()) if name not in fields]
    print("Fields of mixture searches (" + ", ".join(MIXTURE_RECIPES) + ") besides: " + " ".join(own))
    return {"recipes": list(every), "fields": fields, "mixture_fields": own}
