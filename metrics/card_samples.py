"""A look into a dataset: frames of some episodes, or one of them as a transcript."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from data.dataset import Dataset
from data.episode import Column, Episode, Ragged
from envs.spec import ColumnSpec, EnvSpec
from envs.text import decode_texts

NUM_FRAMES = 24
NUM_STEPS = 12
_SMALLEST_PIXELS = 96
_CHANNELS = (1, 3)


@dataclass(frozen=True)
class Frame:
    """One observation as a picture.

    Attributes:
        png: The picture.
        caption: Level, step and return of its episode.
    """

    png: bytes
    caption: str


@dataclass(frozen=True)
class TextStep:
    """One decision in a text environment.

    Attributes:
        step: From 0.
        columns: Column name -> the texts of its row.
        action: What was done, in words where they are known.
        reward: Raw.
    """

    step: int
    columns: Mapping[str, tuple[str, ...]]
    action: str
    reward: float


@dataclass(frozen=True)
class Transcript:
    """The beginning of one episode."""

    title: str
    steps: tuple[TextStep, ...]
    num_left_out: int


def sample_frames(dataset: Dataset, num_frames: int = NUM_FRAMES) -> list[Frame]:
    """Frames from the middles of episodes spread evenly over the dataset; none where nothing is a picture."""
    column = picture_column(dataset.env)
    if column is None:
        return []
    chosen = np.unique(np.linspace(0, dataset.num_episodes - 1, num_frames).round().astype(np.int64))
    episodes, frames = dataset.episodes, []
    for position in chosen.tolist():
        # Not every middle: episodes of one level would all show the same.
        length = int(episodes["length"][position])
        step = int(length * (0.25 + 0.5 * (position % 3) / 2))
        index = int(dataset.episode_starts[position]) + min(step, length - 1)
        row: Any = dataset.batch(np.array([index])).observations[column]
        total = episodes["return"][position]
        caption = f"level {episodes['level'][position]}, step {step} of {length}, return {total:g}"
        frames.append(Frame(_png(row[0]), caption))
    return frames


def sample_transcript(dataset: Dataset, num_steps: int = NUM_STEPS) -> Transcript | None:
    """The beginning of an episode of median return, as text; None where no column is text."""
    if not shows_text(dataset.env):
        return None
    order = np.argsort(dataset.episodes["return"], kind="stable")
    return episode_transcript(dataset.env, dataset.episode(int(order[len(order) // 2])), num_steps)


def episode_transcript(env: EnvSpec, episode: Episode, num_steps: int = NUM_STEPS) -> Transcript:
    """The beginning of an episode of a text environment, see `shows_text`."""
    shown = min(len(episode), num_steps)
    title = f"level {episode.level} by {episode.source}, {len(episode)} steps, return {episode.episode_return:g}"
    steps = tuple(_text_step(env, episode, step) for step in range(shown))
    return Transcript(title, steps, len(episode) - shown)


def shows_text(env: EnvSpec) -> bool:
    """Whether any column is text."""
    return any(_is_text(spec) for spec in env.observation_columns.values())


def picture_column(env: EnvSpec) -> str | None:
    """The first column that is a picture, if there is one."""
    return next((name for name, spec in env.observation_columns.items() if _is_picture(spec)), None)


def _text_step(env: EnvSpec, episode: Episode, step: int) -> TextStep:
    columns = {
        name: tuple(_texts(episode.observations[name], step))
        for name, spec in env.observation_columns.items()
        if _is_text(spec)
    }
    action = int(episode.actions[step])
    offered = columns.get(env.candidate_column or "", env.action_names)
    known = offered[action] if action < len(offered) else f"action {action}"
    return TextStep(step, columns, known, float(episode.rewards[step]))


def _texts(column: Column, row: int) -> list[str]:
    assert isinstance(column, Ragged)
    content = np.ascontiguousarray(column[row])
    try:
        return decode_texts(content.astype(np.uint8))
    except UnicodeDecodeError:  # bytes that are no text
        return [f"{len(content)} bytes"]


def _is_text(spec: ColumnSpec) -> bool:
    return spec.ragged and spec.dtype == "uint8" and spec.shape == ()


def _is_picture(spec: ColumnSpec) -> bool:
    return not spec.ragged and spec.dtype == "uint8" and len(spec.shape) == 3 and spec.shape[2] in _CHANNELS


def _png(frame: npt.NDArray[np.uint8]) -> bytes:
    from PIL import Image

    scale = max(1, -(-_SMALLEST_PIXELS // max(frame.shape[:2])))
    large = frame.repeat(scale, axis=0).repeat(scale, axis=1)
    buffer = io.BytesIO()
    Image.fromarray(large.squeeze() if large.shape[2] == 1 else large).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
