"""Rollouts against the bare engine, and against bare inference.

(a) In a Ray actor: random policy, frames stored into whole episodes, against native gym3 steps per second of the same
game on the same core (random actions, observations taken), harmonic mean over the 16 games. Bar: 80 % with warm initial
states. Beside it: cold ones (every level is new; goal 70 %), and the share that is left when the actor also ships the
episodes through the object store.

(b) In process: rollouts with the IMPALA policy against pure inference at the same batch. Bar: 85 %.

Everything is measured in short alternating slices, and a ratio is the median over neighboring slices, so that a busy or
throttled machine slows both sides alike.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import os
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from actors.cluster import ray_session
from actors.env_actor import EnvActor, Reply, num_bytes
from actors.policy import Policy, PolicyInput, RandomPolicy
from actors.rollout import Job, RecordOptions, play
from benchmarks.common import report
from data.episode import Episode
from envs.procgen import native_engine, spec_name
from envs.procgen_tables import GAMES
from envs.registry import make_vec
from trainers.config import NetworkConfig
from trainers.networks import build_policy_network
from trainers.torch_policy import TorchPolicy

BAR_ENGINE, GOAL_COLD, BAR_INFERENCE = 0.80, 0.70, 0.85
WARM_LEVELS = 256
STEPS_PER_SLICE = 100
WARM_UP_SLICES = 14  # until episodes of every age are played in memory that was touched before
BATCH_BYTES = 32 * 2**20

Slice = Callable[[], float]
"""Runs for a while; returns seconds per step of one slot."""


class _Counting(RandomPolicy):
    """Acts at random and counts its calls, that is, steps of the batch."""

    calls = 0

    def act(self, inputs: PolicyInput) -> npt.NDArray[np.float32]:
        object.__setattr__(self, "calls", self.calls + 1)
        return super().act(inputs)


class MeasuringActor(EnvActor):
    """An env actor that also steps the bare engine, in the same process on the same core."""

    def measure(self, game: str, num_envs: int, num_slices: int) -> dict[str, float]:
        """Seconds per native step, and the ratios."""
        with contextlib.suppress(AttributeError):  # not on macOS
            os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1])
        native = _native(game, num_envs)
        slices = {
            "warm": _rollout(game, num_envs, _warm_jobs(), ship=False),
            "shipped": _rollout(game, num_envs, _warm_jobs(), ship=True),
            "cold": _rollout(game, num_envs, ((level, 0) for level in itertools.count(10_000)), ship=False),
        }
        for run in slices.values():
            for _ in range(WARM_UP_SLICES):
                run()
        pairs: dict[str, list[float]] = {name: [] for name in slices}
        natives = []
        for _ in range(num_slices):
            for name, run in slices.items():
                before_s, rollout_s, after_s = native(), run(), native()
                natives += [before_s, after_s]
                pairs[name].append((before_s + after_s) / 2 / rollout_s)
        ratios = {name: round(statistics.median(values), 3) for name, values in pairs.items()}
        return {"native_per_s": round(1 / statistics.median(natives)), **ratios}


def _native(game: str, num_envs: int) -> Slice:
    engine = native_engine(game, "easy", num_envs)
    actions = np.random.default_rng(0).integers(0, 15, (STEPS_PER_SLICE, num_envs)).astype(np.int32)
    engine.observe()

    def run() -> float:
        started_s = time.perf_counter()
        for row in actions:
            engine.act(row)
            engine.observe()
        return (time.perf_counter() - started_s) / STEPS_PER_SLICE / num_envs

    return run


def _warm_jobs() -> Iterator[Job]:
    return ((level, episode) for episode in itertools.count() for level in range(WARM_LEVELS))


def _rollout(game: str, num_envs: int, jobs: Iterator[Job], ship: bool) -> Slice:
    """Plays on and on; every step of every slot is stored and becomes part of an episode."""
    env = make_vec(spec_name(game, "easy"), num_envs)
    policy = _Counting(env.task)
    first = next(jobs)
    if first[0] < WARM_LEVELS:
        for level in range(WARM_LEVELS):
            env.reset(options={"levels": np.full(num_envs, level), "reset_mask": np.arange(num_envs) == 0})
    many = list(itertools.islice(jobs, 200_000))
    episodes = play(env, policy, many, seed=0, record=RecordOptions(source="bench"))
    batch: list[Episode] = []

    def run() -> float:
        begin, started_s = policy.calls, time.perf_counter()
        while policy.calls - begin < STEPS_PER_SLICE:
            episode = next(episodes)
            if ship:
                _ship(batch, episode)
        return (time.perf_counter() - started_s) / (policy.calls - begin) / num_envs

    return run


def _ship(batch: list[Episode], episode: Episode) -> None:
    import ray

    batch.append(episode)
    if sum(map(num_bytes, batch)) > BATCH_BYTES:
        ray.put(Reply(0, batch))
        batch.clear()


def engine_ratios(args: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Per game: the native rate, and the actor's as a share of it."""
    results = {}
    with ray_session(num_cpus=2) as ray:
        for game in args.games:
            actor: Any = ray.remote(num_cpus=1)(MeasuringActor).remote(0)
            results[game] = ray.get(actor.measure.remote(game, args.num_envs, args.slices))
            ray.kill(actor)
            print(f"{game:<10} {results[game]}", flush=True)
    return results


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

    def act(self, inputs: PolicyInput) -> npt.NDArray[np.float32]:
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
    """Rollouts of the IMPALA policy with one thread against calls of `act` alone, in blocks of ten steps."""
    torch.set_num_threads(1)
    env = make_vec("procgen/coinrun", num_envs)
    network = build_policy_network(env.task, NetworkConfig(encoder="impala")).eval()
    alternating = _Alternating(TorchPolicy(network, env.task, "bench"), 10, num_blocks)
    jobs = [(level, 0) for level in range(100 * num_envs)]
    with contextlib.suppress(_EnoughError):
        for _ in play(env, alternating, jobs, seed=0, record=RecordOptions(source="bench")):
            pass
    ratios = [a / b for a, b in zip(alternating.inference_s, alternating.rollout_s, strict=True)]
    per_s = 10 * num_envs / statistics.median(alternating.inference_s)
    return {"ratio": statistics.median(ratios), "inference_per_s": per_s}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--games", nargs="+", default=list(GAMES), choices=list(GAMES))
    parser.add_argument("--num-envs", type=int, default=128, help="slots of the actor and of the bare engine")
    parser.add_argument("--policy-envs", type=int, default=64, help="batch of the policy")
    parser.add_argument("--policy-blocks", type=int, default=20, help="measurements of ten steps of the policy")
    parser.add_argument("--slices", type=int, default=12, help="measurements of 100 steps per game and kind")
    args = parser.parse_args()
    inference = inference_ratio(args.policy_envs, args.policy_blocks)
    print(f"IMPALA policy: {inference}", flush=True)
    games = engine_ratios(args)
    shares = {
        name: round(statistics.harmonic_mean([result[name] for result in games.values()]), 3)
        for name in ("warm", "shipped", "cold")
    }
    report(
        "rollout_share_of_engine",
        shares["warm"],
        "fraction of native steps/s, harmonic mean over games",
        BAR_ENGINE,
        shares["warm"] >= BAR_ENGINE and inference["ratio"] >= BAR_INFERENCE,
        cold=shares["cold"],
        cold_goal=GOAL_COLD,
        shipped=shares["shipped"],
        policy_share_of_inference=round(inference["ratio"], 3),
        policy_bar=BAR_INFERENCE,
        policy_inference_per_s=round(inference["inference_per_s"]),
        games=games,
    )


if __name__ == "__main__":
    main()
