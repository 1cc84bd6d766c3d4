"""The shop for programs in any language: one JSON object a line in, one a line out.

``gengap envs replay shop`` plays: ``{"reset": GOAL_INDEX}`` (perhaps with ``"session": NAME``), ``{"action": TEXT}``.
``gengap envs reward shop`` judges: ``goal``, ``goal_nouns``, ``asin`` or ``product``, ``product_nouns``, ``options``,
``price``. A line that cannot be answered gets ``{"error": TEXT}`` and changes nothing.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any, BinaryIO

from envs.console import say
from envs.errors import UsageError
from envs.shop.checks import (
    DOLLARS,
    LINES,
    NAMED_LISTS,
    NAMED_TEXTS,
    NUMBERS,
    OBJECT_OR_NULL,
    TEXT,
    TEXT_OR_NULL,
    TEXTS,
    TEXTS_OR_NULL,
    check_kinds,
    few,
    shorten,
)
from envs.shop.files import ShopFiles, open_shop
from envs.shop.goals import goal_from_record
from envs.shop.product import product_from_loaded
from envs.shop.render import MODES
from envs.shop.reward import compat_reward, strict_reward
from envs.shop.rules import PRESETS, preset
from envs.shop.session import Session, Turn
from envs.shop.shop import Shop

ROW_KINDS = {
    "asin": TEXT_OR_NULL,
    "product": OBJECT_OR_NULL,
    "options": NAMED_TEXTS,
    "price": DOLLARS,
    "goal_nouns": TEXTS_OR_NULL,
    "product_nouns": TEXTS_OR_NULL,
}
PRODUCT_KINDS = {
    **dict.fromkeys(("asin", "Title", "name", "query", "category", "product_category", "Description", "Price"), TEXT),
    "BulletPoints": LINES,
    "Attributes": TEXTS,
    "pricing": NUMBERS,
    "options": NAMED_LISTS,
}
Answer = Callable[[dict[str, Any]], dict[str, Any]]
FILE_HELP = {
    "products": "product file of the original's schema (required)",
    "attributes": "attribute file; also the source of synthetic goals",
    "instructions": "human instructions; goals are built from them",
    "prices": "hidden prices; without it they are drawn",
    "nouns": "title -> nouns; without it the tagger or a word list decides",
    "goals": "ready goals in final order, instead of building them",
    "rankings": "recorded query -> products lists, used instead of searching for the queries they hold",
}


def add_arguments(parser: argparse.ArgumentParser, plays: bool) -> None:
    """Declare the options of the door; `plays` for the command that plays episodes."""
    group = parser.add_argument_group("shop", "only with the name 'shop': JSON lines on standard input and output")
    # Rows to be judged are in the recordings' format, and their goals may list options without names.
    default = "strict" if plays else "compat"
    group.add_argument("--preset", default=default, metavar="NAME", help=f"{' or '.join(PRESETS)} (default {default})")
    for name, text in FILE_HELP.items():
        group.add_argument(f"--{name}", metavar="FILE", help=text)
    group.add_argument("--tagger", metavar="MODEL", help="spaCy model for other titles (needs the extra 'nouns')")
    group.add_argument(
        "--load-seed",
        type=int,
        metavar="N",
        help="compat: draws prices and price caps (default: the price file's own load_seed, or 0)",
    )
    if plays:
        group.add_argument(
            "--mode", default="text_rich", metavar="MODE", help=f"{', '.join(MODES)} (default text_rich)"
        )
        group.add_argument("--show-attributes", action="store_true", help="offer the page of hidden attributes")


def run_replay(args: argparse.Namespace) -> dict[str, Any]:
    """Play on standard input and output until the input ends; returns how many lines were answered.

    Raises:
        UsageError: If an option or a file is wrong.
    """
    given = {"the level": args.level, "--actions": args.actions, "--random": args.random}
    _refuse(given, 'goals and actions come on standard input, for example {"reset": 5} and {"action": "search[tea]"}')
    shop = open_from(args, with_goals=True)
    return {"lines": talk(player(Session(shop, args.mode)), sys.stdin.buffer, sys.stdout.buffer)}


def run_reward(args: argparse.Namespace) -> dict[str, Any]:
    """Judge purchases on standard input and output until the input ends; returns how many lines were answered.

    Raises:
        UsageError: If an option or a file is wrong.
    """
    _refuse({"RETURN": args.returns or None}, "purchases come on standard input, one JSON object a line")
    return {"lines": talk(judge(open_from(args, with_goals=False)), sys.stdin.buffer, sys.stdout.buffer)}


def _refuse(given: Mapping[str, Any], instead: str) -> None:
    """Say what only other environments take."""
    for name, value in given.items():
        if value is not None:
            raise UsageError(f"The shop takes no such argument: {name} is {value!r}. Leave it out; {instead}.")


def open_from(args: argparse.Namespace, *, with_goals: bool) -> Shop:
    """The shop that the options describe.

    Args:
        args: Parsed options of `add_arguments`.
        with_goals: Whether it must have goals.

    Raises:
        UsageError: If an option or a file is wrong.
    """
    if args.products is None:
        raise UsageError("The shop needs --products FILE, a product file of the original's schema.")
    files = ShopFiles(**{name: getattr(args, name) for name in (*FILE_HELP, "tagger")}, load_seed=args.load_seed)
    rules = dataclasses.replace(preset(args.preset), show_attributes=getattr(args, "show_attributes", False))
    return open_shop(files, rules, with_goals=with_goals, tell=say)


def talk(answer: Answer, lines: Iterable[bytes], out: BinaryIO) -> int:
    """Answer every line that is not blank, at once; returns how many."""
    count = 0
    for line in lines:
        if line.strip():
            out.write(json.dumps(_answer_line(answer, line)).encode() + b"\n")
            out.flush()
            count += 1
    return count


def _answer_line(answer: Answer, line: bytes) -> dict[str, Any]:
    try:
        message = json.loads(line)
        if not isinstance(message, dict):
            raise UsageError(f"A line must hold a JSON object, not {type(message).__name__}.")
        return answer(message)
    except UsageError as error:
        return {"error": str(error)}
    except Exception as error:  # whatever a line holds, the program at the other end waits for an answer
        return {"error": f"The line cannot be answered: {type(error).__name__}: {error}"}


def player(session: Session) -> Answer:
    """Answers resets and actions with what the page then shows."""

    def answer(message: dict[str, Any]) -> dict[str, Any]:
        if set(message) == {"action"} and isinstance(message["action"], str):
            return _shown(session.act(message["action"]))
        if not {"reset"} <= set(message) <= {"reset", "session"}:
            raise UsageError('A line must be {"reset": GOAL_INDEX} or {"action": "search[...] or click[...]"}.')
        index, name = message["reset"], message.get("session")
        if not isinstance(index, int) or isinstance(index, bool) or not isinstance(name, str | None):
            raise UsageError('"reset" must be the whole number of a goal, and "session" a text.')
        return _shown(session.reset(index, name))

    return answer


def _shown(turn: Turn) -> dict[str, Any]:
    return {
        "observation": turn.observation,
        "has_search_bar": turn.has_search_bar,
        "clickables": list(turn.clickables),
        "reward": turn.reward,
        "terminated": turn.terminated,
    }


def judge(shop: Shop) -> Answer:
    """Answers purchases with the parts of their reward."""
    reward = compat_reward if shop.rules.released_reward else strict_reward

    def answer(row: dict[str, Any]) -> dict[str, Any]:
        _check_row(row)
        if row.get("product") is not None:
            product = product_from_loaded(row["product"])
        elif row.get("asin") is not None:
            product = shop.product(row["asin"])
        else:
            raise UsageError("A row needs 'asin', a product of the catalogue, or 'product', its fields.")
        goal = goal_from_record(row["goal"])
        goal_nouns, product_nouns = row.get("goal_nouns"), row.get("product_nouns")
        price = row["price"] if "price" in row else shop.prices.get(product.asin)
        parts = reward(
            goal,
            product,
            row["options"],
            price,
            shop.nouns.of_title(goal.title) if goal_nouns is None else goal_nouns,
            shop.nouns.of_product(product) if product_nouns is None else product_nouns,
        )
        return parts.as_dict()

    return answer


def _check_row(row: dict[str, Any]) -> None:
    for key in ("goal", "options"):
        if not isinstance(row.get(key), dict):
            raise UsageError(f"A row needs an object under {key!r}, found {shorten(row.get(key))}.")
    check_kinds("The row", row, ROW_KINDS)
    product = row.get("product")
    if product is None:
        return
    if not {"Title", "name"} & set(product):
        raise UsageError(f"The product needs a text under 'Title', its name; it has {few(product)}.")
    check_kinds("The product", product, PRODUCT_KINDS)
