"""The nouns of titles, which decide whether two products are of the same kind.

The original tags two titles at every purchase with a spaCy model. Here nouns come from the product (the built-in
world knows them), from a table (a file of recorded nouns), from a tagger if one is given, or from a word list.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from envs.errors import UsageError
from envs.shop.analysis import STOP_WORDS
from envs.shop.product import Product

Tagger = Callable[[str], tuple[str, ...]]
"""Title -> its noun tokens in reading order, repeats kept."""

NOUN_TAGS = frozenset({"NOUN", "PROPN"})
_WORD = re.compile(r"[^\W\d_]+(?:[-'\u2019.][^\W\d_]+)*")
_NO_NOUN_WORDS = """
    adjustable all any breathable casual classic comfortable cute durable easy elegant extra foldable fresh from great
    handmade high large light lightweight long low medium mini modern natural new nice organic our portable premium
    professional quick short simple simply small soft super sweet trendy ultra universal very vintage warm waterproof
    wireless your
"""
_NO_NOUNS = STOP_WORDS.union(_NO_NOUN_WORDS.split())


def heuristic_nouns(title: str) -> tuple[str, ...]:
    """The words of a title that may be nouns: made of letters, not in a list of small words and common adjectives.

    An approximation: scores differ from those of a tagger, but rarely fall on another side of 0, 0.1 and 0.2.
    """
    return tuple(word for word in _WORD.findall(title) if word.lower() not in _NO_NOUNS)


class Nouns:
    """Looks up the nouns of titles; every title is tagged once.

    Args:
        table: Title -> nouns, asked before the tagger.
        tagger: Asked for titles that the table does not hold.
    """

    def __init__(self, table: Mapping[str, tuple[str, ...]] | None = None, tagger: Tagger = heuristic_nouns) -> None:
        self._known = {title: tuple(nouns) for title, nouns in (table or {}).items()}
        self._tagger = tagger

    def of_title(self, title: str) -> tuple[str, ...]:
        """The nouns of a title in its own case and order."""
        nouns = self._known.get(title)
        if nouns is None:
            nouns = self._known[title] = tuple(self._tagger(title))
        return nouns

    def of_product(self, product: Product) -> tuple[str, ...]:
        """The nouns a product came with, else those of its title."""
        return self.of_title(product.title) if product.title_nouns is None else product.title_nouns


def spacy_tagger(model: str = "en_core_web_sm") -> Tagger:
    """A tagger that uses an installed spaCy model, as the original does: tokens tagged as nouns or proper nouns.

    Raises:
        UsageError: If spaCy or the model is not installed.
    """
    try:
        pipeline: Any = import_module("spacy").load(model)
    except ImportError as error:
        raise UsageError("Noun tagging needs spaCy. Install it with: pip install 'gengap[nouns]'.") from error
    except OSError as error:
        raise UsageError(f"spaCy has no model {model!r}. Install it with: python -m spacy download {model}.") from error

    def tag(title: str) -> tuple[str, ...]:
        return tuple(token.text for token in pipeline(title) if token.pos_ in NOUN_TAGS)

    return tag
