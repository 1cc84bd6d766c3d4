"""Ways to spoil bytes, texts and nested values, drawn from a seeded generator."""

from __future__ import annotations

import copy
import random
from typing import Any

WORDS = [
    "", "0", "-1", "1e999", "nan", "inf", "None", "null", "true", "[]", "{}", "()", "'", '"', "\\", "\x00", "=", ".",
    "..", "/", "../../x", "search[", "click[", "]", "[", "[[", "]]", "{'a': 1}", "(1,", "é", "\ud800", " ", "\n",
    "\U0001d54f", "1_000", "0x10", "9" * 40, "a" * 3000, "__class__", "%s", "buy now", "< prev",
    "search", "B000000001",
]  # fmt: skip
VALUES: list[Any] = [
    None, True, False, 0, -1, 1, 2**31, 2**63, -(2**63), 2**200, 0.5, -0.0, float("inf"), float("nan"), "", "x",
    "uint8", "\x00", [], {}, [[]], [None], {"a": None}, "../../etc/passwd",
]  # fmt: skip


def spoil_bytes(content: bytes, rng: random.Random) -> bytes:
    """Some bytes changed, cut, added, moved or repeated."""
    spoiled = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        at = rng.randrange(len(spoiled) + 1)
        size = min(rng.choice((1, 1, 2, 4, 8, 64, 512)), len(spoiled) - at)
        kind = rng.randrange(6)
        if kind == 0:
            spoiled[at : at + size] = rng.randbytes(size)
        elif kind == 1:
            spoiled[at : at + size] = bytes([rng.choice((0, 1, 0x7F, 0x80, 0xFF))]) * size
        elif kind == 2:
            del spoiled[at : at + size]
        elif kind == 3:
            spoiled[at:at] = rng.randbytes(rng.choice((1, 8, 100)))
        elif kind == 4:
            spoiled = spoiled[:at]
        else:
            other = rng.randrange(len(spoiled) + 1)
            spoiled[other:other] = spoiled[at : at + size]
    return bytes(spoiled)


def spoil_text(text: str, rng: random.Random) -> str:
    """Some characters changed, and words put in between."""
    letters = list(text)
    for _ in range(rng.choice((1, 1, 2, 4))):
        at = rng.randrange(len(letters) + 1)
        kind = rng.randrange(4)
        if kind == 0:
            letters[at : at + rng.randrange(4)] = []
        elif kind == 1:
            letters[at:at] = rng.choice(WORDS)
        elif kind == 2:
            letters[at : at + 1] = [chr(rng.choice((rng.randrange(128), rng.randrange(0xD800), 0x1F600)))]
        else:
            letters = letters[at:] + letters[:at]
    return "".join(letters)


def spoil_value(value: Any, rng: random.Random) -> Any:
    """A copy of nested lists and dicts with an entry replaced, removed, renamed or doubled."""
    spoiled = copy.deepcopy(value)
    for _ in range(rng.choice((1, 1, 2))):
        place = _some_place(spoiled, rng)
        if place is None:
            return rng.choice(VALUES)
        key = rng.choice(list(place) if isinstance(place, dict) else range(len(place)))
        kind = rng.randrange(5)
        if kind == 0:
            del place[key]
        elif kind == 1 and isinstance(place, dict):
            place[rng.choice(WORDS)] = place.pop(key)
        elif kind == 2 and isinstance(place, list):
            place.append(copy.deepcopy(place[key]))
        elif kind == 3 and isinstance(place[key], str):
            place[key] = spoil_text(place[key], rng)
        else:
            place[key] = copy.deepcopy(rng.choice(VALUES))
    return spoiled


def _some_place(value: Any, rng: random.Random) -> Any:
    """A list or dict with entries somewhere inside, chosen evenly; None if there is none."""
    places, waiting = [], [value]
    while waiting:
        current = waiting.pop()
        if isinstance(current, dict | list) and current:
            places.append(current)
            waiting += current.values() if isinstance(current, dict) else current
    return rng.choice(places) if places else None
