"""Frames a second of whole training runs, with data streamed or resident, steps compiled or recorded as CUDA graphs.

Every variant runs the real loop on the same frames (random ones of 64 x 64 x 3 bytes) with the same network and batch;
the first window warms up and compiles. Beside frames/s: the share of the device's copying speed that reading every
frame once takes (an upper bound of any learner that reads frames from memory), and the peak of memory.
Bar (GPU only): 300,000 frames/s for BC with data resident and steps recorded.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from benchmarks.common import report
from benchmarks.data_batches import ENV, write_frames
from benchmarks.many_models import synchronize
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

BAR_FRAMES_PER_S = 300_000.0
FRAME_BYTES = 64 * 64 * 3
VARIANTS: dict[str, dict[str, Any]] = {
    "streamed": {"resident": "never"},
    "resident": {"resident": "always"},
    "compiled": {"resident": "always", "compile": True},
    "graphs": {"resident": "always", "cuda_graphs": True},
    "compiled_graphs": {"resident": "always", "compile": True, "cuda_graphs": True},
}


class Windows:
    """A reporter that times the rows of the loop."""

    def __init__(self, device: torch.device) -> None:
        self.seconds: list[float] = []
        self._device, self._since = device, 0.0

    def log(self, learner_step: int, values: Mapping[str, float]) -> None:
        """The end of a window."""
        synchronize(self._device)
        now = time.perf_counter()
        if learner_step > 0 and self._since:
            self.seconds.append(now - self._since)
        self._since = now

    def report(self, learner_step: int, metrics: Mapping[str, float], checkpoint: Path) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


def frames_per_s(
    algorithm: str, variant: Mapping[str, Any], folder: Path, args: argparse.Namespace, device: torch.device
) -> float:
    """The median over the windows but the first."""
    config = ExperimentConfig(
        name="bench",
        env=ENV.name,
        data=DataConfig(datasets=(str(folder / "data"),)),
        network=NetworkConfig(encoder=args.encoder),
        algorithm=AlgorithmConfig(name=algorithm),
        train=TrainConfig(
            learner_steps=args.window * (args.turns + 1),
            batch_size=args.batch_size,
            log_every=args.window,
            use_gpu=args.gpu,
            **variant,
        ),
        tracking=TrackingConfig(wandb="disabled"),
    )
    windows, context = Windows(device), WorkerContext(device=device)
    with tempfile.TemporaryDirectory() as run_dir:
        train(config, windows, run_dir=Path(run_dir), context=context, evaluate=lambda policy, step: {})
    return args.window * args.batch_size / statistics.median(windows.seconds[1:])


def copied_bytes_per_s(device: torch.device) -> float:
    """How fast the device copies its own memory, read and written once each."""
    size = 2**30 if device.type == "cuda" else 2**27
    source = torch.zeros(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    target.copy_(source)
    times = []
    for _ in range(5):
        synchronize(device)
        started = time.perf_counter()
        target.copy_(source)
        synchronize(device)
        times.append(time.perf_counter() - started)
    return size / statistics.median(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--algorithms", nargs="+", default=["bc", "iql", "cql"])
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, help="default: all that this device can do")
    parser.add_argument("--encoder", default="small")
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--frames", type=int, default=0, help="default: 10,000 on a CPU, 500,000 on a GPU")
    parser.add_argument("--turns", type=int, default=5, help="windows after the first")
    parser.add_argument("--window", type=int, default=0, help="steps per window (default: 3 on a CPU, 300 on a GPU)")
    parser.add_argument("--threads", type=int, default=1, help="torch threads")
    parser.add_argument("--gpu", action="store_true")
    args = parser.parse_args()
    args.window = args.window or (300 if args.gpu else 3)
    torch.set_num_threads(args.threads)
    device = torch.device("cuda", 0) if args.gpu else torch.device("cpu")
    variants = args.variants or (list(VARIANTS) if args.gpu else ["streamed", "resident"])
    numbers: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        write_frames(Path(folder) / "data", args.frames or (500_000 if args.gpu else 10_000))
        for algorithm in args.algorithms:
            for name in variants:
                numbers[f"{algorithm}_{name}"] = round(
                    frames_per_s(algorithm, VARIANTS[name], Path(folder), args, device)
                )
    key = f"{args.algorithms[0]}_{variants[-1]}"
    copied = copied_bytes_per_s(device)
    bar = BAR_FRAMES_PER_S if args.gpu else 0.0
    report(
        f"learner_speed_{key}",
        numbers[key],
        "frames/s",
        bar,
        numbers[key] >= bar,
        device=torch.cuda.get_device_name() if args.gpu else "cpu",
        share_of_copying_speed=round(numbers[key] * FRAME_BYTES / copied, 4),
        copying_gb_per_s=round(copied / 1e9, 1),
        peak_memory_gb=round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 2),
        peak_gpu_memory_gb=round(torch.cuda.max_memory_allocated() / 1e9 if args.gpu else 0.0, 2),
        frames_per_s=numbers,
    )


if __name__ == "__main__":
    main()
