"""Random batches of 256 transitions from a memory-mapped set of 300,000 Procgen-sized frames.

Bars: 100,000 transitions/s warm, opening in under 1 s, under 500 MB of private growth (RssAnon).
"""

from __future__ import annotations

import argparse
import multiprocessing
import re
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.common import report
from data.dataset import Dataset
from data.episode import Episode
from data.files import check_disk_space, format_bytes
from data.sampler import BatchSampler
from data.writer import DatasetWriter
from envs.spec import ColumnSpec, EnvSpec

BAR_PER_S = 100_000.0
BAR_OPEN_S = 1.0
BAR_GROWTH_MB = 500.0
BATCH_SIZE = 256
EPISODE_LENGTH = 300
ENV = EnvSpec(
    "bench/pixels", {"image": ColumnSpec("uint8", (64, 64, 3))}, 15, 1000, 10**6, final_observation_known=False
)


def write_frames(path: Path, num_frames: int) -> None:
    """Stream synthetic episodes to disk; no two frames are equal."""
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (EPISODE_LENGTH, 64, 64, 3), dtype=np.uint8)
    actions = rng.integers(0, 15, EPISODE_LENGTH).astype(np.int32)
    with DatasetWriter(path, ENV, {"command": "benchmarks.data_batches"}) as writer:
        for level in range(-(-num_frames // EPISODE_LENGTH)):
            frames[:, 0, 0, :] = np.frombuffer(np.int32(level).tobytes(), np.uint8)[:3]
            writer.add(
                Episode(
                    env=ENV.name,
                    level=level,
                    episode=0,
                    seed=0,
                    source="synthetic",
                    policy_id="synthetic",
                    observations={"image": frames},
                    actions=actions,
                    rewards=np.zeros(EPISODE_LENGTH, np.float32),
                    behavior_logp=np.zeros(EPISODE_LENGTH, np.float32),
                    terminated=True,
                    truncated=False,
                    final_observation_known=False,
                )
            )


def private_mb() -> float:
    """Anonymous memory of this process, in MB (memory-mapped files do not count)."""
    found = re.search(r"RssAnon:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) * 1024 / 1e6


def measure(path: Path, seconds: float) -> dict[str, float]:
    """Open, map every page once, then time random batches; runs in a process of its own."""
    before = private_mb()
    start = time.perf_counter()
    dataset = Dataset.open(path)
    open_s = time.perf_counter() - start
    sampler = BatchSampler(len(dataset), BATCH_SIZE, seed=0)
    growth = 0.0
    rates: list[float] = []
    steps_per_epoch = -(-len(dataset) // BATCH_SIZE)
    first_pass_per_s = time_batches(dataset, sampler, 0, steps_per_epoch)
    step, deadline = steps_per_epoch, time.perf_counter() + seconds
    while time.perf_counter() < deadline:
        rates.append(time_batches(dataset, sampler, step, 100))
        growth = max(growth, private_mb() - before)
        step += 100
    return {
        "transitions_per_s": statistics.median(rates),
        "best_per_s": max(rates),
        "first_pass_per_s": first_pass_per_s,
        "open_s": open_s,
        "private_growth_mb": growth,
        "num_frames": len(dataset),
    }


def time_batches(dataset: Dataset, sampler: BatchSampler, first_step: int, num_steps: int) -> float:
    """Transitions per second over `num_steps` batches, sampling included."""
    start = time.perf_counter()
    for step in range(first_step, first_step + num_steps):
        dataset.batch(sampler.indices(step))
    return num_steps * BATCH_SIZE / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=300_000, help="frames to write (12 kB each)")
    parser.add_argument("--seconds", type=float, default=10.0, help="how long to time warm batches, in seconds")
    parser.add_argument("--out", type=Path, default=None, help="where to put the temporary set (default: system's)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.out) as place:
        path = Path(place) / "frames"
        check_disk_space(path, args.frames * 64 * 64 * 3)
        start = time.perf_counter()
        write_frames(path, args.frames)
        write_s = time.perf_counter() - start
        print(f"wrote {format_bytes(args.frames * 64 * 64 * 3)} in {write_s:.1f} s")
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            found = pool.apply(measure, (path, args.seconds))
    holds = (
        found["transitions_per_s"] >= BAR_PER_S
        and found["open_s"] < BAR_OPEN_S
        and found["private_growth_mb"] < BAR_GROWTH_MB
    )
    value = found.pop("transitions_per_s")
    report("data_batches", value, "transitions/s", BAR_PER_S, holds, write_s=write_s, batch_size=BATCH_SIZE, **found)


if __name__ == "__main__":
    main()
