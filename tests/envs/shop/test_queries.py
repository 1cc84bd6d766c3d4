"""Candidate searches come from the visible text alone."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envs.shop.queries import visible_queries
from envs.shop.world.goals import world


def test_queries_of_an_instruction() -> None:
    text = "i am looking for a pair of teal running shoes with rubber sole, in size 8.5"
    text += ", and price lower than 70.00 dollars"
    queries = visible_queries(text)
    assert queries[0] == text
    assert queries[1] == text.split(", and price")[0]
    assert queries[2] == "teal running shoes with rubber sole, in size 8.5"
    assert "teal running shoes rubber sole 8.5" in queries
    assert "teal running shoes" in queries
    assert "shoes" in queries
    assert all("dollars" not in query for query in queries[1:])


@pytest.mark.parametrize(
    ("text", "head"),
    [
        ("im looking for hair treatments that are sulfate and paraben free", "hair treatments"),
        ("i'd like to buy a small white jumpsuit with a relaxed fit", "small white jumpsuit"),
        ("can you find me an ottoman for my living room?", "ottoman"),
        ("find me a high speed usb hub. it should be easy to use", "high speed usb hub"),
        ("gluten free crackers, sea salt, pack of 6", "gluten free crackers"),
    ],
)
def test_the_first_noun_phrase_is_found(text: str, head: str) -> None:
    assert head in visible_queries(text)


def test_built_in_goals_give_five_to_eight_different_queries_that_use_only_visible_words() -> None:
    shop = world("shop/default")
    counts = []
    for level in range(1_000_000, 1_000_400):
        text = shop.goal(level).instruction
        queries = visible_queries(text)
        assert queries[0] == text
        assert len(set(queries)) == len(queries)
        words = set(re.findall(r"[a-z0-9.]+", text))
        assert all(
            set(re.findall(r"[a-z0-9.]+", query)) <= words | {word.strip(".") for word in words} for query in queries
        )
        counts.append(len(queries))
    assert max(counts) <= 8
    assert sum(count >= 5 for count in counts) > 0.9 * len(counts)


@given(st.text(max_size=200))
def test_any_text_gives_one_to_eight_queries(text: str) -> None:
    queries = visible_queries(text)
    assert 1 <= len(queries) <= 8
    assert visible_queries(text) == queries
    if text.strip():
        assert all(query.strip() for query in queries)
