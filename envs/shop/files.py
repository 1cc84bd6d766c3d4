"""A shop from files in the original's schemas, plain or gzip, JSON or JSON lines."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from envs.errors import UsageError
from envs.shop.entries import named
from envs.shop.goal_order import SHUFFLE_SEED, hash_order, shuffled
from envs.shop.goals import (
    Goal,
    HumanInstruction,
    SyntheticInstruction,
    goal_from_record,
    human_goals,
    synthetic_goals,
)
from envs.shop.nouns import Nouns
from envs.shop.prices import compat_caps, compat_prices, strict_cap, strict_prices
from envs.shop.product import Product, load_products
from envs.shop.rules import STRICT, ShopRules
from envs.shop.search import Bm25Search, RecordedSearch, SearchBackend, rankings_from_rows, search_document
from envs.shop.shop import ProductList, Shop

GZIP_START = b"\x1f\x8b"


@dataclass(frozen=True, kw_only=True)
class ShopFiles:
    """Where a shop's content lies.

    Attributes:
        products: Product file.
        attributes: Attribute file: identifier -> entry, also the source of synthetic goals.
        instructions: Human instructions: identifier -> list of instructions.
        prices: Hidden prices: identifier -> dollars, perhaps under the key ``product_prices``.
        nouns: Title -> nouns.
        goals: Ready goals in final order: a list, perhaps under the key ``goals``, or JSON lines.
        rankings: Recorded searches: query -> identifiers, or rows of ``query`` and ``asins``; used instead of searching
            for the queries they hold.
        load_seed: Draws prices and price caps under `ShopRules.sampled_prices`; None takes the price file's own
            ``load_seed``, or 0.
    """

    products: str
    attributes: str | None = None
    instructions: str | None = None
    prices: str | None = None
    nouns: str | None = None
    goals: str | None = None
    rankings: str | None = None
    load_seed: int | None = None


def open_shop(files: ShopFiles, rules: ShopRules = STRICT, *, with_goals: bool = True) -> Shop:
    """The shop of these files.

    Human goals are built where an instruction file is given, synthetic ones otherwise, unless there are ready goals.

    Args:
        files: Where the content lies.
        rules: The fidelity switches.
        with_goals: False for a shop that only judges purchases and needs no goals of its own.

    Raises:
        UsageError: If a file is missing or holds something else than expected; names the file.
    """
    attributes = _mapping(files.attributes)
    with named(Path(files.products), "the products"):
        products = list(load_products(_rows(files.products, read_json(files.products)), attributes))
    if not products:
        raise UsageError(f"{files.products} holds no product; a shop needs at least one.")
    given, seed = _prices(files)
    rng = random.Random(seed)
    drawn = compat_prices(products, rng) if rules.sampled_prices else strict_prices(products)
    prices = {**drawn, **given}
    goals: list[Goal] = []
    if with_goals and files.goals:
        goals = _ready_goals(files.goals)
    elif with_goals:
        goals = _built_goals(files, rules, products, attributes, prices, rng)
    nouns = Nouns({title: tuple(words) for title, words in _mapping(files.nouns).items()})
    search: SearchBackend = LazySearch(products)
    if files.rankings:
        positions = {product.asin: position for position, product in enumerate(products)}
        search = RecordedSearch(_rankings(files.rankings), positions, search)
    return Shop(products=ProductList(products), goals=goals, search=search, nouns=nouns, prices=prices, rules=rules)


class LazySearch:
    """A search whose index is built at the first query, so that a shop with recorded searches starts at once.

    Args:
        products: The catalogue, in order.
    """

    def __init__(self, products: Sequence[Product]) -> None:
        self._products = products
        self._search: SearchBackend | None = None

    def search(self, query: str) -> tuple[int, ...]:
        """The catalogue positions of at most 50 products, best first."""
        if self._search is None:
            self._search = Bm25Search.build(search_document(product) for product in self._products)
        return self._search.search(query)


def _built_goals(
    files: ShopFiles,
    rules: ShopRules,
    products: Sequence[Product],
    attributes: Mapping[str, Any],
    prices: Mapping[str, float],
    rng: random.Random,
) -> list[Goal]:
    caps = compat_caps(rng) if rules.sampled_prices else strict_cap
    if files.instructions:
        with named(Path(files.instructions), "the instructions"):
            humans = {
                asin: [HumanInstruction.from_record(asin, entry) for entry in entries]
                for asin, entries in _mapping(files.instructions).items()
            }
        goals = human_goals(products, humans, prices, caps)
    else:
        with named(Path(files.attributes or ""), "the instructions"):
            found = ((asin, SyntheticInstruction.from_record(asin, entry)) for asin, entry in attributes.items())
            goals = synthetic_goals(products, {asin: wish for asin, wish in found if wish}, prices, caps)
    if not goals:
        raise UsageError("The files hold no goals; give --instructions, --attributes with instructions, or --goals.")
    return shuffled(goals, random.Random(SHUFFLE_SEED)) if rules.sampled_prices else hash_order(goals)


def _ready_goals(path: str) -> list[Goal]:
    content = read_json(path)
    with named(Path(path), "the goals"):
        return [
            goal_from_record(row)
            for row in _rows(path, content.get("goals", content) if isinstance(content, dict) else content)
        ]


def _prices(files: ShopFiles) -> tuple[dict[str, float], int]:
    """Prices of the file, and the seed of drawn ones."""
    content = _mapping(files.prices)
    table = content.get("product_prices", content)
    if not isinstance(table, dict) or not all(isinstance(price, int | float) for price in table.values()):
        raise UsageError(f"{files.prices} is no table of prices; write an object of identifiers and dollars.")
    seed = content.get("load_seed", 0) if files.load_seed is None else files.load_seed
    return table, int(seed)


def _rankings(path: str) -> dict[str, Sequence[str]]:
    content = read_json(path)
    with named(Path(path), "the rankings"):
        if isinstance(content, dict) and not isinstance(content.get("asins"), list):
            return {query: tuple(asins) for query, asins in content.items()}
        return dict(rankings_from_rows(_rows(path, content)))


def _rows(path: str, content: Any) -> list[Any]:
    rows = [content] if isinstance(content, dict) else content
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise UsageError(f"{path} is no list of objects; write one JSON array, or one object a line.")
    return rows


def _mapping(path: str | None) -> dict[str, Any]:
    content = read_json(path) if path else {}
    if not isinstance(content, dict):
        raise UsageError(f"{path} is no object; write one JSON object with a value for each name.")
    return content


def read_json(path: str | Path) -> Any:
    """The content of a JSON file; a list of rows if it holds one JSON value a line. Gzip is unpacked.

    Raises:
        UsageError: If there is no such file or it holds neither.
    """
    if not Path(path).is_file():
        raise UsageError(f"There is no file {path}. Check the path.")
    data = Path(path).read_bytes()
    try:
        text = (gzip.decompress(data) if data.startswith(GZIP_START) else data).decode("utf-8-sig")
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not readable as UTF-8 text ({error}).") from error
    try:
        return json.loads(text)
    except ValueError as whole:
        try:
            return list(_json_lines(text))
        except ValueError:
            raise UsageError(f"{path} is neither JSON nor JSON lines ({whole}).") from whole


def _json_lines(text: str) -> Iterator[Any]:
    # splitlines() would also cut at line separators inside texts.
    return (json.loads(line) for line in text.split("\n") if line.strip())
