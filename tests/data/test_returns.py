"""Returns to go, against one episode after the other."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from data.returns import returns_to_go


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.floats(-5, 5, width=32), min_size=1, max_size=7), min_size=1, max_size=6), st.floats(0, 1))
def test_returns_to_go_are_the_sums_of_what_follows(episodes: list[list[float]], discount: float) -> None:
    rewards = np.array([reward for episode in episodes for reward in episode], dtype=np.float32)
    starts = np.concatenate([[0], np.cumsum([len(episode) for episode in episodes])])
    expected = [
        sum(discount**k * reward for k, reward in enumerate(episode[t:]))
        for episode in episodes
        for t in range(len(episode))
    ]
    np.testing.assert_allclose(returns_to_go(rewards, starts, discount), expected, rtol=1e-4, atol=1e-4)
