"""What stands on the shelf: a catalogue as a shop uses it, and hidden prices, with little memory of a process's own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from envs.errors import unknown_name
from envs.shop.catalogue import Catalogue
from envs.shop.prices import strict_price
from envs.shop.product import Product
from envs.shop.shop import Products

DECODED_PRODUCTS = 12_000
"""About 5 kB each; a result page needs ten, so that fewer than a small catalogue holds would make a page slow."""
_REMEMBERED_NAMES = 100_000
_SUGGESTED = 100


class Shelf:
    """A catalogue with the identifiers and products used last at hand; everything else stays in its arrays.

    Args:
        catalogue: The products.
    """

    def __init__(self, catalogue: Catalogue) -> None:
        self.catalogue = catalogue
        self.asin = lru_cache(maxsize=_REMEMBERED_NAMES)(catalogue.asin)
        self.find = lru_cache(maxsize=_REMEMBERED_NAMES)(catalogue.find)
        self._decoded = lru_cache(maxsize=DECODED_PRODUCTS)(catalogue.__getitem__)

    def __len__(self) -> int:
        return len(self.catalogue)

    def __getitem__(self, index: int, /) -> Product:
        return self._decoded(index)

    def __contains__(self, asin: object, /) -> bool:
        return isinstance(asin, str) and self.find(asin) is not None

    def index(self, asin: str, /) -> int:
        """The position of a product.

        Raises:
            UsageError: If it is not in the catalogue; names the closest of the identifiers that begin alike.
        """
        row = self.find(asin)
        if row is None:
            raise unknown_name("product", asin, self.catalogue.asins_near(asin, _SUGGESTED))
        return row


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


class GivenPrices(Mapping[str, float]):
    """Prices that somebody gave, in front of others: one number a product instead of a dictionary.

    Args:
        shelf: The catalogue.
        others: Asked for products whose price was not given.
    """

    def __init__(self, shelf: Shelf, others: Mapping[str, float]) -> None:
        self._shelf = shelf
        self._others = others
        self._values: npt.NDArray[np.float64] = np.full(len(shelf), np.nan)
        self._strangers: dict[str, float] = {}

    def give(self, asin: str, price: float) -> None:
        """Set a price in dollars; also of an identifier that the catalogue does not hold."""
        row = self._shelf.catalogue.find(asin)
        if row is None:
            self._strangers[asin] = price
        else:
            self._values[row] = price

    def __getitem__(self, asin: str) -> float:
        row = self._shelf.find(asin)
        if row is None:
            return self._strangers[asin]
        price = float(self._values[row])
        return price if price == price else self._others[asin]

    def __iter__(self) -> Iterator[str]:
        yield from self._others
        yield from self._strangers

    def __len__(self) -> int:
        return len(self._others) + len(self._strangers)
