"""Colours, sizes and fuzzy scores equal every recorded row and the published cases."""

from __future__ import annotations

from typing import Any

import pytest

from envs.shop.text_rules import (
    COLORS,
    SIZE_PATTERNS,
    cleaned,
    map_color,
    map_size,
    matched_options,
    matches,
    normalize_color,
    pair_text,
    token_set_score,
    wanted_texts,
)
from tests.envs.shop.golden import rows


def recorded(kind: str) -> list[Any]:
    found = [row for row in rows("normalize.jsonl") if row["kind"] == kind]
    assert len(found) > 100
    return found


def test_every_recorded_color() -> None:
    for row in recorded("color"):
        assert normalize_color(row["input"]) == row["normalized"], row
        assert map_color(row["input"]) == row["mapping"], row


def test_every_recorded_size() -> None:
    for row in recorded("size"):
        assert map_size(row["input"]) == row["mapping"], row


def test_every_recorded_score() -> None:
    for row in recorded("fuzzy"):
        assert token_set_score(row["a"], row["b"]) == row["score"], row
        assert matches(row["a"], row["b"]) == row["match"], row


def test_every_recorded_pair_score() -> None:
    for row in recorded("fuzzy_pair"):
        pair = pair_text(row["name"], row["value"])
        assert token_set_score(row["a"], pair) == row["score"], row
        assert matches(row["a"], pair) == row["match"], row


def test_the_tables_have_the_published_sizes() -> None:
    assert len(COLORS) == 102
    assert list(COLORS) == sorted(set(COLORS))
    assert len(SIZE_PATTERNS) == 15 + 25


@pytest.mark.parametrize(
    ("text", "color"),
    [
        ("dark green", "dark"),
        ("light blue", "blue"),
        ("light pink", "light"),
        ("army green", "green"),
        ("rose gold", "gold"),
        ("white | black", "black"),
        ("titanium", "tan"),
        ("cashmere", "ash"),
        ("hundred", "red"),
        ("sandalwood", "sand"),
        ("stainless steel", "steel"),
        ("multicolored", "multicolor"),
        ("x-large", "x-large"),
        ("Red", "Red"),
        ("yellow", "yellow"),
        ("violet", "violet"),
    ],
)
def test_colors(text: str, color: str) -> None:
    assert normalize_color(text) == color


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("2XX-LARGE", "xx-large"),
        ("xx-large", "xx-large"),
        ("medium-large", "medium"),
        ("50w x 84l", "(.*)w x(.*)l"),
        ("1.5m", r"(\d+)m$"),
        ('30"', r'(\d+)"$'),
        ("women's 8", "women(.*)"),
        ("3*4", r"(.*)\*(.*)"),
        ("a-b", r"(.*)\-(.*)"),
        ("100g", r"(\d+)g$"),
        ("35cm", r"(\d+)cm$"),
        ("petite 6", "(.*)petite"),
        ("6 petite", "(.*)petite"),
        ("7.5", "numeric_size"),
        ("7.5.1", "not_matched"),
        ("line\nten inch", "(.*)inch"),
    ],
)
def test_sizes(text: str, size: str) -> None:
    assert map_size(text) == size


@pytest.mark.parametrize(
    ("first", "second", "score"),
    [
        ("essential oil", "essential oils", 96),
        ("machine washable", "machine wash", 86),
        ("wash", "machine wash", 100),
        ("hand wash", "hand washable", 82),
        ("long lasting", "lasting long", 100),
        ("grey", "gray", 75),
        ("queen", "queen size", 100),
        ("1", "1 count (pack of 1)", 100),
        ("5.5", "55", 67),
        ("tea bag", "tea tree", 60),
        ("x-large", "large", 100),
        ("xx-large", "x-large", 93),
        ("pack of 1", "pack of 12", 95),
        ("size 10", "size 11", 86),
        ("é", "é", 0),
        ("", "", 0),
        ("10\u00d712", "1012", 100),
        ("抹茶", "抹茶", 100),
    ],
)
def test_scores(first: str, second: str, score: int) -> None:
    assert token_set_score(first, second) == score
    assert matches(first, second) == (score > 85)


def test_cleaning_deletes_latin_1_and_blanks_the_rest() -> None:
    assert cleaned(" Crème_Brûlée™ 2-\x7fPa\x80ck Ő\u00ff\u0100! ") == "crme brle  2  pack őā"


def test_pairs_are_compared_as_printed() -> None:
    assert pair_text("size", "x\nl") == "('size', 'x\\nl')"
    assert token_set_score("x-large", pair_text("size", "x-large")) == 100
    assert wanted_texts({"size": "xl", "color": "red"}) == ("('size', 'xl')", "red")
    assert wanted_texts({"red": "green"}) == ("green",)
    assert wanted_texts({"color": "titanium"}) == ("('color', 'titanium')",)
    assert wanted_texts(("titanium", "xl")) == ("tan", "xl")


def test_options_match_by_value_only() -> None:
    assert matched_options(["xl", "red"], {"size": "xl", "color": "red"}) == 2
    assert matched_options(["xl"], {"fit": "xl"}) == 1
    assert matched_options(["titanium"], {"color": "titanium"}) == 0
    assert matched_options(["titanium"], ("titanium",)) == 1
    assert matched_options(["é"], ("é",)) == 0
    assert matched_options([], ("red",)) == matched_options(["red"], ()) == 0
    assert matched_options(["x-large"], ("large", "large")) == 2
