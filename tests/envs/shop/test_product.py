"""Records of the original's files become products as the original loads them."""

from __future__ import annotations

from typing import Any

import pytest

from envs.errors import UsageError
from envs.shop.product import (
    DUMMY_ATTRIBUTE,
    parse_prices,
    product_from_loaded,
    product_from_record,
)
from tests.envs.shop.golden import content, products, rows


def record(**changes: Any) -> dict[str, Any]:
    plain = {
        "asin": "B000000001",
        "name": "Tea Pot",
        "category": "garden",
        "query": " Tea Pots ",
        "product_category": "Home \u203a Kitchen",
        "full_description": "For tea.",
        "small_description": ["One", "Two"],
        "pricing": "$12.50",
        "images": ["https://img.example/1.jpg"],
        "customization_options": {"Color": [{"value": " Red/Blue ", "image": "i"}, {"value": "BLACK"}]},
    }
    return {key: value for key, value in {**plain, **changes}.items() if value is not ...}


def test_every_recorded_product_is_loaded_equal_and_in_order() -> None:
    recorded = rows("loaded_products.jsonl.gz")
    assert len(products()) == len(recorded) == 1000
    for product, row in zip(products(), recorded, strict=True):
        assert product.asin == row["asin"]
        assert product.title == row["Title"]
        assert product.query == row["query"]
        assert list(product.shown_prices) == row["pricing"]
        assert product.price_tag == row["Price"]
        assert [(name, list(values)) for name, values in product.options.items()] == list(row["options"].items())
        assert product.option_images == row["option_to_image"]
        assert list(product.features) == row["BulletPoints"]
        assert list(product.attributes) == row["Attributes"]
        assert product.image == row["MainImage"]
        assert product.title_nouns == tuple(content("nouns.json")[product.title])


def test_options_are_normalized_and_colliding_groups_keep_the_earlier_place() -> None:
    groups = {
        "Size": [{"value": "S"}],
        "Color": [{"value": " Red/Blue ", "image": "i"}],
        "Edition": None,
        "Empty": [],
        "SIZE": [{"value": "L"}],
    }
    product = product_from_record(record(customization_options=groups))
    assert list(product.options.items()) == [("size", ("l",)), ("color", ("red | blue",)), ("empty", ())]
    assert product.option_images == {"s": None, "red | blue": "i", "l": None}


@pytest.mark.parametrize("groups", [None, "", {}])
def test_no_options(groups: object) -> None:
    assert product_from_record(record(customization_options=groups)).options == {}


@pytest.mark.parametrize(
    ("entry", "attributes"),
    [
        (None, (DUMMY_ATTRIBUTE,)),
        ({"instruction": "x"}, (DUMMY_ATTRIBUTE,)),
        ({"attributes": None}, (DUMMY_ATTRIBUTE,)),
        ({"attributes": []}, ()),
        ({"attributes": ["easy use"]}, ("easy use",)),
    ],
)
def test_hidden_attributes(entry: dict[str, Any] | None, attributes: tuple[str, ...]) -> None:
    assert product_from_record(record(), entry).attributes == attributes


@pytest.mark.parametrize(
    ("text", "prices", "tag"),
    [
        (None, (100.0,), "$100.0"),
        ("", (100.0,), "$100.0"),
        ("no price", (100.0,), "$100.0"),
        ("$.5", (0.5,), "$0.5"),
        ("$1,234.56", (1234.56,), "$1234.56"),
        ("US$15.00 - US$18.50", (15.0, 18.5), "$15.0 to $18.5"),
        ("$12.63 ($0.79 / Ounce)", (12.63, 0.79), "$12.63 to $0.79"),
        ("$1 $2 $3", (1.0, 2.0), "$1.0 to $2.0"),
        ("$5.00 - $5.00", (5.0, 5.0), "$5.0 to $5.0"),
    ],
)
def test_prices_and_tags(text: str | None, prices: tuple[float, ...], tag: str) -> None:
    assert parse_prices(text) == (prices, tag)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": ...}, ["B000000001", "'name'"]),
        ({"query": None}, ["B000000001", "'query'", "a text"]),
        ({"pricing": "$ten"}, ["B000000001", "'pricing'", "$ten"]),
        ({"pricing": 12.5}, ["B000000001", "'pricing'"]),
        ({"small_description": 3}, ["B000000001", "'small_description'"]),
        ({"customization_options": ["red"]}, ["B000000001", "'customization_options'"]),
        ({"customization_options": {"Color": [{"image": "i"}]}}, ["B000000001", "'value'", "'Color'"]),
        ({"customization_options": {"Color": 5}}, ["B000000001", "'customization_options'", "'Color'"]),
        ({"title_nouns": "Tea"}, ["B000000001", "'title_nouns'"]),
        ({"asin": ...}, ["without asin", "'asin'"]),
    ],
)
def test_errors_name_product_and_key(changes: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(UsageError) as caught:
        product_from_record(record(**changes))
    assert all(word in str(caught.value) for word in words)


def test_errors_in_the_attribute_file_name_product_and_key() -> None:
    for entry in ("easy", {"attributes": "easy"}):
        with pytest.raises(UsageError, match=r"B000000001.*attribute"):
            product_from_record(record(), entry)  # type: ignore[arg-type]


def test_inline_products_keep_the_character_joined_features() -> None:
    product = product_from_loaded({"Title": "T", "BulletPoints": "ab", "Attributes": ["x"], "Description": "d"})
    assert product.features == ("a", "b")
    assert (product.title, product.description, product.attributes) == ("T", "d", ("x",))
