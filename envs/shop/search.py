"""Search: a query to the best products, by BM25 with Lucene's formula or from recorded lists.

``score = sum over query terms of ln(1 + (N - df + 0.5) / (df + 0.5)) * tf / (tf + k1 * (1 - b + b * length / mean))``
in float64 with exact lengths (Lucene itself stores a length in one byte). Equal scores keep the order of documents.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, Protocol

import bm25s
import numpy as np
import numpy.typing as npt

from envs.errors import RunError, UsageError, unknown_name
from envs.shop.analysis import Analyzer
from envs.shop.checks import few, shorten
from envs.shop.index import K1, B, index_arrays
from envs.shop.product import Product

TOP = 50
CACHED_QUERIES = 1 << 14
INDEX_VERSION = 1
"""Raise when the arrays of an index, the analysis or `search_document` change."""


class SearchBackend(Protocol):
    """What the shop needs of a search engine."""

    def search(self, query: str) -> tuple[int, ...]:
        """The catalogue positions of at most 50 products, best first."""


def search_document(product: Product) -> str:
    """The text under which a product is found: title, description, first feature and options, in lower case."""
    options = ", and ".join(f"{name}: {', '.join(values)}" for name, values in product.options.items())
    feature = product.features[0] if product.features else ""
    return " ".join((product.title, product.description, feature, options)).lower()


class Bm25Search:
    """BM25 over documents; the scores of all (term, document) pairs are computed once, a query adds them up.

    Remembers the answers; pickles as its arrays, without them.

    Args:
        arrays: As `arrays` describes them; may be read-only memory maps or shared memory.

    Raises:
        RunError: If the arrays do not belong together.
    """

    def __init__(self, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        self._arrays = dict(arrays)
        try:
            data, indices, indptr = (self._arrays[name] for name in ("data", "indices", "indptr"))
            terms = self._arrays["terms"].tobytes().decode().split("\n")
            self.num_documents = int(self._arrays["num_documents"][0])
            if len(indptr) != len(terms) + 1 or {len(data), len(indices)} != {int(indptr[-1])}:
                raise ValueError("their sizes do not agree")
        except (KeyError, IndexError, ValueError) as error:
            raise RunError(f"These arrays are no search index ({error}). Build it again.") from error
        self._columns = {term: column for column, term in enumerate(terms)}
        self._analyzer = Analyzer()
        self._model = _model()
        self._model.scores = {"data": data, "indices": indices, "indptr": indptr, "num_docs": self.num_documents}
        self._cached = lru_cache(maxsize=CACHED_QUERIES)(self.rank)

    @classmethod
    def build(cls, documents: Iterable[str]) -> Bm25Search:
        """Index documents; results are their positions.

        Raises:
            UsageError: If no document holds a term.
        """
        return cls(index_arrays(documents))

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Everything the index consists of, as `envs.shop.index.index_arrays` describes it."""
        return dict(self._arrays)

    def scores(self, query: str) -> npt.NDArray[np.float64]:
        """The score of every document, float64 ``[documents]``; 0 without a common term."""
        columns = [self._columns[term] for term in self._analyzer.terms(query) if term in self._columns]
        if not columns:
            return np.zeros(self.num_documents)
        scores: npt.NDArray[np.float64] = self._model.get_scores_from_ids(columns)
        return scores

    def search(self, query: str) -> tuple[int, ...]:
        """The positions of at most 50 documents that share a term with the query, best first; remembered."""
        return self._cached(query)

    def rank(self, query: str) -> tuple[int, ...]:
        """The same as `search`, computed every time."""
        scores = self.scores(query)
        worst = np.partition(scores, -TOP)[-TOP] if len(scores) > TOP else 0.0
        found = np.flatnonzero(scores >= worst) if worst > 0 else np.flatnonzero(scores)
        best = np.argsort(-scores[found], kind="stable")[:TOP]
        return tuple(found[best].tolist())

    def __reduce__(self) -> tuple[type[Bm25Search], tuple[dict[str, npt.NDArray[Any]]]]:
        return Bm25Search, (self._arrays,)


class RecordedSearch:
    """Answers from recorded lists instead of searching.

    Args:
        rankings: Query -> identifiers, best first; the first 50 count. Identifiers that the catalogue does not hold
            are left out, as the original does.
        find: Identifier -> catalogue position, None if the catalogue does not hold it.
        fallback: Asked for queries without a recording.
        tell: Called with a line for a person at the first query without a recording.
    """

    def __init__(
        self,
        rankings: Mapping[str, Sequence[str]],
        find: Callable[[str], int | None],
        fallback: SearchBackend | None = None,
        tell: Callable[[str], None] | None = None,
    ) -> None:
        self._rankings = rankings
        self._find = find
        self._fallback = fallback
        self._tell = tell

    def search(self, query: str) -> tuple[int, ...]:
        """The catalogue positions recorded for a query.

        Raises:
            UsageError: If there is neither a recording nor a fallback; names the closest recorded query.
        """
        recorded = self._rankings.get(query)
        if recorded is not None:
            positions = (self._find(asin) for asin in recorded[:TOP])
            return tuple(position for position in positions if position is not None)
        if self._fallback is None:
            raise unknown_name("recorded query", query, self._rankings)
        if self._tell is not None:
            self._tell(f"The query {shorten(query)} is not in the rankings; queries like it are searched instead.")
            self._tell = None
        return self._fallback.search(query)


def rankings_from_rows(rows: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """(query, identifiers) of the rows of a recorded-rankings file.

    Raises:
        UsageError: If a row lacks ``query`` or ``asins``; names the row.
    """
    for number, row in enumerate(rows, start=1):
        query, asins = row.get("query"), row.get("asins")
        if not isinstance(query, str) or not isinstance(asins, list):
            raise UsageError(
                f"Row {number} of the rankings needs a text 'query' and a list 'asins'; it has {few(row)}."
            )
        yield query, tuple(asins)


def _model() -> Any:
    model = bm25s.BM25(k1=K1, b=B, method="lucene", dtype="float64")
    model.nonoccurrence_array = None  # set by building only but read by scoring; Lucene's formula has none
    return model
