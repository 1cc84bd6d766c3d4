"""The files of a checkpoint in the making; a full disk leaves nothing of them behind."""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import torch
from safetensors.torch import save
from torch import Tensor


@contextmanager
def new_checkpoint(target: Path) -> Iterator[Path]:
    """A hidden folder that gets the name `target` if it is filled without an error, and is removed otherwise.

    Args:
        target: A folder that is there is replaced: a replayed step, whose first writer was killed before linking it.
    """
    temporary = target.parent / f".{target.name}-{uuid4().hex[:8]}"
    temporary.mkdir()
    try:
        yield temporary
        shutil.rmtree(target, ignore_errors=True)
        os.replace(temporary, target)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def save_tensors(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Write a safetensors file.

    The bytes are made in memory: the library's own writer hides what the operating system said.

    Raises:
        OSError: If the disk is full or not writable.
    """
    path.write_bytes(save(dict(tensors)))


def save_state(state: Mapping[str, Any], path: Path) -> None:
    """Write a file for ``torch.load(weights_only=True)``, made in memory for the same reason.

    Raises:
        OSError: If the disk is full or not writable.
    """
    content = io.BytesIO()
    torch.save(state, content)
    with path.open("wb") as file:
        file.write(content.getbuffer())
