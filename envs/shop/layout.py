"""Which arrays a catalogue of N products consists of, and how they are written.

============================================  ======================================================================
``<asin|title|description|price_tag|image>``  ``.text``: UTF-8 in a row; ``.offsets`` [N + 1]
``<query|department|breadcrumb>.codes``       [N] rows of ``words``
``shown_prices``                              ``.offsets`` [N + 1] into ``.values``, dollars
``features``                                  ``.rows.offsets`` [N + 1] into the texts ``.text``, ``.offsets``
``attributes``, ``title_nouns``               ``.offsets`` [N + 1] into ``.codes``; ``title_nouns.known`` [N]
``options``                                   ``.offsets`` [N + 1] into ``.names``, one per option group
``option_values``                             ``.offsets`` [groups + 1] into ``.codes``
``option_images``                             ``.rows.offsets`` [N + 1] into ``.values``, ``.known`` and the texts
``words``                                     every distinct coded text once: ``.text``, ``.offsets``
``asin.keys``, ``asin.rows``                  identifiers sorted [N], the row of each [N]
============================================  ======================================================================
"""

from __future__ import annotations

from itertools import chain

import numpy as np

from envs.errors import UsageError
from envs.shop.columns import EndsWriter, NewColumn, NumberWriter, TextWriter, Vocabulary, sorted_keys
from envs.shop.product import Product

TEXTS = ("asin", "title", "description", "price_tag", "image")
CODED = ("query", "department", "breadcrumb")


class ProductWriter:
    """Turns products into columns; call `finish` at the end.

    Args:
        new_column: Makes the column of a name and element type.
    """

    def __init__(self, new_column: NewColumn) -> None:
        self._new_column = new_column
        self._words = Vocabulary()
        self._products = 0
        self._texts = {name: TextWriter(new_column, name) for name in TEXTS}
        self._features = TextWriter(new_column, "features")
        self._images = TextWriter(new_column, "option_images")
        self._ends = {
            name: EndsWriter(new_column, name)
            for name in (
                *("shown_prices", "features.rows", "attributes", "title_nouns"),
                *("options", "option_values", "option_images.rows"),
            )
        }
        codes = (*(f"{name}.codes" for name in CODED), "attributes.codes", "title_nouns.codes", "options.names")
        types = dict.fromkeys((*codes, "option_values.codes", "option_images.values"), "i4")
        types |= {"shown_prices.values": "f8", "title_nouns.known": "u1", "option_images.known": "u1"}
        self._numbers = {name: NumberWriter(new_column, name, dtype) for name, dtype in types.items()}

    def extend(self, products: list[Product]) -> None:
        """Append products."""
        self._products += len(products)
        for name, texts in self._texts.items():
            texts.extend(getattr(product, name) for product in products)
        for name in CODED:
            self._code(f"{name}.codes", [getattr(product, name) for product in products])
        self._ends["shown_prices"].extend(len(product.shown_prices) for product in products)
        self._numbers["shown_prices.values"].extend(price for product in products for price in product.shown_prices)
        self._features.extend(chain.from_iterable(product.features for product in products))
        self._ends["features.rows"].extend(len(product.features) for product in products)
        self._code_lists("attributes", "attributes.codes", [product.attributes for product in products])
        self._code_lists("title_nouns", "title_nouns.codes", [product.title_nouns or () for product in products])
        self._numbers["title_nouns.known"].extend(product.title_nouns is not None for product in products)
        self._code_lists("options", "options.names", [tuple(product.options) for product in products])
        groups = [values for product in products for values in product.options.values()]
        self._code_lists("option_values", "option_values.codes", groups)
        self._extend_images(products)

    def _extend_images(self, products: list[Product]) -> None:
        images = [image for product in products for image in product.option_images.values()]
        self._ends["option_images.rows"].extend(len(product.option_images) for product in products)
        self._code("option_images.values", [value for product in products for value in product.option_images])
        self._numbers["option_images.known"].extend(image is not None for image in images)
        self._images.extend(image or "" for image in images)

    def finish(self) -> None:
        """Write what is pending, the vocabulary and the sorted identifiers.

        Raises:
            UsageError: If there is no product, or two share an identifier.
        """
        if not self._products:
            raise UsageError("A catalogue needs at least one product, but none was given.")
        words = TextWriter(self._new_column, "words")
        words.extend(self._words.codes)
        for texts in (*self._texts.values(), self._features, self._images, words):
            texts.flush()
        for ends in self._ends.values():
            ends.flush()
        for numbers in self._numbers.values():
            numbers.flush()
        keys, rows = sorted_keys(self._texts["asin"].read())
        again = np.flatnonzero(keys[1:] == keys[:-1])
        if len(again):
            raise UsageError(f"Two products have the identifier {keys[again[0]].decode()!r}; each may occur once.")
        self._new_column("asin.keys", keys.dtype).write(keys)
        self._new_column("asin.rows", "i4").write(rows)

    def _code(self, column: str, texts: list[str]) -> None:
        self._numbers[column].extend(self._words.encode(texts))

    def _code_lists(self, ends: str, column: str, lists: list[tuple[str, ...]]) -> None:
        self._ends[ends].extend(map(len, lists))
        self._code(column, list(chain.from_iterable(lists)))
