"""Named functions that return complete collection configs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

from actors.collect import CollectConfig
from envs.level_text import parse_levels
from envs.overrides import build_recipe, parse_overrides


def grid_expert() -> CollectConfig:
    """Shortest ways on the toy grid, disturbed at random: seconds."""
    return CollectConfig(
        env="grid/default", source="grid-expert", options={"noise": 0.2}, num_levels=100, min_transitions=2_000
    )


def quiz_expert() -> CollectConfig:
    """The toy quiz with some wrong answers: seconds."""
    return CollectConfig(
        env="quiz/default", source="quiz-expert", options={"noise": 0.2}, num_levels=100, min_transitions=1_000
    )


def maze() -> CollectConfig:
    """The maze search expert with random moves in between, labels as played: half a minute on 2 cores."""
    return CollectConfig(
        env="procgen/maze", source="maze-search", options={"noise": 0.3}, num_levels=200, min_transitions=20_000
    )


def maze_relabeled() -> CollectConfig:
    """The same episodes with the expert's move stored in every state."""
    return dataclasses.replace(maze(), options={"noise": 0.3, "relabel": True})


def maze_expert() -> CollectConfig:
    """The maze search expert undisturbed, one episode on each of 1,000 levels."""
    return dataclasses.replace(maze(), options={}, num_levels=1_000, min_transitions=1)


def maze_mixed() -> CollectConfig:
    """Maze expert and random play, so that the mean return is 75 % of the expert's."""
    return dataclasses.replace(maze(), mix={"random": 0.0}, return_fraction=0.75)


def maze_single() -> CollectConfig:
    """Level 1 of maze only (the benchmark's other one: first_level=40), disturbed, so that its episodes differ."""
    return dataclasses.replace(maze(), first_level=1, num_levels=1, min_transitions=100_000)


def maze_levels() -> CollectConfig:
    """Fixed transitions from any number of levels: add --series num_levels=200,1000,10000,100000."""
    return dataclasses.replace(maze_relabeled(), whole_rounds=False)


def coinrun_ppo() -> CollectConfig:
    """Coinrun by the PPO policy that comes with the package, sampled actions."""
    return CollectConfig(env="procgen/coinrun", source="ppo:coinrun", num_levels=200, min_transitions=100_000)


def procgen_random() -> CollectConfig:
    """Uniformly random actions; choose the game with env=procgen/NAME."""
    return CollectConfig(env="procgen/coinrun", source="random", num_levels=200, min_transitions=50_000)


def procgen_search() -> CollectConfig:
    """Planned episodes, one a level; choose the game with env=procgen/NAME: seconds a level and core."""
    return CollectConfig(
        env="procgen/coinrun",
        source="archive-search",
        options={"budget": 60_000},
        num_levels=200,
        min_transitions=1,
        num_envs=1,
    )


def shop_expert() -> CollectConfig:
    """The shopper that knows every goal, on the built-in shop: seconds."""
    return CollectConfig(env="shop/default", source="shop-expert", num_levels=500, min_transitions=3_000)


def shop_noisy() -> CollectConfig:
    """The same with one action in five at random; it finds its way back from all but a wrong purchase."""
    return dataclasses.replace(shop_expert(), options={"noise": 0.2})


def shop_limited() -> CollectConfig:
    """The shopper that reads pages only."""
    return dataclasses.replace(shop_expert(), source="shop-limited")


def shop_rule() -> CollectConfig:
    """Searches the instruction and buys the first hit."""
    return dataclasses.replace(shop_expert(), source="shop-rule")


def shop_random() -> CollectConfig:
    """Random clicks in the shop."""
    return dataclasses.replace(shop_expert(), source="random")


def shop_mixed() -> CollectConfig:
    """Shoppers of every quality: noisy expert 40 %, limited 30 %, rule 20 %, random 10 % of the episodes."""
    return dataclasses.replace(shop_noisy(), mix={"shop-limited": 0.3, "shop-rule": 0.2, "random": 0.1})


RECIPES: dict[str, Callable[[], CollectConfig]] = {
    "grid-expert": grid_expert,
    "quiz-expert": quiz_expert,
    "maze": maze,
    "maze-relabeled": maze_relabeled,
    "maze-expert": maze_expert,
    "maze-mixed": maze_mixed,
    "maze-single": maze_single,
    "maze-levels": maze_levels,
    "coinrun-ppo": coinrun_ppo,
    "procgen-random": procgen_random,
    "procgen-search": procgen_search,
    "shop-expert": shop_expert,
    "shop-noisy": shop_noisy,
    "shop-limited": shop_limited,
    "shop-rule": shop_rule,
    "shop-random": shop_random,
    "shop-mixed": shop_mixed,
}


def build_collection(recipe: str, overrides: Sequence[str] = ()) -> CollectConfig:
    """The recipe's config with ``FIELD=VALUE`` overrides applied.

    Args:
        recipe: Its name.
        overrides: As typed by a user; ``levels`` is written as a range 0:200 or as a list 1,2,7.

    Raises:
        UsageError: For an unknown recipe or field, answered with the closest match.
    """
    words = parse_overrides(overrides)
    levels = words.pop("levels", "none")
    config = build_recipe("collection", RECIPES, recipe, [f"{name}={text}" for name, text in words.items()])
    return config if levels == "none" else dataclasses.replace(config, levels=parse_levels(config.env, levels))
