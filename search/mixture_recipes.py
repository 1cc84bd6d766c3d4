"""Named functions that return complete mixture searches."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from search.mixture_config import MixtureSearchConfig
from trainers.config import EvaluationConfig, NetworkConfig
from trainers.recipes import grid_bc, shop_bc


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
    number of transitions and every policy the same length and learning rate, so that only the data differ. Levels vary
    more than train seeds there, so each mixture has one seed and many validation levels.
    """
    base = grid_mixtures()
    return dataclasses.replace(
        base,
        name="grid-predictors",
        experiment=dataclasses.replace(
            base.experiment,
            train=dataclasses.replace(base.experiment.train, learner_steps=300),
            evaluation=dataclasses.replace(
                base.experiment.evaluation, num_train_levels=100, num_validation_levels=300, num_envs=100
            ),
        ),
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
        seeds=(0,),
        proxy_steps=0,
        confirm_seeds=(100, 101, 102),
        pilot_seeds=(),
    )


def shop_predictors() -> MixtureSearchConfig:
    """Which measure of the data predicts the gap, over 64 mixtures of six sources in the shop, with a narrow network.

    Sources differ in instructions (few, some, many) and in who shops: the expert that knows the goal, the same with
    every second action at random, and a reader of pages. Half the width of `shop-bc` and 200 steps: 8 s of a core each.
    """
    base, grid = shop_bc(), grid_predictors()
    return dataclasses.replace(
        grid,
        name="shop-predictors",
        experiment=dataclasses.replace(
            base,
            network=NetworkConfig(encoder="cross", hidden_size=32),
            train=dataclasses.replace(base.train, learner_steps=200, learning_rate=2e-3, evaluate_every=0),
            evaluation=EvaluationConfig(num_train_levels=80, num_validation_levels=160, num_envs=100),
        ),
        sources={
            "clean-few": "shop-expert levels=0:20 transitions=2000",
            "clean-some": "shop-expert levels=100:200 transitions=2000",
            "clean-many": "shop-expert levels=1000:1400 transitions=2000",
            "noisy-few": "shop-expert?noise=0.5 levels=2000:2020 transitions=2000",
            "noisy-many": "shop-expert?noise=0.5 levels=3000:3400 transitions=2000",
            "reader-many": "shop-rule levels=4000:4400 transitions=2000",
        },
        num_transitions=2_000,
        judge=EvaluationConfig(num_train_levels=200, num_validation_levels=200, num_test_levels=300, num_envs=100),
    )


MIXTURE_RECIPES: dict[str, Callable[[], MixtureSearchConfig]] = {
    "grid-mixtures": grid_mixtures,
    "grid-predictors": grid_predictors,
    "shop-predictors": shop_predictors,
}
