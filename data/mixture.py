"""A mixture says which recorded transitions are learned from, and how often each origin is drawn.

Weight, diversity and budget are separate: `weights` is how often a source is drawn, `levels` and `num_levels` are how
diverse the data is, `max_transitions` is how much distinct data there is. An origin is a dataset or, with `strata`, all
recorded levels with one value of a tag. What came of it is recorded.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from data.dataset import Dataset
from data.diversity import describe, effective_number
from data.sampler import BatchSampler, SamplingSchedule, mix_bits
from data.selection import rank_within
from data.strata import apportion, group_by_tag
from envs.errors import UsageError, unknown_name
from envs.seeding import derive_seed
from envs.spec import LevelSet

EpisodeOrder = Literal["random", "stratified", "best_first"]
EPISODE_ORDERS: tuple[EpisodeOrder, ...] = ("random", "stratified", "best_first")


@dataclass(frozen=True)
class ConstantSchedule:
    """The same weights at every learner step."""

    values: tuple[float, ...]  # [S]

    def weights(self, step: int) -> npt.NDArray[np.float64]:
        """The weights [S]."""
        return np.array(self.values)


@dataclass(frozen=True, kw_only=True)
class Mixture:
    """A choice of data from named datasets of one environment.

    Raises:
        UsageError: If the weights do not sum to one or a number is out of range.
    """

    weights: Mapping[str, float] = field(default_factory=dict)
    """Source -> share of the draws, summing to one; a source without a weight is not used. Empty: every transition is
    drawn equally often."""
    strata: str | None = None
    """Tag of the levels, for example "department" in the shop. Then the sources are its values (as texts), whatever
    the datasets, and the weights also divide `num_levels`."""
    levels: LevelSet | None = None
    """Levels that may be used; None allows all."""
    num_levels: int | None = None
    """How many of the allowed recorded levels are used, the lowest first (of each stratum that has a weight, by
    `data.strata.apportion`); None uses all."""
    max_transitions: int | None = None
    """Distinct transitions over all sources, exactly; None uses all."""
    repetition_cap: float | None = None
    """At most so many draws per transition of a source for each draw of an average one; heavier weights are lowered to
    it and the others raised in proportion."""
    episode_order: EpisodeOrder = "stratified"
    """Which episodes fill the budget. "random": any; "stratified": one of each level, then a second of each, ...;
    "best_first": the highest returns, ties stratified."""
    best_fraction: float = 1.0
    """Only this share of each source's episodes may be used, those with the highest returns; ties stratified."""
    best_of: Literal["all", "level"] = "all"
    """Whether the best share is taken of a source's episodes together, or of those of each level."""
    seed: int = 0
    """Chooses among episodes that the order holds equal."""

    def __post_init__(self) -> None:
        if self.weights and (min(self.weights.values()) < 0 or abs(sum(self.weights.values()) - 1) > 1e-6):
            raise UsageError(f"The mixture weights {dict(self.weights)} must be non-negative and sum to one.")
        if self.episode_order not in EPISODE_ORDERS:
            raise unknown_name("episode order", self.episode_order, EPISODE_ORDERS)
        for name in ("num_levels", "max_transitions"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UsageError(f"The mixture's {name} is {value}; it must be at least 1.")
        if not 0 < self.best_fraction <= 1:
            raise UsageError(f"The mixture's best_fraction is {self.best_fraction}; it must be above 0 and at most 1.")
        if self.repetition_cap is not None and self.repetition_cap < 1:
            raise UsageError(f"The mixture's repetition_cap is {self.repetition_cap}; it must be at least 1.")

    def realise(self, datasets: Mapping[str, Dataset]) -> RealisedMixture:
        """Choose the transitions.

        The choice depends on the episodes alone: not on the order in which they were recorded or are listed, and a
        larger budget keeps what a smaller one chose (up to the cut of the last episode).

        Raises:
            UsageError: If a source or tag is unknown, the datasets are of different environments, or there is too
                little data.
        """
        sources = self._sources(datasets)
        names = self._used(sources)
        Dataset.concat([sources[name] for name in names])  # refuses datasets of different environments
        levels = self._levels({name: sources[name] for name in names})
        if self.strata is not None:  # few levels may leave nothing to a light stratum
            names = [name for name in names if levels[name]]
        ordered = {name: self._ordered(self._best(sources[name].select(levels[name]))) for name in names}
        budgets = self._budgets({name: len(view) for name, view in ordered.items()})
        views = {name: ordered[name].select(max_transitions=budget) for name, budget in budgets.items() if budget}
        return _realised(views, self._realised_weights(views), self.strata)

    def _sources(self, datasets: Mapping[str, Dataset]) -> Mapping[str, Dataset]:
        """The datasets, or one view for each stratum of all their levels."""
        if self.strata is None or not datasets:
            return datasets
        everything = Dataset.concat(list(datasets.values()))
        strata = group_by_tag(everything.env.name, everything.levels.tolist(), self.strata)
        return {value: everything.select(levels) for value, levels in strata.items()}

    def _used(self, sources: Mapping[str, Dataset]) -> list[str]:
        for name in self.weights:
            if name not in sources:
                kind = "source" if self.strata is None else f"recorded {self.strata}"
                raise unknown_name(f"{kind} in the mixture weights", name, sources)
        names = [name for name in sources if not self.weights or self.weights.get(name, 0) > 0]
        if not names:
            raise UsageError("The mixture was given no dataset; it needs at least one.")
        return names

    def _levels(self, sources: Mapping[str, Dataset]) -> dict[str, list[int]]:
        """The levels that are used of each source."""
        found = {name: self._allowed(dataset) for name, dataset in sources.items()}
        recorded = sorted(set().union(*found.values()))
        if self.num_levels is None:
            return found
        if self.num_levels > len(recorded):
            raise UsageError(
                f"The mixture asks for {self.num_levels} levels; the datasets hold {len(recorded)} of those allowed. "
                "Record more levels or ask for fewer."
            )
        if self.strata is not None and self.weights:
            limits = {name: len(levels) for name, levels in found.items()}
            counts = apportion(self.weights, limits, self.num_levels)
            return {name: levels[: counts[name]] for name, levels in found.items()}
        kept = set(recorded[: self.num_levels])
        return {name: [level for level in levels if level in kept] for name, levels in found.items()}

    def _allowed(self, dataset: Dataset) -> list[int]:
        recorded: list[int] = dataset.levels.tolist()
        if self.levels is None:
            return recorded
        dataset.env.check_levels(self.levels)
        allowed = set(self.levels)
        return [level for level in recorded if level in allowed]

    def _best(self, view: Dataset) -> Dataset:
        """The best share of the episodes, rounded up; of each level at least one where levels are kept apart."""
        if self.best_fraction == 1:
            return view
        order = self._order(view, "best_first")
        if self.best_of == "all":
            return view.select(episodes=order[: math.ceil(self.best_fraction * len(order))])
        levels = view.episodes["level"][order]
        _, which, counts = np.unique(levels, return_inverse=True, return_counts=True)
        return view.select(episodes=order[rank_within(levels) < np.ceil(self.best_fraction * counts)[which]])

    def _ordered(self, view: Dataset) -> Dataset:
        return view.select(episodes=self._order(view, self.episode_order))

    def _order(self, view: Dataset, order: EpisodeOrder) -> npt.NDArray[np.int64]:
        """Positions of the episodes in this order [E]."""
        episodes = view.episodes
        key = _episode_keys(episodes["checksum"], self.seed)
        by_key = np.argsort(key)
        if order == "random":
            return by_key
        turn = np.empty(len(key), dtype=np.int64)  # 0 for one episode of each level, 1 for a second one, ...
        turn[by_key] = rank_within(episodes["level"][by_key])
        keys = [key, turn] if order == "stratified" else [key, turn, -episodes["return"].astype(np.float64)]
        sorted_by: npt.NDArray[np.int64] = np.lexsort(keys)
        return sorted_by

    def _budgets(self, available: dict[str, int]) -> dict[str, int]:
        """Distinct transitions per source; what a source lacks of its share is given to the others."""
        if self.max_transitions is None:
            return available
        if self.max_transitions > sum(available.values()):
            raise UsageError(
                f"The mixture asks for {self.max_transitions} transitions; the chosen levels hold "
                f"{sum(available.values())}. Record more episodes or ask for fewer."
            )
        shares = np.array([self.weights.get(name, 0.0) if self.weights else count for name, count in available.items()])
        limits = np.array(list(available.values()), dtype=np.float64)
        parts = _fill(shares / shares.sum(), limits / self.max_transitions) * self.max_transitions
        return dict(zip(available, _rounded(parts, limits, self.max_transitions), strict=True))

    def _realised_weights(self, views: Mapping[str, Dataset]) -> tuple[float, ...] | None:
        if not self.weights:
            return None
        weights = np.array([self.weights[name] for name in views])
        sizes = np.array([len(view) for view in views.values()], dtype=np.float64)
        if self.repetition_cap is not None:
            weights = _fill(weights, self.repetition_cap * sizes / sizes.sum())
        return tuple((weights / weights.sum()).tolist())


@dataclass(frozen=True, kw_only=True)
class RealisedMixture:
    """What a mixture came to."""

    view: Dataset
    """The chosen transitions, source after source."""
    group_sizes: tuple[int, ...]  # [S] transitions per source, in the order of the view
    episode_shares: npt.NDArray[np.float64]  # [E] share of the draws of each episode, to scale
    weights: tuple[float, ...] | None
    """[S] share of the draws; None draws every transition equally often."""
    report: dict[str, Any]
    """JSON values to record: per source and in all, levels, episodes, transitions, weights, repetitions; effective
    numbers as drawn; the fingerprint of the view."""

    @property
    def schedule(self) -> SamplingSchedule | None:
        """For `BatchSampler`."""
        return None if self.weights is None else ConstantSchedule(self.weights)

    def sampler(self, batch_size: int, seed: int) -> BatchSampler:
        """Batches of the view with these weights."""
        return BatchSampler(self.group_sizes, batch_size, seed, self.schedule)


def _realised(views: Mapping[str, Dataset], weights: tuple[float, ...] | None, strata: str | None) -> RealisedMixture:
    view = Dataset.concat(list(views.values()))
    sizes = np.array([len(part) for part in views.values()])
    natural = sizes / sizes.sum()
    drawn = natural if weights is None else np.array(weights)
    counts = [part.num_episodes for part in views.values()]
    per_episode = view.episodes["length"] * np.repeat(drawn / sizes, counts)
    sources = {
        name: {
            "transitions": len(part),
            "episodes": part.num_episodes,
            "levels": len(part.levels),
            "weight": float(drawn[index]),
            "repetitions": float(drawn[index] / natural[index]),
            "dataset": part.info.fingerprint,
        }
        for index, (name, part) in enumerate(views.items())
    }
    report = {**describe(view, per_episode), "sources": sources, "fingerprint": view.fingerprint}
    if strata is not None:
        report |= {"strata": strata, "num_strata": len(views), "effective_strata": effective_number(drawn)}
    return RealisedMixture(
        view=view, group_sizes=tuple(sizes.tolist()), episode_shares=per_episode, weights=weights, report=report
    )


def _episode_keys(checksums: npt.NDArray[Any], seed: int) -> npt.NDArray[np.uint64]:
    """A random number per episode that depends on its content and the seed alone, [E]."""
    content = np.ascontiguousarray(checksums).view("<u8")[:, 0]
    return mix_bits(content ^ np.uint64(derive_seed(seed, "mixture")))


def _fill(shares: npt.NDArray[np.float64], limits: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Shares in proportion to `shares`, none above its limit, summing to one where the limits allow it."""
    filled = np.minimum(shares, limits)
    for _ in range(len(shares)):
        missing = 1.0 - filled.sum()
        room = (limits - filled > 1e-12) & (shares > 0)
        if missing <= 1e-12 or not room.any():
            break
        filled[room] = np.minimum(filled[room] + missing * shares[room] / shares[room].sum(), limits[room])
    return filled


def _rounded(parts: npt.NDArray[np.float64], limits: npt.NDArray[np.float64], total: int) -> list[int]:
    """Whole numbers next to `parts` that sum to `total`, the largest remainders rounded up."""
    whole = np.floor(parts + 1e-6)
    # Rounded, so that equal shares stay equal whatever their last bits are; the first of equals is rounded up.
    by_remainder = np.argsort(-np.round(parts - whole, 9), kind="stable")
    for index in by_remainder[whole[by_remainder] < limits[by_remainder]][: int(total - whole.sum())]:
        whole[index] += 1
    return [int(part) for part in whole]
