"""The training loop against the bare model step on a synthetic batch, in turns within one run.

The loop does everything a real run does: random batches from a memory-mapped dataset, prefetching, the copy to the
device, loss sums, rows of metrics on disk. The bare step is forward, backward and optimizer on one batch that is
already on the device. Bar: the loop reaches 95 % of the bare step's speed with the IMPALA network.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from benchmarks.common import report
from benchmarks.data_batches import ENV, write_frames
from metrics.loggers import JsonLinesLogger
from trainers.algorithms import build_algorithm
from trainers.batches import TensorBatch
from trainers.config import (
    AlgorithmConfig,
    DataConfig,
    ExperimentConfig,
    NetworkConfig,
    TrackingConfig,
    TrainConfig,
)
from trainers.distributed import WorkerContext
from trainers.loop import train
from trainers.networks import collate
from trainers.optim import build_optimizer
from trainers.precision import autocast, place

BAR = 0.95
NUM_FRAMES = 30_000


class BareStep:
    """Forward, backward, optimizer; nothing else."""

    def __init__(self, config: ExperimentConfig, device: torch.device) -> None:
        algorithm = build_algorithm(ENV, AlgorithmConfig(name="bc"), config.network, seed=1)
        self.algorithm, self.device = place(algorithm, device), device
        self.optimizer = build_optimizer(config.train, self.algorithm)
        self.batch = synthetic_batch(config.train.batch_size).to(device)

    def run(self, steps: int) -> float:
        """Seconds for so many steps."""
        synchronize(self.device)
        started = time.perf_counter()
        for _ in range(steps):
            self.optimizer.zero_grad(set_to_none=True)
            with autocast(self.device):
                loss = self.algorithm(self.batch)["total"]
            loss.backward()
            self.optimizer.step()
        synchronize(self.device)
        return time.perf_counter() - started


class Turns:
    """A reporter that times each window of the loop, then as many bare steps, and starts the next window."""

    def __init__(self, bare: BareStep, window: int, logger: JsonLinesLogger) -> None:
        self.loop_s: list[float] = []
        self.bare_s: list[float] = []
        self._bare, self._window, self._logger = bare, window, logger
        self._since = time.perf_counter()

    def log(self, learner_step: int, values: Mapping[str, float]) -> None:
        """End of a window of the loop: the bare step's turn."""
        self._logger.write(learner_step, values)
        synchronize(self._bare.device)
        if learner_step > self._window:  # the first window warms up
            self.loop_s.append(time.perf_counter() - self._since)
            self.bare_s.append(self._bare.run(self._window))
        else:
            self._bare.run(5)
        self._since = time.perf_counter()

    def report(self, learner_step: int, metrics: Mapping[str, float], checkpoint: Path) -> None:
        """Nothing."""

    def close(self) -> None:
        """Close the record."""
        self._logger.close()


def synthetic_batch(size: int) -> TensorBatch:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (size, *ENV.observation_columns["image"].shape), dtype=np.uint8)
    return TensorBatch(
        observations=collate({"image": image}),
        actions=torch.from_numpy(rng.integers(0, ENV.num_actions, size)),
        rewards=torch.zeros(size),
        terminated=torch.zeros(size, dtype=torch.bool),
        truncated=torch.zeros(size, dtype=torch.bool),
    )


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def measure(encoder: str, folder: Path, device: torch.device, turns: int, window: int) -> dict[str, float]:
    """Median speeds of both, and the median of the ratio over the turns."""
    config = ExperimentConfig(
        name=f"bench-{encoder}",
        env=ENV.name,
        data=DataConfig(datasets=(str(folder / "data"),)),
        network=NetworkConfig(encoder=encoder),
        train=TrainConfig(learner_steps=window * (turns + 1), batch_size=256, log_every=window),
        tracking=TrackingConfig(wandb="disabled"),
    )
    reporter = Turns(BareStep(config, device), window, JsonLinesLogger(folder / encoder / "metrics.jsonl"))
    train(
        config,
        reporter,
        run_dir=folder / encoder,
        context=WorkerContext(device=device),
        evaluate=lambda policy, learner_step: {},
    )
    reporter.close()
    ratios = [bare / loop for bare, loop in zip(reporter.bare_s, reporter.loop_s, strict=True)]
    seen = window * config.train.batch_size
    return {
        f"{encoder}_ratio": statistics.median(ratios),
        f"{encoder}_loop_transitions_per_s": seen / statistics.median(reporter.loop_s),
        f"{encoder}_bare_transitions_per_s": seen / statistics.median(reporter.bare_s),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=9, help="windows of the loop and of the bare step")
    parser.add_argument(
        "--window", type=int, default=0, help="learner steps per turn (default: 12 on a CPU, 200 on a GPU)"
    )
    parser.add_argument("--threads", type=int, default=1, help="torch threads")
    parser.add_argument("--gpu", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    device = torch.device("cuda", 0) if args.gpu else torch.device("cpu")
    window = args.window or (200 if args.gpu else 8)
    numbers: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        write_frames(Path(folder) / "data", NUM_FRAMES)
        for encoder, factor in (("small", 4), ("impala", 1)):
            numbers |= measure(encoder, Path(folder), device, args.turns, window * factor)
    ratio = numbers["impala_ratio"]
    rounded = {name: round(value, 3) for name, value in numbers.items()}
    device_name = torch.cuda.get_device_name() if args.gpu else "cpu"
    report("training_loop", round(ratio, 3), "of bare step", BAR, ratio >= BAR, device=device_name, **rounded)


if __name__ == "__main__":
    main()
