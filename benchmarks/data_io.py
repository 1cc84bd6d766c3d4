"""Reading a dataset against its checksums, and an imported archive against the published way of reading it.

(a) `verify` in GB/s: every byte against the checksum of its file, every episode against its own. Bar: 0.5 GB/s.

(b) An archive in the benchmark's layout is imported once; then a fresh process opens the dataset, and batches of 256
transitions with their successors are drawn from it. Beside it the published approach, made again from its description:
all episodes unpacked into a list of arrays in memory, one item at a time by a Python index, collated into a batch. Both
are sampled in turns in one process, the ratio is the median over neighboring slices. Bars: twice as many transitions
per second, opened a hundred times as fast.
"""

from __future__ import annotations

import argparse
import bisect
import io
import itertools
import multiprocessing
import statistics
import tarfile
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from torch.utils.data import default_collate

from benchmarks.common import report
from benchmarks.data_batches import private_mb
from data.dataset import Dataset
from data.interop.gen_dgrl import import_gen_dgrl
from data.interop.gen_dgrl_archive import read_episodes
from data.sampler import BatchSampler
from data.verify import verify
from envs.errors import RunError

BAR_GB_PER_S, BAR_SAMPLING, BAR_OPENING = 0.5, 2.0, 100.0
BATCH_SIZE = 256
LENGTH = 200
GAME = "procgen/coinrun"


def write_archive(path: Path, num_episodes: int) -> None:
    """Episodes of noise in the layout of the released archives: pickled dictionaries, frames as float32."""
    rng = np.random.default_rng(0)
    with tarfile.open(path, "w") as archive:
        for index in range(num_episodes):
            dones = np.zeros((LENGTH, 1), dtype=np.float32)
            dones[-1] = 1
            arrays = {
                "observations": rng.integers(0, 256, (LENGTH + 1, 3, 64, 64)).astype(np.float32),
                "actions": rng.integers(0, 15, (LENGTH, 1)),
                "rewards": np.zeros((LENGTH, 1), dtype=np.float32),
                "dones": dones,
            }
            file = io.BytesIO()
            np.save(file, np.array(arrays, dtype=object), allow_pickle=True)
            member = tarfile.TarInfo(f"expert/20230329T112154_{index}_{LENGTH}_{index % 200}_0.00.npy")
            member.size = len(file.getvalue())
            archive.addfile(member, io.BytesIO(file.getvalue()))


class ListOfEpisodes:
    """All episodes in memory, uint8; an index is a transition."""

    def __init__(self, archive: Path) -> None:
        self.episodes: list[dict[str, npt.NDArray[Any]]] = []
        for _, arrays in read_episodes(archive, lambda _: True):
            frames = arrays["observations"].astype(np.uint8)
            self.episodes.append({**arrays, "observations": frames})
        self.ends = list(itertools.accumulate(len(episode["actions"]) for episode in self.episodes))

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        number = bisect.bisect_right(self.ends, index)
        episode = self.episodes[number]
        step = index - (self.ends[number - 1] if number else 0)
        done = episode["dones"][step]
        following = np.zeros_like(episode["observations"][0]) if done else episode["observations"][step + 1]
        return episode["observations"][step], episode["actions"][step], following, episode["rewards"][step], done


def measure_opening(open_it: Callable[[Path], Any], path: Path) -> dict[str, float]:
    """Seconds and private memory until the first transition can be read, in a process of its own."""
    before_mb, started_s = private_mb(), time.perf_counter()
    kept = open_it(path)
    return {"open_s": time.perf_counter() - started_s, "private_mb": private_mb() - before_mb, "kept": kept is not None}


def measure_sampling(archive: Path, path: Path, seconds: float) -> dict[str, float]:
    """Batches of both in turns: transitions per second of each, and the median ratio of neighboring slices."""
    episodes, dataset = ListOfEpisodes(archive), Dataset.open(path)
    sampler, rng, steps = BatchSampler(len(dataset), BATCH_SIZE, seed=0), np.random.default_rng(0), itertools.count()

    def published() -> None:
        default_collate([episodes[index] for index in rng.integers(0, episodes.ends[-1], BATCH_SIZE).tolist()])

    def ours() -> None:
        dataset.batch(sampler.indices(next(steps)), successors=True)

    rates: list[tuple[float, float]] = []
    deadline_s = time.perf_counter() + seconds
    while time.perf_counter() < deadline_s or len(rates) < 4:
        rates.append((_rate(published), _rate(ours)))
    return {
        "published_per_s": statistics.median(rate for rate, _ in rates[1:]),
        "ours_per_s": statistics.median(rate for _, rate in rates[1:]),
        "times": statistics.median(mine / theirs for theirs, mine in rates[1:]),
    }


def _rate(batch: Callable[[], None], num_batches: int = 10) -> float:
    started_s = time.perf_counter()
    for _ in range(num_batches):
        batch()
    return num_batches * BATCH_SIZE / (time.perf_counter() - started_s)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--episodes", type=int, default=150, help=f"episodes of {LENGTH} steps")
    parser.add_argument("--seconds", type=float, default=5.0, help="how long each side is sampled")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        archive, path = Path(place) / "a.tar", Path(place) / "set"
        write_archive(archive, args.episodes)
        started_s = time.perf_counter()
        dataset, _ = import_gen_dgrl(archive, GAME, path)
        import_s = time.perf_counter() - started_s
        rates, cpu_rates, size_gb = [], [], dataset.info.num_bytes / 1e9
        for _ in range(3):
            started_s, cpu_s = time.perf_counter(), time.process_time()
            if problems := verify(path):
                raise RunError(problems[0])
            rates.append(size_gb / (time.perf_counter() - started_s))
            cpu_rates.append(size_gb / (time.process_time() - cpu_s))
        with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
            published = pool.apply(measure_opening, (ListOfEpisodes, archive))
            ours = pool.apply(measure_opening, (Dataset.open, path))
            sampling = pool.apply(measure_sampling, (archive, path, args.seconds))
    rate, times = statistics.median(rates), published["open_s"] / ours["open_s"]
    cpu_rate = round(statistics.median(cpu_rates), 2)
    report("verify", round(rate, 2), "GB/s", BAR_GB_PER_S, rate >= BAR_GB_PER_S, per_cpu_second=cpu_rate)
    holds = sampling["times"] >= BAR_SAMPLING and times >= BAR_OPENING
    report(
        "imported_archive_sampling",
        round(sampling["times"], 2),
        "times the published approach",
        BAR_SAMPLING,
        holds,
        published_per_s=round(sampling["published_per_s"]),
        ours_per_s=round(sampling["ours_per_s"]),
        opening_times=round(times),
        opening_bar=BAR_OPENING,
        open_s=[round(published["open_s"], 3), round(ours["open_s"], 4)],
        private_mb=[round(published["private_mb"]), round(ours["private_mb"], 1)],
        num_transitions=len(dataset),
        import_per_s=round(len(dataset) / import_s),
    )


if __name__ == "__main__":
    main()
