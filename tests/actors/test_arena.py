"""Rows are used again only when nothing refers to them, and the deepest first."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.arena import Arena, ArenaPool
from envs.errors import RunError

Action = tuple[str, int]


def test_the_deepest_free_row_comes_first() -> None:
    arena = Arena(3, (10, 2), np.uint8)
    for length in (4, 9, 2):
        taken = arena.take()
        assert taken is not None
        arena.lend(taken[0], length)
        del taken
    order = []
    for _ in range(3):
        taken = arena.take()
        assert taken is not None
        order.append(taken[0])
        del taken
    assert order[0] == 0  # only one row was ever used: each take found it free again


def test_none_when_every_row_is_in_use_and_a_view_keeps_its_row() -> None:
    arena = Arena(2, (4, 3), np.float32)
    first, second = arena.take(), arena.take()
    assert first is not None
    assert second is not None
    assert arena.take() is None
    view = first[1][1:3]
    arena.lend(first[0], 3)
    del first
    assert arena.take() is None
    del view
    again = arena.take()
    assert again is not None


def test_a_rollout_that_was_given_up_returns_its_rows() -> None:
    pool = ArenaPool()
    arena = pool.arena(2, (4, 3), np.uint8)
    taken = [arena.take(), arena.take()]
    assert pool.arena(2, (4, 3), np.uint8) is arena
    del taken
    assert arena.reclaim() == len(arena.block)


def test_two_rollouts_at_once_get_rows_of_their_own() -> None:
    pool = ArenaPool()
    arena = pool.arena(8, (4, 2**27), np.uint8)  # rows so large that few are to spare
    held = [arena.take() for _ in range(8)]
    assert pool.arena(8, (4, 2**27), np.uint8) is not arena
    assert all(taken is not None for taken in held)


def test_a_refused_reservation_says_what_to_do() -> None:
    with pytest.raises(RunError, match="fewer slots"):
        Arena(2**20, (2**20, 2**22), np.uint8)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["take", "lend", "keep", "drop"]), st.integers(0, 9)), max_size=60))
def test_no_row_is_given_out_while_someone_reads_it(actions: list[Action]) -> None:
    arena = Arena(4, (10, 2), np.int64)
    holding: list[tuple[int, np.ndarray]] = []
    kept: list[tuple[np.ndarray, int]] = []
    stamp = 0
    for name, number in actions:
        if name == "take" and (taken := arena.take()) is not None:
            stamp += 1
            taken[1][:] = stamp
            holding.append(taken)
            del taken
        elif name in ("lend", "keep") and holding:
            index, row = holding.pop(number % len(holding))
            if name == "keep":
                kept.append((row[: number + 1], int(row[0, 0])))
            arena.lend(index, number + 1)
            del row
        elif name == "drop" and kept:
            kept.pop(number % len(kept))
        assert all((view == value).all() for view, value in kept)
        assert len({index for index, _ in holding}) == len(holding)
