"""The shop of a built-in world: its catalogue and index are made once, and shared by everyone who plays it."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import overload

from envs.cache import LeastRecentlyUsed
from envs.errors import RunError, unknown_name
from envs.shifts import LEVEL_UNIVERSE
from envs.shop.cache import cached_catalogue, cached_search, content_key
from envs.shop.catalogue import Catalogue
from envs.shop.goals import Goal
from envs.shop.nouns import Nouns
from envs.shop.prices import strict_price
from envs.shop.product import Product
from envs.shop.rules import STRICT, ShopRules
from envs.shop.search import Bm25Search, SearchBackend, search_document
from envs.shop.shop import Products, Shop
from envs.shop.world.config import WORLDS, WorldConfig
from envs.shop.world.goals import World, world

KEPT_SHOPS = 4
DECODED_PRODUCTS = 12_000
"""About 5 kB each; a result page needs ten, so that fewer than a small catalogue holds would make a page slow."""
_CACHED_GOALS = 4096


class WorldGoals(Sequence[Goal]):
    """The goals of all levels of a world, made when asked for; a level is an index.

    Args:
        source: The world.
    """

    def __init__(self, source: World) -> None:
        self.world = source
        self._made = LeastRecentlyUsed(source.goal, _CACHED_GOALS)

    @overload
    def __getitem__(self, level: int) -> Goal: ...

    @overload
    def __getitem__(self, level: slice) -> Sequence[Goal]: ...

    def __getitem__(self, level: int | slice) -> Goal | Sequence[Goal]:
        """The goal of a level, or a list of those of a slice."""
        if isinstance(level, slice):
            return [self[number] for number in range(*level.indices(len(self)))]
        return self._made.get(level)

    def __len__(self) -> int:
        return LEVEL_UNIVERSE


class Shelf:
    """A catalogue with its identifiers and the products decoded last at hand.

    Args:
        catalogue: The products.
    """

    def __init__(self, catalogue: Catalogue) -> None:
        self._asins = [catalogue.asin(row) for row in range(len(catalogue))]
        self._rows = {asin: row for row, asin in enumerate(self._asins)}
        self._decoded = lru_cache(maxsize=DECODED_PRODUCTS)(catalogue.__getitem__)

    def __len__(self) -> int:
        return len(self._asins)

    def __getitem__(self, index: int, /) -> Product:
        return self._decoded(index)

    def __contains__(self, asin: object, /) -> bool:
        return asin in self._rows

    def index(self, asin: str, /) -> int:
        """The position of a product.

        Raises:
            UsageError: If it is not in the catalogue.
        """
        if asin not in self._rows:
            raise unknown_name("product", asin, self._rows)
        return self._rows[asin]

    def asin(self, index: int, /) -> str:
        """The identifier at a position."""
        return self._asins[index]


class StrictPrices(Mapping[str, float]):
    """The hidden price of every product by content hash, worked out when asked for.

    Args:
        products: The catalogue.
    """

    def __init__(self, products: Products) -> None:
        self._products = products

    def __getitem__(self, asin: str) -> float:
        if asin not in self._products:
            raise KeyError(asin)
        return strict_price(self._products[self._products.index(asin)])

    def __contains__(self, asin: object) -> bool:
        return asin in self._products

    def __iter__(self) -> Iterator[str]:
        return (self._products.asin(row) for row in range(len(self._products)))

    def __len__(self) -> int:
        return len(self._products)


@lru_cache(maxsize=KEPT_SHOPS)
def world_shop(config: WorldConfig, rules: ShopRules = STRICT) -> Shop:
    """The shop of a world; this process holds one for each configuration and rules, and forgets the oldest.

    The catalogue and the search index lie in the cache directory as memory maps (see `envs.shop.cache`); where that
    cannot be written, they are built in memory. Prices are those of the content under every preset, because price caps
    of the world's goals are.

    Args:
        config: The world.
        rules: The fidelity switches.
    """
    shelf, search = _stock(config)
    source = world(config.name) if WORLDS.get(config.name) == config else World(config)
    return Shop(
        products=shelf,
        goals=WorldGoals(source),
        search=search,
        nouns=Nouns(),
        prices=StrictPrices(shelf),
        rules=rules,
    )


@lru_cache(maxsize=KEPT_SHOPS)
def _stock(config: WorldConfig) -> tuple[Shelf, SearchBackend]:
    try:
        catalogue = cached_catalogue(stock_key(config), lambda: World(config).products())
        return Shelf(catalogue), cached_search(catalogue)
    except RunError as error:
        warnings.warn(f"{error} The shop {config.name!r} is built in memory.", RuntimeWarning, stacklevel=3)
        catalogue = Catalogue.build(World(config).products())
        return Shelf(catalogue), Bm25Search.build(search_document(product) for product in catalogue)


def stock_key(config: WorldConfig) -> str:
    """What the catalogue of a world follows from, hashed: its knobs, and the code and vocabulary that make products."""
    return content_key([config.fingerprint, _code_hash()])


@lru_cache(maxsize=1)
def _code_hash() -> str:
    folder = Path(__file__).parent
    digest = hashlib.blake2b(digest_size=8)
    for path in sorted([*folder.glob("world/*.py"), folder / "product.py"]):
        digest.update(path.read_bytes())
    return digest.hexdigest()
