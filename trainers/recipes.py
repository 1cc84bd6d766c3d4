"""Named functions that return complete experiments. Variants call another recipe and change fields."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

from envs.overrides import build_recipe
from trainers.config import EvaluationConfig, ExperimentConfig, NetworkConfig, TrainConfig


def grid_bc() -> ExperimentConfig:
    """Behavioral cloning on the toy grid: a minute on a laptop."""
    return ExperimentConfig(
        name="grid-bc",
        env="grid/default",
        train=TrainConfig(learner_steps=300, batch_size=64, learning_rate=1e-3, evaluate_every=150),
        evaluation=EvaluationConfig(num_train_levels=50, num_validation_levels=50, num_test_levels=100),
    )


def quiz_bc() -> ExperimentConfig:
    """Behavioral cloning on the toy text environment with a varying number of candidate actions."""
    return dataclasses.replace(grid_bc(), name="quiz-bc", env="quiz/default", network=NetworkConfig(encoder="bytes"))


def shop_bc() -> ExperimentConfig:
    """Behavioral cloning in the built-in shop; words of the candidates look for themselves on the page: minutes."""
    return ExperimentConfig(
        name="shop-bc",
        env="shop/default",
        network=NetworkConfig(encoder="cross", hidden_size=64),
        train=TrainConfig(learner_steps=1500, batch_size=64, learning_rate=1e-3, evaluate_every=750),
        evaluation=EvaluationConfig(num_train_levels=100, num_validation_levels=100, num_test_levels=200, num_envs=100),
    )


def maze_bc() -> ExperimentConfig:
    """Behavioral cloning on Procgen's maze with the small convolutional net: a minute on one core."""
    return ExperimentConfig(
        name="maze-bc",
        env="procgen/maze",
        train=TrainConfig(learner_steps=2000, batch_size=128, learning_rate=1e-3, evaluate_every=1000),
        evaluation=EvaluationConfig(num_train_levels=50, num_validation_levels=50, num_test_levels=200, num_envs=100),
    )


def maze_bc_impala() -> ExperimentConfig:
    """The same with the IMPALA ResNet (0.626M parameters)."""
    base = maze_bc()
    train = dataclasses.replace(base.train, learner_steps=1500, evaluate_every=750, learning_rate=5e-4)
    return dataclasses.replace(base, name="maze-bc-impala", network=NetworkConfig(encoder="impala"), train=train)


RECIPES: dict[str, Callable[[], ExperimentConfig]] = {
    "grid-bc": grid_bc,
    "quiz-bc": quiz_bc,
    "shop-bc": shop_bc,
    "maze-bc": maze_bc,
    "maze-bc-impala": maze_bc_impala,
}


def build_experiment(recipe: str, overrides: Sequence[str] = ()) -> ExperimentConfig:
    """The recipe's experiment with ``FIELD=VALUE`` overrides applied.

    Raises:
        UsageError: For an unknown recipe or field, answered with the closest match.
    """
    return build_recipe("training", RECIPES, recipe, overrides)
