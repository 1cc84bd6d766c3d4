"""Collect, train and evaluate again and again while faults are injected: does anything grow, and is all the same?

Every round does the same work on the grid with other faults, drawn by the seed: env actors are killed or stopped, the
collection is interrupted or finds the disk full, training is interrupted, evaluators are killed. Each round must end
with the dataset, the parameters, the rows of metrics and the evaluation table of an undisturbed one. After each,
memory, file handles, threads, processes, actors and the object store are measured; the last line says how each grows.

    python -m benchmarks.soak --minutes 30
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import itertools
import os
import shutil
import signal
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import psutil
import torch
from safetensors.torch import load_file

from actors.collect import CollectConfig, collect
from actors.evaluate import evaluate_on_pool
from actors.pool import ActorPool
from benchmarks.common import bare_ray, report
from benchmarks.growth import growth, resources_now, thread_names
from envs.errors import RunError
from envs.registry import make_spec
from envs.spec import LevelSet
from metrics.history import read_history
from metrics.protocol import strict
from tests.limits import small_files
from trainers.config import DataConfig, EvaluationConfig, ExperimentConfig, NetworkConfig, TrackingConfig, TrainConfig
from trainers.launch import run_inline
from trainers.loop import Run

ENV = "grid/default"
COLLECT = CollectConfig(
    env=ENV, source="grid-expert", options={"noise": 0.2}, num_levels=40, min_transitions=6_000, num_envs=4
)
COLLECT_FAULTS = ("none", "actor killed", "actor stopped", "interrupted", "disk full")
TRAIN_FAULTS = ("none", "interrupted", "interrupted twice")
EVALUATE_FAULTS = ("none", "evaluator killed", "both evaluators killed")
DEADLINE_S = 45.0
"""Longer than a machine on which many others work keeps an innocent actor waiting."""
BARS = {"memory_mb": 30.0, "file_handles": 6.0, "threads": 6.0, "processes": 6.0, "actors": 0.5, "object_store_mb": 6.0}
"""What may be added in a hundred rounds before a figure counts as growing."""


class Interruption(BaseException):
    """Stands for Ctrl-C."""


def kill_actors(count: int, number: int = signal.SIGKILL) -> None:
    """Send a signal to env actors of this process's cluster."""
    actors = [child for child in psutil.Process().children(recursive=True) if "EnvActor" in child.name()]
    for actor in actors[:count]:
        os.kill(actor.pid, number)


def once(action: Callable[[], None], after: float) -> Callable[..., None]:
    """A progress callback that acts when so much is done, one time."""
    waiting = [action]

    def progress(done: float, *_: object, **__: object) -> None:
        if done > after and waiting:
            waiting.pop()()

    return progress


def interrupt() -> None:
    raise Interruption


def collected(fault: str, folder: Path, after: float) -> str:
    """Fingerprint of the dataset of a round."""
    config = dataclasses.replace(COLLECT, num_actors=2)
    actions: dict[str, Callable[[], None]] = {
        "actor killed": partial(kill_actors, 1),
        "actor stopped": partial(kill_actors, 1, signal.SIGSTOP),
        "interrupted": interrupt,
    }
    if fault == "disk full":
        with small_files(3_000_000):
            try:
                collect(config, folder)
            except RunError as error:
                if "No space left" not in str(error):
                    raise
    elif fault != "none":
        try:
            return collect(config, folder, once(actions[fault], after)).fingerprint
        except Interruption:
            pass
    return collect(config, folder).fingerprint


def experiment(dataset: Path, wandb: Any) -> ExperimentConfig:
    train = TrainConfig(learner_steps=60, batch_size=32, evaluate_every=20, checkpoint_every=10, precision="float32")
    return ExperimentConfig(
        name="soak",
        env=ENV,
        data=DataConfig(datasets=(str(dataset),)),
        network=NetworkConfig(encoder="small", hidden_size=32),
        train=train,
        evaluation=EvaluationConfig(num_train_levels=4, num_validation_levels=4, num_test_levels=4, num_envs=4),
        tracking=TrackingConfig(wandb=wandb),
    )


def trained(fault: str, config: ExperimentConfig, run_dir: Path, at_step: int) -> tuple[str, Path]:
    """Digest of the last parameters and of all rows of metrics, and the checkpoint."""
    steps = {"none": [], "interrupted": [at_step], "interrupted twice": [20, at_step]}[fault]
    for step in steps:
        with mock.patch.object(Run, "save", _interrupted_save(step)):
            try:
                run_inline(config, run_dir)
            except Interruption:
                continue
    checkpoint = run_inline(config, run_dir).last
    digest = hashlib.blake2b(digest_size=16)
    for name, tensor in sorted(load_file(checkpoint / "model.safetensors").items()):
        digest.update(name.encode() + tensor.numpy().tobytes())
    for row in read_history(run_dir / "metrics.jsonl"):
        digest.update(repr({name: value for name, value in row.items() if "/perf/" not in name}).encode())
    return digest.hexdigest(), checkpoint


