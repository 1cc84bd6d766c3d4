"""The maze expert knows the shortest way from every state, and what it records is what the engine shows."""

from __future__ import annotations

import math
import time
from collections import deque

import numpy as np
import pytest

from actors.maze_search import MODES, MOVES, explore, faces_right
from actors.sources import SourceSpec, build_source
from data.episode import Episode
from envs.errors import UsageError
from envs.procgen import ProcgenVectorEnv, native_engine
from envs.registry import make_vec

pytestmark = pytest.mark.procgen

ENVS = {mode: env for env, mode in MODES.items()}


def record(env: str, levels: range, episodes: int = 1, **options: float | bool) -> list[Episode]:
    source = build_source(SourceSpec(env=env, name="maze-search", options=options))
    jobs = [(level, episode) for level in levels for episode in range(episodes)]
    return list(source.play_jobs(make_vec(env, 8), jobs, seed=0))


def shortest_way(level: int) -> int:
    """Breadth-first search with saved states: moves from the start to the cheese, by frames alone."""
    env = ProcgenVectorEnv("maze", "easy", 1)
    observations, _ = env.reset(options={"levels": np.array([level])})
    queue = deque([(env.save_state(0), 0)])
    seen = {observations["image"][0].tobytes()}  # type: ignore[union-attr]
    while queue:
        state, depth = queue.popleft()
        for move in MOVES:
            env.load_state(0, state)
            observations, rewards, terminated, _, _ = env.step(np.array([move], dtype=np.int32))
            if terminated[0] and rewards[0] > 0:
                return depth + 1
            frame = observations["image"][0].tobytes()
            if frame not in seen:
                seen.add(frame)
                queue.append((env.save_state(0), depth + 1))
    raise AssertionError("no way")


def test_without_noise_every_level_is_solved_on_a_shortest_way() -> None:
    for episode in record("procgen/maze", range(40)):
        assert episode.episode_return == 10
        assert episode.terminated
        assert not episode.behavior_logp.any()
        assert len(episode) == explore(episode.level).distances[0]
    for level in (1, 4, 5):
        assert explore(level).distances[0] == shortest_way(level)


@pytest.mark.parametrize("mode", ["easy", "hard"])
def test_recorded_frames_are_the_engines_frames_on_replay(mode: str) -> None:
    for episode in record(ENVS[mode], range(100, 106), episodes=2, noise=0.3):
        engine = native_engine("maze", mode, 1, start_level=episode.level, num_levels=1)
        for t, action in enumerate(episode.actions):
            assert np.array_equal(engine.observe()[1]["rgb"][0], episode.observations["image"][t])
            engine.act(np.array([action], dtype=np.int32))
            rewards, _, first = engine.observe()
            assert rewards[0] == episode.rewards[t]
            assert first[0] == (t == len(episode) - 1)
        engine.close()


@pytest.mark.parametrize("mode", ["easy", "hard"])
def test_the_map_predicts_every_frame_of_a_random_walk(mode: str) -> None:
    rng = np.random.default_rng(0)
    for level in (1, 11, 13):
        graph = explore(level, mode)
        engine = native_engine("maze", mode, 1, start_level=level, num_levels=1)
        node, right = 0, False
        for move in rng.integers(4, size=400):
            expected = graph.moves[node][move]
            engine.act(np.array([MOVES[move]], dtype=np.int32))
            rewards, observations, first = engine.observe()
            right = faces_right(MOVES[move], right)
            if first[0]:
                assert (expected == -2) == (rewards[0] > 0)
                node, right = 0, False
                continue
            node = graph.nodes[hash(observations["rgb"][0].tobytes()), right]
            assert node == expected
        engine.close()


def test_large_mazes_are_mapped_completely() -> None:
    for level in (9, 14, 32, 33):  # frames alone do not tell their states apart
        graph = explore(level, "hard")
        assert graph.distances[0] < 200
        assert (graph.distances < 1000).all()


def test_disturbed_episodes_recover_and_know_the_probability_of_each_move() -> None:
    noise = 0.3
    played = record("procgen/maze", range(8), episodes=4, noise=noise)
    assert all(episode.episode_return == 10 for episode in played)
    assert len({tuple(episode.actions) for episode in played}) > 20
    allowed = [math.log(noise / 4)] + [math.log(noise / 4 + (1 - noise) / best) for best in (1, 2, 3, 4)]
    logps = np.concatenate([episode.behavior_logp for episode in played])
    assert np.isclose(logps[:, None], allowed, atol=1e-5).any(axis=1).all()
    off_the_way = np.isclose(logps, allowed[0], atol=1e-5).mean()
    assert 0.75 * noise - 0.06 < off_the_way < 0.75 * noise + 0.06
    assert {episode.source for episode in played} == {"maze-search-e0.3"}


def test_relabeling_stores_the_experts_move_beside_the_same_frames() -> None:
    taken = {(e.level, e.episode): e for e in record("procgen/maze", range(6), episodes=2, noise=0.5)}
    num_changed = 0
    for episode in record("procgen/maze", range(6), episodes=2, noise=0.5, relabel=True):
        original = taken[episode.level, episode.episode]
        num_changed += int((episode.actions != original.actions).sum())
        assert np.array_equal(episode.observations["image"], original.observations["image"])  # type: ignore[arg-type]
        assert episode.source == "maze-search-e0.5-relabeled"
        assert not episode.behavior_logp.any()
        graph, right = explore(episode.level), False
        for t, action in enumerate(original.actions):
            node = graph.nodes[hash(episode.observations["image"][t].tobytes()), right]
            assert graph.best[node, MOVES.index(int(episode.actions[t]))]
            right = faces_right(int(action), right)
    assert num_changed > 20


def test_a_level_is_mapped_in_under_a_tenth_of_a_second_of_one_core() -> None:
    explore(0)
    started_s = time.process_time()
    for level in range(20, 40):
        explore(level)
    assert (time.process_time() - started_s) / 20 < 0.1


def test_other_games_are_refused() -> None:
    with pytest.raises(UsageError, match="procgen/coinrun"):
        build_source(SourceSpec(env="procgen/coinrun", name="maze-search"))
    with pytest.raises(UsageError, match="probability"):
        build_source(SourceSpec(env="procgen/maze", name="maze-search", options={"noise": 1.5}))
