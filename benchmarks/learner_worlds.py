"""The four small worlds of the learners' table: what is recorded, how long is learned and what is played."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from actors.collect import CollectConfig, collect
from metrics.protocol import ACTION_MODES
from trainers.config import EvaluationConfig, ExperimentConfig
from trainers.recipes import build_experiment
from trainers.tracks import IMAGE_ALGORITHMS, TEXT_ALGORITHMS

Track = Literal["ours", "paper"]
TRACKS: tuple[Track, ...] = ("ours", "paper")


@dataclass(frozen=True, kw_only=True)
class World:
    """One block of the table."""

    name: str
    prefix: str
    """Of the recipes, see `trainers.recipes`."""
    collections: dict[str, CollectConfig]
    """Name -> what is recorded; all of it is learned from."""
    learner_steps: int
    batch_size: int
    """Transitions per learner step; sequence models read as many windows as hold that many."""
    num_train_levels: int
    num_heldout_levels: int = 50
    """Validation levels, and as many test levels."""
    algorithms: dict[Track, tuple[str, ...]] = field(default_factory=lambda: dict.fromkeys(TRACKS, IMAGE_ALGORITHMS))
    encoder: str = "small"
    hidden_size: int = 256

    @property
    def env(self) -> str:
        """What is played."""
        return next(iter(self.collections.values())).env


def _collection(env: str, source: str, levels: int, transitions: int, **options: Any) -> CollectConfig:
    return CollectConfig(
        env=env,
        source=source,
        options=options,
        num_levels=levels,
        min_transitions=transitions,
        num_actors=0,
        num_envs=1 if source == "archive-search" else 50,
    )


WORLDS: dict[str, World] = {
    "coinrun": World(
        name="coinrun",
        prefix="procgen",
        collections={"ppo": _collection("procgen/coinrun", "ppo:coinrun", 50, 15_000)},
        learner_steps=400,
        batch_size=64,
        num_train_levels=20,
        num_heldout_levels=32,
    ),
    "jumper": World(
        name="jumper",
        prefix="procgen",
        collections={"search": _collection("procgen/jumper", "archive-search", 30, 4_000, budget=60_000)},
        learner_steps=600,
        batch_size=64,
        num_train_levels=30,
        num_heldout_levels=32,
    ),
    "grid": World(
        name="grid",
        prefix="grid",
        collections={
            "expert": _collection("grid/default", "grid-expert", 30, 2_400, noise=0.2),
            "random": _collection("grid/default", "random", 30, 1_000),
        },
        learner_steps=600,
        batch_size=64,
        num_train_levels=30,
        hidden_size=64,
    ),
    "shop": World(
        name="shop",
        prefix="shop",
        collections={"noisy": _collection("shop/default", "shop-expert", 60, 2_000, noise=0.2)},
        learner_steps=600,
        batch_size=32,
        num_train_levels=30,
        algorithms={"ours": TEXT_ALGORITHMS, "paper": ("bc", "bcq", "cql")},
        encoder="cross",
        hidden_size=64,
    ),
}


def record(world: World, folder: Path) -> tuple[str, ...]:
    """Record what is not there yet; the folders."""
    for name, config in world.collections.items():
        if not (folder / name).exists():
            collect(config, folder / name)
    return tuple(str(folder / name) for name in world.collections)


def experiment_of(world: World, algorithm: str, track: Track, seed: int, datasets: tuple[str, ...]) -> ExperimentConfig:
    """The recipe, cut to the world's network, length and batch; both tracks play the same levels.

    The paper track keeps its published settings but for those, and these two: its target copies come ten times in a
    run, where the published period is longer than a run; and a text network that learns from nothing keeps the learning
    rate of our track, because the published one is that of a pretrained encoder.
    """
    words = ["train.average=none", "train.evaluate_every=0", "train.log_every=50", "tracking.wandb=disabled"]
    recipe = f"{world.prefix}-{algorithm}" + ("-paper" if track == "paper" else "")
    config = build_experiment(recipe, words)
    published = track == "paper" and world.prefix != "shop"
    train = dataclasses.replace(
        config.train,
        learner_steps=world.learner_steps,
        learning_rate=config.train.learning_rate if published else 1e-3,
        batch_size=_items(world, config),
        accumulation_steps=1,
    )
    return dataclasses.replace(
        config,
        name=f"{world.name}-{algorithm}-{track}",
        env=world.env,
        seed=seed,
        data=dataclasses.replace(config.data, datasets=datasets),
        network=dataclasses.replace(config.network, encoder=world.encoder, hidden_size=world.hidden_size),
        algorithm=dataclasses.replace(config.algorithm, options=_options(world, config, track)),
        train=train,
        evaluation=EvaluationConfig(
            num_train_levels=world.num_train_levels,
            num_validation_levels=world.num_heldout_levels,
            num_test_levels=world.num_heldout_levels,
            modes=ACTION_MODES,
            num_envs=16,
        ),
    )


def _items(world: World, config: ExperimentConfig) -> int:
    context = config.algorithm.options.get("context", 1)
    assert isinstance(context, int)
    return max(1, world.batch_size // context)


def _options(world: World, config: ExperimentConfig, track: Track) -> dict[str, float | int | str | bool]:
    """Targets that keep up with some hundred learner steps."""
    options = dict(config.algorithm.options)
    if config.algorithm.name not in ("bcq", "cql", "iql"):
        return options
    if track == "ours":
        return {"target_rate": 0.02, **options}
    period = options["target_period"]
    assert isinstance(period, int)
    return {**options, "target_period": min(period, world.learner_steps // 10)}
