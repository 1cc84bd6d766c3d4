"""Procgen through the wrapper equals single-level native engines, to the end and through time-outs."""

from __future__ import annotations

import platform
import sys

import numpy as np
import pytest

from envs.errors import UsageError
from envs.procgen import (
    ProcgenVectorEnv,
    engine_class,
    initial_state,
    make_spec,
    spec_name,
    whole_level,
    without_level_generator,
)
from envs.procgen_tables import GAMES, NUM_LEVELS
from envs.registry import make_vec
from tests.envs.procgen_native import Clock, NativeEpisode, native, play_native

pytestmark = [
    pytest.mark.procgen,
    pytest.mark.skipif(
        not (sys.platform == "linux" and platform.machine() == "x86_64"), reason="Procgen runs on Linux x86-64 only"
    ),
]

ALL_GAMES = pytest.mark.parametrize(("game", "mode"), [(game, mode) for game in GAMES for mode in ("easy", "hard")])
NO_OP = 4
TIME_OUTS = {
    "bigfish": (5, 8, 1),
    "bossfight": (NO_OP, 2, 2),
    "dodgeball": (NO_OP, 26, 2),
    **dict.fromkeys(("caveflyer", "climber", "coinrun", "heist", "jumper"), (NO_OP, 0, 0)),
    **dict.fromkeys(("leaper", "maze", "miner", "ninja"), (NO_OP, 0, 0)),
}
"""Game -> (action, easy level, hard level): repeating the action survives to the step limit. In chaser it takes a
search (below); fruitbot, plunder and starpilot end earlier by themselves, so their clock is set forward."""


def assert_same(env: ProcgenVectorEnv, levels: list[int], actions: np.ndarray, expected: list[NativeEpisode]) -> None:
    """Play `actions` [T, B] in all slots and compare every frame, reward and end with the native episodes."""
    observations, _ = env.reset(options={"levels": np.array(levels)})
    ended = np.zeros(len(levels), dtype=bool)
    for slot, episode in enumerate(expected):
        assert (observations["image"][slot] == episode.frames[0]).all()
    for t in range(max(len(episode.rewards) for episode in expected)):
        observations, rewards, terminated, truncated, _ = env.step(actions[t])
        for slot, episode in enumerate(expected):
            last = len(episode.rewards) - 1
            assert (observations["image"][slot] == episode.frames[min(t + 1, len(episode.frames) - 1)]).all()
            assert rewards[slot] == (episode.rewards[t] if t <= last else 0.0)
            assert (terminated | truncated)[slot] == (episode.ended and t == last)
            limit_reached = t + 1 == env.task.max_episode_steps and not episode.complete
            assert truncated[slot] == (episode.ended and t == last and limit_reached)
        ended |= terminated | truncated
    assert ended.tolist() == [episode.ended for episode in expected]


@ALL_GAMES
def test_chosen_levels_play_like_native_single_level_engines(game: str, mode: str) -> None:
    levels = [3, 250, 1_000_017]
    limit = GAMES[game].max_episode_steps
    actions = np.random.default_rng(0).integers(0, 15, (limit, len(levels))).astype(np.int32)
    expected = [play_native(native(game, mode, level), actions[:, slot]) for slot, level in enumerate(levels)]
    env = ProcgenVectorEnv(game, mode, len(levels))
    # The engine's own levels were running for a while: nothing of them may remain.
    env.reset(seed=1)
    for t in range(20):
        env.step(actions[t])
    assert_same(env, levels, actions, expected)
    env.close()


@pytest.mark.parametrize("mode", ["easy", "hard"])
@pytest.mark.parametrize("game", sorted(TIME_OUTS))
def test_time_outs_are_truncations(game: str, mode: str) -> None:
    action, *levels = TIME_OUTS[game]
    level, limit = levels[mode == "hard"], GAMES[game].max_episode_steps
    actions = np.full((limit + 5, 1), action, dtype=np.int32)
    expected = play_native(native(game, mode, level), actions[:, 0])
    assert (expected.ended, expected.complete, len(expected.rewards)) == (True, False, limit)
    assert_same(make_vec(spec_name(game, mode), 1), [level], actions, [expected])


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["easy", "hard"])
def test_chaser_survived_to_its_time_out_is_a_truncation(mode: str) -> None:
    actions = survive(ProcgenVectorEnv("chaser", mode, 16), level=0)
    expected = play_native(native("chaser", mode, 0), actions)
    assert (expected.ended, len(expected.rewards)) == (True, 1000)
    assert_same(ProcgenVectorEnv("chaser", mode, 1), [0], actions[:, None], [expected])


