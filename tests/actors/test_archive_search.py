"""Planned episodes: proven by replay, within their budget, the same wherever they are searched."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import actors.archive_lanes as archive_lanes
from actors.archive_search import LANES, LAST_LANES, ArchiveSearch, Plan, least_budget
from actors.archive_source import PlannedSource, planned_source, prove
from actors.collect import CollectConfig, collect
from actors.recipes import build_collection
from actors.rollout import play
from actors.sources import SourceSpec, build_source, load_policy
from envs.errors import RunError, UsageError
from envs.procgen import native_engine, spec_name
from envs.procgen_tables import GAMES
from envs.registry import make_vec

pytestmark = pytest.mark.procgen

ROOT = Path(__file__).resolve().parents[2]


def source_of(env: str, **options: Any) -> PlannedSource:
    source = build_source(SourceSpec(env=env, name="archive-search", options=options))
    assert isinstance(source, PlannedSource)
    return source


def alone(game: str, mode: str, level: int, actions: Any) -> tuple[list[float], list[bool]]:
    """Rewards and end flags of an engine that knows only this level."""
    engine = native_engine(game, mode, 1, start_level=level, num_levels=1)
    rewards, ends = [], []
    for action in actions:
        engine.act(np.array([action], dtype=np.int32))
        reward, _, first = engine.observe()
        rewards.append(float(reward[0]))
        ends.append(bool(first[0]))
    engine.close()
    return rewards, ends


@pytest.mark.parametrize("game", GAMES)
def test_every_game_is_planned_within_its_budget_and_played_as_planned(game: str) -> None:
    budget = least_budget(game) + 6_000
    source = source_of(spec_name(game, "easy"), budget=budget)
    for level in (2, 3):
        plan = source.planner.plan(level)
        episode = source.play(level, 0, 0)
        assert 0 < plan.steps <= budget
        assert episode.episode_return == plan.episode_return
        assert episode.terminated != episode.truncated
        assert episode.truncated == (len(plan.actions) == GAMES[game].max_episode_steps and not plan.complete)
        rewards, ends = alone(game, "easy", level, plan.actions)
        assert rewards == plan.rewards.tolist()
        assert ends == [False] * (len(ends) - 1) + [True]
    source.planner.close()


@pytest.mark.parametrize(("game", "level", "reward"), [("maze", 5, 10), ("coinrun", 1, 10), ("leaper", 2, 10)])
def test_easy_levels_are_solved(game: str, level: int, reward: float) -> None:
    plan = ArchiveSearch(game, "easy", 30_000).plan(level, 0, 0)
    assert plan.complete
    assert plan.episode_return == reward


def test_hard_mode_is_searched_too() -> None:
    source = source_of("procgen/maze-hard", budget=20_000)
    episode = source.play(3, 0, 0)
    assert episode.episode_return in (0, 10)
    assert alone("maze", "hard", 3, episode.actions)[0] == episode.rewards.tolist()


def test_an_unsolved_plan_goes_on_to_the_step_limit_and_is_truncated() -> None:
    budget = least_budget("maze")
    source = source_of("procgen/maze-hard", budget=budget)
    episode = source.play(0, 0, 0)
    assert episode.truncated
    assert not episode.terminated
    assert len(episode) == 500
    assert episode.episode_return == source.planner.plan(0).episode_return == 0
    assert source.planner.plan(0).steps <= budget


def test_levels_that_kill_at_once_are_given_up() -> None:
    plan = ArchiveSearch("jumper", "easy", 60_000).plan(5, 0, 0)
    assert len(plan.actions) == 1
    assert plan.steps < 1_000
    for action in range(15):
        assert alone("jumper", "easy", 5, [action]) == ([0], [True])


def test_an_exit_beside_the_start_does_not_tempt_the_miner() -> None:
    # Level 5 counts as completed after one step, before its three diamonds are counted.
    assert ArchiveSearch("miner", "easy", 60_000).plan(5, 0, 0).episode_return == 13


@pytest.mark.parametrize("game", ["climber", "bossfight"])
def test_all_engine_steps_are_counted(game: str, monkeypatch: pytest.MonkeyPatch) -> None:
    played = {LANES: 0, LAST_LANES: 0}

    def counting(*args: Any, **options: Any) -> Any:
        engine = native_engine(*args, **options)
        act = engine.act

        def counted(actions: Any) -> None:
            if len(actions) in played:
                played[len(actions)] += len(actions)
            act(actions)

        engine.act = counted
        return engine

    monkeypatch.setattr(archive_lanes, "native_engine", counting)
    budget = least_budget(game) + 5_000
    search = ArchiveSearch(game, "easy", budget)
    before = 0
    for level in (1, 4):
        plan = search.plan(level)
        assert sum(played.values()) - before == plan.steps <= budget
        before = sum(played.values())


def test_plans_do_not_depend_on_the_process_nor_on_what_was_searched_before() -> None:
    levels = {"chaser": 1, "jumper": 1, "caveflyer": 3}
    code = (
        "import json; from actors.archive_search import *\n"
        f"for game, level in {levels}.items():\n"
        "    plan = ArchiveSearch(game, 'easy', 16_000).plan(level, 5, 0)\n"
        "    print(json.dumps([plan.actions.tolist(), plan.rewards.tolist(), plan.steps]))"
    )
    process = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    elsewhere = [json.loads(line) for line in process.stdout.splitlines()]
    for (game, level), expected in zip(levels.items(), elsewhere, strict=True):
        search = ArchiveSearch(game, "easy", 16_000)
        search.plan(level + 7)
        plan = search.plan(level, 5, 0)
        assert [plan.actions.tolist(), plan.rewards.tolist(), plan.steps] == expected
        search.close()


def test_every_repetition_and_seed_is_searched_anew() -> None:
    source = source_of("procgen/coinrun", budget=20_000)
    jobs = [(level, episode) for level in (1, 2) for episode in (0, 1)]
    played = list(source.play_jobs(make_vec("procgen/coinrun", 4), jobs, seed=0))
    assert [(episode.level, episode.episode) for episode in played] == jobs
    plans = {tuple(episode.actions) for episode in [*played, source.play(1, 0, seed=1)]}
    assert len(plans) == 5
    assert np.array_equal(source_of("procgen/coinrun", budget=20_000).play(2, 1, 0).actions, played[3].actions)


def test_the_policy_alone_plays_the_plans_in_a_batch() -> None:
    policy = load_policy(SourceSpec(env="procgen/maze", name="archive-search", options={"budget": 12_000}))
    jobs = [(level, 0) for level in range(5)]
    played = {result.level: result for result in play(make_vec("procgen/maze", 3), policy, jobs, seed=9)}
    source = source_of("procgen/maze", budget=12_000)
    for level, _ in jobs:
        plan = source.planner.plan(level)
        assert (played[level].episode_return, played[level].length) == (plan.episode_return, len(plan.actions))


def tampered(plan: Plan, change: Callable[[Plan], None]) -> Plan:
    copy = dataclasses.replace(plan, actions=plan.actions.copy(), rewards=plan.rewards.copy())
    change(copy)
    return copy


def test_a_plan_that_is_not_what_was_played_is_refused_by_level() -> None:
    source = source_of("procgen/coinrun", budget=20_000)
    plan = source.planner.plan(4)
    episode = source.play(4, 0, 0)
    prove(episode, plan)
    for change in (lambda p: p.rewards.__setitem__(0, 1.0), lambda p: p.actions.__setitem__(-1, 14)):
        with pytest.raises(RunError, match=r"Level 4 of 'procgen/coinrun'.*played"):
            prove(episode, tampered(plan, change))
    source.planner._plans[0, 4, 0] = dataclasses.replace(plan, actions=plan.actions[:5], rewards=plan.rewards[:5])
    with pytest.raises(RunError, match="Level 4 goes on after the last planned action"):
        source.play(4, 0, 0)
    still = np.full_like(plan.actions, 4)
    source.planner._plans[0, 4, 0] = dataclasses.replace(plan, actions=still)
    with pytest.raises(RunError, match="Level 4 "):
        source.play(4, 0, 0)


@pytest.mark.parametrize(
    ("env", "options", "message"),
    [
        ("grid/default", {}, "env=procgen/coinrun"),
        ("procgen/coinrun", {"noise": 0.1}, "'noise' is impossible.*maze-search"),
        ("procgen/coinrun", {"relabel": True}, "'relabel' is impossible"),
        ("procgen/coinrun", {"bugdet": 1}, "budget"),
        ("procgen/coinrun", {"budget": "many"}, "whole number"),
        ("procgen/coinrun", {"budget": 0.5}, "whole number"),
        ("procgen/coinrun", {"budget": True}, "whole number"),
        ("procgen/bigfish", {"budget": 10_000}, r"needs at least 12384"),
    ],
)
def test_wrong_use_is_explained(env: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        planned_source(SourceSpec(env=env, name="archive-search", options=options))


def small_recipe(num_actors: int) -> CollectConfig:
    overrides = ["env=procgen/jumper", "num_levels=6", "options.budget=12000", f"num_actors={num_actors}"]
    return build_collection("procgen-search", overrides)


def test_the_recipe_records_one_planned_episode_a_level_and_marks_it_privileged(tmp_path: Path) -> None:
    dataset = collect(small_recipe(0), tmp_path / "planned")
    assert dataset.num_episodes == 6
    assert dataset.info.provenance["privileged"] is True
    manifest = json.loads(next((tmp_path / "planned").glob("*.json")).read_text())
    assert manifest["provenance"]["privileged"] is True
    random = build_collection("procgen-random", ["num_levels=2", "min_transitions=1", "num_actors=0"])
    assert collect(random, tmp_path / "random").info.provenance["privileged"] is False


@pytest.mark.ray
def test_actors_change_nothing(ray_cluster: Any, tmp_path: Path) -> None:
    alone = collect(small_recipe(0), tmp_path / "alone")
    spread = collect(small_recipe(2), tmp_path / "spread")
    assert spread.fingerprint == alone.fingerprint
