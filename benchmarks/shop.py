"""The shop: environment steps per second, memory of a session, start-up times, at 1k, 10k and 100k products.

Every size runs in a process of its own, on one core, with 64 slots: page (``text_rich``) and candidates of every step,
new levels all the time. Two ways to act: random candidates, and the way of the scripted expert, recorded before, which
visits pages as a good policy does. Rates are steps per second of processor time of that process, so that a busy machine
disturbs them less; those by the wall clock stand beside them.

The original (WebShop, 2022) makes 68 steps/s on one core with its search and its noun tagger replaced by stubs, so
ours, which searches for real, is compared with less than the whole original.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import report

ORIGINAL_PER_S = 68
BARS = {"shop/default": 5_000, "shop/10k": 5_000, "shop/100k": 500}
GOAL = 10_000
MEMORY_BAR_KB = 10.0
SLOTS = 64
MEASURED_SESSIONS = 2_000


def measure(name: str, steps: int, memory_sessions: int = MEASURED_SESSIONS) -> dict[str, Any]:
    """All figures of one world; the caches lie in an empty directory of this process's own.

    Args:
        name: The environment.
        steps: Steps of every slot that are timed.
        memory_sessions: Sessions whose memory is measured together.
    """
    from envs.registry import make_vec
    from envs.shop import stock

    with tempfile.TemporaryDirectory() as folder:
        os.environ["GENGAP_CACHE"] = folder
        first_s = _seconds(lambda: make_vec(name, SLOTS))
        stock.world_shop.cache_clear()
        stock._stock.cache_clear()
        env: Any = None

        def again() -> None:
            nonlocal env
            env = make_vec(name, SLOTS)

        again_s = _seconds(again)
        cache_mb = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file()) / 1e6
        random_rate = _random_rate(env, steps)
        expert_rate = _expert_rate(env, name, max(steps // 4, 50))
        peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
        return {
            "products": len(env.shop.products),
            "steps_per_s": round(random_rate[0]),
            "wall_steps_per_s": round(random_rate[1]),
            "expert_steps_per_s": round(expert_rate[0]),
            "times_original": round(random_rate[0] / ORIGINAL_PER_S),
            "session_kb": round(session_kb(env, memory_sessions), 1),
            "first_start_s": round(first_s, 2),
            "start_s": round(again_s, 3),
            "cache_mb": round(cache_mb, 1),
            "peak_mb": round(peak_mb),
        }


def _seconds(run: Any) -> float:
    started_s = time.perf_counter()
    run()
    return time.perf_counter() - started_s


class _Timer:
    """Steps per second of processor time and of the wall clock."""

    def __init__(self) -> None:
        self._cpu_s, self._wall_s = time.process_time(), time.perf_counter()

    def rates(self, steps: int) -> tuple[float, float]:
        return steps / (time.process_time() - self._cpu_s), steps / (time.perf_counter() - self._wall_s)


def _random_rate(env: Any, steps: int) -> tuple[float, float]:
    """Uniform candidates; ended slots go on with the next level. A tenth of the steps warms up."""
    from envs.text import count_texts

    rng, level = np.random.default_rng(0), SLOTS
    observations, _ = env.reset(options={"levels": np.arange(SLOTS)})
    timer = _Timer()
    for number in range(steps + steps // 10):
        if number == steps // 10:
            timer = _Timer()
        counts = np.array([count_texts(row) for row in observations["candidates"]])
        observations, _, _, _, infos = env.step((rng.random(SLOTS) * counts).astype(np.int32))
        if not infos["active"].all():
            mask = ~infos["active"]
            observations, _ = env.reset(options={"levels": np.arange(level, level + SLOTS), "reset_mask": mask})
            level += SLOTS
    return timer.rates(steps * SLOTS)


def _expert_rate(env: Any, name: str, steps: int) -> tuple[float, float]:
    """The actions of the expert on each level, played again: searches and goals may be remembered from before."""
    from actors.rollout import RecordOptions, play
    from actors.sources import SourceSpec, build_source

    source = build_source(SourceSpec(env=name, name="shop-expert", options={"noise": 0.1}))
    jobs = [(level, 0) for level in range(10**5, 10**5 + steps * SLOTS // 5)]
    episodes = list(play(env, source.policy, jobs, seed=0, record=RecordOptions(source="bench")))
    lengths = np.array([len(episode) for episode in episodes])
    timer, done = _Timer(), 0
    for start in range(0, len(episodes) - SLOTS, SLOTS):
        group = episodes[start : start + SLOTS]
        env.reset(options={"levels": np.array([episode.level for episode in group])})
        for time_step in range(int(lengths[start : start + SLOTS].max())):
            actions = [episode.actions[min(time_step, len(episode) - 1)] for episode in group]
            env.step(np.array(actions, dtype=np.int32))
        done += int(lengths[start : start + SLOTS].sum())
    return timer.rates(done)


def session_kb(env: Any, sessions: int) -> float:
    """Kilobytes that are freed when a session in mid-episode goes; what the shop keeps for all is not counted."""
    from envs.shop.env import ShopVectorEnv

    rng = np.random.default_rng(1)
    plans = rng.random((6, sessions))

    def fill() -> Any:
        many = ShopVectorEnv(env.task, env.shop, sessions)
        many.offers = env.offers
        many.set_copy(False)
        many.reset(options={"levels": np.arange(sessions)})
        for draws in plans:
            counts = np.array([len(slot.offers.actions) for slot in many._slots if slot is not None])
            many.step((draws * counts).astype(np.int32))
        return many

    tracemalloc.start()
    kept = fill()
    gc.collect()
    used = tracemalloc.get_traced_memory()[0]
    del kept
    gc.collect()
    used -= tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return used / sessions / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--names", nargs="+", default=list(BARS), help="environments")
    parser.add_argument("--steps", type=int, default=1_500, help="timed steps of every slot (1k products)")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(measure(args.one, args.steps)))
        return
    results: dict[str, dict[str, Any]] = {}
    for name in args.names:
        steps = args.steps // 3 if BARS.get(name, 0) < GOAL / 2 else args.steps
        command = [sys.executable, "-m", "benchmarks.shop", "--one", name, "--steps", str(steps)]
        printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        results[name] = json.loads(printed.splitlines()[-1])
        print(f"{name:<14} {results[name]}", flush=True)
    holds = all(
        result["steps_per_s"] >= BARS.get(name, 0) and result["session_kb"] < MEMORY_BAR_KB
        for name, result in results.items()
    )
    first = results[args.names[0]]
    report(
        "shop_steps_per_s",
        first["steps_per_s"],
        "environment steps per second of one core, page and candidates, random candidates",
        BARS.get(args.names[0], 0),
        holds,
        goal=GOAL,
        original_per_s=ORIGINAL_PER_S,
        original_note="search and noun tagging of the original are stubs in its figure",
        bars={name: BARS.get(name, 0) for name in args.names},
        session_bar_kb=MEMORY_BAR_KB,
        worlds=results,
    )


if __name__ == "__main__":
    main()
