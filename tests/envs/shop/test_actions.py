"""The grammar of actions, the original's and the strict one."""

from __future__ import annotations

import pytest

from envs.shop.actions import parse_action

BOTH = [
    ("search[Red Shoes]", ("search", "red shoes")),
    ("click[Buy Now]", ("click", "buy now")),
    ("Click[x]", ("Click", "x")),
    (" click[x]", (" click", "x")),
    ("click[a]b]", ("click", "a]b")),
    ("click[x]]", ("click", "x]")),
    ("search[ ]", ("search", " ")),
    ("search[İ]", ("search", "i̇")),
    ("buy", None),
    ("", None),
    ("[x]", None),
    ("click[x", None),
    ("click x]", None),
]


@pytest.mark.parametrize(("text", "expected"), BOTH)
@pytest.mark.parametrize("at_last", [True, False])
def test_ordinary_actions_read_the_same_either_way(text: str, expected: tuple[str, str] | None, at_last: bool) -> None:
    assert parse_action(text, at_last) == expected


@pytest.mark.parametrize(
    ("text", "original", "strict"),
    [
        ("click[6 ft [usb-c]]", ("click[6 ft ", "usb-c]"), ("click", "6 ft [usb-c]")),
        ("click[[]", ("click", "["), ("click", "[")),
        ("click[x] and more", ("click", "x"), None),
        ("search[tea] click[buy now]", ("search[tea] click", "buy now"), ("search", "tea] click[buy now")),
        ("search[red]click[", ("search", "red"), None),
        ("search[red\nshoes]", None, ("search", "red\nshoes")),
        ("search[tea]\nclick[buy now]", ("search", "tea"), ("search", "tea]\nclick[buy now")),
        ("click[]", None, ("click", "")),
    ],
)
def test_brackets_and_line_breaks(text: str, original: tuple[str, str] | None, strict: tuple[str, str] | None) -> None:
    assert parse_action(text, split_at_last_bracket=True) == original
    assert parse_action(text) == strict
