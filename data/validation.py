"""Whether an episode may enter a dataset, and its canonical form."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from data.episode import Column, Episode, Ragged
from data.schema import check_metric_names
from envs.errors import UsageError
from envs.spec import ColumnSpec, EnvSpec


def canonical_episode(env: EnvSpec, episode: Episode) -> Episode:
    """The episode with the exact dtypes that are stored.

    Raises:
        UsageError: If it does not fit the environment, naming the field, what it holds and what is allowed.
    """
    _check_header(env, episode)
    length = len(episode)
    rows = length + 1 if episode.final_observation_known else length
    log_probs = episode.behavior_log_probs
    actions = _vector(episode, "actions", np.int32, length)
    if actions.min() < 0 or actions.max() >= env.num_actions:
        raise _refused(episode, f"has actions {actions.min()}..{actions.max()}; allowed: 0..{env.num_actions - 1}")
    rewards = _vector(episode, "rewards", np.float32, length)
    if not np.isfinite(rewards).all():
        raise _refused(episode, "has a reward that is not finite")
    return replace(
        episode,
        observations={
            name: _column(episode, name, spec, episode.observations[name], rows)
            for name, spec in env.observation_columns.items()
        },
        actions=actions,
        rewards=rewards,
        behavior_logp=_vector(episode, "behavior_logp", np.float32, length),
        behavior_log_probs=None if log_probs is None else _log_probs(env, episode, log_probs),
        metrics=_metrics(episode),
    )


def _refused(episode: Episode, reason: str) -> UsageError:
    return UsageError(f"Episode {episode.episode} of {episode.env!r} on level {episode.level} {reason}.")


def _check_header(env: EnvSpec, episode: Episode) -> None:
    if episode.env != env.name:
        raise _refused(episode, f"was given to a dataset of {env.name!r}; a dataset holds one environment")
    if not 0 <= episode.level < env.level_universe:
        raise _refused(episode, f"is not on a level of this environment; allowed: 0..{env.level_universe - 1}")
    if len(episode) == 0:
        raise _refused(episode, "has no transition; the shortest has one")
    if not (episode.terminated or episode.truncated):
        raise _refused(episode, "is neither terminated nor truncated; record whole episodes")
    if set(episode.observations) != set(env.observation_columns):
        given, allowed = sorted(episode.observations), sorted(env.observation_columns)
        raise _refused(episode, f"has observation columns {given}; this environment has {allowed}")


def _vector(episode: Episode, name: str, dtype: type[np.generic], length: int) -> npt.NDArray[Any]:
    values = np.asarray(getattr(episode, name))
    if values.shape != (length,):
        raise _refused(episode, f"has {name} of shape {values.shape}; its {length} actions need ({length},)")
    if not np.can_cast(values.dtype, dtype, "same_kind"):
        raise _refused(episode, f"has {name} of dtype {values.dtype}; stored as {np.dtype(dtype)}")
    return values.astype(dtype, copy=False)


def _log_probs(env: EnvSpec, episode: Episode, values: npt.NDArray[Any]) -> npt.NDArray[np.float16]:
    length, width = len(episode), env.num_actions
    if values.ndim != 2 or len(values) != length or values.shape[1] > width:
        raise _refused(episode, f"has behavior_log_probs of shape {values.shape}; allowed: ({length}, up to {width})")
    padded = np.full((length, width), -np.inf, dtype=np.float16)  # beyond the candidates nothing is probable
    padded[:, : values.shape[1]] = values
    return padded


def _metrics(episode: Episode) -> dict[str, float]:
    """The metrics by name; one that is not a number is one that the episode does not have."""
    check_metric_names(episode.metrics)
    metrics = {name: float(value) for name, value in sorted(episode.metrics.items()) if not np.isnan(value)}
    for name, value in metrics.items():
        if np.isinf(value):
            raise _refused(episode, f"has metric {name!r} = {value}; allowed: finite numbers, or NaN where unknown")
    return metrics


def _column(episode: Episode, name: str, spec: ColumnSpec, column: Column, rows: int) -> Column:
    if isinstance(column, Ragged) != spec.ragged:
        wanted = "Ragged rows" if spec.ragged else "one array"
        raise _refused(episode, f"has column {name!r} as {type(column).__name__}; this environment has {wanted}")
    if len(column) != rows:
        raise _refused(episode, f"has {len(column)} rows of {name!r}; {len(episode)} transitions need {rows}")
    values = column.values if isinstance(column, Ragged) else column
    if values.dtype != np.dtype(spec.dtype) or values.shape[1:] != spec.shape:
        found, wanted = f"{values.dtype}{list(values.shape[1:])}", f"{spec.dtype}{list(spec.shape)}"
        raise _refused(episode, f"has rows of {name!r} that are {found}; this environment has {wanted}")
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise _refused(episode, f"has a number in {name!r} that is not finite")
    if not isinstance(column, Ragged):
        return values
    offsets = np.asarray(column.offsets, dtype=np.int64)
    if offsets[0] != 0 or offsets[-1] != len(values) or (np.diff(offsets) < 0).any():
        raise _refused(episode, f"has offsets of {name!r} that do not run from 0 to {len(values)}")
    return Ragged(values, offsets)
