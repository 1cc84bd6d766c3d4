"""Rollouts against the bare engine, and against bare inference.

(a) Through a Ray actor: random policy, frames stored into whole episodes that reach the driver, against the native gym3
steps per second of the same game on the same core, harmonic mean over the 16 games. Bar: 80 % with warm initial states;
cold ones (each level played for the first time) are reported beside it, with a goal of 70 %.

(b) In process: rollouts with the IMPALA policy against pure inference at the same batch. Bar: 85 %.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import time
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import psutil
import torch

from actors.cluster import ray_session
from actors.env_actor import RecordTask, new_task_key
from actors.policy import Policy, PolicyInput
from actors.pool import ActorPool
from actors.rollout import RecordOptions, play
from actors.sources import SourceSpec
from benchmarks.common import report
from envs.procgen import native_engine, spec_name
from envs.procgen_tables import GAMES
from envs.registry import make_vec
from trainers.config import NetworkConfig
from trainers.networks import build_policy_network
from trainers.torch_policy import TorchPolicy

BAR_ENGINE, GOAL_COLD, BAR_INFERENCE = 0.80, 0.70, 0.85
CORES = sorted(os.sched_getaffinity(0))


class Native(NamedTuple):
    """Seconds per engine step of one slot."""

    wall_s: float
    cpu_s: float


def step_natively(game: str, num_envs: int, seconds: float) -> Native:
    """Step the bare engine with random actions and take its observations, in this process on the first core."""
    os.sched_setaffinity(0, CORES[:1])
    engine = native_engine(game, "easy", num_envs)
    actions = np.random.default_rng(0).integers(0, 15, (1000, num_envs)).astype(np.int32)
    engine.observe()
    wall_s, cpu_s, steps = time.perf_counter(), time.process_time(), 0
    while time.perf_counter() - wall_s < seconds:
        engine.act(actions[steps % 1000])
        engine.observe()
        steps += 1
    native = Native((time.perf_counter() - wall_s) / steps / num_envs, (time.process_time() - cpu_s) / steps / num_envs)
    engine.close()
    os.sched_setaffinity(0, CORES[1:] or CORES)
    return native


@dataclass(frozen=True)
class Pass:
    """One pass over some jobs by the actor."""

    transitions: int
    wall_s: float
    steady_per_s: float
    """Transitions per second between the arrival of 15 % and of 85 % of them: without start and end, where slots are
    idle because the list of jobs is finite."""
    cpu_s: float
    """Processor time of the actor: engine, recording and sending, whatever else the machine does meanwhile."""


def actor_pass(pool: ActorPool, task: RecordTask, num_levels: int, episodes: int) -> Pass:
    """Play; the transitions counted are those that arrive at the driver in whole episodes."""
    actor = psutil.Process(pool.wait_until_started()[0].pid)
    jobs = [(level, episode) for episode in range(episodes) for level in range(num_levels)]
    arrivals: list[tuple[float, int]] = [(0.0, 0)]  # seconds, transitions so far
    before, started_s = actor.cpu_times(), time.perf_counter()
    for episode in pool.play_episodes(task, jobs):
        arrivals.append((time.perf_counter() - started_s, arrivals[-1][1] + len(episode)))
    after, (wall_s, transitions) = actor.cpu_times(), arrivals[-1]
    first, last = (next(arrival for arrival in arrivals if arrival[1] >= share * transitions) for share in (0.15, 0.85))
    steady_per_s = (last[1] - first[1]) / (last[0] - first[0])
    return Pass(transitions, wall_s, steady_per_s, after.user + after.system - before.user - before.system)


def engine_ratios(args: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Per game: native rate, and the actor's as a share of it: cold, warm, and warm by processor time."""
    results = {}
    with ray_session(num_cpus=2), ActorPool(1) as pool:
        os.sched_setaffinity(pool.wait_until_started()[0].pid, CORES[:1])
        for game in args.games:
            source = SourceSpec(env=spec_name(game, "easy"), name="random")
            task = RecordTask(key=new_task_key(), source=source, seed=0, num_envs=args.num_envs)
            results[game] = _game_ratios(pool, task, game, args)
            print(f"{game:<10} {results[game]}", flush=True)
    return results


