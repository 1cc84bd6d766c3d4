"""Every algorithm on the toy grid's mixed data: returns on training and on unseen levels, with intervals over both.

The data are episodes of the disturbed expert and of the random policy on the same levels. Each recipe is trained with
several seeds on it and judged in both action modes. Prints a table, then one JSON object; minutes of one core.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from actors.evaluate import evaluate_inline
from actors.sources import SourceSpec, build_source
from benchmarks.common import machine
from data.dataset import Dataset
from data.writer import DatasetWriter
from envs.registry import make_spec, make_vec
from metrics.protocol import ACTION_MODES, EvaluationProtocol
from metrics.table import EvaluationTable, summarize
from trainers.checkpoint import load_policy
from trainers.config import EvaluationConfig, ExperimentConfig
from trainers.evaluation import protocol_of
from trainers.launch import run_inline
from trainers.recipes import build_experiment
from trainers.training_data import open_training_data

ENV = "grid/default"
RECIPES = ("grid-bc", "grid-percent-bc", "grid-bcq", "grid-bct", "grid-cql", "grid-dt", "grid-iql")
QUIET = ("tracking.wandb=disabled", "train.log_every=100", "train.evaluate_every=0")


def record(folder: Path, levels: int, expert: int, random: int) -> tuple[str, ...]:
    """The two datasets: whole rounds over the levels."""
    wanted = {"expert": ("grid-expert", {"noise": 0.2}, expert), "random": ("random", {}, random)}
    for name, (source, options, rounds) in wanted.items():
        played = build_source(SourceSpec(env=ENV, name=source, options=options))
        jobs = [(level, episode) for level in range(levels) for episode in range(rounds)]
        env = make_vec(ENV, 50)
        with DatasetWriter(folder / name, make_spec(ENV), {"command": "benchmarks.grid_learners"}) as writer:
            for episode in played.play_jobs(env, jobs, seed=0):
                writer.add(episode)
            writer.finish()
        env.close()
    return tuple(str(folder / name) for name in wanted)


def experiment(recipe: str, datasets: tuple[str, ...], seed: int, args: argparse.Namespace) -> ExperimentConfig:
    """A recipe on the data, all recipes with the same network and number of steps."""
    words = [*QUIET, f"train.learner_steps={args.steps}", f"network.hidden_size={args.hidden_size}"]
    config = build_experiment(recipe, words)
    evaluation = EvaluationConfig(
        num_train_levels=args.levels, num_validation_levels=args.validation_levels, modes=ACTION_MODES
    )
    data = dataclasses.replace(config.data, datasets=datasets)
    return dataclasses.replace(config, data=data, seed=seed, evaluation=evaluation)


def judge(path: Path, config: ExperimentConfig, protocol: EvaluationProtocol, name: str) -> EvaluationTable:
    """Train and validation levels in both action modes."""
    policy = load_policy(path)
    return evaluate_inline(policy, protocol, seed=0, num_envs=50, policy_name=name, train_seed=config.seed)


def train_and_judge(recipe: str, datasets: tuple[str, ...], args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """All seeds of a recipe: the last policies, and the averaged ones where there are any."""
    tables: dict[str, list[EvaluationTable]] = {}
    started = time.process_time()
    for seed in range(args.seeds):
        config = experiment(recipe, datasets, seed, args)
        result = run_inline(config, folder / f"{recipe}-{seed}", evaluate=lambda policy, step: {})
        data = open_training_data(config)
        protocol = protocol_of(config.evaluation, data.spec, data.levels)
        checkpoints = {"last": result.last, **({"averaged": result.averaged} if result.averaged else {})}
        for kind, path in checkpoints.items():
            tables.setdefault(kind, []).append(judge(path, config, protocol, recipe))
    numbers = {kind: summarize(EvaluationTable.concat(parts)) for kind, parts in tables.items()}
    return {"recipe": recipe, "cpu_s": round(time.process_time() - started), **numbers}


def row(name: str, kind: str, numbers: dict[str, float]) -> str:
    """A line of the table."""
    cells = []
    for prefix in ("", "greedy_"):
        for role in ("train", "validation"):
            key = f"eval/{role}/{prefix}normalized_return"
            cells.append(f"{numbers[key]:.2f} [{numbers[f'{key}_low']:.2f}, {numbers[f'{key}_high']:.2f}]")
    return " | ".join(["", f"`{name}`", kind, *cells, ""]).strip()


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipes", nargs="*", default=RECIPES)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=800, help="learner steps of every run")
    parser.add_argument("--hidden-size", type=int, default=64, help="width of the features")
    parser.add_argument("--levels", type=int, default=30, help="training levels, all of them played")
    parser.add_argument("--validation-levels", type=int, default=60)
    parser.add_argument("--expert", type=int, default=3, help="episodes of the disturbed expert per level")
    parser.add_argument("--random", type=int, default=6, help="episodes of the random policy per level")
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        datasets = record(Path(folder), args.levels, args.expert, args.random)
        views = {Path(path).name: Dataset.open(path) for path in datasets}
        returns = torch.cat([torch.from_numpy(view.episodes["return"]) for view in views.values()])
        print({name: repr(view) for name, view in views.items()}, f"mean return {returns.mean():.3f}", flush=True)
        results = []
        for recipe in args.recipes:
            results.append(train_and_judge(recipe, datasets, args, Path(folder)))
            for kind in ("last", "averaged"):
                if kind in results[-1]:
                    print(row(recipe, kind, results[-1][kind]), flush=True)
    print(json.dumps({"name": "grid_learners", "settings": vars(args), "results": results, "machine": machine()}))


if __name__ == "__main__":
    main()
