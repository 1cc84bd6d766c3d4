"""From what is wanted to an instruction in the words of a shopper."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from envs.shop.world import language_data as data
from envs.shop.world.config import WorldConfig
from envs.shop.world.draws import Draws
from envs.shop.world.vocabulary import Attribute, Noun, SubCategory

_JOINABLE = re.compile(r"[a-z]+( [a-z0-9]+)+")
_RARE_FRAMES = frozenset(("which", "wishes", "ask", "ask then", "story", "keys", "list"))
_SPLIT_FRAMES = frozenset(("second", "wishes", "ask then", "story"))
_PRE_SHARE = {
    "pre": 0.9,
    "second": 0.6,
    "wishes": 0.5,
    "ask then": 0.5,
    "story": 0.5,
    "ask": 0.7,
    "tail": 0.3,
    "keys": 0.7,
}


@dataclass(frozen=True, slots=True)
class Wish:
    """Everything an instruction has to say."""

    category: SubCategory
    noun: int
    """Which head noun the target's page uses."""
    attributes: tuple[tuple[Attribute, int], ...]
    """With the wording that the target's page uses."""
    options: dict[str, str]
    family: int
    paraphrase: int


@dataclass(slots=True)
class _Parts:
    """What goes where, as words."""

    before: list[str]
    after: list[str]
    later: list[str]


def write(wish: Wish, config: WorldConfig, draws: Draws, *, forced: bool = False) -> str:
    """An instruction without price clause.

    Args:
        wish: What is wanted, and in which paraphrase.
        config: Rates of the language knobs.
        draws: Decides on everything that the paraphrase leaves open.
        forced: Always with a greeting and a farewell: the last resort where everything else has been tried.
    """
    if draws.chance(config.estranged):
        config = _all_gaps(config)
    opening, frame = data.FAMILIES[wish.family].paraphrase(wish.paraphrase)
    informal = draws.chance(config.informal)
    noun = wish.category.nouns[_other(wish.noun, config.synonyms, config.noun_gap, draws)]
    parts = _place(wish, config, frame, draws)
    phrase = _noun_phrase(noun, wish.category, parts, frame, draws)
    lead = opening[1] if informal else opening[0]
    text = f"{lead} {phrase}".strip()
    text = _finish(text, noun, parts, frame, draws)
    if forced or draws.chance(config.polite):
        text = _politely(text, draws, both=forced)
    if draws.chance(config.typos):
        text = _misspell(text, wish, draws)
    return text


@lru_cache(maxsize=64)
def _all_gaps(config: WorldConfig) -> WorldConfig:
    return replace(config, noun_gap=1.0, attribute_gap=1.0, option_gap=1.0)


def _other(used: int, count: int, gap: float, draws: Draws) -> int:
    """The page's own wording, or with probability `gap` another one."""
    step = 1 + draws.below(max(count - 1, 1))
    return (used + step) % count if draws.chance(gap) and count > 1 else used


def _place(wish: Wish, config: WorldConfig, frame: str, draws: Draws) -> _Parts:
    parts = _Parts([], [], [])
    groups: dict[str, list[str]] = {"a": [], "w": [], "f": []}
    wanted = draws.sample(wish.attributes, len(wish.attributes))
    split = frame in _SPLIT_FRAMES
    for place, (attribute, used) in enumerate(wanted):
        words = attribute.surfaces[
            _other(used, min(config.synonyms, len(attribute.surfaces)), config.attribute_gap, draws)
        ]
        if (split and place > 0) or frame == "story":
            parts.later.append(_duty(attribute.kind, words, frame, draws))
        elif attribute.kind == "a" and draws.chance(_PRE_SHARE.get(frame, 0.0)):
            parts.before.append(words)
        else:
            groups[attribute.kind].append(words)
    parts.after += _relative(groups, frame, draws)
    for name, value in draws.sample(list(wish.options.items()), len(wish.options)):
        explicit = draws.chance(config.explicit_options)
        shown = _reword(value, draws) if draws.chance(config.option_gap) else value
        _place_option(name, shown, explicit, frame, parts, draws)
    return parts


def _reword(value: str, draws: Draws) -> str:
    """Another wording of an option value that still names it and no other value of its group."""
    if value in data.VALUE_WORDINGS:
        return draws.pick(data.VALUE_WORDINGS[value])
    for pattern, replacement in data.VALUE_PATTERNS:
        found = re.fullmatch(pattern, value)
        if found:
            return found.expand(draws.pick(replacement))
    # People also write "seasalt"; no two values of a group differ in blanks only.
    return value.replace(" ", "") if _JOINABLE.fullmatch(value) else value


