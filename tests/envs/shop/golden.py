"""The recordings of the original in tests/golden/webshop, read once."""

from __future__ import annotations

import gzip
import json
import random
from functools import cache
from pathlib import Path
from typing import Any

from envs.shop.entries import read_attributes
from envs.shop.goals import Goal, HumanInstruction, SyntheticInstruction, human_goals, synthetic_goals
from envs.shop.load import ProductStream
from envs.shop.prices import compat_caps, compat_prices
from envs.shop.product import Product

FOLDER = Path(__file__).resolve().parents[2] / "golden" / "webshop"


@cache
def content(name: str) -> Any:
    return json.loads((FOLDER / name).read_text(encoding="utf-8"))


@cache
def rows(name: str) -> list[Any]:
    path = FOLDER / name
    data = path.read_bytes()
    text = gzip.decompress(data).decode() if path.suffix == ".gz" else data.decode()
    return [json.loads(line) for line in text.split("\n") if line]


@cache
def products() -> tuple[Product, ...]:
    return tuple(ProductStream(FOLDER / "catalogue.json", read_attributes(FOLDER / "items_ins.json")))


def drawn_prices(rng: random.Random) -> dict[str, float]:
    """Hidden prices as the original draws them."""
    drawn = compat_prices((product.shown_prices for product in products()), rng)
    return dict(zip((product.asin for product in products()), drawn, strict=True))


@cache
def by_asin() -> dict[str, Product]:
    return {product.asin: product for product in products()}


@cache
def built_goals(kind: str) -> list[Goal]:
    """Human or synthetic goals before the shuffle, with the recording's load seed."""
    rng = random.Random(content("product_prices.json")["load_seed"])
    prices = drawn_prices(rng)
    if kind == "human":
        humans = {
            asin: [HumanInstruction.from_record(asin, entry) for entry in entries]
            for asin, entries in content("items_human_ins.json").items()
        }
        return human_goals(products(), humans, prices, compat_caps(rng))
    found = {asin: SyntheticInstruction.from_record(asin, entry) for asin, entry in content("items_ins.json").items()}
    return synthetic_goals(products(), {asin: wish for asin, wish in found.items() if wish}, prices, compat_caps(rng))
