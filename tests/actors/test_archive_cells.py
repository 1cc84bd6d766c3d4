"""The archive keeps the best moment of each cell and draws by score and novelty."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.archive_cells import Archive
from actors.archive_lanes import Node


def moment(score: float, time: int) -> Node:
    nothing = np.zeros(0, dtype=np.int32)
    return Node(b"state", None, nothing, nothing.astype(np.float32), time, score, score)


OFFERS = st.lists(st.tuples(st.integers(0, 400), st.integers(0, 3), st.integers(0, 9)), min_size=1, max_size=600)


@given(OFFERS)
def test_each_cell_keeps_its_highest_then_earliest_moment(offers: list[tuple[int, int, int]]) -> None:
    archive = Archive(np.random.default_rng(0))
    nodes = [(cell, moment(score, time)) for cell, score, time in offers]
    for cell, node in nodes:
        archive.add(node, (cell,))
    cells = {cell for cell, _ in nodes}
    expected = {}
    for cell in cells:
        inside = [node for other, node in nodes if other == cell]
        expected[cell] = max(inside, key=lambda node: (node.score, -node.time))  # the first of several
    assert len(archive) == len(cells)
    assert {id(node) for node in archive._nodes} == {id(node) for node in expected.values()}
    assert all((node.state is not None) == (node is expected[cell]) for cell, node in nodes)
    assert archive.best.score == max(node.score for _, node in nodes)


def test_choices_follow_score_and_novelty() -> None:
    archive = Archive(np.random.default_rng(1))
    scores = [5.0, 5.0, 1.0, 1.0, 1.0, 0.0]
    nodes = [moment(score, 0) for score in scores]
    for cell, node in enumerate(nodes):
        archive.add(node, (cell,))
    archive._visits[:6] = [0, 3, 0, 0, 0, 8]
    counts = Counter(id(node) for node in archive.choose(200_000))
    # By hand: scores 5, 1 and 0 weigh 1, 0.6 and 0.36; within one score a cell weighs 1 / sqrt(1 + visits).
    total = 1 + 0.6 + 0.36
    expected = [1 / total * 2 / 3, 1 / total / 3, *[0.2 / total] * 3, 0.36 / total]
    for node, share in zip(nodes, expected, strict=True):
        assert counts[id(node)] / 200_000 == pytest.approx(share, abs=0.005)


def test_a_chosen_cell_is_less_new() -> None:
    archive = Archive(np.random.default_rng(2))
    for cell in range(2):
        archive.add(moment(0, 0), (cell,))
    archive.choose(1000)
    assert archive._visits[:2].sum() == 1000
    assert abs(archive._visits[0] - 500) < 60
