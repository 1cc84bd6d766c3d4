"""What the shop sells: one product as it is after loading, and how the original's records become products."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from envs.errors import UsageError

DUMMY_ATTRIBUTE = "DUMMY_ATTR"
DEFAULT_PRICE = 100.0
LONGEST_ASIN = 10
_NOT_OF_A_NUMBER = re.compile(r"[^\d.]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """One product after loading.

    Attributes:
        asin: Identifier, at most 10 characters.
        title: ``name`` of the file.
        query: The search words under which the product was found; lower case, no blanks around.
        department: ``category`` of the file.
        breadcrumb: ``product_category``, raw; the parts are separated by single right-pointing angle quotation marks.
        description: ``full_description`` of the file.
        features: The bullet points.
        shown_prices: No, one or two prices in dollars.
        price_tag: The price as pages show it.
        options: Lower-cased group names with their values, both in the order of the file.
        attributes: Hidden; ``("DUMMY_ATTR",)`` where the attribute file has no entry.
        image: Address of the main image.
        option_images: Option value -> address of its image.
        title_nouns: Nouns of the title in its own case and order; None where unknown.
    """

    asin: str
    title: str
    query: str
    department: str
    breadcrumb: str
    description: str
    features: tuple[str, ...]
    shown_prices: tuple[float, ...]
    price_tag: str
    options: dict[str, tuple[str, ...]]
    attributes: tuple[str, ...]
    image: str = ""
    option_images: dict[str, str | None] = field(default_factory=dict)
    title_nouns: tuple[str, ...] | None = None


def product_from_record(record: Mapping[str, Any], attributes: Mapping[str, Any] | None = None) -> Product:
    """One product from a record of the original's product file.

    Values of options lose blanks around, get lower case, and ``/`` becomes ``" | "``. Two groups whose names agree
    after lower-casing become one: values of the later, place of the earlier. A group that is null is no group.

    Args:
        record: Keys ``asin``, ``name``, ``category``, ``query``, ``product_category``, ``full_description``,
            ``small_description``, ``pricing``, ``images``, ``customization_options``, perhaps ``title_nouns``.
        attributes: The product's entry of the attribute file; only its ``attributes`` matter here.

    Raises:
        UsageError: If a key is missing or holds something else than expected; names product and key.
    """
    reader = _Reader(record)
    shown_prices, price_tag = reader.prices()
    options, images = reader.options()
    return Product(
        asin=reader.text("asin"),
        title=reader.text("name"),
        query=reader.text("query").lower().strip(),
        department=reader.text("category"),
        breadcrumb=reader.text("product_category"),
        description=reader.text("full_description"),
        features=reader.features(),
        shown_prices=shown_prices,
        price_tag=price_tag,
        options=options,
        attributes=reader.attributes(attributes),
        image=reader.image(),
        option_images=images,
        title_nouns=reader.texts("title_nouns"),
    )


def product_from_loaded(record: Mapping[str, Any]) -> Product:
    """A product from the fields the reward reads, as the recordings give products inline.

    Args:
        record: ``Title``, ``Attributes``, ``BulletPoints`` (a list; a string counts character by character, as in
            the original), ``Description``, ``query``, ``product_category``; absent ones are empty.
    """
    return Product(
        asin=str(record.get("asin", "")),
        title=record.get("Title", record.get("name", "")),
        query=record.get("query", ""),
        department=record.get("category", ""),
        breadcrumb=record.get("product_category", ""),
        description=record.get("Description", ""),
        features=tuple(record.get("BulletPoints", ())),
        shown_prices=tuple(record.get("pricing", ())),
        price_tag=record.get("Price", ""),
        options={name: tuple(values) for name, values in record.get("options", {}).items()},
        attributes=tuple(record.get("Attributes", ())),
    )


def parse_prices(text: str | None) -> tuple[tuple[float, ...], str]:
    """The prices of ``pricing`` and the tag that pages show.

    Every ``$`` starts a number and everything else that is no digit or point is dropped, so
    ``"$12.63 ($0.79 / Ounce)"`` is a range from 12.63 to 0.79. More than two numbers: the first two count. No number:
    100 dollars.

    Returns:
        One or two prices in dollars, and ``"$12.5"`` or ``"$12.5 to $29.99"``.

    Raises:
        UsageError: If what follows a ``$`` is no number.
    """
    parts = text.split("$")[1:] if text else []
    try:
        prices = tuple(float(_NOT_OF_A_NUMBER.sub("", part)) for part in parts) or (DEFAULT_PRICE,)
    except ValueError:
        raise UsageError(
            f"'pricing' is {text!r}; a number was expected after every '$', as in '$12.50 - $20.00'."
        ) from None
    if len(prices) == 1:
        return prices, f"${prices[0]}"
    return prices[:2], f"${prices[0]} to ${prices[1]}"


class _Reader:
    """One record, with errors that name product and key."""

    def __init__(self, record: Mapping[str, Any]) -> None:
        self._record = record

    def text(self, key: str) -> str:
        value = self._value(key)
        if not isinstance(value, str):
            raise self._wrong(key, "a text")
        return value

    def prices(self) -> tuple[tuple[float, ...], str]:
        value = self._record.get("pricing")
        if value is not None and not isinstance(value, str):
            raise self._wrong("pricing", "a text or null")
        try:
            return parse_prices(value)
        except UsageError as error:
            raise UsageError(f"{self._name()}: {error}") from None

    def features(self) -> tuple[str, ...]:
        value = self._value("small_description")
        if isinstance(value, list) and all(isinstance(line, str) for line in value):
            return tuple(value)
        if not isinstance(value, str):
            raise self._wrong("small_description", "a text or a list of texts")
        return (value,)

    def texts(self, key: str) -> tuple[str, ...] | None:
        value = self._record.get(key)
        if value is None:
            return None
        if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
            raise self._wrong(key, "a list of texts")
        return tuple(value)

    def attributes(self, entry: Mapping[str, Any] | None) -> tuple[str, ...]:
        """The hidden attributes of an entry of the attribute file; a lone dummy if it names none at all."""
        if entry is None:
            return (DUMMY_ATTRIBUTE,)
        if not isinstance(entry, Mapping):
            raise UsageError(
                f"{self._name()}: its entry in the attribute file must be an object, found {str(entry)[:60]!r}."
            )
        own = _Reader({"asin": self._record["asin"], "attributes": entry.get("attributes")}).texts("attributes")
        return (DUMMY_ATTRIBUTE,) if own is None else own

    def image(self) -> str:
        images = self._record.get("images") or ()
        return str(images[0]) if isinstance(images, list | tuple) and images else ""

    def options(self) -> tuple[dict[str, tuple[str, ...]], dict[str, str | None]]:
        groups = self._record.get("customization_options") or {}
        if not isinstance(groups, dict):
            raise self._wrong("customization_options", "an object of lists, or null")
        options: dict[str, tuple[str, ...]] = {}
        images: dict[str, str | None] = {}
        for name, entries in groups.items():
            if entries is None:
                continue
            if not isinstance(entries, list):
                raise self._wrong("customization_options", f"a list of entries, or null, under {name!r}")
            values = []
            for entry in entries:
                if not isinstance(entry, dict) or not isinstance(entry.get("value"), str):
                    raise self._wrong("customization_options", f"a 'value' text in every entry of {name!r}")
                values.append(entry["value"].strip().replace("/", " | ").lower())
                images[values[-1]] = entry.get("image")
            options[name.lower()] = tuple(values)
        return options, images

    def _value(self, key: str) -> Any:
        if key not in self._record:
            raise UsageError(f"{self._name()} has no key {key!r}; it is required.")
        return self._record[key]

    def _wrong(self, key: str, expected: str) -> UsageError:
        found = repr(self._record.get(key))
        shown = found if len(found) <= 60 else found[:57] + "..."
        return UsageError(f"{self._name()}: {key!r} must be {expected}, found {shown}.")

    def _name(self) -> str:
        return f"Product {self._record.get('asin', '(without asin)')!r}"
