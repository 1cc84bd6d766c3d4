"""Learner steps/s and peak memory of whole runs: recipes on pixels and on texts, each in a process of its own.

A child process trains the recipe for some windows of learner steps on one CPU thread and then plays an evaluation.
Memory is the largest resident set of the process (mapped files and libraries included), before and after it, and
what of it is the process's own, where imports alone have their own figure. Prints one JSON object; there is no bar.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from actors.collect import CollectConfig, collect
from benchmarks.common import machine
from benchmarks.data_batches import private_mb
from trainers.config import EvaluationConfig
from trainers.launch import run_inline
from trainers.recipes import build_experiment

RECIPES = ("procgen-bc", "procgen-cql", "procgen-iql", "procgen-dt", "shop-bc")
SOURCES: dict[str, tuple[str, str, dict[str, float | int | str | bool]]] = {
    "procgen": ("procgen/maze", "maze-search", {"noise": 0.2}),
    "shop": ("shop/default", "shop-expert", {"noise": 0.2}),
}
WINDOWS = 4


class Watch:
    """A reporter that times windows of learner steps, the first of which warms up, and looks at memory."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.private = 0.0
        self._since = time.perf_counter()

    def log(self, learner_step: int, values: Mapping[str, float]) -> None:
        """The end of a window."""
        self.seconds.append(time.perf_counter() - self._since)
        self.private = max(self.private, private_mb())
        self._since = time.perf_counter()

    def report(self, learner_step: int, metrics: Mapping[str, float], checkpoint: Path) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


def peak_mb() -> float:
    """The largest resident set so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def child(recipe: str, folder: Path, window: int, words: list[str]) -> dict[str, Any]:
    """Train and play one recipe."""
    from trainers.distributed import WorkerContext
    from trainers.evaluation import InlineEvaluation
    from trainers.training_data import open_training_data

    imported = private_mb()
    steps = window * WINDOWS
    settings = ["train.evaluate_every=0", f"train.log_every={window}", f"train.learner_steps={steps}", *words]
    config = build_experiment(recipe, settings)
    config = dataclasses.replace(
        config,
        data=dataclasses.replace(config.data, datasets=(str(folder / "data"),)),
        evaluation=EvaluationConfig(num_train_levels=8, num_validation_levels=8, num_envs=64),
        tracking=dataclasses.replace(config.tracking, wandb="disabled"),
    )
    data = open_training_data(config)
    play = InlineEvaluation(config, data.spec, data.levels, WorkerContext())
    learned: list[float] = []

    def evaluate(policy: Any, learner_step: int) -> dict[str, float]:
        learned.append(peak_mb())
        return play(policy, learner_step)

    watch = Watch()
    run_inline(config, folder / recipe, reporter=watch, evaluate=evaluate)
    # Row 0 is written before the first step; the last window holds the evaluation.
    step_s = statistics.median(watch.seconds[2:-1]) / window
    return {
        "recipe": recipe,
        "encoder": config.network.encoder,
        "batch_size": config.train.batch_size,
        "steps_per_s": round(1 / step_s, 2),
        "frames_per_s": round(config.train.batch_size * int(config.algorithm.options.get("context", 1)) / step_s, 1),
        "learning_peak_mb": round(learned[0]),
        "evaluating_peak_mb": round(peak_mb()),
        "imported_private_mb": round(imported),
        "learning_private_mb": round(watch.private),
    }


def measure(recipe: str, args: argparse.Namespace) -> dict[str, Any]:
    """Record some data, and run the child."""
    env, source, options = SOURCES[recipe.split("-")[0]]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config = CollectConfig(
            env=env, source=source, options=options, num_levels=20, min_transitions=2000, num_actors=0
        )
        collect(config, folder / "data")
        words = [
            f"env={env}",
            *args.words,
            *([f"network.encoder={args.encoder}"] if args.encoder and env != "shop/default" else []),
        ]
        window = args.window * (8 if env == "shop/default" or args.encoder == "small" else 1)
        command = [sys.executable, "-m", "benchmarks.learners_speed", "--child", recipe, name, str(window), *words]
        result = subprocess.run(
            command, env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=subprocess.PIPE, text=True, check=True
        )
    return dict(json.loads(result.stdout.splitlines()[-1]))


def main() -> None:
    if sys.argv[1:2] == ["--child"]:
        torch.set_num_threads(1)
        recipe, folder, window, *words = sys.argv[2:]
        print(json.dumps(child(recipe, Path(folder), int(window), words)))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipes", nargs="*", default=RECIPES, help=f"default: {' '.join(RECIPES)}")
    parser.add_argument("--encoder", help="of the recipes on pixels (default: theirs, the IMPALA network)")
    parser.add_argument("--window", type=int, default=3, help="learner steps timed together (texts, small: 8 times)")
    parser.add_argument("--words", nargs="*", default=[], metavar="FIELD=VALUE", help="for every recipe")
    args = parser.parse_args()
    runs = []
    for recipe in args.recipes:
        runs.append(measure(recipe, args))
        print(runs[-1], flush=True)
    print(json.dumps({"name": "learners_speed", "threads": 1, "runs": runs, "machine": machine()}))


if __name__ == "__main__":
    main()