@ALL_GAMES
def test_step_limits_are_the_engines_own(game: str, mode: str) -> None:
    engine = native(game, mode, 0)
    engine.observe()
    state = engine.get_state()[0]
    clock, limit = Clock.of(state), GAMES[game].max_episode_steps
    assert (clock.limit(state), clock.time(state)) == (limit, 0)

    # Three steps before the limit: both must end after three, ours as a truncation.
    late = clock.advanced(state, limit - 3)
    engine.call_c_func("set_state", 0, late, len(late))
    expected = play_native(engine, np.full(10, NO_OP, dtype=np.int32))
    assert (len(expected.rewards), expected.ended) == (3, True)
    env = ProcgenVectorEnv(game, mode, 2)
    env.load_state(1, np.array([0, limit - 3], dtype="<i4").tobytes() + late)
    for t in range(3):
        observations, rewards, terminated, truncated, infos = env.step(np.full(2, NO_OP, dtype=np.int32))
        assert (observations["image"][1] == expected.frames[min(t + 1, 2)]).all()
        assert (rewards[1], terminated[1], truncated[1]) == (expected.rewards[t], False, t == 2)
    assert not infos["active"].any()


def test_completing_a_level_in_the_last_step_is_no_truncation() -> None:
    level, path = shortest_maze_path()
    limit = GAMES["maze"].max_episode_steps
    env = make_vec("procgen/maze", 1)
    env.reset(options={"levels": np.array([level])})
    for action in [NO_OP] * (limit - len(path)) + path:
        _, rewards, terminated, truncated, infos = env.step(np.array([action]))
    assert (rewards[0], terminated[0], truncated[0]) == (10.0, True, False)
    assert not infos["final_observation_known"][0]


def test_a_saved_state_continues_in_another_slot_and_environment() -> None:
    rng = np.random.default_rng(3)
    actions = rng.integers(0, 15, (30, 2)).astype(np.int32)
    env, other = make_vec("procgen/coinrun", 2), make_vec("procgen/coinrun", 2)
    assert isinstance(env, ProcgenVectorEnv)
    assert isinstance(other, ProcgenVectorEnv)
    env.reset(options={"levels": np.array([5, 6])})
    for t in range(10):
        env.step(actions[t])
    state = env.save_state(0)
    expected = [env.step(actions[t]) for t in range(10, 30)]
    other.load_state(1, state)
    for t in range(10, 30):
        observations, rewards, *_ = other.step(actions[t, ::-1])
        assert (observations["image"][1] == expected[t - 10][0]["image"][0]).all()
        assert rewards[1] == expected[t - 10][1][0]


def test_loading_shows_the_saved_frame_and_leaves_earlier_arrays_alone() -> None:
    env = ProcgenVectorEnv("maze", "easy", 2)
    first, _ = env.reset(options={"levels": np.array([5, 6])})
    copy, state = first["image"].copy(), env.save_state(1)
    env.load_state(0, state)
    mask = np.array([False, True])
    observations, infos = env.reset(options={"levels": np.array([0, 8]), "reset_mask": mask})
    assert infos["levels"].tolist() == [6, 8]
    assert (observations["image"][0] == copy[1]).all()
    assert (first["image"] == copy).all()


def test_an_ended_slot_cannot_be_saved() -> None:
    env = ProcgenVectorEnv("maze", "easy", 2)
    with pytest.raises(UsageError, match="only running slots"):
        env.save_state(0)


def test_states_of_other_games_and_modes_are_refused() -> None:
    env, saved = ProcgenVectorEnv("maze", "easy", 1), b""
    for game, mode in (("maze", "hard"), ("heist", "easy")):
        other = ProcgenVectorEnv(game, mode, 1)
        other.reset(seed=0)
        saved = other.save_state(0)
        with pytest.raises(UsageError, match="no state of 'procgen/maze'"):
            env.load_state(0, saved)
        other.load_state(0, saved)


def test_the_cache_of_initial_states_is_bounded_and_changes_nothing() -> None:
    small, large = ProcgenVectorEnv("maze", "easy", 3, cache_bytes=1), ProcgenVectorEnv("maze", "easy", 3)
    for levels in ([1, 2, 3], [3, 2, 1], [1, 1, 1]):
        frames = [env.reset(options={"levels": np.array(levels)})[0]["image"] for env in (small, large)]
        assert (frames[0] == frames[1]).all()
    assert (len(small._initial_states), len(large._initial_states)) == (1, 3)


