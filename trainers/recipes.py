"""Named functions that return complete experiments. Variants call another recipe and change fields."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

from envs.overrides import build_recipe
from trainers.config import EvaluationConfig, ExperimentConfig, NetworkConfig, TrainConfig
from trainers.tracks import IMAGE_ALGORITHMS, TEXT_ALGORITHMS, best, paper_images, paper_texts


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


def _grid() -> ExperimentConfig:
    base = grid_bc()
    train = dataclasses.replace(base.train, learner_steps=800, evaluate_every=400)
    return dataclasses.replace(base, network=NetworkConfig(hidden_size=64), train=train)


def _grid_best(experiment: ExperimentConfig, name: str) -> ExperimentConfig:
    """Ours, with a discount for episodes of ten steps and targets that keep up with a thousand learner steps."""
    ours = best(experiment, name)
    if name not in ("bcq", "cql", "iql"):
        return ours
    options = {**ours.algorithm.options, "discount": 0.95, "target_rate": 0.02}
    return dataclasses.replace(ours, algorithm=dataclasses.replace(ours.algorithm, options=options))


def _procgen() -> ExperimentConfig:
    """Choose the game with env=procgen/NAME."""
    return ExperimentConfig(
        name="procgen",
        env="procgen/coinrun",
        network=NetworkConfig(encoder="impala"),
        train=TrainConfig(learner_steps=50_000, batch_size=256, learning_rate=5e-4, evaluate_every=5_000),
        evaluation=EvaluationConfig(
            num_train_levels=100, num_validation_levels=50, num_test_levels=500, modes=("sampled", "greedy")
        ),
    )


def _grid_paper(experiment: ExperimentConfig, name: str) -> ExperimentConfig:
    """The published settings but for what fits Procgen's size only: encoder, widths and lengths stay the grid's."""
    published = paper_images(experiment, name)
    network = dataclasses.replace(published.network, encoder="small", hidden_size=experiment.network.hidden_size)
    train = dataclasses.replace(
        published.train,
        learner_steps=experiment.train.learner_steps,
        evaluate_every=experiment.train.evaluate_every,
        batch_size=experiment.train.batch_size,
    )
    return dataclasses.replace(published, network=network, train=train)


def _procgen_paper(experiment: ExperimentConfig, name: str) -> ExperimentConfig:
    evaluation = EvaluationConfig(protocol="paper")  # its own numbers of levels and episodes
    return dataclasses.replace(paper_images(experiment, name), evaluation=evaluation)


Change = Callable[[ExperimentConfig, str], ExperimentConfig]
_WORLDS: dict[str, tuple[Callable[[], ExperimentConfig], Change, Change, tuple[str, ...], tuple[str, ...]]] = {
    "grid": (_grid, _grid_best, _grid_paper, IMAGE_ALGORITHMS, IMAGE_ALGORITHMS),
    "procgen": (_procgen, best, _procgen_paper, IMAGE_ALGORITHMS, IMAGE_ALGORITHMS),
    "shop": (shop_bc, best, paper_texts, TEXT_ALGORITHMS, ("bc", "bcq", "cql")),
}
"""World -> base, changes of the tracks "best" and "paper", and the algorithms of each."""


def _recipe(
    name: str, base: Callable[[], ExperimentConfig], change: Change, algorithm: str, about: str
) -> Callable[[], ExperimentConfig]:
    def build() -> ExperimentConfig:
        return dataclasses.replace(change(base(), algorithm), name=name)

    build.__doc__ = about
    return build


def _tracks() -> dict[str, Callable[[], ExperimentConfig]]:
    """``<world>-<algorithm>`` with our settings and ``<world>-<algorithm>-paper`` with the published ones."""
    recipes = {}
    for world, (base, ours, published, algorithms, in_paper) in _WORLDS.items():
        for algorithm in algorithms:
            name = f"{world}-{algorithm}"
            recipes[name] = _recipe(name, base, ours, algorithm, f"{algorithm} on {world}, our settings.")
        for algorithm in in_paper:
            name = f"{world}-{algorithm}-paper"
            about = f"{algorithm} on {world}, the published settings."
            recipes[name] = _recipe(name, base, published, algorithm, about)
    return recipes


RECIPES: dict[str, Callable[[], ExperimentConfig]] = {
    **_tracks(),
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
