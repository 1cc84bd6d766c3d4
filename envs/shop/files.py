"""A shop from files in the original's schemas, plain or gzip, JSON or JSON lines."""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from envs.errors import UsageError
from envs.shop.cache import cache_directory, cached_search, can_cache
from envs.shop.catalogue import Catalogue, ProductNumbers
from envs.shop.checks import few
from envs.shop.entries import (
    read_goals,
    read_human_instructions,
    read_nouns,
    read_prices,
    read_rankings,
    read_synthetic_instructions,
)
from envs.shop.goal_order import SHUFFLE_SEED, hash_order, shuffled
from envs.shop.goals import Goal, human_goals, synthetic_goals
from envs.shop.load import load_catalogue
from envs.shop.nouns import Nouns, heuristic_nouns, spacy_tagger
from envs.shop.prices import compat_caps, compat_prices, strict_cap
from envs.shop.product import Product
from envs.shop.rules import STRICT, ShopRules
from envs.shop.search import Bm25Search, RecordedSearch, SearchBackend, search_document
from envs.shop.shelf import GivenPrices, Shelf, StrictPrices
from envs.shop.shop import Shop


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
        tagger: spaCy model that tags the nouns of titles which neither their product nor `nouns` knows, as the original
            does; None decides by a word list.
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
    tagger: str | None = None
    load_seed: int | None = None


Tell = Callable[[str], None]
"""Is told what a person should know, one line at a time."""


def open_shop(
    files: ShopFiles, rules: ShopRules = STRICT, *, with_goals: bool = True, tell: Tell | None = None
) -> Shop:
    """The shop of these files.

    Products and attributes are streamed into a catalogue in the cache directory (see `envs.shop.cache`) the first time
    and memory-mapped from then on, and so is the search index at the first query that needs one. Goals, nouns and
    recorded searches are held in memory. Human goals are built where an instruction file is given, synthetic ones
    otherwise, unless there are ready goals.

    Args:
        files: Where the content lies.
        rules: The fidelity switches.
        with_goals: False for a shop that only judges purchases and needs no goals of its own.
        tell: Called with which seed draws prices, and with what the rankings and the catalogue do not share.

    Raises:
        UsageError: If a file is missing or holds something else than expected; names the file.
        RunError: If a file is damaged, or the disk of the cache is full.
    """
    cached = can_cache()
    if not cached:
        warnings.warn(
            f"{cache_directory()} cannot be written; the shop is built in memory. $GENGAP_CACHE chooses another place.",
            RuntimeWarning,
            stacklevel=2,
        )
    shelf = Shelf(load_catalogue(files.products, files.attributes, cached=cached).catalogue)
    prices, rng = _prices(files, rules, shelf, tell, with_goals and not files.goals)
    goals: list[Goal] = []
    if with_goals and files.goals:
        goals = read_goals(files.goals)
    elif with_goals:
        goals = _built_goals(files, rules, shelf, prices, rng)
    search: SearchBackend = LazySearch(shelf.catalogue, cached=cached)
    if files.rankings:
        search = RecordedSearch(_rankings(files.rankings, shelf, tell), shelf.find, search, tell)
    tagger = spacy_tagger(files.tagger) if files.tagger else heuristic_nouns
    nouns = Nouns(read_nouns(files.nouns) if files.nouns else {}, tagger)
    return Shop(products=shelf, goals=goals, search=search, nouns=nouns, prices=prices, rules=rules)


class LazySearch:
    """A search whose index is made or opened at the first query, so that a shop with recorded searches starts at once.

    Args:
        catalogue: The products.
        cached: Whether the index lies in the cache directory.
    """

    def __init__(self, catalogue: Catalogue, *, cached: bool) -> None:
        self._catalogue = catalogue
        self._cached = cached
        self._search: SearchBackend | None = None

    def search(self, query: str) -> tuple[int, ...]:
        """The catalogue positions of at most 50 products, best first."""
        if self._search is None:
            if self._cached:
                self._search = cached_search(self._catalogue)
            else:
                self._search = Bm25Search.build(search_document(product) for product in self._catalogue)
        return self._search.search(query)


def _rankings(path: str, shelf: Shelf, tell: Tell | None) -> dict[str, Sequence[str]]:
    """Recorded searches of this catalogue."""
    rankings = read_rankings(path)
    named = {asin for asins in rankings.values() for asin in asins}
    unknown = {asin for asin in named if shelf.find(asin) is None}
    if named and len(unknown) == len(named):
        raise UsageError(
            f"{path} names no product of the catalogue, but {few(unknown)}. Allowed: rankings of this catalogue, "
            "query -> identifiers of products."
        )
    if unknown and tell is not None:
        tell(f"{path} names {len(unknown):,} of {len(named):,} products that the catalogue lacks: {few(unknown)}.")
    return rankings


def _prices(
    files: ShopFiles, rules: ShopRules, shelf: Shelf, tell: Tell | None, with_caps: bool
) -> tuple[Mapping[str, float], random.Random]:
    """Hidden prices, and the generator that draws price caps after them."""
    drawn: npt.NDArray[np.float64] = np.empty(len(shelf) if rules.sampled_prices else 0)
    rest = ProductNumbers(shelf.catalogue, drawn) if rules.sampled_prices else StrictPrices(shelf)
    prices = GivenPrices(shelf, rest)
    named_seed = read_prices(files.prices, prices.give) if files.prices else None
    seed = files.load_seed if files.load_seed is not None else named_seed or 0
    rng = random.Random(seed)
    if tell is not None and rules.sampled_prices:
        _tell_seed(tell, seed, files, named_seed, with_caps)
    if rules.sampled_prices:
        drawn[:] = compat_prices(shelf.catalogue.shown_prices(), rng)
    return prices if files.prices else rest, rng


def _tell_seed(tell: Tell, seed: int, files: ShopFiles, named_seed: int | None, with_caps: bool) -> None:
    drawn = [*([] if files.prices else ["prices"]), *(["price caps"] if with_caps else [])]
    if files.load_seed is not None:
        origin = "of --load-seed"
    else:
        origin = "the default; --load-seed N chooses another" if named_seed is None else "of the price file"
    if drawn:
        tell(f"Load seed {seed} ({origin}) draws the {' and '.join(drawn)}.")


def _built_goals(
    files: ShopFiles, rules: ShopRules, shelf: Shelf, prices: Mapping[str, float], rng: random.Random
) -> list[Goal]:
    caps = compat_caps(rng) if rules.sampled_prices else strict_cap
    if files.instructions:
        humans = read_human_instructions(files.instructions)
        goals = human_goals(_named_products(shelf, humans), humans, prices, caps)
    elif files.attributes:
        wishes = read_synthetic_instructions(files.attributes)
        goals = synthetic_goals(_named_products(shelf, wishes), wishes, prices, caps)
    else:
        goals = []
    if not goals:
        raise UsageError("The files hold no goals; give --instructions, --attributes with instructions, or --goals.")
    return shuffled(goals, random.Random(SHUFFLE_SEED)) if rules.sampled_prices else hash_order(goals)


def _named_products(shelf: Shelf, asins: Iterable[str]) -> Iterator[Product]:
    """The products with these identifiers, in catalogue order."""
    rows = sorted(row for row in map(shelf.catalogue.find, asins) if row is not None)
    return (shelf.catalogue[row] for row in rows)
