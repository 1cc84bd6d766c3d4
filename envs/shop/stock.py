"""The shop of a built-in world: its catalogue and index are made once, and shared by everyone who plays it."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import overload

from envs.cache import LeastRecentlyUsed
from envs.errors import RunError
from envs.shifts import LEVEL_UNIVERSE
from envs.shop.cache import cached_catalogue, cached_search, content_key
from envs.shop.catalogue import Catalogue
from envs.shop.goals import Goal
from envs.shop.nouns import Nouns
from envs.shop.rules import STRICT, ShopRules
from envs.shop.search import Bm25Search, SearchBackend, search_document
from envs.shop.shelf import Shelf, StrictPrices
from envs.shop.shop import Shop
from envs.shop.world.config import WORLDS, WorldConfig
from envs.shop.world.goals import World, world

KEPT_SHOPS = 4
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
