"""A mixture says which recorded transitions are learned from, and how often each origin is drawn.

Weight, diversity and budget are separate: `weights` is how often a source is drawn, `levels` and `num_levels` are how
diverse the data is, `max_transitions` is how much distinct data there is. An origin is a dataset or, with `strata`, all
recorded levels with one value of a tag. What came of it is recorded.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from data.dataset import Dataset
from data.diversity import describe, effective_number
from data.sampler import BatchSampler, SamplingSchedule, mix_bits
from data.schedule import ConstantSchedule, on_simplex
from data.selection import rank_within
from data.shares import Shares, fill, whole
from data.strata import apportion, divide
from envs.errors import UsageError, unknown_name
from envs.seeding import derive_seed
from envs.spec import LevelSet

EpisodeOrder = Literal["random", "stratified", "best_first"]
EPISODE_ORDERS: tuple[EpisodeOrder, ...] = ("random", "stratified", "best_first")


@dataclass(frozen=True, kw_only=True)
class Mixture:
    """A choice of data from named datasets of one environment, or with `several_envs` of games that share a policy.

    Raises:
        UsageError: If the weights do not sum to one or a number is out of range.
    """

    weights: Mapping[str, float] = field(default_factory=dict)
    """Source -> share of the draws, summing to one; a source without a weight is not used. Empty: every transition is
    drawn equally often."""
    strata: str | None = None
    """Tag of the levels, for example "department" in the shop, or another division of `data.strata.divide`:
    "source", "bucket:4", "difficulty:4". Then the sources are its values (as texts), whatever the datasets, and the
    weights also divide `num_levels`."""
    levels: LevelSet | None = None
    """Levels that may be used; None allows all."""
    num_levels: int | None = None
    """How many of the allowed recorded levels are used, the lowest first (of each stratum that has a weight, by
    `data.strata.apportion`); None uses all."""
    levels_per_source: Mapping[str, int] = field(default_factory=dict)
    """Source -> how many of its levels are used, the lowest first; a source that is not named uses all."""
    source_fraction: float = 1.0
    """Only this share of each source's transitions may be used, so that a shorter run repeats scarce data as often as
    a longer one does (`search.simplex.proxy_fraction`)."""
    max_transitions: int | None = None
    """Distinct transitions over all sources, exactly; None uses all."""
    on_shortage: Literal["fill", "refuse"] = "fill"
    """What a source lacks of its share of `max_transitions` is taken from the others, or is an error."""
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
    several_envs: bool = False
    """Whether datasets may be of different environments, as long as these show and take the same."""
    seed: int = 0
    """Chooses among episodes that the order holds equal."""

    def __post_init__(self) -> None:
        if self.weights and not on_simplex(list(self.weights.values())):
            total = sum(self.weights.values())
            raise UsageError(
                f"The mixture weights {dict(self.weights)} must be non-negative and sum to one; they sum to {total:g}."
            )
        if self.episode_order not in EPISODE_ORDERS:
            raise unknown_name("episode order", self.episode_order, EPISODE_ORDERS)
        for name in ("num_levels", "max_transitions"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UsageError(f"The mixture's {name} is {value}; it must be at least 1.")
        for name in ("best_fraction", "source_fraction"):
            if not 0 < getattr(self, name) <= 1:
                raise UsageError(f"The mixture's {name} is {getattr(self, name)}; it must be above 0 and at most 1.")
        if self.on_shortage not in ("fill", "refuse"):
            raise unknown_name("value of on_shortage", self.on_shortage, ("fill", "refuse"))
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
        self._check_envs([sources[name] for name in names])
        levels = self._fewer(self._levels({name: sources[name] for name in names}))
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
        return divide(Dataset.concat(list(datasets.values())), self.strata)

    def _check_envs(self, chosen: Sequence[Dataset]) -> None:
        envs = Dataset.concat(chosen, several_envs=self.several_envs).envs
        if len(envs) > 1 and (self.num_levels is not None or self.levels is not None):
            raise UsageError(
                f"The mixture is of {', '.join(envs)}, whose levels have the same numbers; use levels_per_source."
            )

    def _used(self, sources: Mapping[str, Dataset]) -> list[str]:
        kind = "source" if self.strata is None else f"recorded {self.strata}"
        for place, given in (("mixture weights", self.weights), ("levels_per_source", self.levels_per_source)):
            for name in given:
                if name not in sources:
                    raise unknown_name(f"{kind} in the {place}", name, sources)
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

    def _fewer(self, levels: dict[str, list[int]]) -> dict[str, list[int]]:
        for name, count in self.levels_per_source.items():
            if name in levels and not 1 <= count <= len(levels[name]):
                raise UsageError(
                    f"The mixture asks for {count} levels of {name!r}, which holds {len(levels[name])} of those "
                    "allowed. Record more levels of it, or ask for 1 or more, but fewer."
                )
        return {name: found[: self.levels_per_source.get(name)] for name, found in levels.items()}

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
        order, kept = self._order(view, self.episode_order), math.ceil(self.source_fraction * len(view) - 1e-9)
        return view.select(episodes=order, max_transitions=kept if self.source_fraction < 1 else None)

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
        shares = np.array([self.weights.get(name, 0.0) if self.weights else count for name, count in available.items()])
        limits = np.array(list(available.values()), dtype=np.float64)
        self._check_budget(list(available), shares / shares.sum() * self.max_transitions, limits)
        parts = fill(shares / shares.sum(), limits / self.max_transitions) * self.max_transitions
        return dict(zip(available, whole(parts, limits, self.max_transitions), strict=True))

    def _check_budget(self, names: list[str], wanted: Shares, limits: Shares) -> None:
        """Refuse a budget that the sources cannot fill, naming the one that lacks most of its share."""
        worst, total = int(np.argmax(wanted - limits)), int(limits.sum())
        lacking = math.ceil(wanted[worst] - limits[worst] - 1e-6)
        source = (
            f"{names[worst]!r} runs out first: its share is {math.ceil(wanted[worst] - 1e-6)} transitions, it holds "
            f"{limits[worst]:.0f}, {lacking} too few"
        )
        if self.max_transitions is not None and self.max_transitions > total:
            raise UsageError(
                f"The mixture asks for {self.max_transitions} transitions; the chosen levels hold {total}. {source}. "
                "Record more episodes or ask for fewer."
            )
        if self.on_shortage == "refuse" and lacking > 0:
            raise UsageError(
                f"The mixture asks for {self.max_transitions} transitions, and {source}. Lower its weight to at most "
                f"{limits[worst] / wanted.sum():.4f}, ask for at most "
                f"{int(wanted.sum() * limits[worst] / wanted[worst])} transitions, record more of it, or set "
                "on_shortage=fill to take what it lacks from the others."
            )

    def _realised_weights(self, views: Mapping[str, Dataset]) -> tuple[float, ...] | None:
        if not self.weights:
            return None
        weights = np.array([self.weights[name] for name in views])
        sizes = np.array([len(view) for view in views.values()], dtype=np.float64)
        if self.repetition_cap is not None:
            weights = fill(weights, self.repetition_cap * sizes / sizes.sum())
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
    view = Dataset.concat(list(views.values()), several_envs=True)
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
            **({"env": part.env.name} if len(view.envs) > 1 else {}),
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
