"""Text as ragged ``uint8`` columns."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

SEPARATOR = "\x1e"  # ASCII record separator: never part of a page or an action

Bytes = npt.NDArray[np.uint8]


def encode_text(text: str) -> Bytes:
    """UTF-8 bytes, shape [n]."""
    return np.frombuffer(text.encode(), dtype=np.uint8)


def decode_text(row: Bytes) -> str:
    """The inverse of `encode_text`."""
    return np.ascontiguousarray(row).tobytes().decode()


def encode_texts(texts: Sequence[str]) -> Bytes:
    """Several texts in one row."""
    return encode_text(SEPARATOR.join(texts))


def decode_texts(row: Bytes) -> list[str]:
    """The inverse of `encode_texts`; an empty row is no text at all."""
    return decode_text(row).split(SEPARATOR) if len(row) else []


def count_texts(row: Bytes) -> int:
    """How many texts a row holds, without decoding it."""
    return int(np.count_nonzero(row == ord(SEPARATOR))) + 1 if len(row) else 0
