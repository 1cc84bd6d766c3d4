"""The products of a shop as one immutable bundle of numpy arrays."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from envs.cache import LeastRecentlyUsed
from envs.errors import UsageError
from envs.files import disk_errors
from envs.shop.arrays import (
    Array,
    ArrayFolder,
    ColumnFile,
    FolderWriter,
    damaged,
    fingerprint,
    open_arrays,
    save_arrays,
)
from envs.shop.columns import Lists, Texts, find_key
from envs.shop.layout import CODED, TEXTS, ProductWriter
from envs.shop.product import Product

KIND = "catalogue"
SCHEMA_VERSION = 1
DECODED_PRODUCTS = 4096
_CHUNK = 256


class Catalogue:
    """An immutable sequence of products that lie in numpy arrays and are decoded one at a time.

    The arrays are read-only: memory maps of a folder, or views into Ray's object store, where all workers of a machine
    share one copy. A process adds the products it decoded last, at most `DECODED_PRODUCTS` of about 5 kB each,
    however many sessions it plays.

    Attributes:
        arrays: Name -> one-dimensional array; `envs.shop.layout` says what each holds.
        fingerprint: Hash of the content; equal products in equal order give an equal one, in memory and on disk.
        facts: What was kept beside the products; not part of the fingerprint.
    """

    def __init__(
        self, arrays: Mapping[str, Array], fingerprint: str, facts: Mapping[str, Any] = MappingProxyType({})
    ) -> None:
        for array in arrays.values():
            array.setflags(write=False)
        self.arrays = MappingProxyType(dict(arrays))
        self.fingerprint = fingerprint
        self.facts = MappingProxyType(dict(facts))
        self._texts = {name: Texts(arrays, name) for name in TEXTS}
        self._codes = {name: arrays[f"{name}.codes"] for name in CODED}
        self._words = Texts(arrays, "words")
        self._features, self._feature_rows = Texts(arrays, "features"), arrays["features.rows.offsets"]
        self._images, self._image_rows = Texts(arrays, "option_images"), arrays["option_images.rows.offsets"]
        self._prices = Lists(arrays, "shown_prices", "values")
        self._groups, self._group_values = Lists(arrays, "options", "names"), Lists(arrays, "option_values", "codes")
        self._attributes, self._nouns = Lists(arrays, "attributes", "codes"), Lists(arrays, "title_nouns", "codes")
        self._decoded = LeastRecentlyUsed(self._decode, DECODED_PRODUCTS)

    @classmethod
    def build(cls, products: Iterable[Product], facts: Callable[[], Mapping[str, Any]] = dict) -> Catalogue:
        """Gather products in memory.

        Args:
            products: The products, in order.
            facts: JSON values to keep beside them; called after the last product.

        Raises:
            UsageError: If there is none, or two share an identifier.
        """
        columns: dict[str, ColumnFile] = {}

        def new_column(name: str, dtype: npt.DTypeLike) -> ColumnFile:
            columns[name] = ColumnFile(io.BytesIO(), dtype)
            return columns[name]

        _write(ProductWriter(new_column), products)
        return cls({name: column.read() for name, column in columns.items()}, fingerprint(columns), facts())

    @classmethod
    def write(
        cls, path: Path | str, products: Iterable[Product], facts: Callable[[], Mapping[str, Any]] = dict
    ) -> Catalogue:
        """Stream products into a new folder, in memory that grows with the vocabulary only, and open it.

        Args:
            path: The folder to create; it appears when it is complete, or not at all.
            products: The products, in order.
            facts: JSON values to keep beside them, for example what a loader counted; called after the last product.

        Raises:
            UsageError: If the folder exists, there is no product, or two share an identifier.
            RunError: If the disk is full or not writable.
        """
        with FolderWriter(Path(path), KIND, SCHEMA_VERSION) as writer:
            _write(ProductWriter(writer.column), products, writer.path)
            writer.finish({**facts(), "fingerprint": fingerprint(writer.columns)})
        return cls.open(path)

    @classmethod
    def open(cls, path: Path | str, *, verify: bool | None = None) -> Catalogue:
        """Open a folder that `write` or `save` made.

        Args:
            path: The folder.
            verify: Read every byte against its checksum; None does so unless the folder is very large.

        Raises:
            UsageError: If there is no catalogue, or it has another schema version.
            RunError: If it is damaged.
        """
        return cls.from_folder(open_arrays(Path(path), KIND, SCHEMA_VERSION, verify=verify))

    @classmethod
    def from_folder(cls, folder: ArrayFolder) -> Catalogue:
        """The catalogue in an opened folder.

        Raises:
            RunError: If an array is missing.
        """
        try:
            return cls(folder.arrays, str(folder.facts["fingerprint"]), folder.facts)
        except KeyError as error:
            raise damaged(folder.path, f"lacks {error}") from error

    def save(self, path: Path | str) -> None:
        """Write it as a folder that `open` reads.

        Raises:
            UsageError: If the folder exists.
            RunError: If the disk is full or not writable.
        """
        save_arrays(Path(path), KIND, SCHEMA_VERSION, self.arrays, {**self.facts, "fingerprint": self.fingerprint})

    def __len__(self) -> int:
        return len(self._texts["asin"])

    def __getitem__(self, row: int) -> Product:
        return self._decoded.get(self._check(row))

    def __iter__(self) -> Iterator[Product]:
        return (self._decode(row) for row in range(len(self)))  # a full pass would only empty the kept ones

    def __contains__(self, asin: object) -> bool:
        return isinstance(asin, str) and self.find(asin) is not None

    def __repr__(self) -> str:
        return f"Catalogue({len(self)} products, {self.num_bytes} bytes, {self.fingerprint})"

    def __reduce__(self) -> tuple[type[Catalogue], tuple[dict[str, Array], str, dict[str, Any]]]:
        return Catalogue, (dict(self.arrays), self.fingerprint, dict(self.facts))

    @property
    def num_bytes(self) -> int:
        """Size of all arrays."""
        return sum(array.nbytes for array in self.arrays.values())

    def find(self, asin: str) -> int | None:
        """The row of a product by its identifier, case and all; None if there is no such product."""
        position = find_key(self.arrays["asin.keys"], asin)
        return None if position is None else int(self.arrays["asin.rows"][position])

    def index(self, asin: str) -> int:
        """The row of a product by its identifier, case and all.

        Raises:
            KeyError: If there is no such product.
        """
        row = self.find(asin)
        if row is None:
            raise KeyError(asin)
        return row

    def asins_near(self, asin: str, count: int) -> list[str]:
        """At most `count` identifiers that stand around this one in alphabetical order."""
        keys = self.arrays["asin.keys"]
        key = np.array(asin.encode("utf-8", "replace")[: keys.dtype.itemsize], dtype=keys.dtype)
        position = int(np.searchsorted(keys, key))
        start = max(0, min(position - count // 2, len(keys) - count))
        return [self.asin(int(row)) for row in self.arrays["asin.rows"][start : start + count]]

    def shown_prices(self) -> Iterator[tuple[float, ...]]:
        """The shown prices of every product in order, without decoding the rest."""
        return (tuple(self._prices[row]) for row in range(len(self)))

    def asin(self, row: int) -> str:
        """The identifier of a product, without decoding the rest."""
        return self._texts["asin"][self._check(row)]

    def title(self, row: int) -> str:
        """The title of a product, without decoding the rest."""
        return self._texts["title"][self._check(row)]

    def price_tag(self, row: int) -> str:
        """The shown price of a product, without decoding the rest."""
        return self._texts["price_tag"][self._check(row)]

    def _check(self, row: int) -> int:
        if not 0 <= row < len(self):
            raise IndexError(f"row {row} of a catalogue of {len(self)} products")
        return row

    def _decode(self, row: int) -> Product:
        known = bool(self.arrays["title_nouns.known"][row])
        return Product(
            **{name: texts[row] for name, texts in self._texts.items()},
            **{name: self._words[int(codes[row])] for name, codes in self._codes.items()},
            features=tuple(self._features.between(*self._feature_rows[row : row + 2].tolist())),
            shown_prices=tuple(self._prices[row]),
            options=self._decode_options(row),
            attributes=self._decode_words(self._attributes[row]),
            option_images=self._decode_images(row),
            title_nouns=self._decode_words(self._nouns[row]) if known else None,
        )

    def _decode_words(self, codes: Iterable[int]) -> tuple[str, ...]:
        return tuple(self._words[code] for code in codes)

    def _decode_options(self, row: int) -> dict[str, tuple[str, ...]]:
        names, first = self._decode_words(self._groups[row]), self._groups.bounds(row)[0]
        return {name: self._decode_words(self._group_values[first + at]) for at, name in enumerate(names)}

    def _decode_images(self, row: int) -> dict[str, str | None]:
        start, stop = self._image_rows[row : row + 2].tolist()
        values = self._decode_words(self.arrays["option_images.values"][start:stop].tolist())
        known = self.arrays["option_images.known"][start:stop].tolist()
        images = self._images.between(start, stop)
        return {value: image if has else None for value, has, image in zip(values, known, images, strict=True)}


class ProductNumbers(Mapping[str, float]):
    """One number per product, by identifier, for example hidden prices: an array instead of a dictionary.

    Args:
        catalogue: The products.
        values: [products] float64.
    """

    def __init__(self, catalogue: Catalogue, values: npt.NDArray[np.float64]) -> None:
        if values.shape != (len(catalogue),):
            raise UsageError(f"{values.shape} numbers were given for {len(catalogue)} products; give one each.")
        self._catalogue, self._values = catalogue, values

    def __getitem__(self, asin: str) -> float:
        return float(self._values[self._catalogue.index(asin)])

    def __iter__(self) -> Iterator[str]:
        return (self._catalogue.asin(row) for row in range(len(self._catalogue)))

    def __len__(self) -> int:
        return len(self._catalogue)


def _write(writer: ProductWriter, products: Iterable[Product], path: Path = Path()) -> None:
    """Feed products to a writer. Only writing counts as an error of the disk, never reading the products."""
    rest = iter(products)
    while chunk := list(islice(rest, _CHUNK)):
        with disk_errors(path):
            writer.extend(chunk)
    with disk_errors(path):
        writer.finish()
