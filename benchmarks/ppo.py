"""PPO end to end: environment steps a second, with everything a real run does but files.

Ways to run it take turns, some updates each, so that they are compared within one run:

    in turn           environments in the learner's process, playing and learning one after the other
    ahead             the same, playing the next fragment while learning from this one
    processes         environments in processes of their own, playing and learning one after the other
    processes, ahead  the same, playing ahead

Bar: playing ahead makes 1.15 times as many steps/s as playing in turn, which needs a second core to be free; how many
cores each way got is part of the result. With --gpu only the last is measured, with a compiled network and everything
on the device, for --minutes without a pause. Bar there: 30,000 steps/s on a GPU of the H200's class with 16 cores.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from contextlib import ExitStack

import torch

from benchmarks.common import report
from envs.registry import make_spec
from trainers.actor_critic import PPOLearner
from trainers.online_config import OnlineConfig, build_online
from trainers.online_parts import build_learner, build_streams

GPU_BAR = 30_000
CPU_BAR = 1.15
WARM_UP = 2


class Way:
    """One way to run; each call of `round` is one update."""

    def __init__(self, config: OnlineConfig, stack: ExitStack) -> None:
        self._overlap = config.overlap
        spec = make_spec(config.env)
        self.learner: PPOLearner = build_learner(config, spec)
        self.streams = build_streams(config, spec, self.learner)
        stack.callback(self.streams.close)
        self._begun = False

    def cpu_s(self) -> float:
        """Processor time so far of this process and of those that step its environments."""
        import psutil  # a bare machine with a GPU may lack it

        source = getattr(self.streams, "source", None)
        pids = [process.pid for process in getattr(source, "processes", [])]
        return time.process_time() + sum(sum(psutil.Process(pid).cpu_times()[:2]) for pid in pids)

    def round(self, more: bool) -> tuple[int, float, float]:
        """One update.

        Args:
            more: Whether to play the next fragment meanwhile.

        Returns:
            Environment steps, seconds, and the seconds of them in which the learner waited for the fragment.
        """
        started = time.perf_counter()
        if not self._begun:
            self.streams.begin(self.learner.updates)
        fragments = self.streams.finish()
        waited_s = time.perf_counter() - started
        self._begun = self._overlap and more
        if self._begun:
            self.streams.begin(self.learner.updates + 1)
        self.learner.update(fragments)
        return sum(fragment.actions.size for fragment in fragments), time.perf_counter() - started, waited_s


def take_turns(ways: dict[str, Way], turns: int, rounds: int) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Steps/s of each way in each turn, some updates in a row, by wall time and by processor time.

    Nothing plays on while others have their turn.
    """
    rates: dict[str, list[float]] = {name: [] for name in ways}
    cpu_rates: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(turns + 1):
        for name, way in ways.items():
            steps, seconds, cpu_s = 0, 0.0, way.cpu_s()
            for number in range(rounds):
                played, took_s, _ = way.round(more=number < rounds - 1)
                steps, seconds = steps + played, seconds + took_s
            if turn:  # the first warms up
                rates[name].append(steps / seconds)
                cpu_rates[name].append(steps / (way.cpu_s() - cpu_s))
    return rates, cpu_rates


