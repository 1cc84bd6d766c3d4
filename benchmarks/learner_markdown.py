"""The lines of `benchmarks.learner_table` as tables, with what counts and what does not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from envs.seeding import rng_for
from metrics import statistics
from metrics.statistics import Interval

COLUMNS = [(mode, role) for mode in ("sampled", "greedy") for role in ("train", "validation", "test")]
SHARE = 0.6
"""Of the data's return, which BC must reach on the training levels before a row counts."""

Line = Mapping[str, Any]


def markdown(lines: Sequence[Line], worlds: Sequence[str]) -> list[str]:
    """A table for each world."""
    text: list[str] = []
    for world in worlds:
        mine = [line for line in lines if line["world"] == world]
        if mine:
            text += [*_table(mine), ""]
    return text


def scores(lines: Sequence[Line], role: str, mode: str, **equals: str) -> npt.NDArray[np.float64] | None:
    """Raw returns [seeds, levels] of one algorithm; None if none was played."""
    kind = "test" if role == "test" else "open"
    chosen = [x for x in lines if x["kind"] == kind and all(x[name] == value for name, value in equals.items())]
    rows = [x["returns"][role][mode] for x in sorted(chosen, key=lambda x: x["seed"]) if mode in x["returns"][role]]
    return np.array(rows, dtype=np.float64) if rows else None


def verdict(lines: Sequence[Line], track: str, algorithm: str = "bc") -> str:
    """Whether rows of a track count: BC must beat the random policy's interval and reach `SHARE` of its data.

    Returns:
        "yes", "at chance" for an algorithm that does not beat that interval itself where BC does, "undertrained", or
        "?" where something was not played.
    """
    clone = scores(lines, "train", "sampled", algorithm="bc", track=track)
    mine = scores(lines, "train", "sampled", algorithm=algorithm, track=track)
    guess = scores(lines, "train", "sampled", algorithm="random")
    if clone is None or mine is None or guess is None:
        return "?"
    chance = _interval(guess, "train sampled random").high
    enough = SHARE * next(x["data_return"] for x in lines if x["kind"] == "open")
    if clone.mean() <= chance or clone.mean() < enough:
        return "undertrained"
    return "yes" if mine.mean() > chance else "at chance"


def _table(lines: Sequence[Line]) -> Iterator[str]:
    first = next(line for line in lines if line["kind"] == "open")
    steps = max(line["learner_steps"] for line in lines if line["kind"] == "open")
    yield (
        f"### {first['world']}: {first['data_episodes']} episodes, {first['data_transitions']:,} transitions, mean "
        f"return {first['data_return']:.2f}, {steps} learner steps"
    )
    yield ""
    yield (
        "| track | algorithm | seeds | "
        + " | ".join(f"{role}, {mode}" for mode, role in COLUMNS)
        + " | validation less BC's | counts |"
    )
    yield "|---|---|---|" + "---:|" * (len(COLUMNS) + 1) + "---|"
    opened = [line for line in lines if line["kind"] == "open"]
    order = {"random": -1, **{name: i for i, name in enumerate(("bc", "percent-bc", "bct", "dt", "bcq", "cql", "iql"))}}
    rows = sorted({(x["algorithm"] != "random", x["track"], order[x["algorithm"]], x["algorithm"]) for x in opened})
    for trained, track, _, algorithm in rows:
        yield _row(lines, track, algorithm) if trained else _row(lines, "", algorithm)


def _row(lines: Sequence[Line], track: str, algorithm: str) -> str:
    equals = {"algorithm": algorithm, **({"track": track} if track else {})}
    seeds = sum(x["kind"] == "open" and all(x[k] == v for k, v in equals.items()) for x in lines)
    cells = [_cell(scores(lines, role, mode, **equals), f"{role} {mode} {algorithm}") for mode, role in COLUMNS]
    counts = verdict(lines, track, algorithm) if track else ""
    return (
        f"| {track} | `{algorithm}` | {seeds} | {' | '.join(cells)} | {_less_bc(lines, track, algorithm)} | {counts} |"
    )


def _less_bc(lines: Sequence[Line], track: str, algorithm: str) -> str:
    """The paired difference to BC of the same track on validation levels, sampled actions."""
    if not track or algorithm == "bc":
        return ""
    ours = scores(lines, "validation", "sampled", algorithm=algorithm, track=track)
    clone = scores(lines, "validation", "sampled", algorithm="bc", track=track)
    if ours is None or clone is None:
        return "—"
    return _shown(statistics.paired_difference(ours, clone, rng_for("less bc", track, algorithm)), sign="+")


def _cell(grid: npt.NDArray[np.float64] | None, name: str) -> str:
    return "—" if grid is None else _shown(_interval(grid, name))


def _interval(grid: npt.NDArray[np.float64], name: str) -> Interval:
    return statistics.level_bootstrap(grid, statistics.mean, rng_for("learner table", name))


def _shown(interval: Interval, sign: str = "") -> str:
    return f"{interval.point:{sign}.2f} [{interval.low:{sign}.2f}, {interval.high:{sign}.2f}]"
