"""Several models of one small network trained at once, against one by one, in turns within one run.

Both do the same arithmetic: K models step on K batches that are already on the device, either as one vectorized pass
or model after model. What is saved is the launching of K times as many operations, which is most of the time on a GPU
and little on a CPU unless batches are tiny. Bar (GPU only): 3 times the models x frames/s of one by one with 8 models.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import time
from collections.abc import Callable

import torch

from benchmarks.common import report
from benchmarks.data_batches import ENV
from envs.registry import make_spec
from envs.spec import EnvSpec
from trainers.algorithms import build_algorithm
from trainers.batches import TensorBatch, made_up_batch
from trainers.config import AlgorithmConfig, NetworkConfig, TrainConfig
from trainers.distributed import WorkerContext
from trainers.learner import Learner
from trainers.together import VectorizedStep

BAR = 3.0
BAR_MODELS = 8


def spec_of(args: argparse.Namespace) -> EnvSpec:
    """The environment whose frames are learned from."""
    return ENV if args.env == ENV.name else make_spec(args.env)


def learners(args: argparse.Namespace, count: int, device: torch.device) -> list[Learner]:
    """Models that differ in their seed."""
    network = NetworkConfig(encoder=args.encoder, hidden_size=args.hidden_size)
    config, context = TrainConfig(batch_size=args.batch_size), WorkerContext(device=device)
    algorithm = AlgorithmConfig(name=args.algorithm)
    return [Learner(build_algorithm(spec_of(args), algorithm, network, seed), config, context) for seed in range(count)]


def batches(args: argparse.Namespace, count: int, device: torch.device) -> list[TensorBatch]:
    """Noise for each model."""
    made = []
    for seed in range(count):
        batch = made_up_batch(spec_of(args), args.batch_size)
        generator = torch.Generator().manual_seed(seed)
        for column in (batch.observations["image"], (batch.next_observations or {})["image"]):
            assert isinstance(column, torch.Tensor)
            column.random_(0, 256, generator=generator)
        made.append(batch.to(device))
    return made


def measure(args: argparse.Namespace, count: int, device: torch.device) -> dict[str, float]:
    """Median models x frames/s of both, and the median of the ratio over the turns."""
    rows = batches(args, count, device)
    single = learners(args, count, device)
    vectorized = VectorizedStep(learners(args, count, device))

    def one_by_one() -> None:
        for learner, batch in zip(single, rows, strict=True):
            for _ in range(args.window):
                learner.step(batch)

    def together() -> None:
        for _ in range(args.window):
            vectorized.step(rows)

    for warm in (one_by_one, together):
        warm()
    times = [(seconds(one_by_one, device), seconds(together, device)) for _ in range(args.turns)]
    frames = count * args.window * args.batch_size
    return {
        "ratio": statistics.median(alone / at_once for alone, at_once in times),
        "one_by_one_frames_per_s": frames / statistics.median(alone for alone, _ in times),
        "together_frames_per_s": frames / statistics.median(at_once for _, at_once in times),
    }


def seconds(work: Callable[[], None], device: torch.device) -> float:
    """Wall time on a GPU; on a CPU processor time, which other jobs disturb less (the same with one thread)."""
    clock = time.perf_counter if device.type == "cuda" else time.process_time
    synchronize(device)
    started = clock()
    work()
    synchronize(device)
    return clock() - started


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", type=int, nargs="+", default=[2, 4, 8], help="numbers of models to try")
    parser.add_argument("--env", default=ENV.name, help="frames of 64 x 64, or of another environment with images")
    parser.add_argument("--algorithm", default="bc")
    parser.add_argument("--encoder", default="small")
    parser.add_argument("--hidden-size", type=int, default=256)
    parser.add_argument("--batch-size", type=int, default=32, help="frames per model and step")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--window", type=int, default=3, help="steps per turn")
    parser.add_argument("--threads", type=int, default=1, help="torch threads")
    parser.add_argument("--gpu", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    device = torch.device("cuda", 0) if args.gpu else torch.device("cpu")
    found = {count: measure(args, count, device) for count in args.models}
    numbers = {f"{name}_{count}": round(value, 2) for count, values in found.items() for name, value in values.items()}
    most = BAR_MODELS if BAR_MODELS in found else max(found)
    ratio, bar = found[most]["ratio"], BAR if args.gpu else 0.0
    memory = torch.cuda.max_memory_allocated() / 1e9 if args.gpu else 0.0
    report(
        "many_models",
        round(ratio, 2),
        f"of one by one, {most} models",
        bar,
        ratio >= bar,
        device=torch.cuda.get_device_name() if args.gpu else "cpu",
        settings={name: value for name, value in vars(args).items() if name != "gpu"},
        peak_memory_gb=round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 2),
        peak_gpu_memory_gb=round(memory, 2),
        **numbers,
    )


if __name__ == "__main__":
    main()
