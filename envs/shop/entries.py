"""The original's files of attributes and instructions: identifier -> entry."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from sys import intern
from typing import Any

from envs.errors import UsageError
from envs.shop.catalogue import Catalogue
from envs.shop.goals import HumanInstruction, SyntheticInstruction
from envs.shop.product import DUMMY_ATTRIBUTE
from envs.shop.stream import stream_object

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


def count_unknown(entries: Iterable[str], catalogue: Catalogue) -> int:
    """How many identifiers name no product of a catalogue."""
    return sum(asin not in catalogue for asin in entries)


def _entries(path: Path | str, kind: type, read: Callable[[str, Any], Any]) -> Iterator[tuple[str, Any]]:
    for asin, entry in stream_object(path):
        with named(Path(path), f"product {asin!r}"):
            if not isinstance(entry, kind):
                raise UsageError(f"the entry must be {_KINDS[kind.__name__]}, found {shorten(entry)}.")
            found = read(asin, entry)
        yield asin, found


@contextmanager
def named(path: Path, place: str) -> Iterator[None]:
    """Say in which file and where in it something is wrong, whatever the reader of the entry stumbled over."""
    try:
        yield
    except UsageError as error:
        raise UsageError(f"{path}, {place}: {error}") from error
    except (TypeError, ValueError, KeyError, IndexError, AttributeError) as error:
        raise UsageError(f"{path}, {place}: a value has an unexpected type ({error}).") from error


def shorten(value: Any) -> str:
    """A value as an error shows it: at most 60 characters."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