def test_the_last_level_exists() -> None:
    env = make_vec("procgen/leaper", 1)
    env.reset(options={"levels": np.array([NUM_LEVELS - 1])})
    info = env._engine.get_info()[0]  # type: ignore[attr-defined]
    assert info["level_seed"] == NUM_LEVELS - 1


def test_engine_threads_change_nothing() -> None:
    actions = np.random.default_rng(0).integers(0, 15, (30, 4)).astype(np.int32)
    envs = [make_vec("procgen/starpilot", 4, num_threads=threads) for threads in (0, 2)]
    for env in envs:
        env.reset(options={"levels": np.arange(4)})
    for row in actions:
        frames = [env.step(row)[0]["image"] for env in envs]
        assert (frames[0] == frames[1]).all()


def test_elsewhere_a_name_says_why_it_does_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "arm64")
    assert make_spec("maze", "easy").name == "procgen/maze"
    with pytest.raises(UsageError, match=r"Linux x86-64 only; this machine is linux arm64.*grid/default"):
        engine_class()


def test_a_missing_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "procgen", None)
    with pytest.raises(UsageError, match="pip install procgen-mirror"):
        engine_class()


@ALL_GAMES
def test_states_are_kept_without_the_generator_of_levels(game: str, mode: str) -> None:
    engine = native(game, mode, 5)
    engine.observe()
    assert 6000 < len(engine.get_state()[0]) - len(initial_state(game, mode, 5)) < 7000


def test_a_state_of_unknown_layout_is_kept_whole() -> None:
    for state in (b"", bytes(50), bytes(range(256)) * 100):
        assert without_level_generator(state) == state


@ALL_GAMES
def test_whole_levels_look_the_same_whoever_makes_them(game: str, mode: str) -> None:
    env = ProcgenVectorEnv(game, mode, 1)
    levels = np.array([5, 2**31 - 2, 77, 5])
    looks = env.first_looks(levels)
    env.close()
    assert looks == [whole_level(game, mode, int(level)).tobytes() for level in levels]


def test_initial_states_do_not_depend_on_when_they_are_made() -> None:
    first = initial_state("jumper", "hard", 77)
    initial_state("jumper", "hard", 78)
    assert initial_state("jumper", "hard", 77) == first


def survive(env: ProcgenVectorEnv, level: int, hold: int = 10) -> np.ndarray:
    """Actions that reach the step limit: random ones, the dead replaced by copies of survivors every `hold` steps."""
    rng, limit = np.random.default_rng(0), env.task.max_episode_steps
    env.reset(options={"levels": np.full(env.num_envs, level)})
    empty = np.empty(0, dtype=np.int32)
    stages = [[(env.save_state(slot), empty) for slot in range(env.num_envs)]]
    while True:
        for slot, (state, _) in enumerate(stages[-1]):
            env.load_state(slot, state)
        actions = rng.integers(0, 15, (min(hold, limit - len(stages[-1][0][1])), env.num_envs)).astype(np.int32)
        dead = np.zeros(env.num_envs, dtype=bool)
        for row in actions:
            _, _, terminated, truncated, _ = env.step(row)
            dead |= terminated
        played = [np.concatenate([stages[-1][slot][1], actions[:, slot]]) for slot in range(env.num_envs)]
        if truncated.any():
            return played[int(np.flatnonzero(truncated)[0])]
        alive = [(env.save_state(slot), played[slot]) for slot in np.flatnonzero(~dead)]
        if alive:
            stages.append([alive[slot % len(alive)] for slot in range(env.num_envs)])
        else:
            del stages[max(1, len(stages) - int(rng.integers(1, 5))) :]


def shortest_maze_path() -> tuple[int, list[int]]:
    """A level and a shortest way to its goal, by breadth-first search over saved states."""
    env = ProcgenVectorEnv("maze", "easy", 4)
    level, moves = 0, np.array([1, 3, 5, 7], dtype=np.int32)
    observations, _ = env.reset(options={"levels": np.full(4, level)})
    queue: list[tuple[bytes, list[int]]] = [(env.save_state(0), [])]
    seen = {observations["image"][0].tobytes()}
    for state, path in queue:
        for slot in range(4):
            env.load_state(slot, state)
        observations, rewards, terminated, _, _ = env.step(moves)
        for slot, move in enumerate(moves.tolist()):
            if rewards[slot] > 0:
                return level, [*path, move]
            if not terminated[slot] and (frame := observations["image"][slot].tobytes()) not in seen:
                seen.add(frame)
                queue.append((env.save_state(slot), [*path, move]))
    raise AssertionError("the maze has no solution")
