"""An episode's frames as an animated picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from data.episode import Episode
from data.files import atomic_write_bytes
from envs.errors import UsageError

COLUMN = "image"


def write_animation(episode: Episode, path: Path, *, fps: float = 10.0, scale: int = 4) -> None:
    """Write a GIF that shows every frame once.

    Args:
        episode: Must have an image column.
        path: Ends in ``.gif``.
        fps: Frames per second.
        scale: Screen pixels per pixel.

    Raises:
        UsageError: If the episode has no images, or for another file type.
        RunError: If the file cannot be written.
    """
    if path.suffix.lower() != ".gif":
        raise UsageError(f"{path} would be a {path.suffix or 'nameless'} file; animations are written as .gif.")
    content = animation_bytes(episode, fps=fps, scale=scale)
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write_bytes(path, content)


def animation_bytes(
    episode: Episode, *, fps: float = 10.0, scale: int = 4, stride: int = 1, hold_s: float = 0.0
) -> bytes:
    """The same as a GIF in memory.

    Args:
        episode: Must have an image column.
        fps: Frames per second.
        scale: Screen pixels per pixel.
        stride: Shows every so many-th frame, and the last.
        hold_s: How long the last frame stays beyond its time.

    Raises:
        UsageError: If the episode has no images.
    """
    import io

    from PIL import Image

    if COLUMN not in episode.observations:
        raise UsageError(
            f"{episode.env!r} shows {', '.join(episode.observations)}, no images; watch an environment with pixels."
        )
    frames = np.asarray(episode.observations[COLUMN])
    chosen = [*range(0, len(frames) - 1, stride), len(frames) - 1]
    large = frames[chosen].repeat(scale, axis=1).repeat(scale, axis=2)
    pictures = [Image.fromarray(frame) for frame in large]
    buffer = io.BytesIO()
    durations_ms = [round(1000 / fps)] * len(pictures)
    durations_ms[-1] += round(1000 * hold_s)
    pictures[0].save(buffer, "GIF", save_all=True, append_images=pictures[1:], duration=durations_ms, loop=0)
    return buffer.getvalue()
