"""What a packed dataset weighs, and how fast it is unpacked.

Bytes per transition of a dataset directory, packed as actions and packed as frames, for each game; and the speed of
`unpack` (render, check, hash, write, make durable) against the pure simulator: the same environment with as many slots,
given the same actions on the same levels in the same order, its frames looked at and thrown away. Unpacking uses one
process for each core, the simulator one core; they take turns, and the ratio is the median over neighboring runs. Bar:
80 % in the harmonic mean over the games. Beside it the processor time of all threads and processes, in microseconds a
transition.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import resource
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from actors.collect import CollectConfig, collect
from actors.pack import pack
from actors.render import Scripts
from actors.replaying import Workers, scripts_of
from actors.unpack import unpack
from benchmarks.common import report
from data.store import Store
from envs.registry import make_vec

BAR = 0.80
GAMES = {"coinrun": "random", "starpilot": "random", "bigfish": "random", "maze": "maze-search"}
"""Game -> who plays it."""


def simulate(scripts: Scripts, num_envs: int) -> float:
    """Seconds to step an environment through the scripts, long ones first; nothing is kept."""
    started_s = time.perf_counter()
    lengths = np.diff(scripts.starts)
    waiting = iter(np.argsort(-lengths, kind="stable").tolist())
    index = np.array([next(waiting) for _ in range(num_envs)])
    cursor, stop = scripts.starts[index], scripts.starts[index + 1]
    running = np.ones(num_envs, dtype=np.bool_)
    with contextlib.closing(make_vec(scripts.env, num_envs)) as env:
        env.set_copy(False)
        env.reset(options={"levels": scripts.levels[index]})
        while running.any():
            env.step(scripts.actions[np.minimum(cursor, stop - 1)].astype(np.int32))
            cursor += running
            over = running & (cursor == stop)
            if not over.any():
                continue
            running &= ~over
            mask = np.zeros(num_envs, dtype=np.bool_)
            for slot, following in zip(np.flatnonzero(over).tolist(), waiting, strict=False):
                index[slot], mask[slot] = following, True
                cursor[slot], stop[slot] = scripts.starts[following : following + 2]
            if mask.any():
                running |= mask
                env.reset(options={"levels": scripts.levels[index], "reset_mask": mask})
    return time.perf_counter() - started_s


def _cpu_s() -> float:
    """Processor time of this process and of its children that ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def measure(game: str, place: Path, args: argparse.Namespace) -> dict[str, Any]:
    """The numbers of one game."""
    num_envs, processes, repeats = args.num_envs, args.processes, args.repeats
    config = CollectConfig(
        env=f"procgen/{game}",
        source=GAMES[game],
        num_levels=4 * num_envs,
        min_transitions=args.transitions,
        num_actors=0,
    )
    collect(config, place / "set")
    store = Store(place / "set")
    count = store.info.num_transitions
    actions = pack(place / "set", place / "actions", check=False)
    started_s = time.perf_counter()
    frames = pack(place / "set", place / "frames", frames=True)
    frames_s = time.perf_counter() - started_s
    scripts, pairs, rates, cpu = scripts_of(store), [], [], []
    simulate(scripts, num_envs)
    for _ in range(repeats):
        before_s = simulate(scripts, num_envs)
        started_s, cpu_s = time.perf_counter(), _cpu_s()
        unpack(place / "actions", place / "again", workers=Workers(num_envs=num_envs, num_processes=processes))
        unpack_s, cpu_s = time.perf_counter() - started_s, _cpu_s() - cpu_s
        after_s = simulate(scripts, num_envs)
        shutil.rmtree(place / "again")
        pairs.append((before_s + after_s) / 2 / unpack_s)
        rates.append((count / unpack_s, 2 * count / (before_s + after_s)))
        cpu.append(1e6 * cpu_s / count)
    started_s = time.perf_counter()
    unpack(place / "frames", place / "again")
    return {
        "transitions": count,
        "unpacked_bytes": round(store.info.num_bytes / count, 1),
        "actions_bytes": round(actions.bytes_per_transition, 3),
        "frames_bytes": round(frames.bytes_per_transition, 1),
        "unpack_ratio": round(statistics.median(pairs), 3),
        "unpack_per_s": round(statistics.median(rate for rate, _ in rates)),
        "simulator_per_s": round(statistics.median(rate for _, rate in rates)),
        "unpack_cpu_us": round(statistics.median(cpu), 1),
        "frames_pack_per_s": round(count / frames_s),
        "frames_unpack_per_s": round(count / (time.perf_counter() - started_s)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--transitions", type=int, default=200_000, help="recorded of each game")
    parser.add_argument("--num-envs", type=int, default=32, help="slots")
    parser.add_argument("--repeats", type=int, default=3, help="pairs of runs of each game")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="that unpack (default: cores)")
    parser.add_argument("--games", nargs="+", default=list(GAMES), choices=list(GAMES))
    args = parser.parse_args()
    games = {}
    for game in args.games:
        with tempfile.TemporaryDirectory() as place:
            games[game] = measure(game, Path(place), args)
    ratio = statistics.harmonic_mean([values["unpack_ratio"] for values in games.values()])
    report(
        "unpack_against_pure_simulator",
        round(ratio, 3),
        "ratio",
        BAR,
        ratio >= BAR,
        processes=args.processes,
        games=games,
    )


if __name__ == "__main__":
    main()
