"""Named functions that return complete studies."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

from envs.errors import unknown_name
from envs.overrides import build_recipe
from search.config import FULL_JUDGE, SweepConfig
from search.mixture_config import MixtureSearchConfig
from search.mixture_recipes import MIXTURE_RECIPES
from trainers.config import EvaluationConfig, NetworkConfig
from trainers.recipes import grid_bc, maze_bc, maze_bc_impala, shop_bc


def grid_diversity() -> SweepConfig:
    """Data diversity x learning rate x seeds on the toy grid: the whole path in two minutes."""
    return SweepConfig(
        name="grid-diversity",
        experiment=grid_bc(),
        collect_source="grid-expert",
        collect_options={"noise": 0.2},
        level_counts=(2, 16, 128),
        num_transitions=2_000,
        learning_rates=(3e-4, 1e-3),
    )


def maze_diversity() -> SweepConfig:
    """Data diversity x learning rate x seeds on Procgen's maze, from a search expert: minutes on 2 cores.

    The expert's moves are disturbed at random (0.3) and every state is labeled with the expert's move, so episodes of
    one level differ and few levels x many episodes is a fair rival of many levels x few.
    """
    return SweepConfig(
        name="maze-diversity",
        experiment=maze_bc(),
        collect_source="maze-search",
        collect_options={"noise": 0.3, "relabel": True},
        level_counts=(10, 100, 500),
        num_transitions=20_000,
        learning_rates=(5e-4, 1e-3),
        scheduler="none",  # a curve compares policies of equal training; ASHA would cut some seeds of a configuration
        # Two actors with 120 slots each play 240 levels at once.
        judge=EvaluationConfig(
            num_train_levels=120, num_validation_levels=120, num_test_levels=160, num_envs=120, modes=("sampled",)
        ),
    )


def shop_diversity() -> SweepConfig:
    """Distinct instructions x seeds in the built-in shop, from the expert that knows each goal: minutes on 2 cores.

    Few instructions x many episodes against many x few. One action in five is random and every state is labeled with
    the expert's action, so episodes of one instruction differ.
    """
    base = shop_bc()
    train = dataclasses.replace(base.train, learner_steps=1000, evaluate_every=500)
    return SweepConfig(
        name="shop-diversity",
        experiment=dataclasses.replace(base, train=train),
        collect_source="shop-expert",
        collect_options={"noise": 0.2, "relabel": True},
        level_counts=(20, 200, 2000),
        num_transitions=10_000,
        learning_rates=(1e-3,),
        scheduler="none",
        judge=EvaluationConfig(
            num_train_levels=200, num_validation_levels=200, num_test_levels=300, num_envs=100, modes=("sampled",)
        ),
    )


def shop_strata() -> SweepConfig:
    """Mixtures over departments x distinct instructions x seeds in the shop, judged on departments never asked for.

    As they come, as many of each, one department alone: always with the same number of transitions.
    """
    base = shop_diversity()
    train = dataclasses.replace(base.experiment.train, learner_steps=600, evaluate_every=0)
    return dataclasses.replace(
        base,
        name="shop-strata",
        experiment=dataclasses.replace(base.experiment, train=train),
        level_counts=(50, 500),
        strata="department",
        mixtures=("natural", "uniform", "fashion"),
        judge=dataclasses.replace(base.judge, protocol="shop-I4", modes=("sampled",)),
    )


def maze_diversity_impala() -> SweepConfig:
    """The same with the IMPALA ResNet, and twice the transitions: most of an hour on 2 cores."""
    base = maze_diversity()
    return dataclasses.replace(
        base,
        name="maze-diversity-impala",
        experiment=maze_bc_impala(),
        level_counts=(10, 100, 1000),
        num_transitions=40_000,
        learning_rates=(5e-4,),
        judge=FULL_JUDGE,
    )


def maze_size() -> SweepConfig:
    """Size at fixed diversity on Procgen's maze: 100 levels, from one episode of each to ten, seeds.

    The counterpart of maze-diversity: there levels grow at a fixed number of transitions, here transitions at a fixed
    number of levels, with the same network, batches and number of learner steps for every size.
    """
    base = maze_diversity()
    train = dataclasses.replace(base.experiment.train, learner_steps=800, evaluate_every=0)
    return dataclasses.replace(
        base,
        name="maze-size",
        experiment=dataclasses.replace(base.experiment, train=train),
        level_counts=(100,),
        variants=("transitions=3000", "transitions=9000", "transitions=27000"),
        num_transitions=27_000,
        learning_rates=(1e-3,),
        seeds=(0, 1, 2),
        judge=dataclasses.replace(base.judge, num_train_levels=100, num_test_levels=300),
    )


def shop_size() -> SweepConfig:
    """Size at fixed diversity in the shop: 100 instructions, from one episode of each to ten, seeds.

    The counterpart of shop-diversity, with the narrow network of shop-predictors.
    """
    base = shop_diversity()
    train = dataclasses.replace(base.experiment.train, learner_steps=300, learning_rate=2e-3, evaluate_every=0)
    return dataclasses.replace(
        base,
        name="shop-size",
        experiment=dataclasses.replace(
            base.experiment, network=NetworkConfig(encoder="cross", hidden_size=32), train=train
        ),
        level_counts=(100,),
        variants=("transitions=700", "transitions=2100", "transitions=6300"),
        num_transitions=6_300,
        learning_rates=(2e-3,),
        seeds=(0, 1, 2),
        judge=dataclasses.replace(base.judge, num_train_levels=100),
    )


def grid_quality_diversity() -> SweepConfig:
    """Quality x diversity on the toy grid: share of random actions x levels x seeds, always 2,000 transitions.

    Actions are kept as they were played, so what is random is learned as well.
    """
    base = grid_diversity()
    train = dataclasses.replace(base.experiment.train, learner_steps=300, evaluate_every=0)
    return dataclasses.replace(
        base,
        name="grid-quality-diversity",
        experiment=dataclasses.replace(base.experiment, train=train),
        level_counts=(5, 20, 80, 320),
        variants=("noise=0.0", "noise=0.4", "noise=0.9"),
        learning_rates=(1e-3,),
        scheduler="none",
        judge=EvaluationConfig(
            num_train_levels=100, num_validation_levels=200, num_test_levels=300, num_envs=100, modes=("sampled",)
        ),
    )


RECIPES: dict[str, Callable[[], SweepConfig]] = {
    "grid-diversity": grid_diversity,
    "maze-diversity": maze_diversity,
    "shop-diversity": shop_diversity,
    "shop-strata": shop_strata,
    "maze-diversity-impala": maze_diversity_impala,
    "maze-size": maze_size,
    "shop-size": shop_size,
    "grid-quality-diversity": grid_quality_diversity,
}


def build_study(recipe: str, overrides: Sequence[str] = ()) -> SweepConfig | MixtureSearchConfig:
    """The recipe's study of either kind with ``FIELD=VALUE`` overrides applied.

    Raises:
        UsageError: For an unknown recipe or field, answered with the closest match.
    """
    if recipe in MIXTURE_RECIPES:
        return build_recipe("sweep", MIXTURE_RECIPES, recipe, overrides)
    if recipe not in RECIPES:
        raise unknown_name("sweep recipe", recipe, [*RECIPES, *MIXTURE_RECIPES])
    return build_sweep(recipe, overrides)


def build_sweep(recipe: str, overrides: Sequence[str] = ()) -> SweepConfig:
    """The recipe's study with ``FIELD=VALUE`` overrides applied.

    Raises:
        UsageError: For an unknown recipe or field, answered with the closest match.
    """
    return build_recipe("sweep", RECIPES, recipe, overrides)
