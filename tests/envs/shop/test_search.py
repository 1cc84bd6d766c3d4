"""Terms, documents and rankings equal the recordings; ties, caching and pickling."""

from __future__ import annotations

import math
import pickle
from collections import Counter
from functools import cache
from typing import Any

import bm25s
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from envs.errors import RunError, UsageError
from envs.shop.analysis import STOP_WORDS, Analyzer
from envs.shop.index import K1, B, index_arrays
from envs.shop.product import product_from_loaded
from envs.shop.search import TOP, Bm25Search, RecordedSearch, rankings_from_rows, search_document
from tests.envs.shop.golden import content, products, rows

QUERIES = rows("queries.jsonl.gz")


@cache
def built() -> Bm25Search:
    return Bm25Search.build(search_document(product) for product in products())


def positions() -> dict[str, int]:
    return {product.asin: position for position, product in enumerate(products())}


def test_every_recorded_document() -> None:
    recorded = rows("search_docs.jsonl.gz")
    assert [(product.asin, search_document(product)) for product in products()] == [
        (row["id"], row["contents"]) for row in recorded
    ]


def test_every_recorded_stem_and_length() -> None:
    recorded, analyzer = content("stems.json"), Analyzer()
    assert set(recorded["stop_words"]) == STOP_WORDS
    for token, stem in recorded["stems"].items():
        assert analyzer.terms(token) == [stem], token
    lengths = {row["id"]: len(analyzer.terms(row["contents"])) for row in rows("search_docs.jsonl.gz")}
    assert lengths == recorded["doc_len"]
    assert sum(lengths.values()) / len(lengths) == recorded["avg_len"]


def test_the_terms_of_every_recorded_query() -> None:
    analyzer = Analyzer()
    for row in QUERIES:
        assert analyzer.terms(row["query"]) == row["terms"], row["query"]


def test_every_recorded_ranking() -> None:
    num_near_ties = 0
    for row in QUERIES:
        scores, found = built().scores(row["query"]), built().search(row["query"])
        assert np.count_nonzero(scores) == row["matching_docs"], row["query"]
        assert scores[list(found)] == pytest.approx(row["scores"], abs=1e-9)
        asins = [products()[position].asin for position in found]
        if row["near_tie"]:
            num_near_ties += 1
            assert sorted(asins) == sorted(row["asins"])
        else:
            assert asins == row["asins"], row["query"]
    assert num_near_ties < 10


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("2-in-1 T-Shirt", ["2", "in", "1", "T", "Shirt"]),
        ("D.O.V. co. 3.5oz", ["D.O.V", "co", "3.5oz"]),
        ("x.3 3.x a1.b a:b 1:2", ["x", "3", "3", "x", "a1", "b", "a:b", "1", "2"]),
        ("1,000 1;2 a,b 2'6\"", ["1,000", "1;2", "a", "b", "2'6"]),
        ("o'dell\u2019s 'quoted'", ["o'dell\u2019s", "quoted"]),
        ("one_pack _a", ["one_pack", "_a"]),
        ("soft\u00adhyphen zero\u200bwidth", ["soft\u00adhyphen", "zero", "width"]),
        ("cafe\u0301's i\u0307x", ["cafe\u0301's", "i\u0307x"]),
        ("宇治抹茶 a宇1", ["宇", "治", "抹", "茶", "a", "宇", "1"]),
        ("½ 10² x™", ["10", "x"]),
        (" \n", []),
    ],
)
def test_tokens(text: str, tokens: list[str]) -> None:
    assert Analyzer().tokens(text) == tokens


def test_ascii_text_has_the_same_tokens_beside_other_letters() -> None:
    analyzer = Analyzer()
    for row in rows("search_docs.jsonl.gz"):
        if row["contents"].isascii():
            assert analyzer.tokens(row["contents"] + " é")[:-1] == analyzer.tokens(row["contents"])


def test_possessives_stop_words_and_short_words() -> None:
    analyzer = Analyzer()
    assert analyzer.terms("Women's THE men\u2019s as us IS ties") == ["women", "men", "us", "ti"]


def test_scores_follow_the_formula_and_repeats_count() -> None:
    texts = ["red tea tea", "red cup", "blue cup cup cup", ""]
    search, analyzer = Bm25Search.build(texts), Analyzer()
    documents = [analyzer.terms(text) for text in texts]
    mean = sum(map(len, documents)) / len(documents)

    def score(term: str, document: list[str]) -> float:
        number = sum(term in other for other in documents)
        tf = Counter(document)[term]
        weight = math.log(1 + (len(documents) - number + 0.5) / (number + 0.5))
        return weight * tf / (tf + K1 * (1 - B + B * len(document) / mean))

    expected = [score("tea", document) + 2 * score("cup", document) for document in documents]
    assert search.scores("cup tea cup nothing").tolist() == pytest.approx(expected, abs=1e-12)


