"""Recorded transitions as one indexable sequence; selecting, concatenating and sharding are views, never copies."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from data.batch import Batch, BatchColumn, Indices, gather, gather_rows
from data.episode import Episode
from data.schema import Table, metric_field, metric_names
from data.selection import check_positions, cut, make_view, rank_within
from data.several_envs import check_together, env_names, level_index, view_fingerprint
from data.store import DatasetInfo, Store, read_episode
from envs.errors import UsageError, unknown_name
from envs.spec import EnvSpec, LevelSet


class Dataset:
    """A view of the episodes of one or several dataset directories.

    Transition ``i`` is the i-th in the order of `episodes`. Pickled, a dataset is its paths and its selection.

    Example:
        >>> data = Dataset.open("runs/maze")  # doctest: +SKIP
        >>> small = data.select(LevelSet.range("procgen/maze", 0, 20), max_transitions=6000)
        >>> small.batch(np.arange(256)).observations["image"].shape
        (256, 64, 64, 3)
    """

    def __init__(self, stores: tuple[Store, ...], view: Table) -> None:
        """Use `open`, `concat` and the methods that narrow; `view` is of `make_view`."""
        self._stores = stores
        self._view = view
        self._starts: Indices = np.concatenate([[0], np.cumsum(view["length"])])  # [E + 1]

    @classmethod
    def open(cls, path: Path | str) -> Dataset:
        """Open a dataset directory; takes time and memory for its episodes, not for its transitions.

        Raises:
            UsageError: If there is no dataset at `path`.
            RunError: If a file is missing, truncated or damaged.
        """
        store = Store(Path(path))
        return cls((store,), make_view(store.table, 0, store.info.metrics))

    @staticmethod
    def concat(datasets: Sequence[Dataset], *, several_envs: bool = False) -> Dataset:
        """The episodes of several datasets of one environment, in the order given.

        With `several_envs` they may be of different ones that show and take the same, such as games of one engine.

        Raises:
            UsageError: If there is none, or they are of different environments.
        """
        if not datasets:
            raise UsageError("No dataset was given to concat; it needs at least one.")
        first = datasets[0].env
        metrics = sorted({name for dataset in datasets for name in metric_names(dataset._view)})
        stores: list[Store] = []
        views = []
        for dataset in datasets:
            check_together(first, dataset.env, dataset.info.path, several_envs=several_envs)
            views.append(make_view(dataset._view, len(stores), metrics))
            stores.extend(dataset._stores)
        return Dataset(tuple(stores), np.concatenate(views))

    # What is in it

    def __len__(self) -> int:
        return int(self._starts[-1])

    @property
    def num_transitions(self) -> int:
        """Transitions in this view."""
        return len(self)

    @property
    def num_episodes(self) -> int:
        """Episodes in this view, a cut one included."""
        return len(self._view)

    @property
    def env(self) -> EnvSpec:
        """The environment of every episode."""
        return self._stores[0].info.env

    @property
    def info(self) -> DatasetInfo:
        """The manifest of the first directory that this view reads."""
        return self._stores[0].info

    @property
    def infos(self) -> tuple[DatasetInfo, ...]:
        """The manifests of all directories that this view reads."""
        return tuple(store.info for store in self._stores)

    @cached_property
    def envs(self) -> tuple[str, ...]:
        """The names of the environments of the episodes, sorted; mostly one."""
        return tuple(np.unique(env_names(self.infos, self._view)).tolist())

    @cached_property
    def level_index(self) -> npt.NDArray[np.int64]:
        """A number for each episode [E]: the same for episodes of the same level of the same environment."""
        return level_index(self.infos, self._view)

    def levels_of(self, env: str) -> npt.NDArray[np.int64]:
        """The distinct levels of one environment, ascending; none if no episode is of it."""
        levels: npt.NDArray[np.int64] = np.unique(self._view["level"][env_names(self.infos, self._view) == env])
        return levels

    @cached_property
    def levels(self) -> npt.NDArray[np.int64]:
        """The distinct level numbers, ascending; of a view of several environments see `levels_of`."""
        levels: npt.NDArray[np.int64] = np.unique(self._view["level"])
        return levels

    @cached_property
    def sources(self) -> tuple[str, ...]:
        """The distinct names of origin, sorted; `Batch.source_id` counts in them."""
        return tuple(sorted(set(self.episodes["source"].tolist())))

    @cached_property
    def fingerprint(self) -> str:
        """32 hex digits of the content: the same episodes (and cuts) in any order give the same fingerprint."""
        return view_fingerprint(self.infos, self._view)

    @cached_property
    def episodes(self) -> dict[str, npt.NDArray[Any]]:
        """One array [E] per property: level, episode, seed, source, policy_id, length, return, checksum and flags.

        Length, return and flags are those of the transitions in the view: an episode cut by `max_transitions` is
        truncated, and its final observation is known.
        """
        kept = ("level", "episode", "seed", "length", "return", "terminated", "truncated", "final_observation_known")
        return {
            **{name: self._view[name].copy() for name in kept},
            "source": self._names("source"),
            "policy_id": self._names("policy"),
            "checksum": self._view["checksum"].copy(),
        }

    @cached_property
    def metrics(self) -> dict[str, npt.NDArray[np.float64]]:
        """What the environment reported of episodes, by name [E]; NaN where it did not, and for a cut episode."""
        return {name: self._view[metric_field(name)].copy() for name in metric_names(self._view)}

    @property
    def episode_starts(self) -> Indices:
        """[E + 1] index of each episode's first transition; the last entry is the number of transitions."""
        return self._starts

    def __repr__(self) -> str:
        return (
            f"Dataset({self.env.name!r}, {len(self)} transitions, {self.num_episodes} episodes, "
            f"{len(self.levels)} levels, sources={list(self.sources)})"
        )

    # Narrowing

    def select(
        self,
        levels: LevelSet | Iterable[int] | None = None,
        sources: Iterable[str] | None = None,
        max_transitions: int | None = None,
        *,
        episodes: Iterable[int] | None = None,
        max_episodes_per_level: int | None = None,
    ) -> Dataset:
        """A view of some episodes, filtered in the order of the arguments below.

        Args:
            levels: Keep these levels.
            sources: Keep these origins.
            episodes: Keep these episodes of *this* view, by position, in the order given.
            max_episodes_per_level: Keep the first few of each level.
            max_transitions: Keep exactly this many transitions from the front, cutting the last episode.

        Raises:
            UsageError: If nothing is left, or fewer than `max_transitions` are.
        """
        keep = np.arange(self.num_episodes) if episodes is None else check_positions(episodes, self.num_episodes)
        if levels is not None:
            keep = keep[np.isin(self._view["level"][keep], self._level_numbers(levels))]
        if sources is not None:
            keep = keep[np.isin(self.episodes["source"][keep], self._known_sources(sources))]
        if max_episodes_per_level is not None:
            keep = keep[rank_within(self._view["level"][keep]) < max_episodes_per_level]
        if len(keep) == 0:
            raise UsageError(f"No episode of {self!r} fits the selection; relax levels, sources or episodes.")
        chosen = self._view[keep]
        return Dataset(self._stores, chosen if max_transitions is None else cut(chosen, max_transitions, self._stores))

    def shard(self, rank: int, world_size: int) -> Dataset:
        """Every `world_size`-th episode from `rank` on: the shards partition the view.

        Raises:
            UsageError: If the rank is out of range or there are fewer episodes than shards.
        """
        if not 0 <= rank < world_size or world_size > self.num_episodes:
            raise UsageError(
                f"Shard {rank} of {world_size} was asked of {self.num_episodes} episodes; allowed: 0 <= rank < "
                "world_size <= episodes."
            )
        return Dataset(self._stores, self._view[rank::world_size])

    def batch(self, indices: npt.ArrayLike, successors: bool = False) -> Batch:
        """Copy the transitions at `indices` out of the dataset.

        Args:
            indices: [B] positions in 0 .. len - 1, in any order, repeats allowed.
            successors: Also read the observations after them.

        Raises:
            UsageError: If an index is out of range.
        """
        index = self._checked(indices)
        position = np.searchsorted(self._starts, index, side="right") - 1  # [B] episode
        timestep = index - self._starts[position]
        view = self._view[position]
        store, step, row = view["store"], view["first_step"] + timestep, view["first_row"] + timestep
        last = timestep == view["length"] - 1
        known = ~last | view["final_observation_known"]
        return Batch(
            observations=self._observations(store, row),
            actions=self._steps("actions", store, step),
            rewards=self._steps("rewards", store, step),
            terminated=last & view["terminated"],
            truncated=last & view["truncated"],
            behavior_logp=self._steps("behavior_logp", store, step),
            level=view["level"].copy(),
            source_id=self._source_ids[position],
            timestep=timestep,
            behavior_log_probs=self._steps("behavior_log_probs", store, step) if self._has_log_probs else None,
            next_observations=self._observations(store, row + known) if successors else None,
            successor_known=known if successors else None,
        )

    def steps(self, name: str) -> npt.NDArray[Any]:
        """One number per transition [N]: ``actions``, ``rewards`` or ``behavior_logp``."""
        position = np.repeat(np.arange(self.num_episodes), self._view["length"])
        step: Indices = self._view["first_step"][position] + np.arange(len(self)) - self._starts[position]
        store: Indices = self._view["store"][position]
        return self._steps(name, store, step)

    def episode(self, position: int) -> Episode:
        """Copy one episode of the view out of the dataset, 0 <= position < num_episodes."""
        record = self._view[check_positions([position], self.num_episodes)[0]]
        return read_episode(self._stores[record["store"]], record)

    # Inside

    @cached_property
    def _source_ids(self) -> npt.NDArray[np.int64]:
        return np.searchsorted(np.array(self.sources), self.episodes["source"])

    @cached_property
    def _has_log_probs(self) -> bool:
        return all("behavior_log_probs" in store.steps for store in self._stores)

    def _names(self, column: str) -> npt.NDArray[np.str_]:
        """The [E] names behind the numbers of `column`, which count separately in each store."""
        tables = [store.info.sources if column == "source" else store.info.policies for store in self._stores]
        first = np.concatenate([[0], np.cumsum([len(table) for table in tables])])
        names: npt.NDArray[np.str_] = np.array([name for table in tables for name in table])
        chosen: npt.NDArray[np.int64] = first[self._view["store"]] + self._view[column]
        return names[chosen]

    def _steps(self, name: str, store: Indices, step: Indices) -> npt.NDArray[Any]:
        return gather_rows([opened.steps[name] for opened in self._stores], store, step)

    def _observations(self, store: Indices, row: Indices) -> dict[str, BatchColumn]:
        names = self.env.observation_columns
        return {name: gather([opened.columns[name] for opened in self._stores], store, row) for name in names}

    def _checked(self, indices: npt.ArrayLike) -> Indices:
        index = np.asarray(indices)
        if index.ndim != 1 or index.dtype.kind not in "iu":
            raise UsageError(f"Batch indices are {index.dtype}{list(index.shape)}; give integers of shape [B].")
        if len(index) and (index.min() < 0 or index.max() >= len(self)):
            raise UsageError(f"Batch indices run {index.min()}..{index.max()}; allowed: 0..{len(self) - 1}.")
        return index.astype(np.int64, copy=False)

    def _level_numbers(self, levels: LevelSet | Iterable[int]) -> Indices:
        if isinstance(levels, LevelSet):
            self.env.check_levels(levels)
        return np.fromiter(levels, dtype=np.int64)

    def _known_sources(self, sources: Iterable[str]) -> list[str]:
        wanted = [sources] if isinstance(sources, str) else list(sources)
        for source in wanted:
            if source not in self.sources:
                raise unknown_name("source", source, self.sources)
        return wanted
