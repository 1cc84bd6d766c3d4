"""Which transitions make the batch of a learner step: a pure function of (seed, step), so resuming needs no state."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from envs.errors import UsageError
from envs.seeding import derive_seed, rng_for

Indices = npt.NDArray[np.int64]

_ROUNDS = 8
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # SplitMix64's increment
_BLOCK_STEPS = 64


class SamplingSchedule(Protocol):
    """How a view is drawn: one weight per group of transitions, possibly changing with the learner step."""

    def weights(self, step: int) -> npt.NDArray[np.float64]:
        """Non-negative weights [S] that sum to one."""
        ...


class BatchSampler:
    """Batches of transition indices.

    Without a schedule every transition is drawn once per epoch, in a new order each epoch; batches run on across the
    end of an epoch. With a schedule each draw picks a group by weight, then a transition of it uniformly (with
    replacement).
    """

    def __init__(
        self,
        group_sizes: int | Sequence[int],
        batch_size: int,
        seed: int,
        schedule: SamplingSchedule | None = None,
    ) -> None:
        """Describe what is drawn.

        Args:
            group_sizes: Transitions per group, groups lying one after the other; one number is one group.
            batch_size: Transitions per learner step over all ranks.
            seed: The experiment seed.
            schedule: Weight of each group; None draws every transition equally often.

        Raises:
            UsageError: If a size is below one or the schedule has another number of groups.
        """
        sizes = [group_sizes] if isinstance(group_sizes, int | np.integer) else list(group_sizes)
        if batch_size < 1 or not sizes or min(sizes) < 1:
            raise UsageError(
                f"Sampling batches of {batch_size} from groups of {sizes}; every number must be at least 1."
            )
        if schedule is not None and len(schedule.weights(0)) != len(sizes):
            raise UsageError(
                f"The schedule has {len(schedule.weights(0))} weights for {len(sizes)} groups; give one each."
            )
        self.batch_size = batch_size
        self.seed = seed
        self.schedule = schedule
        self._starts: Indices = np.concatenate([[0], np.cumsum(sizes)])  # [S + 1]
        self._block: tuple[tuple[int, int, int], Indices] | None = None

    def with_seed(self, seed: int) -> BatchSampler:
        """The same transitions in the order of another experiment seed."""
        return BatchSampler(np.diff(self._starts).tolist(), self.batch_size, seed, self.schedule)

    @property
    def num_items(self) -> int:
        """Transitions that can be drawn."""
        return int(self._starts[-1])

    def epoch(self, step: int) -> float:
        """How many times the data has been drawn before `step`."""
        return step * self.batch_size / self.num_items

    def indices(self, step: int, rank: int = 0, world_size: int = 1) -> Indices:
        """The rank's part of the batch of a learner step, [batch_size / world_size].

        The parts of all ranks, one after the other, are the batch of a single rank.

        Raises:
            UsageError: If the batch cannot be split evenly.
        """
        chosen = rank_slice(self.batch_size, rank, world_size)
        if self.schedule is None:
            return self._natural(step, chosen)
        drawn = self._weighted(step, self.schedule.weights(step))
        return drawn[chosen]

    def _natural(self, step: int, chosen: slice) -> Indices:
        """Computed for a block of steps at once, which costs little more than for one; the block is kept."""
        block, row = divmod(step, _BLOCK_STEPS)
        key = (block, chosen.start, chosen.stop)
        if self._block is None or self._block[0] != key:
            steps = block * _BLOCK_STEPS + np.arange(_BLOCK_STEPS)
            positions = steps[:, None] * self.batch_size + np.arange(chosen.start, chosen.stop)
            items = shuffled(positions.ravel(), self.num_items, self.seed).reshape(positions.shape)
            self._block = (key, items)
        indices: Indices = self._block[1][row].copy()
        return indices

    def _weighted(self, step: int, weights: npt.NDArray[np.float64]) -> Indices:
        uniform = rng_for(self.seed, "batch", step).random((2, self.batch_size))
        ends = np.cumsum(weights)
        group: Indices = np.searchsorted(ends, uniform[0] * ends[-1], side="right")  # [B]
        sizes = np.diff(self._starts)[group]
        within = np.minimum((uniform[1] * sizes).astype(np.int64), sizes - 1)
        drawn: Indices = self._starts[group] + within
        return drawn


class SequenceSampler:
    """Windows of up to `length` consecutive transitions of one episode, for sequence models.

    Every transition that the batch sampler draws starts a window; a window that meets the end of its episode is padded
    on the right. Clamped, it is moved back instead as far as its episode allows, so that only episodes shorter than a
    window are padded.
    """

    def __init__(self, batches: BatchSampler, episode_starts: Indices, length: int, *, clamped: bool = False) -> None:
        """Describe what is drawn.

        Args:
            batches: Draws the first transitions of a learner step's windows.
            episode_starts: [E + 1] as `Dataset.episode_starts`.
            length: K, transitions per window.
            clamped: Whether windows are moved back from the ends of their episodes.
        """
        if length < 1:
            raise UsageError(f"A window of {length} transitions was asked; it needs at least 1.")
        self.length = length
        self._starts = np.asarray(episode_starts, dtype=np.int64)
        self._batches = batches
        self._clamped = clamped

    def windows(self, step: int, rank: int = 0, world_size: int = 1) -> tuple[Indices, npt.NDArray[np.bool_]]:
        """Transition indices [B, K] and the mask [B, K] of those that count; padding repeats the last valid index."""
        first = self._batches.indices(step, rank, world_size)
        episode = np.searchsorted(self._starts, first, side="right") - 1
        ends = self._starts[episode + 1]  # [B]
        if self._clamped:
            first = np.maximum(np.minimum(first, ends - self.length), self._starts[episode])
        wanted = first[:, None] + np.arange(self.length)
        return np.minimum(wanted, ends[:, None] - 1), wanted < ends[:, None]


def rank_slice(batch_size: int, rank: int, world_size: int) -> slice:
    """The rows of a global batch that belong to a rank.

    Raises:
        UsageError: If the batch cannot be split evenly or the rank does not exist.
    """
    if world_size < 1 or batch_size % world_size or not 0 <= rank < world_size:
        raise UsageError(
            f"A batch of {batch_size} cannot be split for rank {rank} of {world_size}; choose a batch size that is a "
            "multiple of the number of workers."
        )
    part = batch_size // world_size
    return slice(rank * part, (rank + 1) * part)


def shuffled(positions: Indices, num_items: int, seed: int) -> Indices:
    """The items at `positions` of an endless sequence of seeded permutations of 0 .. num_items - 1.

    Each epoch is a generalized Feistel cipher on a grid of rows x columns that barely exceeds the range, walked along
    its cycle until it falls into the range (Black & Rogaway 2002, "Ciphers with Arbitrary Finite Domains"). It takes
    O(positions) time and no memory, where a stored permutation of 25M transitions takes 200 MB and seconds per epoch.

    Args:
        positions: [n] positions from 0, in any order.
        num_items: N, the length of one epoch.
        seed: The experiment seed.
    """
    epochs, within = np.divmod(positions, num_items)
    items = np.empty_like(within)
    for epoch in np.unique(epochs).tolist():
        chosen = epochs == epoch
        items[chosen] = _permute(within[chosen], num_items, derive_seed(seed, "epoch", epoch))
    return items


def _permute(items: Indices, num_items: int, key: int) -> Indices:
    round_keys = mix_bits(np.uint64(key) + np.arange(1, _ROUNDS + 1, dtype=np.uint64) * _GOLDEN)
    values = items.astype(np.uint64)
    outside = np.arange(len(items))
    while len(outside):
        values[outside] = _feistel(values[outside], num_items, round_keys)
        outside = outside[values[outside] >= num_items]
    return values.astype(np.int64)


def _feistel(
    values: npt.NDArray[np.uint64], num_items: int, round_keys: npt.NDArray[np.uint64]
) -> npt.NDArray[np.uint64]:
    """A bijection of 0 .. rows * columns - 1, the smallest near-square grid with `num_items` cells."""
    num_columns = np.uint64(math.isqrt(num_items - 1) + 1)
    num_rows = np.uint64(-(-num_items // int(num_columns)))
    row, column = np.divmod(values, num_columns)
    for row_key, column_key in round_keys.reshape(-1, 2):
        row = (row + mix_bits(column + row_key)) % num_rows
        column = (column + mix_bits(row + column_key)) % num_columns
    cell: npt.NDArray[np.uint64] = row * num_columns + column
    return cell


def mix_bits(values: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """The finalizer of SplitMix64 (Steele, Lea & Flood 2014): every input bit moves every output bit."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
