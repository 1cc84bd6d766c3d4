"""What rows and files may hold under their keys, and how an error shows what it found instead."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from envs.errors import UsageError

_SHOWN_NAMES = 5


class Kind(NamedTuple):
    """What a value may be: in words, and as a test."""

    words: str
    holds: Callable[[Any], bool]


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _texts(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(map(_text, value))


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _named(value: Any, holds: Callable[[Any], bool]) -> bool:
    return isinstance(value, Mapping) and all(map(_text, value)) and all(map(holds, value.values()))


TEXT = Kind("a text", _text)
TEXT_OR_NULL = Kind("a text, or null", lambda value: value is None or _text(value))
TEXTS = Kind("a list of texts", _texts)
TEXTS_OR_NULL = Kind("a list of texts, or null", lambda value: value is None or _texts(value))
LINES = Kind("a list of texts, or a text", lambda value: _text(value) or _texts(value))
NUMBER = Kind("a number", _number)
DOLLARS = Kind("a finite number of dollars", lambda value: value is None or (_number(value) and math.isfinite(value)))
"""Null is left to whoever knows what a missing price means."""
NUMBERS = Kind("a list of numbers", lambda value: isinstance(value, list | tuple) and all(map(_number, value)))
NAMED_TEXTS = Kind("an object of texts", lambda value: _named(value, _text))
NAMED_LISTS = Kind("an object of lists of texts", lambda value: _named(value, _texts))
WANTED_OPTIONS = Kind("a list of texts, or an object of texts", lambda value: _texts(value) or _named(value, _text))
OBJECT_OR_NULL = Kind(
    "an object that is not empty, or null", lambda value: value is None or (isinstance(value, Mapping) and bool(value))
)


def check_kinds(where: str, record: Mapping[str, Any], kinds: Mapping[str, Kind]) -> None:
    """Compare the values under those keys that a record has.

    Args:
        where: What the record is, as the error begins.
        record: The row, goal or product.
        kinds: Key -> what its value may be.

    Raises:
        UsageError: Naming the first wrong key, its value, and what is allowed.
    """
    for key, kind in kinds.items():
        if key in record and not kind.holds(record[key]):
            raise UsageError(f"{where}: {key!r} is {shorten(record[key])}; allowed: {kind.words}.")


def check_file(path: Path) -> None:
    """Refuse a path that is no file.

    Raises:
        UsageError: If it is a directory, or nothing.
    """
    if path.is_dir():
        raise UsageError(f"{path} is a directory; give the file itself, for example {path / 'items.json'}.")
    if not path.is_file():
        raise UsageError(f"There is no file {path}. Check the path.")


def shorten(value: Any) -> str:
    """A value as an error shows it: at most 60 characters."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def few(names: Iterable[str]) -> str:
    """The first names by the alphabet, and how many there are where that is not all."""
    known = sorted(names)
    shown = ", ".join(map(shorten, known[:_SHOWN_NAMES]))
    return f"{shown}, ... ({len(known):,} in all)" if len(known) > _SHOWN_NAMES else shown or "none"
