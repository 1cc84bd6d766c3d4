"""Named functions that return complete collection configs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

from actors.collect import CollectConfig
from envs.overrides import build_recipe


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


RECIPES: dict[str, Callable[[], CollectConfig]] = {
    "grid-expert": grid_expert,
    "quiz-expert": quiz_expert,
    "maze": maze,
    "maze-relabeled": maze_relabeled,
    "procgen-random": procgen_random,
    "procgen-search": procgen_search,
    "shop-expert": shop_expert,
    "shop-noisy": shop_noisy,
}


def build_collection(recipe: str, overrides: Sequence[str] = ()) -> CollectConfig:
    """The recipe's config with ``FIELD=VALUE`` overrides applied.

    Raises:
        UsageError: For an unknown recipe or field, answered with the closest match.
    """
    return build_recipe("collection", RECIPES, recipe, overrides)
