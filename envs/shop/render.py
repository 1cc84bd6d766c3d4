"""Pages as text, put together from blocks that are made once for each product.

The original renders a page as HTML, parses it and prints its pieces of text. Three habits of that way are visible and
kept: an empty piece leaves no line; a piece of ASCII blanks only is shown as one blank, and not at all if it holds a
line break; pieces are stripped in ``text`` but not in ``text_rich``.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import NamedTuple

from envs.errors import unknown_name
from envs.shop.product import Product
from envs.shop.shop import Shop
from envs.shop.state import Page, ShopState, address, has_next

SEPARATOR = " [SEP] "
ASCII_BLANKS = " \t\n\f\r"


class Block(NamedTuple):
    """A part of a page in both forms.

    Attributes:
        rich: Its lines in ``text_rich``, each with its line end.
        text: Its pieces in ``text``, each after a separator.
    """

    rich: str
    text: str


def piece(text: str, before: str = "", after: str = "") -> Block:
    """One piece of text between decorations that only ``text_rich`` shows."""
    if not text.strip(ASCII_BLANKS):
        if not text or "\n" in text:
            return EMPTY
        text = " "
    return Block(f"{before}{text}{after}\n", SEPARATOR + text.strip())


def button(text: str) -> Block:
    """A button."""
    return piece(text, "[button] ", " [button_]")


def join(blocks: list[Block]) -> Block:
    """Several blocks as one."""
    return Block("".join([block.rich for block in blocks]), "".join([block.text for block in blocks]))


EMPTY = Block("", "")
BACK = button("Back to Search")
PREVIOUS = button("< Prev")
NEXT = button("Next >")
THANKS = join(
    [piece(line) for line in ("Thank you for shopping with us!", "Your code: ", "None")]
    + [piece(line) for line in (" (Paste it in your MTurk interface.)", "Purchased", "asin")]
)
BETWEEN = join(
    [piece(line) for line in ("attrs", "None", "category", "None", "query", "None", "product category", "None")]
)
TARGET = join(
    [piece(line) for line in ("Target", "asin", "options", "attrs", "price upper", "instuction text", "category")]
    + [
        piece(line)
        for line in ("product category", "query", "Goal ", "None", "Reward", "Your score (min 0.0, max 1.0)")
    ]
)
DETAILS = join([piece("Reward Details "), piece("None")])


def observe(shop: Shop, state: ShopState, mode: str) -> str:
    """What an agent sees.

    Args:
        shop: Where it is.
        state: What the page shows.
        mode: ``text_rich`` (one piece a line, buttons marked), ``text`` (pieces between separators) or ``url``.

    Raises:
        UsageError: If there is no such mode.
    """
    if mode == "url":
        return address(state)
    if mode == "text_rich":
        return "".join([block.rich for block in _PAGES[state.page](shop, state)])
    if mode == "text":
        return "".join([block.text for block in _PAGES[state.page](shop, state)])[len(SEPARATOR) :]
    raise unknown_name("observation mode", mode, MODES)


MODES = ("text_rich", "text", "url")


def _search_page(shop: Shop, state: ShopState) -> list[Block]:
    return [piece("WebShop"), piece("Instruction: "), piece(state.goal.instruction), button("Search")]


def _top(state: ShopState) -> Block:
    instruction = piece(state.goal.instruction)
    return Block(
        f"Instruction:\n{instruction.rich}{BACK.rich}", f"{SEPARATOR}Instruction:{instruction.text}{BACK.text}"
    )


def _results_page(shop: Shop, state: ShopState) -> list[Block]:
    blocks = [_top(state), piece(f"Page {state.number} (Total results: {len(state.hits)})")]
    if (state.number or 0) > 1:
        blocks.append(PREVIOUS)
    if has_next(shop, state):
        blocks.append(NEXT)
    for asin in state.shown():
        blocks.append(_cards(shop, asin)[asin in state.visited])
    return blocks


def _cards(shop: Shop, asin: str) -> tuple[Block, Block]:
    """The entry of a product in the results: not opened yet, opened."""
    return shop.memo.get(("card", asin), lambda: _new_cards(shop.product(asin)))


def _new_cards(product: Product) -> tuple[Block, Block]:
    rest = [piece(product.title), piece(product.price_tag)]
    new = piece(product.asin, "\n[button] ", " [button_]")
    opened = piece(product.asin, "\n[clicked button] ", " [clicked button_]")
    return join([new, *rest]), join([opened, *rest])


class ItemBlocks(NamedTuple):
    """The parts of an item page.

    Attributes:
        plain: The page below the instruction if nothing is marked.
        options: One entry a line: group, value (None for the line of the group's name), unmarked and marked block.
        rest: The page below the options.
    """

    plain: Block
    options: tuple[tuple[str, str | None, Block, Block], ...]
    rest: Block


def _item_page(shop: Shop, state: ShopState) -> list[Block]:
    product = shop.product(state.asin or "")
    item = shop.memo.get(("item", product.asin), lambda: _item_blocks(shop, product))
    is_marked = _marks(shop, state)
    if is_marked is None:
        return [_top(state), item.plain]
    notes = ""
    blocks = [_top(state), PREVIOUS]
    for group, value, unmarked, marked in item.options:
        if value is not None and is_marked(group, value):
            notes = f"You have clicked {value}.\n{notes}"
            blocks.append(marked)
        else:
            blocks.append(unmarked)
    return [Block(notes, ""), *blocks, item.rest]


def _marks(shop: Shop, state: ShopState) -> Callable[[str, str], bool] | None:
    """Says of a group and a value whether the page shows it as clicked; None if it shows none so."""
    if not shop.rules.marks_by_address:
        return (lambda group, value: state.options.get(group) == value) if state.options else None
    text = address(state)
    return (lambda group, value: f'"{value}"' in text) if '"' in text else None


def _item_blocks(shop: Shop, product: Product) -> ItemBlocks:
    options: list[tuple[str, str | None, Block, Block]] = []
    for group, values in product.options.items():
        options.append((group, None, piece(group), piece(group)))
        for value in values:
            if value:
                marked = piece(value, "  [clicked button] ", " [clicked button_]")
                options.append((group, value, piece(value, "  [button] ", " [button_]"), marked))
    labels = ["Description", "Features", "Reviews", *(["Attributes"] if shop.rules.show_attributes else []), "Buy Now"]
    lines = [piece(product.title), piece(f"Price: {product.price_tag}"), piece("Rating: N.A.")]
    rest = join(lines + [button(label) for label in labels])
    return ItemBlocks(join([PREVIOUS, *(entry[2] for entry in options), rest]), tuple(options), rest)


def _section_page(shop: Shop, state: ShopState) -> list[Block]:
    product = shop.product(state.asin or "")
    body = shop.memo.get((state.section, product.asin), lambda: _section(product, state.section))
    return [_top(state), PREVIOUS, body]


def _section(product: Product, section: str) -> Block:
    if section == "description":
        return piece(product.description)
    if section == "features":
        return join([piece(f" {feature}") for feature in product.features])
    if section == "attributes":
        about = [piece(product.department), piece(product.query), piece(product.breadcrumb)]
        return join([piece(f" {attribute}") for attribute in product.attributes] + about)
    return EMPTY


def _done_page(shop: Shop, state: ShopState) -> list[Block]:
    if state.purchase is None:
        return []
    bought = [piece(state.purchase.asin), piece("options"), piece(_options_json(state.options))]
    return [THANKS, *bought, BETWEEN, TARGET, piece(str(state.purchase.parts.total)), DETAILS]


def _options_json(options: dict[str, str]) -> str:
    """Options with sorted names; characters with a meaning in HTML are escaped as the original's templates do."""
    text = json.dumps(options, sort_keys=True)
    for character in "<>&'":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


_PAGES: dict[Page, Callable[[Shop, ShopState], list[Block]]] = {
    Page.SEARCH: _search_page,
    Page.RESULTS: _results_page,
    Page.ITEM: _item_page,
    Page.SECTION: _section_page,
    Page.DONE: _done_page,
}
