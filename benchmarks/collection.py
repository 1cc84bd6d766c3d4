"""Collection against the pure simulator with the same policy.

The pure simulator plays the same episodes in this process and keeps nothing but their results. Collection plays them
in one Ray actor, ships the frames, checks and writes them to disk, and ends with a dataset. Both take turns; a ratio is
the median over turns. On a machine with one free core for the actor and one for the writer the ratio says what
recording costs; with more actors the writer's own speed, stated beside it, is the limit.
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import statistics
import tempfile
import time
from pathlib import Path

from actors.cluster import ray_session
from actors.collect import CollectConfig, collect
from actors.rollout import play
from actors.sources import build_source
from benchmarks.common import report
from data.dataset import Dataset
from data.writer import DatasetWriter
from envs.registry import make_spec, make_vec

BAR = 0.5
"""No bar was asked for; below half, recording would cost more than playing."""


def pure_per_s(config: CollectConfig, dataset: Dataset) -> float:
    """Transitions a second when the dataset's episodes are played and forgotten."""
    jobs = list(zip(dataset.episodes["level"].tolist(), dataset.episodes["episode"].tolist(), strict=True))
    source = build_source(config.source_spec)
    with contextlib.closing(make_vec(config.env, config.num_envs)) as env:
        started_s = time.perf_counter()
        steps = sum(result.length for result in play(env, source.policy, jobs, seed=config.seed, mode=source.mode))
    return steps / (time.perf_counter() - started_s)


def collect_per_s(config: CollectConfig, folder: Path) -> float:
    """Transitions a second of a collection, from its first episode to the finished dataset."""
    shutil.rmtree(folder, ignore_errors=True)
    first: list[tuple[float, float]] = []

    def arrived(done: float, total: float | None = None, note: str = "") -> None:
        if not first:
            first.append((time.perf_counter(), done))

    dataset = collect(config, folder, arrived)
    since_s, done = first[0]
    return (len(dataset) - done) / (time.perf_counter() - since_s)


def write_per_s(config: CollectConfig, dataset: Dataset, folder: Path) -> float:
    """Transitions a second that the writer takes, checksums included, when episodes lie in memory."""
    shutil.rmtree(folder, ignore_errors=True)
    episodes = [dataset.episode(position) for position in range(min(200, dataset.num_episodes))]
    started_s = time.perf_counter()
    with DatasetWriter(folder, make_spec(config.env), {}) as writer:
        for episode in episodes:
            writer.add(episode)
    return sum(map(len, episodes)) / (time.perf_counter() - started_s)


def measure(config: CollectConfig, turns: int, folder: Path) -> dict[str, float]:
    """Medians over the turns."""
    rates: dict[str, list[float]] = {"pure": [], "collected": [], "written": []}
    for _ in range(turns):
        rates["collected"].append(collect_per_s(config, folder / "data"))
        dataset = Dataset.open(folder / "data")
        rates["pure"].append(pure_per_s(config, dataset))
        rates["written"].append(write_per_s(config, dataset, folder / "again"))
    ratios = [a / b for a, b in zip(rates["collected"], rates["pure"], strict=True)]
    return {"ratio": statistics.median(ratios), **{f"{n}_per_s": statistics.median(v) for n, v in rates.items()}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--envs", nargs="+", default=["procgen/maze", "procgen/coinrun", "shop/default"])
    parser.add_argument("--transitions", type=int, default=30_000, help="of each collection")
    parser.add_argument("--turns", type=int, default=3)
    args = parser.parse_args()
    results = {}
    with ray_session(num_cpus=2), tempfile.TemporaryDirectory() as folder:
        for env in args.envs:
            config = CollectConfig(
                env=env, source="random", num_levels=200, min_transitions=args.transitions, num_actors=1, num_envs=64
            )
            results[env] = {name: round(value, 3) for name, value in measure(config, args.turns, Path(folder)).items()}
            print(env, results[env], flush=True)
    ratio = statistics.harmonic_mean([result["ratio"] for result in results.values()])
    unit = "of the pure simulator's transitions/s, harmonic mean"
    report("collection", round(ratio, 3), unit, BAR, ratio >= BAR, environments=results)


if __name__ == "__main__":
    main()
