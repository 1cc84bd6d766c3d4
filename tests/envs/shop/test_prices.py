"""Hidden prices and price caps: the original's draws, and the strict ones without any generator."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace

import pytest

from envs.shop.prices import NO_CAP, compat_caps, compat_prices, price_clause, strict_cap, strict_price
from tests.envs.shop.golden import content, drawn_prices, products


def test_every_recorded_price_is_drawn() -> None:
    recorded = content("product_prices.json")
    rng = random.Random(recorded["load_seed"])
    assert drawn_prices(rng) == recorded["product_prices"]


def test_only_ranges_take_a_draw() -> None:
    fixed = [product.shown_prices for product in products() if len(product.shown_prices) == 1]
    rng = random.Random(3)
    compat_prices(fixed, rng)
    assert rng.getstate() == random.Random(3).getstate()


def test_strict_prices_depend_on_content_only_and_stay_in_range() -> None:
    prices = {product.asin: strict_price(product) for product in products()}
    ranges = [product for product in products() if len(product.shown_prices) == 2]
    assert len(ranges) > 100
    for product in ranges:
        assert min(product.shown_prices) <= prices[product.asin] <= max(product.shown_prices)
    for product in (product for product in products() if len(product.shown_prices) == 1):
        assert prices[product.asin] == product.shown_prices[0]
    wide = [product for product in ranges if product.shown_prices[1] - product.shown_prices[0] > 1]
    places = [(prices[p.asin] - p.shown_prices[0]) / (p.shown_prices[1] - p.shown_prices[0]) for p in wide]
    assert 0.4 < sum(places) / len(places) < 0.6
    assert strict_price(replace(wide[0], title="other")) == prices[wide[0].asin]
    assert strict_price(replace(wide[0], asin="other")) != prices[wide[0].asin]


def test_strict_prices_of_reversed_ranges_spread_too() -> None:
    plain = products()[0]
    prices = {strict_price(replace(plain, asin=str(key), shown_prices=(30.0, 12.0))) for key in range(50)}
    assert len(prices) > 40
    assert 12.0 <= min(prices) < 15.0
    assert 27.0 < max(prices) <= 30.0


def test_caps_are_the_larger_of_two_of_the_next_four_tens() -> None:
    cap = compat_caps(random.Random(0))
    counts = Counter(cap("", 20.0) for _ in range(6000))
    assert set(counts) == {40.0, 50.0, 60.0}
    assert counts[40.0] == pytest.approx(1000, abs=150)
    assert counts[50.0] == pytest.approx(2000, abs=150)
    assert counts[60.0] == pytest.approx(3000, abs=150)


@pytest.mark.parametrize(
    ("price", "caps"),
    [
        (0.0, {20.0, 30.0, 40.0}),
        (19.99, {30.0, 40.0, 50.0}),
        (959.99, {970.0, 980.0, 990.0}),
        (969.99, {980.0, 990.0}),
        (970.0, {990.0}),
        (979.99, {990.0}),
        (980.0, {NO_CAP}),
        (5000.0, {NO_CAP}),
    ],
)
def test_caps_near_the_ends(price: float, caps: set[float]) -> None:
    rule = compat_caps(random.Random(1))
    assert {rule("", price) for _ in range(200)} == caps
    assert {strict_cap(str(key), price) for key in range(200)} == caps


def test_no_cap_takes_no_draw() -> None:
    rng = random.Random(5)
    compat_caps(rng)("", 980.0)
    assert rng.getstate() == random.Random(5).getstate()


def test_strict_caps_follow_the_key() -> None:
    assert strict_cap("goal", 12.0) == strict_cap("goal", 12.0)
    assert len({strict_cap(str(key), 12.0) for key in range(50)}) == 3


def test_clause() -> None:
    assert price_clause(50.0) == ", and price lower than 50.00 dollars"
    assert price_clause(NO_CAP) == ""
