"""What can be understood of the shop's pages without knowing what lies behind them."""

from __future__ import annotations

import re
from collections.abc import Sequence

BUY = "click[buy now]"
BUTTONS = ("click[back to search]", "click[< prev]", "click[next >]")
_PRICE_CLAUSE = re.compile(r"price lower than ([\d.]+) dollars")
_TAG = re.compile(r"\$([\d.]+)")
_TOKEN = re.compile(r"[a-z]+|\d+(?:\.\d+)?")
_MARKS = ("  [button] ", "  [clicked button] ")
_DULL = frozenset(
    "a an the and or of in on with for that is are it to i im my me need want looking look find would like".split()  # noqa: SIM905
)


def buy_first_hit(page: str, candidates: Sequence[str]) -> int:
    """The rule: search the whole instruction, open the first hit, buy it as it is.

    Args:
        page: As ``text_rich`` shows it.
        candidates: What can be done.

    Returns:
        Which candidate.
    """
    if BUY in candidates:
        return candidates.index(BUY)
    links = product_links(candidates)
    return links[0] if links else 0


def buy_best_match(page: str, candidates: Sequence[str]) -> int:
    """Open the hit of the first page whose title shares most words with the instruction, and choose what it names.

    Hits dearer than the instruction allows come last. Of each option group the value is chosen that the instruction
    names, if there is one.

    Args:
        page: As ``text_rich`` shows it.
        candidates: What can be done.

    Returns:
        Which candidate.
    """
    text = instruction_of(page)
    wanted = tokens(_PRICE_CLAUSE.sub("", text))
    if BUY in candidates:
        for value in missing_values(page, wanted):
            if f"click[{value}]" in candidates:
                return candidates.index(f"click[{value}]")
        return candidates.index(BUY)
    links = product_links(candidates)
    if not links:
        return _unpriced(text, candidates)
    cap = price_cap(text)
    return max(links, key=lambda place: (lowest_price(candidates[place]) <= cap, _overlap(candidates[place], wanted)))


def instruction_of(page: str) -> str:
    """The instruction on a page; empty on the last one."""
    lines = page.split("\n")
    for place, line in enumerate(lines[:-1]):
        if line.strip() == "Instruction:":
            return lines[place + 1]
    return ""


def product_links(candidates: Sequence[str]) -> list[int]:
    """Which candidates open a product, on a page of results; none elsewhere."""
    if candidates[0] != BUTTONS[0]:
        return []
    return [place for place, text in enumerate(candidates) if text not in BUTTONS]


def price_cap(instruction: str) -> float:
    """The highest price that an instruction allows, in dollars."""
    found = _PRICE_CLAUSE.search(instruction)
    return float(found[1].rstrip(".")) if found else float("inf")


def lowest_price(link: str) -> float:
    """The lower end of the price that a link shows, in dollars; 0 where it shows none."""
    prices = [float(number.rstrip(".")) for number in _TAG.findall(link.rpartition(", ")[2])]
    return min(prices, default=0.0)


def tokens(text: str) -> list[str]:
    """Words without endings of the plural, and numbers, in lower case."""
    return [word if len(word) < 4 else word.removesuffix("s") for word in _TOKEN.findall(text.lower())]


def missing_values(page: str, wanted: Sequence[str]) -> list[str]:
    """For each group of options the value that the instruction names, where it is not chosen yet.

    Args:
        page: An item page.
        wanted: Tokens of the instruction.
    """
    missing = []
    for values in option_groups(page):
        named = [(len(tokens(value)), value) for value in values if _names(wanted, tokens(value))]
        if named:
            value = max(named)[1]
            if not values[value]:
                missing.append(value)
    return missing


def option_groups(page: str) -> list[dict[str, bool]]:
    """The option groups of an item page: value -> whether it is chosen."""
    groups: list[dict[str, bool]] = []
    inside = False
    for line in page.split("\n"):
        mark = next((mark for mark in _MARKS if line.startswith(mark)), None)
        if mark is None:
            inside = False
            continue
        if not inside:
            groups.append({})
            inside = True
        groups[-1][line[len(mark) :].rpartition(" [")[0]] = mark == _MARKS[1]
    return groups


def _names(wanted: Sequence[str], value: Sequence[str]) -> bool:
    """Whether the tokens of a value stand in the instruction one after the other."""
    return bool(value) and any(
        list(wanted[at : at + len(value)]) == list(value) for at in range(len(wanted) - len(value) + 1)
    )


def _overlap(link: str, wanted: Sequence[str]) -> float:
    title = set(tokens(link.rpartition(", ")[0]))
    return sum(1.0 for word in dict.fromkeys(wanted) if word in title and word not in _DULL)


def _unpriced(instruction: str, candidates: Sequence[str]) -> int:
    """The second query is the instruction without its price, where there is one."""
    return 1 if _PRICE_CLAUSE.search(instruction) and len(candidates) > 1 else 0
