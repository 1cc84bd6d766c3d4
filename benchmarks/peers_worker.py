"""One contender of `benchmarks.peers` in a process of its own: trains a window of learner steps whenever it is told to.

For every line on standard input it takes as many learner steps as a window has and prints the seconds they took.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from benchmarks.peers_networks import FEATURES, plain_encoder
from data.dataset import Dataset

ACTIONS = 15


@dataclass(frozen=True)
class Task:
    """What every contender is given."""

    data: Path
    """A dataset of frames."""
    encoder: str
    batch_size: int
    window: int
    """Learner steps between two turns."""


class Turns:
    """The stop watch: everything between two calls is one window."""

    def __init__(self) -> None:
        self._since = time.perf_counter()

    def __call__(self) -> None:
        """A window ends; the next begins when it is asked for."""
        elapsed = time.perf_counter() - self._since
        print(elapsed, flush=True)
        if not sys.stdin.readline():
            raise SystemExit
        self._since = time.perf_counter()


def arrays(task: Task) -> dict[str, npt.NDArray[Any]]:
    """The frames channels first, the successors, and what belongs to them."""
    batch = Dataset.open(task.data)
    found = batch.batch(np.arange(len(batch)), successors=True)
    assert found.next_observations is not None
    return {
        "image": np.ascontiguousarray(np.moveaxis(np.asarray(found.observations["image"]), 3, 1)),
        "next": np.ascontiguousarray(np.moveaxis(np.asarray(found.next_observations["image"]), 3, 1)),
        "action": np.asarray(found.actions, np.int64),
        "reward": np.asarray(found.rewards, np.float32),
        "terminated": np.asarray(found.terminated),
    }


class EpisodeList(TorchDataset[tuple[Any, ...]]):
    """Transitions one by one from a list of episodes in memory, frame and successor copied for each."""

    def __init__(self, columns: Mapping[str, npt.NDArray[Any]]) -> None:
        ends = np.flatnonzero(columns["terminated"]) + 1
        self._episodes = [{k: v[a:b] for k, v in columns.items()} for a, b in zip([0, *ends], ends, strict=False)]
        self._places = [(e, t) for e, episode in enumerate(self._episodes) for t in range(len(episode["action"]))]

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        number, step = self._places[index]
        episode = self._episodes[number]
        frames = (torch.tensor(episode[name][step]) for name in ("image", "next"))
        return *frames, *(episode[name][step] for name in ("action", "reward", "terminated"))


def plain_bc(task: Task, turn: Callable[[], None]) -> None:
    """The published way: fp32, a loader that collates item by item, pixels as numbers 0 .. 255."""
    network = nn.Sequential(plain_encoder(task.encoder), nn.Linear(FEATURES, ACTIONS))
    optimizer = torch.optim.Adam(network.parameters(), lr=5e-4)
    loader = DataLoader(EpisodeList(arrays(task)), batch_size=task.batch_size, shuffle=True, drop_last=True)

    def batches() -> Iterator[list[torch.Tensor]]:
        while True:
            yield from loader

    for count, (image, _, action, _, _) in enumerate(batches()):
        if count % task.window == 0:
            turn()
        loss = nn.functional.cross_entropy(network(image.float()), action)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def ours(algorithm: str, precision: str, task: Task, turn: Callable[[], None]) -> None:
    """`trainers.loop.train` as a run does it, rows of metrics on disk included."""
    from metrics.loggers import JsonLinesLogger
    from trainers.config import (
        AlgorithmConfig,
        DataConfig,
        ExperimentConfig,
        NetworkConfig,
        TrackingConfig,
        TrainConfig,
    )
    from trainers.loop import train

    settings: dict[str, Any] = {"learner_steps": 10**6, "log_every": task.window, "precision": precision}
    options: dict[str, Any] = {} if algorithm == "bc" else {"target_update": "copy"}
    config = ExperimentConfig(
        name="peers",
        env=Dataset.open(task.data).env.name,
        data=DataConfig(datasets=(str(task.data),)),
        network=NetworkConfig(encoder=task.encoder, hidden_size=FEATURES),
        algorithm=AlgorithmConfig(name=algorithm, options=options),
        train=TrainConfig(batch_size=task.batch_size, **settings),
        tracking=TrackingConfig(wandb="disabled"),
    )

    class Reporter:
        """Logs, and ends a window."""

        def __init__(self, path: Path) -> None:
            self._logger = JsonLinesLogger(path)

        def log(self, learner_step: int, values: Mapping[str, float]) -> None:
            """A row of metrics on disk."""
            self._logger.write(learner_step, values)
            turn()

        def report(self, learner_step: int, metrics: Mapping[str, float], checkpoint: Path) -> None:
            """Nothing."""

        def close(self) -> None:
            """The log."""
            self._logger.close()

    folder = task.data.parent / f"{algorithm}-{precision}-{task.encoder}"
    train(config, Reporter(folder / "metrics.jsonl"), run_dir=folder, evaluate=lambda policy, step: {})


def contenders() -> dict[str, Callable[[Task, Callable[[], None]], None]]:
    """By name; other libraries are imported when they are asked for."""

    def d3rlpy(name: str) -> Callable[[Task, Callable[[], None]], None]:
        def run(task: Task, turn: Callable[[], None]) -> None:
            from benchmarks.peers_libraries import d3rlpy_run

            d3rlpy_run(name, arrays(task), task.encoder, task.batch_size, task.window, turn)

        return run

    def torchrl(task: Task, turn: Callable[[], None]) -> None:
        from benchmarks.peers_libraries import torchrl_cql

        torchrl_cql(arrays(task), task.encoder, task.batch_size, task.window, turn)

    return {
        "ours-bc": lambda task, turn: ours("bc", "auto", task, turn),
        "ours-bc-float32": lambda task, turn: ours("bc", "float32", task, turn),
        "plain-bc": plain_bc,
        "d3rlpy-bc": d3rlpy("bc"),
        "ours-cql": lambda task, turn: ours("cql", "auto", task, turn),
        "ours-cql-float32": lambda task, turn: ours("cql", "float32", task, turn),
        "d3rlpy-cql": d3rlpy("cql"),
        "torchrl-cql": torchrl,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("contender", choices=contenders())
    parser.add_argument("data", type=Path)
    parser.add_argument("--encoder", default="small")
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--window", type=int, default=10)
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    task = Task(args.data, args.encoder, args.batch_size, args.window)
    contenders()[args.contender](task, Turns())


if __name__ == "__main__":
    main()
