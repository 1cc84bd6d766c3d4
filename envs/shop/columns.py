"""Texts and lists as flat arrays: how a catalogue is laid out, written and read back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import accumulate, pairwise

import numpy as np
import numpy.typing as npt

from envs.errors import RunError
from envs.shop.arrays import Array, ColumnFile

NewColumn = Callable[[str, npt.DTypeLike], ColumnFile]
_PENDING = 4096
_UNPAIRED = "surrogatepass"  # files may hold half of a surrogate pair as an escape


class NumberWriter:
    """Appends numbers to a column, a few thousand at a time."""

    def __init__(self, new_column: NewColumn, name: str, dtype: npt.DTypeLike) -> None:
        self._column = new_column(name, dtype)
        self._pending: list[float] = []

    def extend(self, values: Iterable[float]) -> None:
        """Append numbers."""
        self._pending.extend(values)
        if len(self._pending) >= _PENDING:
            self.flush()

    def flush(self) -> None:
        """Write what is pending."""
        self._column.write(self._pending)
        self._pending.clear()

    def read(self) -> Array:
        """Everything that was flushed, in memory."""
        return self._column.read()


class EndsWriter:
    """Writes ``<name>.offsets``, [rows + 1]: row i is ``offsets[i]:offsets[i + 1]`` of another column."""

    def __init__(self, new_column: NewColumn, name: str) -> None:
        self._ends = NumberWriter(new_column, f"{name}.offsets", "i8")
        self._last = 0
        self._ends.extend([0])

    def extend(self, sizes: Iterable[int]) -> None:
        """Append rows by their sizes."""
        ends = list(accumulate(sizes, initial=self._last))[1:]
        self._last = ends[-1] if ends else self._last
        self._ends.extend(ends)

    def flush(self) -> None:
        """Write what is pending."""
        self._ends.flush()

    def read(self) -> Array:
        """Everything that was flushed, in memory."""
        return self._ends.read()


class TextWriter:
    """Writes texts as ``<name>.text``, their UTF-8 bytes in a row, and ``<name>.offsets``."""

    def __init__(self, new_column: NewColumn, name: str) -> None:
        self._name = name
        self._text = new_column(f"{name}.text", "u1")
        self._ends = EndsWriter(new_column, name)

    def extend(self, texts: Iterable[str]) -> None:
        """Append texts."""
        encoded = [text.encode("utf-8", _UNPAIRED) for text in texts]
        self._text.write(b"".join(encoded))
        self._ends.extend(map(len, encoded))

    def flush(self) -> None:
        """Write what is pending."""
        self._ends.flush()

    def read(self) -> Texts:
        """Everything that was flushed, in memory."""
        return Texts({f"{self._name}.text": self._text.read(), f"{self._name}.offsets": self._ends.read()}, self._name)


class Vocabulary:
    """Gives every distinct text a number, in order of first use."""

    def __init__(self) -> None:
        self.codes: dict[str, int] = {}

    def encode(self, texts: Iterable[str]) -> list[int]:
        """The numbers of texts; new texts get new numbers."""
        return [self.codes.setdefault(text, len(self.codes)) for text in texts]


class Texts(Sequence[str]):
    """Texts that `TextWriter` wrote."""

    def __init__(self, arrays: Mapping[str, Array], name: str) -> None:
        self._name = name
        self._buffer = arrays[f"{name}.text"].data
        self._offsets = arrays[f"{name}.offsets"]

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def __getitem__(self, row: int) -> str:  # type: ignore[override]  # rows only, no slices
        return self.between(row, row + 1)[0]

    def between(self, start: int, stop: int) -> list[str]:
        """Texts ``start`` to ``stop - 1``.

        Raises:
            RunError: If the bytes are not UTF-8: the column is damaged.
        """
        ends = self._offsets[start : stop + 1].tolist()
        content = bytes(self._buffer[ends[0] : ends[-1]])
        first = ends[0]
        try:
            return [content[low - first : high - first].decode("utf-8", _UNPAIRED) for low, high in pairwise(ends)]
        except UnicodeDecodeError as error:
            raise RunError(f"Rows {start} to {stop - 1} of {self._name} are damaged: not UTF-8.") from error


class Lists:
    """Lists of numbers: ``<name>.offsets`` and ``<name>.<values>``."""

    def __init__(self, arrays: Mapping[str, Array], name: str, values: str) -> None:
        self._offsets = arrays[f"{name}.offsets"]
        self._values = arrays[f"{name}.{values}"]

    def bounds(self, row: int) -> tuple[int, int]:
        """Where row `row` lies in the values."""
        start, stop = self._offsets[row : row + 2].tolist()
        return start, stop

    def __getitem__(self, row: int) -> list[int]:
        start, stop = self.bounds(row)
        numbers: list[int] = self._values[start:stop].tolist()
        return numbers


def sorted_keys(texts: Texts) -> tuple[Array, npt.NDArray[np.int32]]:
    """What finds a row by its text with a binary search.

    Args:
        texts: [n] distinct short texts.

    Returns:
        The texts as fixed-width bytes, sorted [n], and the row of each [n].
    """
    keys = np.array([text.encode("utf-8", _UNPAIRED) for text in texts], dtype=bytes)
    order = np.argsort(keys, kind="stable")
    return keys[order], order.astype(np.int32)


def find_key(keys: Array, text: str) -> int | None:
    """The position of a text among sorted keys; None if it is not there."""
    key = text.encode("utf-8", _UNPAIRED)
    if len(key) > keys.dtype.itemsize or key.endswith(b"\0"):
        return None  # a longer key would make numpy widen, that is copy, every other
    position = int(np.searchsorted(keys, np.array(key, dtype=keys.dtype)))
    return position if position < len(keys) and keys[position] == key else None