def _game_ratios(pool: ActorPool, task: RecordTask, game: str, args: argparse.Namespace) -> dict[str, float]:
    native = [step_natively(game, args.num_envs, args.seconds)]
    cold = actor_pass(pool, task, args.num_levels, 1)
    episodes = max(1, round(args.transitions / cold.transitions))
    warm = []
    for _ in range(args.repeats):
        warm.append(actor_pass(pool, task, args.num_levels, episodes))
        native.append(step_natively(game, args.num_envs, args.seconds))
    wall_s = statistics.median(rate.wall_s for rate in native)
    cpu_s = statistics.median(rate.cpu_s for rate in native)
    return {
        "native_per_s": round(1 / wall_s),
        "warm": round(statistics.median(p.steady_per_s for p in warm) * wall_s, 3),
        "warm_with_start_and_end": round(statistics.median(p.transitions / p.wall_s for p in warm) * wall_s, 3),
        "warm_by_cpu_time": round(statistics.median(p.transitions / p.cpu_s for p in warm) * cpu_s, 3),
        "cold": round(cold.transitions / cold.wall_s * wall_s, 3),
    }


class _EnoughError(Exception):
    """Ends a rollout when enough was measured."""


class _Alternating:
    """Acts; after every few steps of the rollout it times as many calls of the policy alone."""

    policy_id = "bench"

    def __init__(self, policy: Policy, block: int, num_blocks: int) -> None:
        self._policy, self._block, self._num_blocks = policy, block, num_blocks
        self._steps = 0
        self._since_s = 0.0
        self.rollout_s: list[float] = []
        self.inference_s: list[float] = []

    def act(self, inputs: PolicyInput) -> np.ndarray:
        if self._steps % self._block == 0:
            self._compare(inputs)
        self._steps += 1
        return self._policy.act(inputs)

    def _compare(self, inputs: PolicyInput) -> None:
        now_s = time.perf_counter()
        if self._steps > self._block:  # the first block warms up
            self.rollout_s.append(now_s - self._since_s)
            for _ in range(self._block):
                self._policy.act(inputs)
            self.inference_s.append(time.perf_counter() - now_s)
        if len(self.rollout_s) == self._num_blocks:
            raise _EnoughError
        self._since_s = time.perf_counter()


def inference_ratio(num_envs: int, num_blocks: int) -> dict[str, float]:
    """Rollouts of the IMPALA policy on one core against calls of `act` alone, in alternating blocks of ten steps."""
    torch.set_num_threads(1)
    os.sched_setaffinity(0, CORES[:1])
    env = make_vec("procgen/coinrun", num_envs)
    network = build_policy_network(env.task, NetworkConfig(encoder="impala")).eval()
    alternating = _Alternating(TorchPolicy(network, env.task, "bench"), 10, num_blocks)
    jobs = [(level, 0) for level in range(100 * num_envs)]
    with contextlib.suppress(_EnoughError):
        for _ in play(env, alternating, jobs, seed=0, record=RecordOptions(source="bench")):
            pass
    os.sched_setaffinity(0, CORES)
    ratios = [a / b for a, b in zip(alternating.inference_s, alternating.rollout_s, strict=True)]
    per_s = 10 * num_envs / statistics.median(alternating.inference_s)
    return {"ratio": statistics.median(ratios), "inference_per_s": per_s}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--games", nargs="+", default=list(GAMES), choices=list(GAMES))
    parser.add_argument("--num-envs", type=int, default=64, help="slots of the actor and of the bare engine")
    parser.add_argument("--policy-envs", type=int, default=64, help="batch of the policy")
    parser.add_argument("--policy-blocks", type=int, default=20, help="measurements of ten steps of the policy")
    parser.add_argument("--num-levels", type=int, default=256, help="levels per game")
    parser.add_argument("--transitions", type=int, default=150_000, help="about how many a warm pass plays")
    parser.add_argument("--seconds", type=float, default=1.5, help="of each native measurement")
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    cores = os.sched_getaffinity(0)
    inference = inference_ratio(args.policy_envs, args.policy_blocks)
    print(f"IMPALA policy: {inference}", flush=True)
    games = engine_ratios(args)
    os.sched_setaffinity(0, cores)
    warm = statistics.harmonic_mean(result["warm"] for result in games.values())
    cold = statistics.harmonic_mean(result["cold"] for result in games.values())
    by_cpu_time = statistics.harmonic_mean(result["warm_by_cpu_time"] for result in games.values())
    report(
        "rollout_share_of_engine",
        round(warm, 3),
        "fraction of native steps/s, harmonic mean over games",
        BAR_ENGINE,
        warm >= BAR_ENGINE and inference["ratio"] >= BAR_INFERENCE,
        by_cpu_time=round(by_cpu_time, 3),
        cold=round(cold, 3),
        cold_goal=GOAL_COLD,
        policy_share_of_inference=round(inference["ratio"], 3),
        policy_bar=BAR_INFERENCE,
        policy_inference_per_s=round(inference["inference_per_s"]),
        games=games,
    )


if __name__ == "__main__":
    main()