def _place_option(name: str, value: str, explicit: bool, frame: str, parts: _Parts, draws: Draws) -> None:
    early = draws.chance(0.4) and frame not in ("list", "tail") and len(parts.before) < 2
    if early and name in data.PRE_OPTIONS:
        words = data.PRE_OPTIONS[name][explicit].format(v=value)
        parts.before.insert(draws.below(len(parts.before) + 1), words)
        return
    phrases = data.OPTION_PHRASES.get(name, data.OTHER_PHRASES)[explicit]
    words = draws.pick(phrases).format(v=value, n=name)
    if frame in ("keys", "list"):
        words = f"{name} {value}" if explicit else value
    if frame in _SPLIT_FRAMES and draws.chance(0.4):
        pattern = draws.pick(data.SECOND_OPTIONS[frame in _RARE_FRAMES])
        parts.later.append(pattern.format(p=words, o="it"))
    else:
        parts.after.append(words)


def _relative(groups: dict[str, list[str]], frame: str, draws: Draws) -> list[str]:
    """What follows the noun: "that is light and airy", "with ...", "for ..."."""
    if frame in ("keys", "list"):
        return [words for kind in "awf" for words in groups[kind]]
    link = draws.pick(
        ("which is", "which should be") if frame == "which" else ("that is", "that is", "that are", "and is")
    )
    leads = {"a": link, "w": draws.pick(("with", "with", "that has", "having")), "f": "for"}
    phrases = [f"{leads[kind]} {' and '.join(words)}" for kind, words in groups.items() if words]
    return draws.sample(phrases, len(phrases))


def _duty(kind: str, words: str, frame: str, draws: Draws) -> str:
    duty = draws.pick(data.DUTIES[frame in _RARE_FRAMES])
    verb = {"a": "be", "w": "have", "f": "be for"}[kind]
    return f"{draws.pick(('it', 'it', 'this', 'that'))} {duty} {verb} {words}"


def _noun_phrase(noun: Noun, category: SubCategory, parts: _Parts, frame: str, draws: Draws) -> str:
    words = [*parts.before, noun.text]
    if frame in ("keys", "list"):
        return " ".join(words)
    first = words[0]
    if noun.plural:
        article = draws.pick(("", "", "some", "a pair of" if category.shelf == "footwear" else "some"))
    elif category.department == "grocery":
        article = draws.pick(("some", "some", "a", ""))
    else:
        article = draws.pick(("a", "a", "a", "a", "a", "one"))
    if article == "a" and first[0] in "aeiou":
        article = draws.pick(("an", "an", "a"))
    return " ".join(word for word in (article, *words) if word)


def _finish(text: str, noun: Noun, parts: _Parts, frame: str, draws: Draws) -> str:
    if frame == "list":
        text = ", ".join([text, *parts.after])
    elif frame == "keys":
        text = " ".join([text, *parts.after])
    else:
        text = _join([text, *parts.after], draws)
    if frame == "ask" or (frame == "ask then" and draws.chance(0.7)):
        text += "?"
    for sentence in parts.later:
        start = draws.pick((". ", ". ", ". ", ". ", ", and ")) if not text.endswith("?") else " "
        text += start + (
            sentence.replace("it ", "they ", 1) if noun.plural and sentence.startswith("it ") else sentence
        )
    return text


def _join(pieces: Sequence[str], draws: Draws) -> str:
    text = pieces[0]
    for place, piece in enumerate(pieces[1:]):
        glue = " " if place == 0 else draws.pick((" ", " ", " ", " ", " ", ", ", " and "))
        text += glue + piece
    return text


def _politely(text: str, draws: Draws, *, both: bool) -> str:
    greeting, farewell, which = draws.pick(data.GREETINGS), draws.pick(data.FAREWELLS), draws.below(2)
    if both:
        return f"{greeting}{text.rstrip('.?')}{farewell}{draws.pick(data.FAREWELLS)}"
    return greeting + text if which else text.rstrip(".?") + farewell


def _misspell(text: str, wish: Wish, draws: Draws) -> str:
    """One long word with two letters swapped, one lost or one double; never a word of a wanted option."""
    safe = {word for value in wish.options.values() for word in re.findall(r"[a-z]+", value)}
    safe |= {word for group in data.VALUE_WORDINGS.values() for wording in group for word in wording.split()}
    words = text.split(" ")
    places = [i for i, word in enumerate(words) if len(word) > 4 and word.isalpha() and word not in safe]
    if not places:
        return text
    place = draws.pick(places)
    word, at = words[place], 1 + draws.below(len(words[place]) - 2)
    slips = (
        word[:at] + word[at + 1] + word[at] + word[at + 2 :],
        word[:at] + word[at + 1 :],
        word[:at] + word[at:][:1] + word[at:],
    )
    words[place] = draws.pick(slips)
    return " ".join(words)
