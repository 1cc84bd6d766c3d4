"""What is read in saved states is true, and what is taken out of them changes nothing."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from envs.procgen import MODES, initial_state, native_engine
from envs.procgen_state import HEALTH, TYPE, VX, PlannerState, drawn_plainly
from envs.procgen_tables import GAMES

pytestmark = pytest.mark.procgen


def restored(game: str, mode: str, state: bytes) -> Any:
    engine = native_engine(game, mode, 1, rand_seed=7)
    engine.call_c_func("set_state", 0, state, len(state))
    return engine


def walk(engine: Any, actions: Any) -> list[tuple[float, bool, bytes]]:
    """(reward, ended, frame) of each step, up to the first end; the frame after an end is another level's."""
    seen = []
    for action in actions:
        engine.act(np.array([action], dtype=np.int32))
        rewards, observations, first = engine.observe()
        ended = bool(first[0])
        seen.append((float(rewards[0]), ended, b"" if ended else observations["rgb"][0].tobytes()))
        if ended:
            break
    engine.close()
    return seen


@pytest.mark.parametrize(("game", "mode"), [*itertools.product(GAMES, MODES)])
def test_plain_drawing_and_packing_change_no_reward_and_no_end(game: str, mode: str) -> None:
    rng = np.random.default_rng(0)
    for level in (3, 40):
        engine = restored(game, mode, initial_state(game, mode, level))
        for action in rng.integers(15, size=9):
            engine.act(np.array([action], dtype=np.int32))
        state = engine.get_state()[0]
        engine.close()
        actions = rng.integers(15, size=120)
        expected = walk(restored(game, mode, state), actions)
        packed = PlannerState(state).packed()
        assert len(packed) < len(state) - 10_000
        assert walk(restored(game, mode, packed), actions) == expected
        plain = walk(restored(game, mode, drawn_plainly(packed)), actions)
        assert [step[:2] for step in plain] == [step[:2] for step in expected]
        assert plain[0][2] != expected[0][2] or expected[0][1]


def test_packing_twice_is_packing_once() -> None:
    state = initial_state("ninja", "easy", 1)
    packed = PlannerState(state).packed()
    assert PlannerState(packed).packed() == packed
    assert PlannerState(packed).entities.tobytes() == PlannerState(state).entities.tobytes()


def test_the_agent_is_where_its_moves_took_it() -> None:
    engine = restored("coinrun", "easy", initial_state("coinrun", "easy", 0))
    places = []
    for _ in range(12):
        places.append(PlannerState(engine.get_state()[0]).agent[[0, VX]])
        engine.act(np.array([7], dtype=np.int32))
    (x, vx) = np.array(places).T
    assert vx[0] == 0 < vx.max()
    assert (np.diff(x) >= 0).all()
    assert x[-1] > x[0] + 1
    engine.close()


def test_entities_are_told_apart_by_type_and_health() -> None:
    engine = restored("bossfight", "easy", initial_state("bossfight", "easy", 0))
    state = PlannerState(engine.get_state()[0])
    assert len(state.entities) == state.num_entities
    types = state.entities.view(np.int32)[:, TYPE]
    assert types[0] == 0
    assert (types == 2).sum() == 1, "one boss"
    assert state.entities[types == 2, HEALTH] >= 1
    engine.close()


def test_the_last_words_are_the_games_own() -> None:
    engine = restored("plunder", "easy", initial_state("plunder", "easy", 0))
    assert PlannerState(engine.get_state()[0]).tail(5)[0] == 1
    for _ in range(10):
        engine.act(np.array([4], dtype=np.int32))
    assert PlannerState(engine.get_state()[0]).tail(5)[0] == pytest.approx(1 - 10 * 0.0015)
    engine.close()
