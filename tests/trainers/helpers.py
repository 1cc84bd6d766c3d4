"""A small grid dataset recorded by the shortest-path solver, and experiments on it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file

from actors.policy import RandomPolicy
from data.dataset import Dataset
from data.episode import Episode
from data.writer import DatasetWriter
from envs.grid import VARIANTS, GridConfig, make_level, make_spec, move, optimal_actions, render
from envs.seeding import rng_for
from envs.spec import EnvSpec, LevelSet
from envs.text import encode_text, encode_texts
from metrics.loggers import JsonLinesLogger
from trainers.batches import TensorBatch
from trainers.config import DataConfig, EvaluationConfig, ExperimentConfig, NetworkConfig, TrackingConfig, TrainConfig
from trainers.distributed import WorkerContext
from trainers.evaluation import InlineEvaluation
from trainers.loop import train
from trainers.networks import collate
from trainers.reporter import LocalReporter, NullReporter

GRID = VARIANTS["grid/default"]


def grid_episode(level_number: int, episode: int, config: GridConfig = GRID, noise: float = 0.2) -> Episode:
    """The solver's episode with a share of random moves; the solver's move is recorded where it is its own."""
    level, rng = make_level(config, level_number), rng_for("test grid", level_number, episode)
    position, collected, done = level.start, 0, False
    frames, actions, rewards = [render(level, position, collected)], [], []
    while not done and len(actions) < config.max_episode_steps:
        best = optimal_actions(level, position, collected)[0]
        action = int(rng.integers(1, 5)) if rng.random() < noise else best
        position, collected, reward, done = move(level, position, collected, action)
        frames.append(render(level, position, min(collected, len(level.items) - 1)))
        actions.append(action)
        rewards.append(reward)
    return Episode(
        env=config.name,
        level=level_number,
        episode=episode,
        seed=0,
        source="solver",
        policy_id="solver",
        observations={"image": np.stack(frames)},
        actions=np.array(actions, dtype=np.int32),
        rewards=np.array(rewards, dtype=np.float32),
        behavior_logp=np.zeros(len(actions), dtype=np.float32),
        terminated=done,
        truncated=not done,
        final_observation_known=True,
    )


def record_grid(path: Path, levels: Iterable[int] = range(40), episodes: int = 4) -> Dataset:
    with DatasetWriter(path, make_spec(GRID), {"command": "test"}) as writer:
        for level in levels:
            for episode in range(episodes):
                writer.add(grid_episode(level, episode))
        return writer.finish()


def grid_experiment(dataset: Path, **changes: Any) -> ExperimentConfig:
    """A quick experiment; `changes` are fields of its `TrainConfig`, or of the experiment itself."""
    train = TrainConfig(learner_steps=40, batch_size=32, learning_rate=1e-3, log_every=5, precision="float32")
    own = {field.name for field in dataclasses.fields(TrainConfig)}
    experiment = ExperimentConfig(
        name="grid-test",
        env="grid/default",
        data=DataConfig(datasets=(str(dataset),)),
        network=NetworkConfig(encoder="small", hidden_size=32),
        train=dataclasses.replace(train, **{name: value for name, value in changes.items() if name in own}),
        evaluation=EvaluationConfig(num_train_levels=4, num_validation_levels=4, num_test_levels=4, num_envs=4),
        tracking=TrackingConfig(wandb="disabled"),
    )
    return dataclasses.replace(experiment, **{name: value for name, value in changes.items() if name not in own})


def random_batch(spec: EnvSpec, size: int, seed: int = 0) -> TensorBatch:
    """Transitions of noise that fit the spec; texts are letters, candidates vary in number."""
    rng = np.random.default_rng(seed)
    observations: dict[str, Any] = {}
    counts = np.full(size, spec.num_actions)
    for name, column in spec.observation_columns.items():
        if name == spec.candidate_column:
            counts = rng.integers(2, spec.num_actions + 1, size=size)
            observations[name] = tuple(encode_texts([_word(rng) for _ in range(count)]) for count in counts)
        elif column.ragged:
            observations[name] = tuple(encode_text(_word(rng)) for _ in range(size))
        else:
            observations[name] = rng.integers(0, 256, size=(size, *column.shape)).astype(column.dtype)
    return TensorBatch(
        observations=collate(observations),
        actions=torch.from_numpy(rng.integers(0, counts)),
        rewards=torch.from_numpy(rng.random(size, dtype=np.float32)),
        terminated=torch.zeros(size, dtype=torch.bool),
        truncated=torch.zeros(size, dtype=torch.bool),
        next_observations=collate(observations),
        successor_known=torch.ones(size, dtype=torch.bool),
    )


def _word(rng: np.random.Generator) -> str:
    return "".join(rng.choice(list("abcdefgh "), size=12))


def final_parameters(checkpoint: Path) -> dict[str, torch.Tensor]:
    return load_file(checkpoint / "model.safetensors")


def without_perf(history: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows without what depends on the clock."""
    return [{name: value for name, value in row.items() if "/perf/" not in name} for row in history]


def two_rank_worker_of_several(rank: int, rendezvous: str, configs: dict[str, ExperimentConfig], run_dir: Path) -> None:
    """One of two processes that train one experiment after the other, without evaluations."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=rendezvous, rank=rank, world_size=2)
    try:
        for name, config in configs.items():
            context = WorkerContext(rank=rank, world_size=2)
            train(config, NullReporter(), run_dir=run_dir / name, context=context, evaluate=lambda policy, step: {})
    finally:
        torch.distributed.destroy_process_group()


def two_rank_worker(rank: int, rendezvous: str, config: ExperimentConfig, run_dir: Path) -> None:
    """One of two processes that train together over gloo, without Ray."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=rendezvous, rank=rank, world_size=2)
    run_dir.mkdir(exist_ok=True)
    reporter = LocalReporter(JsonLinesLogger(run_dir / "metrics.jsonl")) if rank == 0 else NullReporter()
    try:
        train(config, reporter, run_dir=run_dir, context=WorkerContext(rank=rank, world_size=2))
    finally:
        reporter.close()
        torch.distributed.destroy_process_group()


def two_rank_evaluation(rank: int, rendezvous: str, config: ExperimentConfig, levels: LevelSet, folder: Path) -> None:
    """One of two processes that evaluate the random policy together; each writes down what it was told."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=rendezvous, rank=rank, world_size=2)
    try:
        spec = make_spec(GRID)
        evaluate = InlineEvaluation(config, spec, levels, WorkerContext(rank=rank, world_size=2))
        (folder / f"{rank}.json").write_text(json.dumps(evaluate(RandomPolicy(spec), 1)))
    finally:
        torch.distributed.destroy_process_group()
