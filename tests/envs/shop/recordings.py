"""The recordings of the original and the shops they were made in, and a small made-up shop for the rest."""

from __future__ import annotations

import dataclasses
import gzip
import json
from functools import lru_cache
from typing import Any

from envs.shop.files import ShopFiles, open_shop
from envs.shop.goals import Goal
from envs.shop.nouns import Nouns
from envs.shop.product import Product
from envs.shop.rules import COMPAT, STRICT, ShopRules
from envs.shop.shop import ProductList, Shop
from tests.conftest import REPOSITORY

GOLDEN = REPOSITORY / "tests" / "golden" / "webshop"
FILES = ShopFiles(
    products=str(GOLDEN / "catalogue.json"),
    attributes=str(GOLDEN / "items_ins.json"),
    prices=str(GOLDEN / "product_prices.json"),
    nouns=str(GOLDEN / "nouns.json"),
    rankings=str(GOLDEN / "queries.jsonl.gz"),
)


def rows(name: str) -> list[dict[str, Any]]:
    with gzip.open(GOLDEN / name, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


@lru_cache(maxsize=8)
def recorded_shop(goal_set: str, show_attributes: bool = False, preset: ShopRules = COMPAT) -> Shop:
    goals = str(GOLDEN / "goals.json") if goal_set == "human" else None
    rules = dataclasses.replace(preset, show_attributes=show_attributes)
    return open_shop(dataclasses.replace(FILES, goals=goals), rules)


def make_product(asin: str, **changes: Any) -> Product:
    fields = {
        "title": f"Green tea {asin}",
        "query": "green tea",
        "department": "grocery",
        "breadcrumb": "Food \u203a Drinks \u203a Tea",
        "description": "Leaves.",
        "features": ("Fresh", "Loose"),
        "shown_prices": (12.5,),
        "price_tag": "$12.5",
        "options": {"size": ("small", "large"), "flavor": ("mint", "rose")},
        "attributes": ("sugar free",),
        "title_nouns": ("tea",),
    }
    return Product(asin=asin, **{**fields, **changes})


def make_goal(product: Product, **changes: Any) -> Goal:
    fields = {
        "goal_id": "g",
        "asin": product.asin,
        "query": product.query,
        "title": product.title,
        "breadcrumb": product.breadcrumb,
        "department": product.department,
        "instruction": "i want green tea",
        "attributes": ("sugar free",),
        "options": {"size": "large"},
        "price_upper": 20.0,
    }
    return Goal(**{**fields, **changes})


class FixedSearch:
    def __init__(self, count: int) -> None:
        self.count = count
        self.queries: list[str] = []

    def search(self, query: str) -> tuple[int, ...]:
        self.queries.append(query)
        return () if query == "nothing" else tuple(range(self.count))


def small_shop(rules: ShopRules = STRICT, products: list[Product] | None = None, **changes: Any) -> Shop:
    products = products or [make_product(f"B{number:09d}") for number in range(23)]
    goals = [make_goal(product, **changes) for product in products]
    prices = {product.asin: 12.5 for product in products}
    search = FixedSearch(len(products))
    return Shop(products=ProductList(products), goals=goals, search=search, nouns=Nouns(), prices=prices, rules=rules)
