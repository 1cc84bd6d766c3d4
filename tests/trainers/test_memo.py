from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainers.memo import AnswerMemo

Rows = np.ndarray[Any, np.dtype[np.intp]]


class Network:
    """Answers with a function of a row's content, and counts."""

    def __init__(self, columns: dict[str, Any]) -> None:
        self.columns = columns
        self.computed: list[int] = []

    def __call__(self, rows: Rows) -> Any:
        self.computed += rows.tolist()
        return answers(self.columns, rows)


def answers(columns: dict[str, Any], rows: Any) -> Any:
    """[n, 2]: what the rows are, without a memo."""
    others = columns.get("b", np.ones(len(columns["a"])))
    return np.array([[columns["a"][row].sum(), others[row]] for row in rows], dtype=np.float32)


@given(
    st.lists(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 1)), min_size=1, max_size=8), max_size=12),
    st.integers(8, 20),
    st.booleans(),
)
def test_rows_get_their_own_answer_and_none_is_computed_twice_while_there_is_room(
    batches: list[list[tuple[int, int]]], capacity: int, two_columns: bool
) -> None:
    memo, known = AnswerMemo(capacity), set[tuple[int, int]]()
    for batch in batches:
        columns: dict[str, Any] = {"a": np.array([[first, 2 * first + 1] for first, _ in batch], dtype=np.uint8)}
        if two_columns:
            columns["b"] = np.array([second for _, second in batch], dtype=np.float32)
        rows = np.arange(len(batch))[::-1].copy()
        network = Network(columns)
        np.testing.assert_array_equal(memo.answers(columns, rows, network), answers(columns, rows))
        if len(known) + len(batch) > capacity:
            known.clear()
        contents = [(first, second if two_columns else 0) for first, second in batch]
        new = {content for content in contents if content not in known}
        assert {contents[row] for row in network.computed} == new
        assert len(network.computed) == len(new)
        known |= new
        assert len(memo._places) <= capacity


def test_a_failure_leaves_no_row_without_an_answer() -> None:
    memo = AnswerMemo()
    columns = {"a": np.arange(6, dtype=np.uint8).reshape(3, 2)}

    def fails(rows: Rows) -> Any:
        raise KeyboardInterrupt

    memo.answers(columns, np.array([0]), Network(columns))
    with pytest.raises(KeyboardInterrupt):
        memo.answers(columns, np.array([0, 1]), fails)
    rows = np.array([0, 1, 2])
    np.testing.assert_array_equal(memo.answers(columns, rows, Network(columns)), answers(columns, rows))


def test_rows_that_are_not_contiguous_are_told_apart_by_their_content() -> None:
    memo = AnswerMemo()
    whole = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    columns = {"a": whole.transpose(0, 2, 1)}
    memo.answers(columns, np.array([0, 1]), Network(columns))
    again = Network({"a": np.ascontiguousarray(columns["a"])})
    memo.answers(again.columns, np.array([1, 0]), again)
    assert again.computed == []


def test_it_travels_empty() -> None:
    memo = AnswerMemo(99)
    columns = {"a": np.zeros((1, 2), dtype=np.uint8)}
    memo.answers(columns, np.array([0]), Network(columns))
    other = pickle.loads(pickle.dumps(memo))
    assert (other._capacity, len(other._places), other.asked) == (99, 0, 0)