def _interrupted_save(step: int) -> Callable[[Any], None]:
    save = Run.save

    def interrupted(run: Any) -> None:
        if run.learner.learner_step >= step:
            raise Interruption
        save(run)

    return interrupted


def evaluated(fault: str, checkpoint: Path) -> str:
    """Digest of the table of a round."""
    count = EVALUATE_FAULTS.index(fault)
    protocol = strict(make_spec(ENV), LevelSet.range(ENV, 0, 40), num_validation=40, episodes_per_level=3)
    progress = once(partial(kill_actors, count), 20)
    with ActorPool(2, deadline_s=DEADLINE_S) as pool:
        table = evaluate_on_pool(pool, checkpoint, protocol, num_envs=4, policy_name="soak", progress=progress)
    return hashlib.blake2b(table.frame.to_csv().encode(), digest_size=16).hexdigest()


def one_round(folder: Path, rng: np.random.Generator, wandb: str, *, undisturbed: bool) -> tuple[list[str], list[str]]:
    """The faults of a round and what came out of it."""
    sets = (COLLECT_FAULTS, TRAIN_FAULTS, EVALUATE_FAULTS)
    faults = ["none"] * 3 if undisturbed else [str(rng.choice(names)) for names in sets]
    dataset, run_dir = folder / "data", folder / "run"
    fingerprint = collected(faults[0], dataset, float(rng.integers(500, 5_000)))
    digest, checkpoint = trained(faults[1], experiment(dataset, wandb), run_dir, int(rng.choice([30, 40, 60])))
    table = evaluated(faults[2], checkpoint)
    shutil.rmtree(dataset)
    shutil.rmtree(run_dir)
    return faults, [fingerprint, digest, table]


def most_common(looks: list[Counter[str]]) -> Counter[str]:
    """How many threads of each name there were as a rule."""
    names = {name for look in looks for name in look}
    return Counter({name: round(np.median([look[name] for look in looks])) for name in names})


class Pulse(threading.Thread):
    """Counts the time in which this process was not stopped from outside, to make room for others."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.active_s = 0.0
        self.start()

    def run(self) -> None:
        """One beat a second; a longer silence counts as one."""
        while True:
            time.sleep(1.0)
            self.active_s += 1.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30.0, help="how long rounds are begun")
    parser.add_argument("--seed", type=int, default=0, help="of the faults")
    parser.add_argument("--wandb", choices=("disabled", "offline"), default="offline", help="mode of the tracker")
    args = parser.parse_args()
    torch.set_num_threads(1)
    rng, started_s, pulse = np.random.default_rng(args.seed), time.monotonic(), Pulse()
    samples: list[dict[str, float]] = []
    expected: list[str] = []
    counts: Counter[str] = Counter()
    wrong: list[dict[str, Any]] = []
    threads: list[Counter[str]] = []
    with (
        mock.patch("actors.pool.ActorPool", partial(ActorPool, deadline_s=DEADLINE_S)),
        bare_ray(num_cpus=4),
        tempfile.TemporaryDirectory() as folder,
    ):
        for number in itertools.count():
            faults, found = one_round(Path(folder), rng, args.wandb, undisturbed=number == 0)
            expected = expected or found
            counts.update(fault for fault in faults if fault != "none")
            if found != expected:
                wrong.append({"round": number, "faults": faults, "found": found})
                print("differs:", wrong[-1], "expected:", expected, flush=True)
            threads.append(thread_names())
            samples.append({"hours": (time.monotonic() - started_s) / 3600, **resources_now()})
            print(number, faults, {name: round(value, 3) for name, value in samples[-1].items()}, flush=True)
            if time.monotonic() - started_s > 60 * args.minutes:
                break
    grown = growth(samples, BARS)
    left = [child.name() for child in psutil.Process().children(recursive=True)]
    report(
        "soak",
        len(samples),
        f"rounds in {60 * samples[-1]['hours']:.1f} min",
        len(samples),
        not wrong and all(figure["flat"] for figure in grown.values()),
        faults=dict(counts),
        rounds_that_differ=wrong,
        growth_per_100_rounds=grown,
        threads_added=dict(most_common(threads[len(threads) // 2 :]) - most_common(threads[: len(threads) // 2 + 1])),
        active_min=round(pulse.active_s / 60, 1),
        processor_s=round(time.process_time()),
        processes_left=left,
    )


if __name__ == "__main__":
    main()
