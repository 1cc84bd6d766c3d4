"""What the archive search reaches on every Procgen game: one proven episode a level, beside PPO's training return.

Every level is searched within a budget of simulator steps, and the plan is played in the environment; an episode that
does not return what was planned stops the run. Each level is one line of JSON in ``--out``; levels that stand there
already, with the same budget and seed, are not searched again, so the command can be stopped and continued. Levels go
round by round over the games: whenever it is stopped, the rows cover the same levels. ``--table`` searches nothing and
prints the table of all that is there, whatever the budgets.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from actors.archive_source import DEFAULT_BUDGET, NAME, PlannedSource
from actors.sources import SourceSpec, build_source
from benchmarks.common import report
from envs.procgen import spec_name
from envs.procgen_tables import GAMES
from envs.seeding import rng_for
from metrics.statistics import level_bootstrap, mean
from trainers.experts.reference import REFERENCE

BAR_GAMES, GOAL_GAMES = 10, 14
MAZE_BAR = 0.99
MOST_STEPS = 200_000
ENDLESS = ("caveflyer", "fruitbot", "starpilot")
"""Completing a level there is not all there is to win, so a share of solved levels says little."""

Row = dict[str, Any]


def search(game: str, level: int, source: PlannedSource, seed: int) -> Row:
    """Search a level, play the plan and say what both took."""
    cpu_s, wall_s = time.process_time(), time.perf_counter()
    plan = source.planner.plan(level, 0, seed)
    cpu_s, wall_s = time.process_time() - cpu_s, time.perf_counter() - wall_s
    episode = source.play(level, 0, seed)
    return {
        "game": game,
        "level": level,
        "budget": source.planner.budget,
        "seed": seed,
        "return": round(episode.episode_return, 6),
        "length": len(episode),
        "complete": plan.complete,
        "truncated": episode.truncated,
        "steps": plan.steps,
        "cpu_s": round(cpu_s, 3),
        "wall_s": round(wall_s, 3),
    }


def read_rows(path: Path) -> list[Row]:
    """The lines of a file, none if there is no file."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def missing(args: argparse.Namespace) -> Iterator[tuple[int, str]]:
    """(level, game) pairs that the file lacks, level by level."""
    rows = read_rows(args.out)
    done = {(row["game"], row["level"]) for row in rows if (row["seed"], row["budget"]) == (args.seed, args.budget)}
    first, stop = args.levels
    for level in range(first, stop):
        for game in args.games:
            if (game, level) not in done and level % args.of == args.part:
                yield level, game


def run(args: argparse.Namespace) -> None:
    """Search what is missing, one line after the other."""
    sources: dict[str, Any] = {}
    args.out.parent.mkdir(parents=True, exist_ok=True)
    with args.out.open("a") as file:
        for level, game in missing(args):
            if game not in sources:
                spec = SourceSpec(env=spec_name(game, "easy"), name=NAME, options={"budget": args.budget})
                sources[game] = build_source(spec)
            row = search(game, level, sources[game], args.seed)
            file.write(json.dumps(row) + "\n")
            file.flush()


def summarize(game: str, budget: int, rows: list[Row]) -> Row:
    """One row of the table: a game's levels that were searched with one budget."""
    returns = np.array([row["return"] for row in rows])
    interval = level_bootstrap(returns[None], mean, rng_for("search-experts", game))
    total_s = sum(row["cpu_s"] for row in rows)
    reference = REFERENCE[game]["train"]["mean"]
    return {
        "game": game,
        "levels": len(rows),
        "budget": budget,
        "solved": None if game in ENDLESS else float(np.mean([row["complete"] for row in rows])),
        "return": interval.to_json(),
        "ppo_train": reference,
        "reached": bool(interval.point >= reference),
        "length": float(np.mean([row["length"] for row in rows])),
        "truncated": float(np.mean([row["truncated"] for row in rows])),
        "steps": float(np.mean([row["steps"] for row in rows])),
        "most_steps": max(row["steps"] for row in rows),
        "cpu_s": total_s / len(rows),
        "steps_per_s": sum(row["steps"] for row in rows) / max(total_s, 1e-9),
    }


def markdown(table: list[Row]) -> str:
    """The table for a page."""
    lines = [
        "| game | levels | completed | mean return | PPO train | reached | steps of an episode | "
        "simulator steps a level (at most) | CPU s a level | steps per CPU s |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in table:
        value = row["return"]
        ends = "" if value["low"] is None else f" [{value['low']:.2f}, {value['high']:.2f}]"
        solved = "not defined" if row["solved"] is None else f"{100 * row['solved']:.1f} %"
        lines.append(
            f"| {row['game']} | {row['levels']} | {solved} | {value['point']:.2f}{ends} | {row['ppo_train']:.2f} | "
            f"{'yes' if row['reached'] else 'no'} | {row['length']:.0f} | "
            f"{row['steps']:,.0f} ({row['budget']:,}) | {row['cpu_s']:.2f} | {row['steps_per_s']:,.0f} |"
        )
    return "\n".join(lines)


def tabulate(args: argparse.Namespace) -> list[Row]:
    """The table of the file's rows: those that were asked for, with ``--table`` of every budget."""
    first, stop = args.levels
    groups: dict[tuple[str, int], list[Row]] = {}
    for row in read_rows(args.out):
        asked = row["seed"] == args.seed and first <= row["level"] < stop and row["game"] in args.games
        if asked and (args.table or row["budget"] == args.budget):
            groups.setdefault((row["game"], row["budget"]), []).append(row)
    return [summarize(game, budget, rows) for (game, budget), rows in sorted(groups.items())]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--games", nargs="+", choices=list(GAMES), default=list(GAMES), metavar="GAME")
    parser.add_argument("--levels", nargs=2, type=int, default=(0, 200), metavar=("FIRST", "STOP"))
    parser.add_argument("--budget", type=int, default=DEFAULT_BUDGET, help="simulator steps a level at most")
    parser.add_argument("--seed", type=int, default=0, help="experiment seed")
    parser.add_argument("--part", type=int, default=0, help="search levels that leave this rest ...")
    parser.add_argument("--of", type=int, default=1, help="... divided by this number, to share the work")
    parser.add_argument("--out", type=Path, default=Path("runs/search_experts.jsonl"), metavar="FILE")
    parser.add_argument("--table", action="store_true", help="search nothing; print the table of what is there")
    args = parser.parse_args()
    if not args.table:
        run(args)
    table = tabulate(args)
    print(markdown(table), flush=True)
    reached = len({row["game"] for row in table if row["reached"]})
    maze = next((row["solved"] for row in table if row["game"] == "maze"), None)
    report(
        "search_experts",
        reached,
        "games on which the mean return reaches PPO's training return",
        BAR_GAMES,
        reached >= BAR_GAMES
        and maze is not None
        and maze >= MAZE_BAR
        and all(row["budget"] <= MOST_STEPS for row in table),
        goal=GOAL_GAMES,
        maze_bar=MAZE_BAR,
        games=table,
    )


if __name__ == "__main__":
    main()