def measure_cpu(args: argparse.Namespace) -> None:
    torch.set_num_threads(args.threads)
    words = [f"env=procgen/{args.game}", f"num_envs={args.envs or 64}", f"fragment_steps={args.steps or 128}"]
    words += [f"network.encoder={args.network or 'small'}"]
    processes = f"num_env_processes={args.processes or 2}"
    variants: dict[str, list[str]] = {
        "in_turn": [],
        "ahead": ["overlap=true"],
        "processes": [processes],
        "processes_ahead": [processes, "overlap=true"],
    }
    with ExitStack() as stack:
        configs = {name: build_online("procgen-ppo-cpu", [*words, *extra]) for name, extra in variants.items()}
        ways = {name: Way(config, stack) for name, config in configs.items()}
        rates, cpu_rates = take_turns(ways, args.turns, args.rounds)
    ratios = {
        name: statistics.median(one / first for one, first in zip(values, rates["in_turn"], strict=True))
        for name, values in rates.items()
    }
    report(
        "ppo",
        round(ratios["ahead"], 3),
        "of playing and learning in turn",
        CPU_BAR,
        ratios["ahead"] >= CPU_BAR,
        ratios={name: round(value, 3) for name, value in ratios.items()},
        steps_per_s={name: round(statistics.median(values)) for name, values in rates.items()},
        steps_per_cpu_s={name: round(statistics.median(values)) for name, values in cpu_rates.items()},
        cores_used={
            name: round(statistics.median(one / cpu for one, cpu in zip(values, cpu_rates[name], strict=True)), 2)
            for name, values in rates.items()
        },
        game=args.game,
        network=args.network or "small",
        turns=args.turns,
        threads=args.threads,
    )


def gpu_config(args: argparse.Namespace) -> OnlineConfig:
    """As many steps per update as in the benchmark (64 environments of 256 steps), from more environments."""
    processes = args.processes or max(1, (os.cpu_count() or 2) - 2)
    envs = args.envs or 2 * processes * max(1, round(128 / processes))
    words = [f"env=procgen/{args.game}", f"num_envs={envs}", f"fragment_steps={args.steps or max(1, 16_384 // envs)}"]
    words += [f"network.encoder={args.network or 'impala'}", f"num_env_processes={processes}"]
    return build_online("procgen-ppo-gpu", [*words, f"compile={str(args.compile).lower()}"])


def measure_gpu(args: argparse.Namespace) -> None:
    config = gpu_config(args)
    rounds: list[tuple[int, float, float]] = []
    with ExitStack() as stack:
        way = Way(config, stack)
        for _ in range(WARM_UP):  # compiles
            way.round(more=True)
        started = time.perf_counter()
        while time.perf_counter() - started < 60 * args.minutes:
            rounds.append(way.round(more=True))
        seconds = time.perf_counter() - started
    rate = sum(steps for steps, _, _ in rounds) / seconds
    slowest = min(steps / took_s for steps, took_s, _ in rounds)
    report(
        "ppo_gpu",
        round(rate),
        "env steps/s",
        GPU_BAR,
        rate >= GPU_BAR,
        seconds=round(seconds, 1),
        updates=len(rounds),
        slowest_update_steps_per_s=round(slowest),
        waiting_for_fragments=round(sum(waited_s for _, _, waited_s in rounds) / seconds, 3),
        game=args.game,
        network=config.network.encoder,
        num_envs=config.num_envs,
        num_env_processes=config.num_env_processes,
        fragment_steps=config.fragment_steps,
        compile=config.compile,
        device=torch.cuda.get_device_name(),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--game", default="coinrun")
    parser.add_argument("--network", help="encoder (default: small on a CPU, impala on a GPU)")
    parser.add_argument("--envs", type=int, default=0, help="environments (default: 64 on a CPU, about 256 on a GPU)")
    parser.add_argument("--steps", type=int, default=0, help="steps of a fragment (default: 128, or 16,384 in all)")
    parser.add_argument("--processes", type=int, default=0, help="that step (default: 2, or two less than cores)")
    parser.add_argument("--turns", type=int, default=5, help="of each way, on a CPU")
    parser.add_argument("--rounds", type=int, default=4, help="updates in a turn")
    parser.add_argument("--threads", type=int, default=1, help="torch threads, on a CPU")
    parser.add_argument("--minutes", type=float, default=5.0, help="how long a GPU is measured")
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, default=True, help="on a GPU")
    parser.add_argument("--gpu", action="store_true")
    args = parser.parse_args()
    if args.gpu:
        measure_gpu(args)
    else:
        measure_cpu(args)


if __name__ == "__main__":
    main()
