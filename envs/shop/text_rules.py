"""Small rules on words: colours, sizes and the fuzzy comparison with which the released reward matches texts.

The colour names, the size words and the size patterns are data: the original's tables, in its order, because the
first entry that fits decides.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache

from rapidfuzz import fuzz, utils

MATCH_ABOVE = 85
NOT_MATCHED = "not_matched"
NUMERIC_SIZE = "numeric_size"
_COLOR_NAMES = """
    alabaster apricot aqua ash asphalt azure banana beige black blue blush bordeaux bronze brown burgundy camel camo
    caramel champagne charcoal cheetah chestnut chocolate christmas coffee cognac copper coral cranberry cream crystal
    dark denim eggplant elephant espresso fuchsia gold granite grape graphite grass gray green grey heather indigo
    ivory ivy khaki lavender lemon leopard light lilac lime magenta maroon mauve merlot midnight mint mocha multicolor
    mushroom mustard natural navy nude olive orange peach pewter pink plum purple rainbow red rose royal rust sand
    sapphire seashell silver skull slate steel stone stonewash sunflower tan taupe teal tiger turquoise violet walnut
    wheat white wine yellow
"""
COLORS = tuple(_COLOR_NAMES.split())
_COLOR_SET = frozenset(COLORS)
_SIZE_WORDS = (
    "xx-large|3x-large|4x-large|5x-large|x-large|x-small|medium|large|small|queen|twin|full|king|one size|pack"
)
_SIZE_SHAPES = (
    *(r"(.*)neck(.*)sleeve", r"(.*) women \| (.*) men", r"(.*)w x(.*)l", r"(.*)w by (.*)l", r"(.*)w x(.*)h"),
    *("(.*)" + word for word in ("wide", "x-wide", "narrow", "petite", "inch", "plus", "mm")),
    *(r"women(.*)", r"(.*)x(.*)"),
    *("(.*)" + word for word in ("ft", "feet", "meter", "yards")),
    *(r"(.*)\*(.*)", r"(.*)\-(.*)"),
    *(r"(\d+)" + unit + "$" for unit in ('"', "f", "m", "cm", "g")),
)
SIZE_PATTERNS = tuple(re.compile(text) for text in (*_SIZE_WORDS.split("|"), *_SIZE_SHAPES))
_DELETED = dict.fromkeys(range(128, 256))


@lru_cache(maxsize=1 << 16)
def normalize_color(text: str) -> str:
    """The first listed colour that occurs in a text, or the text itself; upper case is not recognised.

    "First" is by the alphabet, not by position: ``"navy blue"`` is blue, ``"dark green"`` is dark, ``"titanium"`` tan.
    """
    return next((color for color in COLORS if color in text), text)


def map_color(text: str) -> str:
    """The entry of a value in the original's offline colour table: a listed colour or ``"not_matched"``."""
    lowered = text.lower()
    return next((color for color in COLORS if color in lowered), NOT_MATCHED)


def map_size(text: str) -> str:
    """The entry of a value in the original's offline size table.

    Returns:
        The text of the first size pattern found, ``"numeric_size"`` for a plain number, else ``"not_matched"``.
    """
    lowered = text.lower()
    for pattern in SIZE_PATTERNS:
        if pattern.search(lowered):
            return pattern.pattern
    return NUMERIC_SIZE if lowered.replace(".", "", 1).isdigit() else NOT_MATCHED


@lru_cache(maxsize=1 << 16)
def cleaned(text: str) -> str:
    """The form of a text that fuzzy scores compare.

    Code points 128 to 255 vanish, other characters that are no letters or digits become blanks, the rest is lower
    case without blanks around: what ``thefuzz`` 0.22.1 does.
    """
    return utils.default_process(text.translate(_DELETED))


def token_set_score(first: str, second: str) -> int:
    """How well the words of two texts agree, 0 to 100: the rounded token-set ratio of the cleaned texts.

    Equal to ``thefuzz.fuzz.token_set_ratio`` 0.22.1. A text with nothing left after cleaning scores 0, also against
    itself; a text whose words all occur in the other scores 100.
    """
    return round(fuzz.token_set_ratio(cleaned(first), cleaned(second)))


@lru_cache(maxsize=1 << 17)
def matches(first: str, second: str) -> bool:
    """Whether two texts count as the same: a token-set score above 85."""
    return token_set_score(first, second) > MATCH_ABOVE


def pair_text(name: str, value: str) -> str:
    """A wanted (name, value) pair as the released reward compares it: its printed form, escapes included."""
    return str((name, value))


def wanted_texts(options: Mapping[str, str] | Iterable[str]) -> tuple[str, ...]:
    """What the chosen values of a purchase are compared with, one text for each wanted option.

    A list of values is colour-normalized value by value. A (name, value) pair becomes a colour only where its name or
    its value is exactly a listed colour; otherwise the printed pair is compared, hence the wanted value
    ``"titanium"`` never matches the chosen ``"titanium"``, which has become ``"tan"``.
    """
    if isinstance(options, Mapping):
        return tuple(_wanted_pair(*pair) for pair in options.items())
    return tuple(normalize_color(value) for value in options)


@lru_cache(maxsize=1 << 16)
def _wanted_pair(name: str, value: str) -> str:
    return min(_COLOR_SET.intersection((name, value)), default=pair_text(name, value))


def matched_options(chosen: Iterable[str], wanted: Mapping[str, str] | Iterable[str]) -> int:
    """How many wanted options are met by at least one chosen value, by the released rule.

    Args:
        chosen: Chosen values; the names of their groups do not count.
        wanted: Wanted pairs (synthetic goals) or values (human goals).
    """
    values = [normalize_color(value) for value in chosen]
    return sum(any(matches(value, text) for value in values) for text in wanted_texts(wanted))
