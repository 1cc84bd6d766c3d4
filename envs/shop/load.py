"""The original's product file, streamed into a catalogue."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from envs.errors import UsageError
from envs.shop.cache import cached_catalogue, files_key
from envs.shop.catalogue import Catalogue
from envs.shop.checks import shorten
from envs.shop.entries import named, read_attributes
from envs.shop.product import LONGEST_ASIN, Product, product_from_record
from envs.shop.stream import stream_rows

RULES_VERSION = 1
"""Changes when the same files would give other products; cached catalogues are then made again."""
_EXAMPLES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadReport:
    """What became of the records of a product file.

    Attributes:
        records: Records read.
        products: Records that became products.
        repeated: Left out because an earlier record has the identifier.
        unnamed: Left out because the identifier is ``nan``.
        too_long: Left out because the identifier has more than ten characters.
        broken: Left out because a key is missing or holds something else; only where that was allowed.
        without_attributes: Products that the attribute file does not name.
        unknown_attributes: Entries of the attribute file that name no product.
        examples: What was wrong with the first few broken records.
    """

    records: int
    products: int
    repeated: int
    unnamed: int
    too_long: int
    broken: int
    without_attributes: int
    unknown_attributes: int
    examples: tuple[str, ...] = ()

    def __str__(self) -> str:
        left_out = {name: getattr(self, name) for name in ("repeated", "unnamed", "too_long", "broken")}
        reasons = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in left_out.items() if count)
        return (
            f"{self.products} products from {self.records} records ({reasons or 'none'} left out), "
            f"{self.without_attributes} without attributes, {self.unknown_attributes} attribute entries of no product"
        )


class Loaded(NamedTuple):
    """A catalogue and what became of the records it was made from."""

    catalogue: Catalogue
    report: LoadReport


class ProductStream:
    """The products of a file in order, one at a time, with a count of what was left out.

    Args:
        path: A file in the layout of ``items_shuffle.json``: one array of records, or one record a line.
        attributes: Identifier -> hidden attributes, of `read_attributes`.
        limit: Only the first so many records, counted before any is left out (as the original counts).
        skip_broken: Leave broken records out and count them, instead of stopping at the first.
    """

    def __init__(
        self,
        path: Path | str,
        attributes: Mapping[str, tuple[str, ...]] | None = None,
        *,
        limit: int | None = None,
        skip_broken: bool = False,
    ) -> None:
        if limit is not None and limit < 1:
            raise UsageError(f"{limit} products were asked for; ask for at least 1.")
        self._path = Path(path)
        self._attributes = attributes or {}
        self._limit = limit
        self._skip_broken = skip_broken
        self._counts = dict.fromkeys(
            ("records", "products", "repeated", "unnamed", "too_long", "broken", "described"), 0
        )
        self._examples: list[str] = []
        self._seen: set[str] = set()

    def __iter__(self) -> Iterator[Product]:
        """Read the file from its start.

        Raises:
            UsageError: At a record that is broken, naming file, product and key; at the end if nothing was kept.
            RunError: If the file is not whole JSON.
        """
        self._counts = dict.fromkeys(self._counts, 0)
        self._examples.clear()
        self._seen.clear()
        for record in stream_rows(self._path):
            if self._counts["records"] == self._limit:
                break
            self._counts["records"] += 1
            product = self._read(record)
            if product is not None:
                self._counts["products"] += 1
                yield product
        if not self._counts["products"]:
            raise UsageError(f"{self._path} holds no product that can be sold: {self.report}.")

    @property
    def report(self) -> LoadReport:
        """What became of the records read so far."""
        counts = dict(self._counts)
        described = counts.pop("described")
        return LoadReport(
            **counts,
            without_attributes=counts["products"] - described,
            unknown_attributes=len(self._attributes) - described,
            examples=tuple(self._examples),
        )

    def _read(self, record: Any) -> Product | None:
        number = self._counts["records"]
        try:
            with named(self._path, f"record {number}"):
                return self._product(record)
        except UsageError as error:
            if not self._skip_broken:
                raise
            self._counts["broken"] += 1
            if len(self._examples) < _EXAMPLES:
                self._examples.append(str(error))
            return None

    def _product(self, record: Any) -> Product | None:
        if not isinstance(record, dict):
            raise UsageError(f"A product must be an object with keys, found {shorten(record)}.")
        asin = record.get("asin")
        reason = self._reason_to_leave_out(asin) if isinstance(asin, str) else None
        if reason is not None:
            self._counts[reason] += 1
            return None
        hidden = self._attributes.get(asin) if isinstance(asin, str) else None
        product = product_from_record(record, {} if hidden is None else {"attributes": list(hidden)})
        _check_details(product)
        self._seen.add(product.asin)
        self._counts["described"] += hidden is not None
        return product

    def _reason_to_leave_out(self, asin: str) -> str | None:
        if asin == "nan":
            return "unnamed"
        if len(asin) > LONGEST_ASIN:
            return "too_long"
        return "repeated" if asin in self._seen else None


def load_catalogue(
    products: Path | str,
    attributes: Path | str | None = None,
    *,
    limit: int | None = None,
    skip_broken: bool = False,
    cached: bool = False,
    directory: Path | None = None,
    rebuild: bool = False,
) -> Loaded:
    """The catalogue of a product file and an attribute file.

    Args:
        products: The product file.
        attributes: The attribute file; None gives every product the dummy of the original.
        limit: Only the first so many records.
        skip_broken: Leave broken records out instead of stopping at the first.
        cached: Keep the catalogue on disk and map it; files that did not change are not read again.
        directory: Where caches lie; None for the cache directory of the machine.
        rebuild: Read the files even if they are cached.

    Raises:
        UsageError: If a file does not exist or a record is broken; names file, product and key.
        RunError: If a file is not whole JSON, or the cache cannot be written.
    """
    settings = {"rules": RULES_VERSION, "limit": limit, "skip_broken": skip_broken}
    key = files_key([products, attributes], settings)
    stream: list[ProductStream] = []

    def read() -> Iterable[Product]:
        hidden = None if attributes is None else read_attributes(attributes)
        stream.append(ProductStream(products, hidden, limit=limit, skip_broken=skip_broken))
        return stream[0]

    def facts() -> dict[str, Any]:
        return {"load": asdict(stream[0].report)}

    if cached:
        catalogue = cached_catalogue(key, read, facts=facts, directory=directory, rebuild=rebuild)
    else:
        catalogue = Catalogue.build(read(), facts)
    report = catalogue.facts["load"]
    return Loaded(catalogue, LoadReport(**{**report, "examples": tuple(report["examples"])}))


def _check_details(product: Product) -> None:
    """Refuse what only arrays would notice: values that are no texts where texts are stored."""
    images = [image for image in product.option_images.values() if image is not None]
    for key, values in (("customization_options", images), ("title_nouns", product.title_nouns or ())):
        for value in values:
            if not isinstance(value, str):
                raise UsageError(f"Product {product.asin!r}: {key!r} holds {shorten(value)} where a text belongs.")
