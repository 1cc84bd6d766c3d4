"""The files beside the products, one reader for each kind: attributes, instructions, prices, nouns, goals, rankings."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from sys import intern
from typing import Any

from envs.errors import UsageError
from envs.shop.catalogue import Catalogue
from envs.shop.checks import TEXTS, few, shorten
from envs.shop.goals import GOAL_KEYS, Goal, HumanInstruction, SyntheticInstruction, goal_from_record
from envs.shop.product import DUMMY_ATTRIBUTE
from envs.shop.search import rankings_from_rows
from envs.shop.stream import stream_object, stream_rows, stream_table

_DUMMY = (DUMMY_ATTRIBUTE,)
_KINDS = {"dict": "an object", "list": "a list"}


def read_attributes(path: Path | str) -> dict[str, tuple[str, ...]]:
    """Identifier -> hidden attributes, of a file in the layout of ``items_ins_v2.json``.

    An entry without the key ``attributes`` has the dummy of the original. Equal attributes share one text.

    Raises:
        UsageError: If an entry is broken; names file, product and key.
        RunError: If the file is not whole JSON.
    """

    def hidden(_: str, entry: dict[str, Any]) -> tuple[str, ...]:
        if "attributes" not in entry:
            return _DUMMY
        values = entry["attributes"] or []
        if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
            raise UsageError(f"'attributes' must be a list of texts, found {shorten(values)}.")
        return tuple(intern(value) for value in values)

    return dict(_entries(path, dict, hidden))


def read_human_instructions(path: Path | str) -> dict[str, tuple[HumanInstruction, ...]]:
    """Identifier -> instructions, of a file in the layout of ``items_human_ins.json``.

    Raises:
        UsageError: If an entry is broken; names file, product and key.
        RunError: If the file is not whole JSON.
    """
    return dict(
        _entries(
            path, list, lambda asin, entries: tuple(HumanInstruction.from_record(asin, entry) for entry in entries)
        )
    )


def read_synthetic_instructions(path: Path | str) -> dict[str, SyntheticInstruction]:
    """Identifier -> base instruction of its synthetic goals, of an attribute file; entries without one are left out.

    Raises:
        UsageError: If an entry is broken; names file, product and key.
        RunError: If the file is not whole JSON.
    """
    found = dict(_entries(path, dict, SyntheticInstruction.from_record))
    return {asin: wish for asin, wish in found.items() if wish is not None}


def read_prices(path: Path | str, put: Callable[[str, float], None]) -> int | None:
    """Read hidden prices: identifier -> dollars, perhaps under the key ``product_prices``.

    Args:
        path: The file.
        put: Called with the identifier and price of each product.

    Returns:
        The file's own ``load_seed``; None if it names none.

    Raises:
        UsageError: If a price is no number; names file and product.
        RunError: If the file is not whole JSON.
    """
    seed: int | None = None
    nested: bool = False
    wrong: tuple[str, Any] | None = None  # beside a table under its key, other keys may hold anything
    for inside, name, value in stream_table(path, "product_prices"):
        nested = nested or inside
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if name == "load_seed" and not inside and number:
            seed = int(value)
        elif number:
            put(name, float(value))
        elif inside:
            raise _no_price(path, name, value)
        else:
            wrong = wrong or (name, value)
    if wrong and not nested:
        raise _no_price(path, *wrong)
    return seed


def _no_price(path: Path | str, name: str, value: Any) -> UsageError:
    return UsageError(
        f"{path} is no table of prices: {name!r} is {shorten(value)}; write an object of identifiers and dollars."
    )


def read_nouns(path: Path | str) -> dict[str, tuple[str, ...]]:
    """Title -> its nouns.

    Raises:
        UsageError: If an entry is broken; names file and title.
        RunError: If the file is not whole JSON.
    """

    def nouns(_: str, entry: list[Any]) -> tuple[str, ...]:
        if not all(isinstance(word, str) for word in entry):
            raise UsageError(f"the nouns must be texts, found {shorten(entry)}.")
        return tuple(intern(word) for word in entry)

    return dict(_entries(path, list, nouns, "title"))


def read_goals(path: Path | str) -> list[Goal]:
    """Ready goals in final order: one array, perhaps under the key ``goals``, or one goal a line.

    Raises:
        UsageError: If a goal is broken; names file, goal and key.
        RunError: If the file is not whole JSON.
    """
    goals: list[Goal] = []
    for row in _rows(path, "goals"):
        with named(Path(path), f"goal {len(goals)}"):
            goals.append(_ready_goal(row))
    return goals


def _ready_goal(row: dict[str, Any]) -> Goal:
    missing = [key for key in GOAL_KEYS if key not in row]
    if not missing:
        return goal_from_record(row)
    where = " Its goal stands under 'goal'; write that object alone." if isinstance(row.get("goal"), dict) else ""
    raise UsageError(
        f"A goal has no key {missing[0]!r}; it has {few(row)}.{where} Allowed: one JSON array of goals, an object "
        f"with that array under 'goals', or one goal a line; every goal has the keys {', '.join(GOAL_KEYS)}."
    )


def read_goal_texts(path: Path | str) -> list[str]:
    """Instructions in goal order: a list of texts, or ready goals as `read_goals` reads them.

    Raises:
        UsageError: If it holds something else; names the file.
        RunError: If the file is not whole JSON.
    """
    rows = list(stream_rows(path, "goals"))
    found = [row.get("instruction_text") if isinstance(row, dict) else row for row in rows]
    texts = [text for text in found if isinstance(text, str)]
    if not texts or len(texts) < len(rows):
        raise UsageError(f"{path} is no list of instructions; write texts, or goals with 'instruction_text'.")
    return texts


def read_rankings(path: Path | str) -> dict[str, Sequence[str]]:
    """Recorded searches, query -> identifiers: one object of them, or rows of ``query`` and ``asins``.

    Raises:
        UsageError: If a row lacks a key; names file, row and keys.
        RunError: If the file is not whole JSON.
    """
    rows = list(_rows(path))
    with named(Path(path), "the rankings"):
        if len(rows) == 1 and not {"query", "asins"} & set(rows[0]):
            return {query: _identifiers(query, asins) for query, asins in rows[0].items()}
        return {query: _identifiers(query, list(asins)) for query, asins in rankings_from_rows(rows)}


def _identifiers(query: str, asins: Any) -> tuple[str, ...]:
    if TEXTS.holds(asins):
        return tuple(map(intern, asins))
    raise UsageError(
        f"the entry of {shorten(query)} is {shorten(asins)}. Allowed: an object of queries with their lists of "
        "identifiers, or rows of a text 'query' and such a list 'asins'."
    )


def count_unknown(entries: Iterable[str], catalogue: Catalogue) -> int:
    """How many identifiers name no product of a catalogue."""
    return sum(asin not in catalogue for asin in entries)


def _entries(
    path: Path | str, kind: type, read: Callable[[str, Any], Any], what: str = "product"
) -> Iterator[tuple[str, Any]]:
    for name, entry in stream_object(path):
        with named(Path(path), f"{what} {name!r}"):
            if not isinstance(entry, kind):
                raise UsageError(f"the entry must be {_KINDS[kind.__name__]}, found {shorten(entry)}.")
            found = read(name, entry)
        yield name, found


def _rows(path: Path | str, under: str | None = None) -> Iterator[dict[str, Any]]:
    for row in stream_rows(path, under):
        if not isinstance(row, dict):
            raise UsageError(f"{path} is no list of objects; write one JSON array of them, or one object a line.")
        yield row


@contextmanager
def named(path: Path, place: str) -> Iterator[None]:
    """Say in which file and where in it something is wrong, whatever the reader of the entry stumbled over."""
    try:
        yield
    except UsageError as error:
        raise UsageError(f"{path}, {place}: {error}") from error
    except (TypeError, ValueError, KeyError, IndexError, AttributeError) as error:
        raise UsageError(f"{path}, {place}: a value has an unexpected type ({error}).") from error
