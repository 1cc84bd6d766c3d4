from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.sampler import BatchSampler, SequenceSampler, shuffled
from data.schedule import ConstantSchedule
from envs.errors import UsageError

FEW = settings(max_examples=50, deadline=None)


def stream(sampler: BatchSampler, steps: int) -> np.ndarray:
    return np.concatenate([sampler.indices(step) for step in range(steps)])


@FEW
@given(num_items=st.integers(1, 700), batch_size=st.integers(1, 64), seed=st.integers(0, 9))
def test_every_transition_is_drawn_once_per_epoch(num_items: int, batch_size: int, seed: int) -> None:
    drawn = stream(BatchSampler(num_items, batch_size, seed), -(-3 * num_items // batch_size))
    for epoch in range(3):
        np.testing.assert_array_equal(np.sort(drawn[epoch * num_items :][:num_items]), np.arange(num_items))


@FEW
@given(
    step=st.integers(0, 10**7),
    world_size=st.integers(1, 6),
    part=st.integers(1, 20),
    weights=st.sampled_from([None, (1.0, 0.0, 0.0), (0.2, 0.3, 0.5)]),
)
def test_the_parts_of_all_ranks_are_the_global_batch(
    step: int, world_size: int, part: int, weights: tuple[float, ...] | None
) -> None:
    schedule = None if weights is None else ConstantSchedule(weights)
    sampler = BatchSampler([10, 200, 3], world_size * part, 5, schedule)
    parts = [sampler.indices(step, rank, world_size) for rank in range(world_size)]
    assert {len(indices) for indices in parts} == {part}
    np.testing.assert_array_equal(np.concatenate(parts), sampler.indices(step))


@pytest.mark.parametrize("schedule", [None, ConstantSchedule((0.25, 0.75))])
def test_a_new_sampler_goes_on_with_exactly_the_next_batch(schedule: ConstantSchedule | None) -> None:
    whole = [BatchSampler([300, 100], 32, 7, schedule).indices(step) for step in range(40)]
    resumed = BatchSampler([300, 100], 32, 7, schedule)
    for step in range(25, 40):
        np.testing.assert_array_equal(resumed.indices(step), whole[step])


def test_orders_differ_between_epochs_and_seeds() -> None:
    orders = [shuffled(np.arange(100) + 100 * epoch, 100, seed) for epoch in range(5) for seed in range(5)]
    assert len({order.tobytes() for order in orders}) == 25


@pytest.mark.parametrize("num_items", [7, 100, 1000, 1025])
def test_each_place_of_the_order_is_uniform(num_items: int) -> None:
    """Chi-square of where items land over many epochs, far from the tails."""
    epochs = 40 * num_items if num_items < 50 else 4000
    firsts = [shuffled(np.array([epoch * num_items + 3]), num_items, 1)[0] for epoch in range(epochs)]
    bins = np.bincount(np.array(firsts) * 7 // num_items, minlength=7)
    expected = np.bincount(np.arange(num_items) * 7 // num_items, minlength=7) * epochs / num_items
    assert ((bins - expected) ** 2 / expected).sum() < 25  # P = 0.0003 with 6 degrees of freedom


def test_neighbors_in_the_data_are_no_neighbors_in_the_order() -> None:
    order = shuffled(np.arange(100_000), 100_000, 3)
    assert abs(np.corrcoef(order[:-1], order[1:])[0, 1]) < 0.02
    assert abs(np.corrcoef(order, np.arange(100_000))[0, 1]) < 0.02


def test_an_order_of_a_billion_items_costs_a_batch() -> None:
    drawn = BatchSampler(2**30 + 12345, 256, 0).indices(10**8)
    assert len(set(drawn.tolist())) == 256
    assert drawn.max() < 2**30 + 12345


@dataclass(frozen=True)
class Switch:
    """All weight on the first group before step 10, on the second from then on."""

    def weights(self, step: int) -> np.ndarray:
        return np.array([1.0, 0.0]) if step < 10 else np.array([0.0, 1.0])


def test_a_schedule_decides_how_often_groups_are_drawn() -> None:
    drawn = stream(BatchSampler([10, 90], 100, 0, ConstantSchedule((0.5, 0.5))), 200)
    assert abs((drawn < 10).mean() - 0.5) < 0.02
    counts = np.bincount(drawn, minlength=100)
    assert counts[:10].std() < 0.1 * counts[:10].mean()
    switch = BatchSampler([10, 90], 100, 0, Switch())
    assert switch.indices(9).max() < 10 <= switch.indices(10).min()


def test_epochs_are_counted() -> None:
    assert BatchSampler(1000, 100, 0).epoch(25) == 2.5


@FEW
@given(
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=8),
    length=st.integers(1, 6),
    step=st.integers(0, 20),
    clamped=st.booleans(),
)
def test_windows_stay_in_their_episode(lengths: list[int], length: int, step: int, clamped: bool) -> None:
    starts = np.concatenate([[0], np.cumsum(lengths)])
    episode_of = np.repeat(np.arange(len(lengths)), lengths)
    sampler = SequenceSampler(BatchSampler(int(starts[-1]), 6, 0), starts, length, clamped=clamped)
    indices, mask = sampler.windows(step)
    parts = [sampler.windows(step, rank, 3)[0] for rank in range(3)]
    np.testing.assert_array_equal(np.concatenate(parts), indices)
    assert indices.shape == mask.shape == (6, length)
    for row, valid in zip(indices, mask, strict=True):
        episode = episode_of[row[0]]
        assert (episode_of[row] == episode).all()
        expected = [row[0] + k < starts[episode + 1] for k in range(length)]
        np.testing.assert_array_equal(valid, expected)
        np.testing.assert_array_equal(row[valid], row[0] + np.arange(valid.sum()))
        if clamped:
            assert valid.sum() == min(length, lengths[episode]), "only short episodes are padded"
        assert (row[~valid] == starts[episode + 1] - 1).all()


@pytest.mark.parametrize(
    ("sizes", "batch_size", "schedule"),
    [(0, 4, None), ([], 4, None), ([3, 0], 4, None), (5, 0, None), ([3, 3], 4, ConstantSchedule((1.0,)))],
)
def test_bad_sizes_are_refused(sizes: list[int] | int, batch_size: int, schedule: ConstantSchedule | None) -> None:
    with pytest.raises(UsageError):
        BatchSampler(sizes, batch_size, 0, schedule)


def test_a_batch_that_does_not_split_is_refused() -> None:
    with pytest.raises(UsageError, match="multiple of the number of workers"):
        BatchSampler(100, 10, 0).indices(0, 0, 3)
    with pytest.raises(UsageError, match="at least 1"):
        SequenceSampler(BatchSampler(5, 4, 0), np.array([0, 5]), 0)
