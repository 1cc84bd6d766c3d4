"""Observation columns as Minari's spaces, without loss, and any of its spaces as columns.

Minari stores ``uint8`` arrays of two or more dimensions as JPEG, which changes them. What we write therefore has
columns of small integers as flat vectors; their shape is that of the environment's contract, which travels along.
Ragged columns are texts: UTF-8 where all rows are, Base64 of the little-endian values otherwise.
"""

from __future__ import annotations

import base64
import re
import string
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from data.episode import Column, Ragged
from envs.errors import UsageError
from envs.spec import ColumnSpec

TEXT, BASE64, FLAT, PLAIN = "text", "base64", "flat", "plain"
"""How a column is written."""
_BASE64_CHARACTERS = string.ascii_letters + string.digits + "+/="
_UNFIT = re.compile(r"[^A-Za-z0-9_]+")


class ColumnForm:
    """How one column of our data is written; `add` every episode before asking for the space.

    Args:
        column: What the environment says of it.
    """

    def __init__(self, column: ColumnSpec) -> None:
        self.column = column
        is_text = column.ragged and column.dtype == "uint8" and not column.shape
        small = np.dtype(column.dtype).kind in "bu"
        self.encoding = TEXT if is_text else BASE64 if column.ragged else FLAT if small else PLAIN
        self._longest = 1
        self._characters: set[str] = set(" ")

    def add(self, column: Column) -> None:
        """Take in the rows of an episode."""
        if not isinstance(column, Ragged):
            return
        sizes = np.diff(column.offsets)
        row_bytes = int(sizes.max(initial=0)) * column.values[:1].nbytes
        self._longest = max(self._longest, 4 * (row_bytes // 3 + 1))
        if self.encoding == TEXT:
            texts = [as_text(column[row]) for row in range(len(column))]
            if None in texts:
                self.encoding = BASE64
            else:
                self._characters.update(*(text for text in texts if text))

    def space(self) -> spaces.Space[Any]:
        """The space of one row."""
        column = self.column
        if self.encoding in (TEXT, BASE64):
            characters = "".join(sorted(self._characters)) if self.encoding == TEXT else _BASE64_CHARACTERS
            return spaces.Text(self._longest, min_length=0, charset=characters)
        dtype = np.dtype(np.uint8 if column.dtype == "bool" else column.dtype)
        shape = column.shape if self.encoding == PLAIN and column.shape else (int(np.prod(column.shape)),)
        if dtype.kind == "f":
            return spaces.Box(-np.inf, np.inf, shape, dtype.type)
        low, high = (0, 1) if column.dtype == "bool" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
        return spaces.Box(low, high, shape, dtype.type)

    def encode(self, column: Column) -> list[Any] | npt.NDArray[Any]:
        """The rows as Minari stores them."""
        if isinstance(column, Ragged):
            rows = [column[row] for row in range(len(column))]
            return [as_text(row) if self.encoding == TEXT else _to_base64(row) for row in rows]
        if self.encoding == PLAIN:
            return column if self.column.shape else column.reshape(-1, 1)
        return list(
            column.reshape(len(column), -1).view(np.uint8)
            if self.column.dtype == "bool"
            else column.reshape(len(column), -1)
        )


def decode(column: ColumnSpec, encoding: str, rows: Any) -> Column:
    """The inverse of `ColumnForm.encode`.

    Args:
        column: What the environment says of the column.
        encoding: How it was written.
        rows: As Minari returns them.
    """
    dtype = np.dtype(column.dtype)
    if encoding in (TEXT, BASE64):
        contents = [text.encode() if encoding == TEXT else base64.b64decode(text) for text in rows]
        return Ragged.from_rows(
            [
                np.frombuffer(content, dtype.newbyteorder("<")).astype(dtype).reshape(-1, *column.shape)
                for content in contents
            ]
        )
    return np.asarray(rows).reshape(-1, *column.shape).astype(dtype, copy=False)


def as_text(row: npt.NDArray[Any]) -> str | None:
    """A row of bytes as text; None if it is none, or holds the zero byte at which stored texts end."""
    content = row.tobytes()
    try:
        return None if b"\0" in content else content.decode()
    except UnicodeDecodeError:
        return None


def _to_base64(row: npt.NDArray[Any]) -> str:
    return base64.b64encode(np.ascontiguousarray(row, dtype=row.dtype.newbyteorder("<")).tobytes()).decode()


def foreign_columns(space: spaces.Space[Any], name: str = "observation") -> dict[str, ColumnSpec]:
    """The columns of any space that Minari can store; parts of nested ones are joined by underscores.

    Args:
        space: Of the observations.
        name: What a space without parts is called.

    Raises:
        UsageError: If a part is of a kind that has no columns.
    """
    if isinstance(space, spaces.Dict | spaces.Tuple):
        columns: dict[str, ColumnSpec] = {}
        for key, part in _parts(space):
            inner = key if name == "observation" else f"{name}_{key}"
            for found, column in foreign_columns(part, inner).items():
                if found in columns:
                    raise UsageError(f"Two parts of the observation space are called {found!r}; rename one.")
                columns[found] = column
        return columns
    if isinstance(space, spaces.Text):
        return {name: ColumnSpec("uint8", ragged=True)}
    if isinstance(space, spaces.Box | spaces.MultiBinary | spaces.MultiDiscrete | spaces.Discrete):
        return {name: ColumnSpec(np.dtype(space.dtype).name, tuple(space.shape or ()))}
    raise UsageError(f"The part {name!r} of the observation space is a {type(space).__name__}; it has no columns.")


def foreign_rows(space: spaces.Space[Any], rows: Any, name: str = "observation") -> dict[str, Column]:
    """The observations of one episode, [T + 1] rows each, under the names of `foreign_columns`."""
    if isinstance(space, spaces.Dict | spaces.Tuple):
        found: dict[str, Column] = {}
        for number, (key, part) in enumerate(_parts(space)):
            inner = key if name == "observation" else f"{name}_{key}"
            chosen = rows[list(space.spaces)[number]] if isinstance(space, spaces.Dict) else rows[number]
            found |= foreign_rows(part, chosen, inner)
        return found
    if isinstance(space, spaces.Text):
        return {name: Ragged.from_rows([np.frombuffer(text.encode(), np.uint8) for text in rows])}
    column = foreign_columns(space, name)[name]
    return {name: np.asarray(rows).astype(column.dtype, copy=False).reshape(-1, *column.shape)}


def _parts(space: spaces.Space[Any]) -> Iterable[tuple[str, spaces.Space[Any]]]:
    assert isinstance(space, spaces.Dict | spaces.Tuple)
    parts: Mapping[Any, spaces.Space[Any]] = (
        space.spaces if isinstance(space, spaces.Dict) else dict(enumerate(space.spaces))
    )
    for key, part in parts.items():
        word = _UNFIT.sub("_", str(key)).strip("_")
        yield (word if word[:1].isalpha() else f"part_{word}"), part
