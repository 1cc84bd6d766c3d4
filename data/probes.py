"""Rows that stand for transitions, by a fixed random network: what was seen, what was done, and the gradient of both.

Nothing is trained on anything but the rows themselves and nothing depends on a version of a learning library, so the
same transitions give the same rows everywhere, and two data sets of one environment can be compared.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from data.batch import Batch
from envs.seeding import rng_for
from envs.spec import EnvSpec
from envs.text import SEPARATOR

PROBE = "random-relu-1"
"""Changes whenever the rows do."""

NUM_FEATURES = 256
_SIDE = 16  # images are averaged down to this many cells a side
_NUM_WORDS = 1024  # words are hashed into so many places
_FIT_STEPS = 40
_CELL_BITS = 12
_WORD = re.compile(rb"[0-9A-Za-z\x80-\xff]+")  # bytes beyond ASCII belong to letters

Rows = npt.NDArray[np.float64]


@dataclass(frozen=True)
class ProbeRows:
    """n transitions as the probe sees them."""

    features: Rows  # [n, d] of the observation
    errors: Rows  # [n, k] where an untrained policy's step would go: probabilities less the action, in action space
    cells: npt.NDArray[np.uint64]  # [n] coarse state

    @property
    def gram(self) -> Rows:
        """[n, n] products of the gradients of -log p at an untrained head with a bias: (features, 1) times errors."""
        power = float((self.features**2).sum(axis=1).mean()) or 1.0  # so that the bias weighs as much as the rest
        products: Rows = (self.features @ self.features.T / power + 1.0) * (self.errors @ self.errors.T)
        return products


def probe(env: EnvSpec, batch: Batch) -> ProbeRows:
    """What a batch looks like to the fixed network.

    Images are averaged down to 16 x 16, texts become hashed words; both pass one layer of random weights and ReLU, and
    the mean over the batch is taken away. Actions are one-hot where they are fixed and hashed words where they are
    candidates. The coarse state of numbers is the signs of 12 projections (as in SimHash, Charikar 2002), that of a
    text the text.

    Args:
        env: Of the batch.
        batch: n transitions.
    """
    parts, cells = [], np.zeros(len(batch), dtype=np.uint64)
    for name in sorted(env.observation_columns):
        if name == env.candidate_column:
            continue
        column = batch.observations[name]
        if env.observation_columns[name].ragged:
            texts = [row.tobytes() for row in column]
            seen = np.array([zlib.crc32(text) for text in texts], dtype=np.uint64)
            projected = _projected(_hashed_words(texts), name)
        else:
            projected = _projected(_numbers(np.asarray(column)), name)
            seen = (projected[:, :_CELL_BITS] > 0) @ (np.uint64(1) << np.arange(_CELL_BITS, dtype=np.uint64))
        parts.append(np.maximum(projected, 0.0))
        cells = cells * np.uint64(1_000_003) + seen
    features = np.concatenate(parts, axis=1)
    features -= features.mean(axis=0)
    return ProbeRows(features, _errors(env, batch), cells)


def fitted_errors(rows: ProbeRows, num_steps: int = _FIT_STEPS) -> tuple[Rows, Rows]:
    """A softmax head fitted to the rows by a few steps of gradient descent: its weights [d, A] and errors [n, A].

    Args:
        rows: Of an environment with fixed actions.
        num_steps: Of full-batch gradient descent.
    """
    actions = rows.errors.argmin(axis=1)  # the action taken is the only negative entry
    taken = np.eye(rows.errors.shape[1])[actions]
    scale = float((rows.features**2).sum(axis=1).mean()) or 1.0
    weights = np.zeros((rows.features.shape[1], taken.shape[1]))
    errors = _softmax(rows.features @ weights) - taken
    for _ in range(num_steps):
        weights -= (2.0 / scale) * rows.features.T @ errors / len(errors)
        errors = _softmax(rows.features @ weights) - taken
    return weights, errors


def _numbers(values: npt.NDArray[Any]) -> Rows:
    """A fixed column as rows [n, d]; bytes from 0 to 1."""
    is_image = values.dtype == np.uint8 and values.ndim == 4
    rows: Rows = (_shrunk(values) if is_image else values.reshape(len(values), -1)).astype(np.float64)
    return rows / 255.0 if values.dtype == np.uint8 else rows


def _shrunk(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """Averages of squares, [n, 16 * 16 * channels] where the sides are multiples of 16, as they are otherwise."""
    count, height, width, channels = images.shape
    if height % _SIDE or width % _SIDE:
        return images.reshape(count, -1).astype(np.float64)
    squares = images.reshape(count, _SIDE, height // _SIDE, _SIDE, width // _SIDE, channels)
    means: npt.NDArray[np.float64] = squares.mean(axis=(2, 4), dtype=np.float64)
    return means.reshape(count, -1)


def _projected(rows: Rows, name: str) -> Rows:
    weights = rng_for(PROBE, name, rows.shape[1]).standard_normal((rows.shape[1], NUM_FEATURES))
    projected: Rows = (rows - rows.mean(axis=0)) @ weights / np.sqrt(rows.shape[1])
    return projected


def _hashed_words(texts: Sequence[bytes]) -> Rows:
    """Square roots of word counts at hashed places, [n, 1024]."""
    counts = np.zeros((len(texts), _NUM_WORDS))
    for row, text in zip(counts, texts, strict=True):
        places = [zlib.crc32(word) % _NUM_WORDS for word in _WORD.findall(text.lower())]
        np.add.at(row, places, 1.0)
    roots: Rows = np.sqrt(counts)
    return roots


def _errors(env: EnvSpec, batch: Batch) -> Rows:
    if env.candidate_column is None:
        return 1.0 / env.num_actions - np.eye(env.num_actions)[batch.actions]
    errors = np.zeros((len(batch), _NUM_WORDS))
    lists = batch.observations[env.candidate_column]
    for error, row, action in zip(errors, lists, batch.actions.tolist(), strict=True):
        words = _hashed_words(row.tobytes().split(SEPARATOR.encode()))
        if action < len(words):  # an action beyond the candidates names none of them
            error += words.mean(axis=0) - words[action]
    return errors


def _softmax(logits: Rows) -> Rows:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares: Rows = powers / powers.sum(axis=1, keepdims=True)
    return shares
