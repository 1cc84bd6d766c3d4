"""A Minari dataset as a dataset: ours come back as they were, others with what they have."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces

from data.dataset import Dataset
from data.episode import Episode
from data.interop.minari_export import FORM_VERSION, LOG_PROBS, LOGP, OURS, minari
from data.interop.minari_spaces import decode, foreign_columns, foreign_rows
from data.writer import DatasetWriter
from envs.errors import RunError, UsageError
from envs.spec import EnvSpec


def import_minari(
    where: Path | str, out: Path | str, *, source: str | None = None, license: str | None = None
) -> Dataset:
    """Write a Minari dataset of this machine as a dataset; nothing is downloaded.

    An exported dataset of ours has the fingerprint it had. Of any other: a level is the reset option ``level`` where
    every episode has one, else the seed of the reset, else every episode is a level of its own; how likely actions were
    is not known (NaN); an episode without an end is truncated; actions must be discrete.

    Args:
        where: Its directory, or its id under Minari's root.
        out: Directory to create.
        source: Name of origin of foreign episodes; None takes the algorithm that the dataset names, or "minari".
        license: SPDX identifier of the terms; None takes the exported one, or NOASSERTION.

    Raises:
        UsageError: If Minari is not installed, there is no such dataset, or it cannot be represented.
        RunError: If it is damaged, or the disk is full.
    """
    minari()
    folder = find_folder(where)
    try:
        storage = import_module("minari.dataset.minari_storage").MinariStorage.read(folder)
        metadata = storage.metadata
    except ImportError as error:
        raise UsageError(f"{folder} needs another package: {error}") from error
    except (ValueError, KeyError, AssertionError, OSError, NotImplementedError) as error:
        raise RunError(f"{folder} cannot be read as a Minari dataset ({type(error).__name__}: {error}).") from error
    if not storage.total_episodes:
        raise UsageError(f"The Minari dataset {folder} has no episode; nothing can be imported.")
    reader = _Own(storage, metadata) if OURS in metadata else _Foreign(storage, metadata, source or "")
    provenance = {
        "format": "Minari",
        "dataset_id": str(metadata.get("dataset_id", "")),
        "minari_version": str(metadata.get("minari_version", "")),
        **reader.provenance,
    }
    with DatasetWriter(out, reader.spec, provenance, license or reader.license) as writer:
        for episode in reader.episodes():
            writer.add(episode)
        return writer.finish()


def find_folder(where: Path | str) -> Path:
    """The directory with Minari's ``metadata.json`` and data.

    Raises:
        UsageError: If there is none.
    """
    root = Path(os.environ.get("MINARI_DATASETS_PATH") or "~/.minari/datasets").expanduser()
    for folder in (Path(where), Path(where) / "data", root / str(where) / "data"):
        if (folder / "metadata.json").is_file():
            return folder
    raise UsageError(
        f"There is no Minari dataset at {where}, and none called so in {root}. Give its directory; nothing is fetched."
    )


class _Own:
    """Reads what `export_minari` wrote."""

    def __init__(self, storage: Any, metadata: Mapping[str, Any]) -> None:
        ours = metadata[OURS]
        if ours.get("version") != FORM_VERSION:
            raise UsageError(
                f"The Minari dataset was exported in form {ours.get('version')}; this version reads {FORM_VERSION}."
            )
        self._storage, self._encodings = storage, ours["encodings"]
        self.spec = EnvSpec.from_json(ours["env"])
        self.license: str = ours["license"]
        self.provenance = {"exported": ours["provenance"], "exported_fingerprint": ours["fingerprint"]}

    def episodes(self) -> Iterator[Episode]:
        """All episodes, one at a time."""
        numbers = range(self._storage.total_episodes)
        for content, about in zip(
            self._storage.get_episodes(numbers), self._storage.get_episode_metadata(numbers), strict=True
        ):
            facts = json.loads(about[OURS])
            length = len(content["rewards"])
            rows = length + facts["final_observation_known"]
            observations = {
                name: decode(column, self._encodings[name], content["observations"][name][:rows])
                for name, column in self.spec.observation_columns.items()
            }
            log_probs = content["infos"].get(LOG_PROBS)
            yield Episode(
                env=self.spec.name,
                observations=observations,
                actions=content["actions"].astype(np.int32),
                rewards=content["rewards"],
                behavior_logp=content["infos"][LOGP][:length],
                terminated=bool(content["terminations"][-1]),
                truncated=bool(content["truncations"][-1]),
                behavior_log_probs=None if log_probs is None else log_probs[:length],
                **facts,
            )


class _Foreign:
    """Reads a dataset that somebody else made."""

    def __init__(self, storage: Any, metadata: Mapping[str, Any], source: str) -> None:
        actions = storage.action_space
        if not isinstance(actions, spaces.Discrete):
            raise UsageError(f"The actions of this Minari dataset are {actions}; only discrete ones can be imported.")
        self._storage, self._first_action = storage, int(actions.start)
        self._source = source or str(metadata.get("algorithm_name") or "minari")
        self.license = "NOASSERTION"
        about = list(storage.get_episode_metadata(range(storage.total_episodes)))
        self._levels, meaning = _levels_of(about)
        self.provenance = {"levels": meaning}
        scores = [metadata.get(f"ref_{end}_score") for end in ("min", "max")]
        bounds = [float(score) for score in scores if isinstance(score, int | float)]
        known = len(bounds) == 2 and bounds[0] != bounds[1]
        self.spec = EnvSpec(
            name=f"minari/{metadata.get('dataset_id') or 'unnamed'}",
            observation_columns=foreign_columns(storage.observation_space),
            num_actions=int(actions.n),
            max_episode_steps=max(int(facts["total_steps"]) for facts in about),
            level_universe=max(self._levels) + 1,
            return_bounds={"minari": (bounds[0], bounds[1])} if known else {},
        )

    def episodes(self) -> Iterator[Episode]:
        """All episodes that have a step, one at a time."""
        repeats: Counter[int] = Counter()
        for level, content in zip(
            self._levels, self._storage.get_episodes(range(self._storage.total_episodes)), strict=True
        ):
            length = len(content["rewards"])
            if not length:
                continue
            observations = foreign_rows(self._storage.observation_space, content["observations"])
            terminated = bool(content["terminations"][-1])
            yield Episode(
                env=self.spec.name,
                level=level,
                episode=repeats[level],
                seed=0,
                source=self._source,
                policy_id=f"{self.spec.name}/{self._source}",
                observations=observations,
                actions=(np.asarray(content["actions"]).reshape(-1) - self._first_action).astype(np.int32),
                rewards=np.asarray(content["rewards"], dtype=np.float32),
                behavior_logp=np.full(length, np.nan, dtype=np.float32),
                terminated=terminated,
                truncated=bool(content["truncations"][-1]) or not terminated,
                final_observation_known=all(len(column) == length + 1 for column in observations.values()),
            )
            repeats[level] += 1


def _levels_of(about: list[dict[str, Any]]) -> tuple[list[int], str]:
    """The level of every episode, and what it means."""
    choices = {
        "reset option level": [(facts.get("options") or {}).get("level") for facts in about],
        "reset seed": [facts.get("seed") for facts in about],
    }
    for meaning, levels in choices.items():
        if all(isinstance(level, int | np.integer) and level >= 0 for level in levels):
            return [int(level) for level in levels], meaning  # type: ignore[arg-type]
    return list(range(len(about))), "number of the episode"