def test_ties_keep_the_order_of_documents_and_fifty_are_kept() -> None:
    search = Bm25Search.build(["tea"] * 40 + ["tea tea"] + ["cup"] * 5 + ["tea"] * 40)
    found = search.search("tea")
    assert len(found) == TOP
    assert found[0] == 40
    assert list(found[1:]) == [*range(40), *range(46, 55)]


@pytest.mark.parametrize("query", ["", "the", "unheardof", "\u200b"])
def test_nothing_found(query: str) -> None:
    assert built().search(query) == ()


def test_answers_are_remembered_and_arrays_make_the_same_search() -> None:
    search = built()
    assert search.search("green tea") is search.search("green tea")
    arrays = search.arrays()
    assert all(array.ndim == 1 for array in arrays.values())
    for array in arrays.values():
        array.setflags(write=False)
    for copy in (Bm25Search(arrays), pickle.loads(pickle.dumps(search))):
        for row in QUERIES[:50]:
            assert copy.search(row["query"]) == search.search(row["query"])


def test_pickles_share_their_arrays() -> None:
    buffers: list[pickle.PickleBuffer] = []
    small = pickle.dumps(built(), protocol=5, buffer_callback=buffers.append)
    assert len(small) < 2000
    copy = pickle.loads(small, buffers=buffers)
    assert np.shares_memory(copy.arrays()["data"], built().arrays()["data"])


def test_arrays_that_do_not_belong_together() -> None:
    arrays = built().arrays()
    for broken in (
        {**arrays, "data": arrays["data"][:-1]},
        {"data": arrays["data"]},
        {**arrays, "terms": arrays["terms"][:3]},
    ):
        with pytest.raises(RunError, match="no search index"):
            Bm25Search(broken)


def test_documents_without_words() -> None:
    with pytest.raises(UsageError, match="nothing to search"):
        Bm25Search.build(["", "the"])


def test_documents_of_bare_products() -> None:
    bare = product_from_loaded({"Title": "Tea", "Description": "Pot"})
    assert search_document(bare) == "tea pot  "


def test_recorded_search() -> None:
    rankings = dict(rankings_from_rows(QUERIES))
    search = RecordedSearch(rankings, positions().get, fallback=built())
    for row in QUERIES[:50]:
        assert [products()[position].asin for position in search.search(row["query"])] == row["asins"]
    assert search.search("green tea pot of gold") == built().search("green tea pot of gold")
    few = RecordedSearch({"tea": ["unknown", products()[7].asin]}, positions().get)
    assert few.search("tea") == (7,)
    with pytest.raises(UsageError, match="Did you mean 'tea'"):
        few.search("teas")


def test_broken_ranking_rows() -> None:
    with pytest.raises(UsageError, match="Row 2"):
        list(rankings_from_rows([{"query": "a", "asins": []}, {"query": "b"}]))


TEXTS = st.lists(st.text("bc ", max_size=8), min_size=1, max_size=40)  # so that few words stand in many texts


@given(TEXTS, st.sampled_from((1, 2, 7, 1 << 20)))
def test_the_index_is_that_of_the_library_to_the_last_bit(texts: list[str], block: int) -> None:
    analyzer = Analyzer()
    columns: dict[str, int] = {}
    rows = [[columns.setdefault(term, len(columns)) for term in analyzer.terms(text)] for text in texts]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("envs.shop.index.BLOCK_PAIRS", block)
        if not columns:
            with pytest.raises(UsageError, match="nothing to search"):
                index_arrays(texts)
            return
        made = index_arrays(texts)
    assert_same_index(made, rows, columns)


def test_the_index_of_the_recorded_catalogue_is_that_of_the_library() -> None:
    analyzer, columns, texts = Analyzer(), {}, [search_document(product) for product in products()]
    rows = [[columns.setdefault(term, len(columns)) for term in analyzer.terms(text)] for text in texts]
    assert_same_index(index_arrays(texts), rows, columns)


def assert_same_index(made: dict[str, Any], rows: list[list[int]], columns: dict[str, int]) -> None:
    model = bm25s.BM25(k1=K1, b=B, method="lucene", dtype="float64")
    model.index((rows, columns), create_empty_token=False, show_progress=False)
    assert bytes(made["terms"]).decode().split("\n") == list(columns)
    assert made["num_documents"].tolist() == [len(rows)]
    assert made["indptr"].tolist() == model.scores["indptr"].tolist()
    for term in range(len(columns)):
        part = slice(*made["indptr"][term : term + 2])
        expected = dict(zip(model.scores["indices"][part].tolist(), model.scores["data"][part].tolist(), strict=True))
        assert made["indices"][part].tolist() == sorted(expected)
        assert made["data"][part].tolist() == [expected[document] for document in sorted(expected)]
