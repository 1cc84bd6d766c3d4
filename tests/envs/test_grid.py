"""The grid: rules, factors, shortest paths, pictures."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
import pytest

from envs.errors import UsageError
from envs.grid import VARIANTS, GridConfig, GridVectorEnv, make_level, move, optimal_actions, render, solve
from envs.grid_levels import UNREACHABLE, distances
from envs.registry import make_vec

ALL_VARIANTS = pytest.mark.parametrize("config", VARIANTS.values(), ids=lambda config: config.name)
STAY = 0


@ALL_VARIANTS
def test_the_solver_completes_every_level(config: GridConfig) -> None:
    levels = np.arange(40)
    env, plans = GridVectorEnv(config, len(levels)), [solve(make_level(config, level)) for level in levels]
    env.reset(options={"levels": levels})
    returns, lengths = np.zeros(len(levels)), np.zeros(len(levels), dtype=int)
    for t in range(max(len(plan) for plan in plans)):
        actions = np.array([plan[t] if t < len(plan) else STAY for plan in plans])
        _, rewards, terminated, truncated, _ = env.step(actions)
        returns += rewards
        lengths[terminated] = t + 1
        assert not truncated.any()
    assert returns == pytest.approx(np.ones(len(levels)))
    assert lengths.tolist() == [len(plan) for plan in plans]


@ALL_VARIANTS
def test_factors_lie_in_the_variants_ranges_and_vary(config: GridConfig) -> None:
    levels = [make_level(config, level) for level in range(200)]
    for values, (low, high) in (
        ([level.theme for level in levels], config.themes),
        ([len(level.items) for level in levels], config.chain),
        ([len(level.distractors) for level in levels], config.distractors),
    ):
        assert set(values) == set(range(low, high + 1))
    assert len({level.items[-1] for level in levels}) > 25


def test_free_cells_are_connected_and_hold_one_thing_each() -> None:
    config = VARIANTS["grid/distractors"]
    for level in (make_level(config, number) for number in range(100)):
        cells = [level.start, *level.items, *level.distractors]
        assert len(set(cells)) == len(cells)
        assert not level.walls[cells].any()
        assert (distances(level.walls, level.size, level.start)[~level.walls] != UNREACHABLE).all()


def test_the_vector_env_follows_the_rules_and_the_picture() -> None:
    config, rng = VARIANTS["grid/chain-3"], np.random.default_rng(0)
    env = GridVectorEnv(config, 4)
    observations, _ = env.reset(options={"levels": np.arange(4)})
    levels = [make_level(config, number) for number in range(4)]
    states = [(level.start, 0) for level in levels]
    for _ in range(config.max_episode_steps):
        for slot, state in enumerate(states):
            assert (observations["image"][slot] == render(levels[slot], *state)).all()
        actions = rng.integers(0, 5, 4)
        observations, rewards, terminated, _, infos = env.step(actions)
        for slot, (position, collected) in enumerate(states):
            *state, reward, finished = move(levels[slot], position, collected, int(actions[slot]))
            states[slot] = (state[0], state[1])
            assert rewards[slot] == np.float32(reward)
            assert terminated[slot] == finished
        if not infos["active"].all():
            break
    assert sum(collected for _, collected in states) > 0


def test_items_count_only_in_order() -> None:
    config = VARIANTS["grid/chain-3"]
    level = replace(make_level(config, 0), walls=make_level(replace(config, num_walls=(0, 0)), 0).walls)
    level = replace(level, start=9, items=(12, 10, 11))
    position, collected = level.start, 0
    rewards = []
    for action in (2, 2, 2, 4, 4, 2):
        position, collected, reward, finished = move(level, position, collected, action)
        rewards.append(reward)
    assert rewards == pytest.approx([0, 0, 1 / 3, 0, 1 / 3, 1 / 3])
    assert finished


def test_optimal_actions_are_all_shortest_ways() -> None:
    level = make_level(VARIANTS["grid/default"], 3)
    steps = distances(level.walls, level.size, level.items[0])
    for cell in np.flatnonzero(~level.walls):
        if cell == level.items[0]:
            continue
        chosen = optimal_actions(level, int(cell), 0)
        reached = {action: move(level, int(cell), 0, action)[0] for action in range(5)}
        assert set(chosen) == {action for action, to in reached.items() if steps[to] == steps[cell] - 1}
    with pytest.raises(UsageError, match="complete"):
        optimal_actions(level, level.start, len(level.items))


def test_standing_still_runs_into_the_step_limit() -> None:
    env = make_vec("grid/default", 1)
    env.reset(seed=0)
    for _ in range(60):
        _, _, terminated, truncated, infos = env.step(np.array([STAY]))
    assert (terminated[0], truncated[0], infos["active"][0]) == (False, True, False)
    assert infos["final_observation_known"][0]


def test_levels_and_pictures_never_change() -> None:
    env = GridVectorEnv(VARIANTS["grid/default"], 50)
    frames = env.reset(options={"levels": np.arange(50)})[0]["image"]
    assert hashlib.blake2b(frames.tobytes(), digest_size=8).hexdigest() == "e3d862b07bfa1128"
