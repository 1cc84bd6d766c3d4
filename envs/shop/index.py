"""Making a search index of any size: what is pending lies in temporary files, memory holds one block of documents."""

from __future__ import annotations

import math
import tempfile
from array import array
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from envs.errors import UsageError
from envs.shop.analysis import Analyzer

K1 = 0.9
B = 0.4
BLOCK_PAIRS = 1 << 20
"""(term, document) pairs that are sorted at once."""

Array = npt.NDArray[Any]


def index_arrays(documents: Iterable[str], directory: Path | None = None) -> dict[str, Array]:
    """BM25 scores of all (term, document) pairs, by Lucene's formula (see `envs.shop.search`).

    Args:
        documents: Their texts; read once.
        directory: Where temporary files of about 20 bytes a pair lie; None for the system's place.

    Returns:
        ``data`` float64 and ``indices`` int32 ``[pairs]``: scores by term and the documents they belong to, ascending;
        ``indptr`` int32 ``[terms + 1]``: where each term starts; ``terms`` uint8: their UTF-8 text, one a line;
        ``num_documents`` ``[1]``.

    Raises:
        UsageError: If no document holds a term.
    """
    with tempfile.TemporaryFile(dir=directory) as file:
        pairs = _Pairs(file)
        for text in documents:
            pairs.add(text)
        pairs.flush()
        if not pairs.columns:
            raise UsageError("There is nothing to search: no document holds a word. Give at least one product.")
        starts = np.concatenate([[0], np.cumsum(pairs.document_frequencies())])
        data, indices = _scatter(pairs, starts, directory)
    return {
        "data": data,
        "indices": indices,
        "indptr": starts.astype(np.int32 if starts[-1] < 2**31 else np.int64),
        "terms": np.frombuffer("\n".join(pairs.columns).encode(), dtype=np.uint8),
        "num_documents": np.array([len(pairs.lengths)]),
    }


class _Pairs:
    """Terms and their counts, document after document, on their way into a file."""

    def __init__(self, file: BinaryIO) -> None:
        self.columns: dict[str, int] = {}
        self.lengths = array("i")  # [documents] in terms
        self.distinct = array("i")  # [documents] pairs
        self.total = 0
        self._file = file
        self._analyzer = Analyzer()
        self._pending = array("i")
        self._frequencies = np.zeros(0, dtype=np.int64)

    def add(self, text: str) -> None:
        columns, terms = self.columns, self._analyzer.terms(text)
        counts = Counter([columns.setdefault(term, len(columns)) for term in terms])
        for term, count in counts.items():
            self._pending.append(term)
            self._pending.append(count)
        self.lengths.append(len(terms))
        self.distinct.append(len(counts))
        if len(self._pending) >= 2 * BLOCK_PAIRS:
            self.flush()

    def flush(self) -> None:
        block = np.frombuffer(self._pending, dtype=np.intc).reshape(-1, 2)
        found = np.bincount(block[:, 0], minlength=len(self.columns))
        found[: len(self._frequencies)] += self._frequencies
        self._frequencies = found
        self._file.write(block.tobytes())
        self.total += len(block)
        self._pending = array("i")

    def document_frequencies(self) -> npt.NDArray[np.int64]:
        """In how many documents each term stands [terms]."""
        return self._frequencies

    def block(self, start: int, count: int) -> npt.NDArray[np.intc]:
        """`count` pairs (term, how often) from `start` on."""
        self._file.seek(start * 2 * self._pending.itemsize)
        return np.frombuffer(self._file.read(count * 2 * self._pending.itemsize), dtype=np.intc).reshape(-1, 2)


def _scatter(pairs: _Pairs, starts: npt.NDArray[np.int64], directory: Path | None) -> tuple[Array, Array]:
    """Scores and documents [pairs], those of a term together and in the order of documents."""
    lengths = np.frombuffer(pairs.lengths, dtype=np.intc)
    ends = np.cumsum(np.frombuffer(pairs.distinct, dtype=np.intc), dtype=np.int64)
    mean, count = lengths.mean(), len(lengths)
    # One logarithm at a time: numpy's differs from the platform's in the last bit.
    idf = np.array([math.log(1 + (count - df + 0.5) / (df + 0.5)) for df in np.diff(starts).tolist()])
    data, indices = (_temporary(pairs.total, dtype, directory) for dtype in (np.float64, np.int32))
    free = starts[:-1].copy()  # where the next pair of each term goes
    for start in range(0, pairs.total, BLOCK_PAIRS):
        block = pairs.block(start, min(BLOCK_PAIRS, pairs.total - start))
        terms, frequencies = block[:, 0], block[:, 1].astype(np.float64)
        documents = np.searchsorted(ends, np.arange(start, start + len(block)), side="right")
        scores = idf[terms] * (frequencies / (K1 * ((1 - B) + B * lengths[documents] / mean) + frequencies))
        order = np.argsort(terms, kind="stable")
        found, first, repeats = np.unique(terms[order], return_index=True, return_counts=True)
        places = np.repeat(free[found] - first, repeats) + np.arange(len(block))
        data[places], indices[places] = scores[order], documents[order]
        free[found] += repeats
    return data, indices


def _temporary(rows: int, dtype: npt.DTypeLike, directory: Path | None) -> Array:
    """An array in a file that is gone with it."""
    with tempfile.TemporaryFile(dir=directory) as file:
        return np.asarray(np.memmap(file, dtype=dtype, mode="w+", shape=(rows,)))
