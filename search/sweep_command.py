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
    parser.add_argument("--resume", type=Path, metavar="DIR", help="go on with the study in DIR")
    parser.add_argument("--list", action="store_true", help="show every recipe and its fields")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Run or resume a study; the result names the report and its headline."""
    if args.list:
        return _list_recipes()
    from search.studies import read_any_config, sweep_any

    if args.resume is not None:
        if args.recipe is not None:
            raise UsageError(f"--resume takes its recipe from {args.resume}; leave out {args.recipe!r}.")
        config, out = read_any_config(args.resume), args.resume
    else:
        config, out = _new_config(args)
    command = shlex.join(["gengap", *sys.argv[1:]])
    page = sweep_any(config, out, address=args.address, command=command)
    report = json.loads((page.parent / "report.json").read_text())
    print(f"{report['headline']}\n{report['explanation']}")
    return {"study": str(out), "page": str(page), "headline": report["headline"]}


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
