"""Named functions that return complete studies."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

from envs.errors import unknown_name
from envs.overrides import build_recipe
from search.config import FULL_JUDGE, SweepConfig
from search.mixture_config import MixtureSearchConfig
from trainers.config import EvaluationConfig
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


def grid_mixtures() -> MixtureSearchConfig:
    """Mixtures of few clean, many disturbed and many aimless episodes on the toy grid: some minutes on 2 cores.

    A regression searches the weights beside equal ones with the same number of trials; both also search the learning
    rate. Trials are a third as long as full runs, on a third of the data. Eight fresh seeds an arm, and a pilot that
    says beforehand which difference they can show.
    """
    base = grid_bc()
    return MixtureSearchConfig(
        name="grid-mixtures",
        experiment=dataclasses.replace(
            base,
            train=dataclasses.replace(base.train, learner_steps=450, evaluate_every=0),
            evaluation=dataclasses.replace(base.evaluation, num_train_levels=20, num_validation_levels=100),
        ),
        sources={
            "clean-few": "grid-expert levels=0:20 transitions=2000",
            "noisy-many": "grid-expert?noise=0.4 levels=1000:1300 transitions=3000",
            "aimless": "random levels=2000:2200 transitions=3000",
        },
        num_transitions=2_000,
        dimensions={"train.learning_rate": "log 5e-4 3e-3"},
        num_proposals=16,
        seeds=(0, 1),
        proxy_steps=150,
        confirm_seeds=tuple(range(100, 108)),
        pilot_seeds=tuple(range(200, 206)),
        judge=EvaluationConfig(num_train_levels=100, num_validation_levels=100, num_test_levels=200, num_envs=100),
        num_collectors=0,
    )


def grid_predictors() -> MixtureSearchConfig:
    """Which measure of the data predicts the gap, over 64 mixtures of six sources on the toy grid.

    Sources differ in levels (few, some, many) and in quality (clean, disturbed, aimless); every mixture has the same
    number of transitions and every policy the same length and learning rate, so that only the data differ.
    """
    base = grid_mixtures()
    steps = dataclasses.replace(base.experiment.train, learner_steps=300)
    return dataclasses.replace(
        base,
        name="grid-predictors",
        experiment=dataclasses.replace(base.experiment, train=steps),
        sources={
            "clean-few": "grid-expert levels=0:10 transitions=1500",
            "clean-some": "grid-expert levels=100:150 transitions=1500",
            "clean-many": "grid-expert levels=1000:1400 transitions=1500",
            "noisy-few": "grid-expert?noise=0.5 levels=2000:2010 transitions=1500",
            "noisy-many": "grid-expert?noise=0.5 levels=3000:3400 transitions=1500",
            "aimless-many": "random levels=4000:4400 transitions=1500",
        },
        num_transitions=1_500,
        arms={"random": "random concentration=0.5"},
        baseline="random",
        dimensions={},
        num_proposals=64,
        proxy_steps=0,
        confirm_seeds=(100, 101, 102),
        pilot_seeds=(),
    )


RECIPES: dict[str, Callable[[], SweepConfig]] = {
    "grid-diversity": grid_diversity,
    "maze-diversity": maze_diversity,
    "shop-diversity": shop_diversity,
    "shop-strata": shop_strata,
    "maze-diversity-impala": maze_diversity_impala,
}


MIXTURE_RECIPES: dict[str, Callable[[], MixtureSearchConfig]] = {
    "grid-mixtures": grid_mixtures,
    "grid-predictors": grid_predictors,
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
