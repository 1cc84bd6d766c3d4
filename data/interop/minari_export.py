"""A dataset as a Minari dataset that can be read back without loss."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces

from data.dataset import Dataset
from data.episode import Episode
from data.files import rename_directory
from data.interop.minari_spaces import ColumnForm
from envs.errors import UsageError
from envs.files import create_partial, disk_errors

OURS = "gengap"
"""Key of what Minari has no place for, in the metadata of the dataset and of every episode."""
FORM_VERSION = 1
LOGP, LOG_PROBS = "behavior_logp", "behavior_log_probs"


def minari() -> Any:
    """The package.

    Raises:
        UsageError: If it is not installed.
    """
    try:
        import_module("minari.dataset._storages.hdf5_storage")
        return import_module("minari")
    except ImportError as error:
        raise UsageError(
            f"Minari datasets need Minari ({error}). Install it with: pip install 'gengap[minari]'."
        ) from error


def export_minari(dataset: Dataset, out: Path | str, dataset_id: str | None = None) -> str:
    """Write a dataset as a Minari dataset (HDF5); `import_minari` gives the same fingerprint.

    Observations are a `gymnasium.spaces.Dict` of the columns (see `data.interop.minari_spaces`), the level is the reset
    option ``level``, the behavior policy's log-probabilities are infos, and everything else lies under the key `OURS`.
    Where the final observation is not known, the last one stands in its place, and the episode's metadata say so.

    Args:
        dataset: What is written.
        out: Directory to create; under Minari's root it can be loaded by its id.
        dataset_id: ``namespace/name-vN``; None derives one from the environment.

    Returns:
        The id.

    Raises:
        UsageError: If Minari is not installed, the directory exists or the id is malformed.
        RunError: If the disk is full.
    """
    package = minari()
    out = Path(out).absolute()
    name = dataset_id or f"gengap/{re.sub(r'[^A-Za-z0-9_]+', '-', dataset.env.name)}-v0"
    try:
        import_module("minari.dataset.minari_dataset").parse_dataset_id(name)
    except (ValueError, TypeError) as error:
        raise UsageError(f"{name!r} is no Minari id; write NAMESPACE/NAME-vN, for example shop/expert-v0.") from error
    if out.exists():
        raise UsageError(f"{out} exists already and is not overwritten. Remove it or choose another place.")
    with disk_errors(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        partial, _lock = create_partial(out)
        try:
            _write(package, dataset, partial / "data", name)
            rename_directory(partial, out)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return name


def _write(package: Any, dataset: Dataset, folder: Path, name: str) -> None:
    forms = {column: ColumnForm(spec) for column, spec in dataset.env.observation_columns.items()}
    if any(spec.ragged for spec in dataset.env.observation_columns.values()):
        for episode in _episodes(dataset):
            for column, form in forms.items():
                form.add(episode.observations[column])
    storage_class = import_module("minari.dataset.minari_storage").MinariStorage
    storage = storage_class.new(
        folder,
        observation_space=spaces.Dict({column: form.space() for column, form in forms.items()}),
        action_space=spaces.Discrete(dataset.env.num_actions),
        data_format="hdf5",
    )
    facts: list[str] = []

    def buffers() -> Iterator[Any]:
        for episode in _episodes(dataset):
            facts.append(json.dumps(_facts(episode)))
            yield _buffer(episode, forms)

    storage.update_episodes(buffers())
    storage.update_episode_metadata([{OURS: text} for text in facts])
    info = dataset.info
    storage.update_metadata(
        {
            "dataset_id": name,
            "minari_version": package.__version__,
            "algorithm_name": ", ".join(dataset.sources),
            OURS: {
                "version": FORM_VERSION,
                "env": dataset.env.to_json(),
                "encodings": {column: form.encoding for column, form in forms.items()},
                "provenance": dict(info.provenance),
                "license": info.license,
                "fingerprint": dataset.fingerprint,
            },
        }
    )


def _episodes(dataset: Dataset) -> Iterator[Episode]:
    return (dataset.episode(position) for position in range(dataset.num_episodes))


def _buffer(episode: Episode, forms: dict[str, ColumnForm]) -> Any:
    buffer_class = import_module("minari.data_collector.episode_buffer").EpisodeBuffer
    last = np.arange(len(episode)) == len(episode) - 1
    observations = {}
    for name, form in forms.items():
        rows = form.encode(episode.observations[name])
        if not episode.final_observation_known:
            rows = [*rows, rows[-1]] if isinstance(rows, list) else np.concatenate([rows, rows[-1:]])
        observations[name] = rows
    infos = {LOGP: np.append(episode.behavior_logp, np.float32(np.nan))}
    if episode.behavior_log_probs is not None:
        unknown = np.full((1, episode.behavior_log_probs.shape[1]), np.nan, dtype=np.float16)
        infos[LOG_PROBS] = np.concatenate([episode.behavior_log_probs, unknown])
    return buffer_class(
        options={"level": episode.level},
        observations=observations,
        actions=episode.actions.astype(np.int64),
        rewards=episode.rewards,
        terminations=last & episode.terminated,
        truncations=last & episode.truncated,
        infos=infos,
    )


def _facts(episode: Episode) -> dict[str, Any]:
    """What Minari has no place for, of one episode."""
    return {
        "level": episode.level,
        "episode": episode.episode,
        "seed": episode.seed,
        "source": episode.source,
        "policy_id": episode.policy_id,
        "final_observation_known": episode.final_observation_known,
        "metrics": episode.metrics,
    }
