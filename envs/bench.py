"""Steps per second of an environment with random actions."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import numpy.typing as npt

from envs.registry import make_vec
from envs.vector import LevelVectorEnv


def bench(name: str, num_envs: int, steps: int, num_levels: int, num_threads: int = 0) -> dict[str, Any]:
    """Play random actions through the wrapper twice, and through the native engine where there is one.

    In the first pass levels are new to the environment (cold), in the second they are not (warm).

    Args:
        name: Registered environment.
        num_envs: Slots B.
        steps: Steps of every slot and pass.
        num_levels: Episodes run on the levels 0 .. num_levels - 1, in turn.
        num_threads: Threads of the Procgen engine; other environments have none.

    Returns:
        ``cold_steps_per_s``, ``warm_steps_per_s``, ``num_episodes`` and, for Procgen, ``native_steps_per_s``; a step
        is one transition of one slot.
    """
    is_procgen = name.startswith("procgen/")
    env = make_vec(name, num_envs, **({"num_threads": num_threads} if is_procgen else {}))
    try:
        actions = np.random.default_rng(0).integers(0, env.task.num_actions, (steps, num_envs)).astype(np.int32)
        cold_s, _ = _time_passes(env, actions, num_levels)
        for level in range(0, num_levels, num_envs):
            env.reset(options={"levels": (level + np.arange(num_envs)) % num_levels})
        warm_s, num_episodes = _time_passes(env, actions, num_levels)
    finally:
        env.close()
    count = steps * num_envs
    result = {
        "env": name,
        "num_envs": num_envs,
        "num_episodes": num_episodes,
        "cold_steps_per_s": count / cold_s,
        "warm_steps_per_s": count / warm_s,
    }
    if is_procgen:
        result["native_steps_per_s"] = count / _time_native(name, actions, num_levels, num_threads)
    return result


def _time_passes(env: LevelVectorEnv, actions: npt.NDArray[np.int32], num_levels: int) -> tuple[float, int]:
    """Seconds and finished episodes of one pass, resets included."""
    started_s, next_level, num_episodes = time.perf_counter(), env.num_envs, 0
    env.reset(options={"levels": np.arange(env.num_envs) % num_levels})
    for row in actions:
        active = env.step(row)[-1]["active"]
        if not active.all():
            num_episodes += int((~active).sum())
            levels = (next_level + np.arange(env.num_envs)) % num_levels
            env.reset(options={"levels": levels, "reset_mask": ~active})
            next_level += env.num_envs
    return time.perf_counter() - started_s, num_episodes


def _time_native(name: str, actions: npt.NDArray[np.int32], num_levels: int, num_threads: int) -> float:
    """Seconds of the unwrapped engine, which chooses levels itself."""
    from envs.procgen import native_engine

    game, _, hard = name.removeprefix("procgen/").partition("-")
    engine = native_engine(game, hard or "easy", actions.shape[1], num_levels=num_levels, num_threads=num_threads)
    engine.observe()
    started_s = time.perf_counter()
    for row in actions:
        engine.act(row)
        engine.observe()
    elapsed_s = time.perf_counter() - started_s
    engine.close()
    return elapsed_s
