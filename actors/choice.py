"""From a policy's log-probabilities to actions."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

_NO_DISTRIBUTION = "its log-probabilities hold NaN, +inf, or a row without any possible action."


class Choice(NamedTuple):
    """What was chosen in one step."""

    actions: npt.NDArray[np.int32]  # [B]
    logp: npt.NDArray[np.float32]  # [B] log-probability of the action
    log_probs: npt.NDArray[np.float32] | None  # [B, A] of every action, normalized; 0 and -inf where greedy


def choose_sampled(
    log_probs: npt.NDArray[np.float32], uniforms: Floats, temperature: float = 1.0, *, keep_all: bool = True
) -> Choice:
    """Inverse CDF in float64: the first action whose cumulated probability exceeds the uniform.

    Args:
        log_probs: [B, A]; a rounding error in their sum does not matter.
        uniforms: [B] in [0, 1).
        temperature: Divides the log-probabilities.
        keep_all: Return the whole distribution too.

    Raises:
        ValueError: If a row is no distribution.
    """
    scaled = _as_float64(log_probs)
    if temperature != 1:
        scaled = (scaled - scaled.max(axis=1, keepdims=True)) / temperature
    weights = np.exp(scaled)
    cumulated = np.add.accumulate(weights, axis=1)
    total = cumulated[:, -1]
    if not (total.min() > 0 and total.max() < np.inf):
        raise ValueError(_NO_DISTRIBUTION)
    actions = (cumulated > (uniforms * total)[:, None]).argmax(axis=1).astype(np.int32)
    logp = np.log(weights[np.arange(len(actions)), actions] / total)
    normalized = (scaled - np.log(total)[:, None]).astype(np.float32) if keep_all else None
    return Choice(actions, logp.astype(np.float32), normalized)


def mixed_with_uniform(log_probs: npt.NDArray[np.float32], epsilon: float) -> npt.NDArray[np.float32]:
    """The most probable action with probability 1 - epsilon, else any possible one: as log-probabilities [B, A].

    Args:
        log_probs: [B, A].
        epsilon: At least 0, below 1.

    Raises:
        ValueError: If a row is no distribution.
    """
    greedy = choose_greedy(log_probs).actions
    possible = np.isfinite(log_probs)
    weights = epsilon * possible / possible.sum(axis=1, keepdims=True)
    weights[np.arange(len(greedy)), greedy] += 1 - epsilon
    with np.errstate(divide="ignore"):
        mixed: npt.NDArray[np.float32] = np.log(weights).astype(np.float32)
    return mixed


def choose_greedy(log_probs: npt.NDArray[np.float32]) -> Choice:
    """The most probable action (the first of several), taken with probability one.

    Raises:
        ValueError: If a row is no distribution.
    """
    values = _as_float64(log_probs)
    highest = values.max(axis=1)
    if not np.isfinite(highest).all():
        raise ValueError(_NO_DISTRIBUTION)
    actions = values.argmax(axis=1).astype(np.int32)
    certain = np.full(values.shape, -np.inf, dtype=np.float32)
    certain[np.arange(len(actions)), actions] = 0
    return Choice(actions, np.zeros(len(actions), dtype=np.float32), certain)


def _as_float64(log_probs: npt.NDArray[np.float32]) -> Floats:
    if log_probs.ndim != 2:
        raise ValueError(f"it returned an array of shape {log_probs.shape}; log-probabilities have shape [B, A].")
    return log_probs.astype(np.float64)
