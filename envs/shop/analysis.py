"""Text to search terms: tokens by Unicode word breaks, possessives off, stop words out, Porter stems.

The steps of Lucene's English analysis. The stemmer is Porter's published one; Lucene's differs on few rare words.
"""

from __future__ import annotations

import re
import unicodedata

import Stemmer

MOST_TOKENS = 1 << 20
"""An analyzer forgets its tokens when it knows this many."""
_STOP_WORDS = """
    a an and are as at be but by for if in into is it no not of on or such that the their then there these they this
    to was will with
"""
STOP_WORDS = frozenset(_STOP_WORDS.split())
_LETTER, _DIGIT, _CONNECTOR, _HAN, _OTHER = "L", "D", "_", "H", " "
_EXTENDS = "e"
"""Marks and format characters: they belong to what stands before them."""
_JOINS_BOTH = frozenset("'\N{RIGHT SINGLE QUOTATION MARK}.")
_JOINS_LETTERS = ":"
_JOINS_DIGITS = frozenset(",;")
_ZERO_WIDTH_SPACE = "\u200b"
_KINDS_OF_TOKEN = re.compile(r"He*|(?:Le*(?:[':]e*(?=L))?|De*(?:[',]e*(?=D))?|_e*)+")
_ASCII_TOKEN = re.compile(r"(?:[A-Za-z]+(?:['.:](?=[A-Za-z]))?|[0-9]+(?:['.,;](?=[0-9]))?|_+)+")
_POSSESSIVE = re.compile("['\N{RIGHT SINGLE QUOTATION MARK}][sS]$")


class _Kinds(dict[int, str]):
    """Code point -> the kind of its character, one letter of `_KINDS_OF_TOKEN`; filled on demand."""

    def __missing__(self, code: int) -> str:
        self[code] = kind = _kind(chr(code))
        return kind


def _kind(character: str) -> str:
    if character in _JOINS_BOTH:
        return "'"
    if character == _JOINS_LETTERS:
        return ":"
    if character in _JOINS_DIGITS:
        return ","
    category = unicodedata.category(character)
    if category[0] == "L":
        name = unicodedata.name(character, "")
        return _HAN if name.startswith("CJK ") or "IDEOGRAPH" in name else _LETTER
    if category[0] == "M" or (category == "Cf" and character != _ZERO_WIDTH_SPACE):
        return _EXTENDS
    return {"Nd": _DIGIT, "Pc": _CONNECTOR}.get(category, _OTHER)


class Analyzer:
    """Turns texts into search terms; remembers the stem of every token it has seen.

    One instance serves one thread.
    """

    def __init__(self) -> None:
        self._kinds = _Kinds()
        self._stemmer = Stemmer.Stemmer("porter", 0)
        self._terms: dict[str, str] = {}

    def __reduce__(self) -> tuple[type[Analyzer], tuple[()]]:
        return Analyzer, ()

    def tokens(self, text: str) -> list[str]:
        """The tokens of a text in their own case.

        Runs of letters, decimal digits, connector punctuation and marks. An apostrophe or full stop between two
        letters or two digits joins them, a colon joins letters, comma and semicolon join digits. Chinese characters
        stand alone. A zero-width space separates, a soft hyphen does not.
        """
        if text.isascii():
            return _ASCII_TOKEN.findall(text)
        kinds = text.translate(self._kinds)
        return [text[match.start() : match.end()] for match in _KINDS_OF_TOKEN.finditer(kinds)]

    def terms(self, text: str) -> list[str]:
        """The search terms of a text, repeats kept."""
        known = self._terms
        terms = []
        for token in self.tokens(text):
            term = known.get(token)
            if term is None:
                if len(known) >= MOST_TOKENS:
                    known.clear()
                term = known[token] = self._term(token)
            if term:
                terms.append(term)
        return terms

    def _term(self, token: str) -> str:
        """The stem of a token, or nothing for a stop word."""
        word = _POSSESSIVE.sub("", token).lower()
        if word in STOP_WORDS:
            return ""
        return str(self._stemmer.stemWord(word)) if len(word) > 2 else word
