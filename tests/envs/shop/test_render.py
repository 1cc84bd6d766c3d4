"""How pages become text."""

from __future__ import annotations

import pytest

from envs.errors import UsageError
from envs.shop.render import Block, observe, piece
from envs.shop.rules import COMPAT, STRICT
from envs.shop.session import Session
from envs.shop.shop import Shop
from tests.envs.shop.recordings import make_product, small_shop

TOP = "Instruction:\ni want green tea\n[button] Back to Search [button_]\n"


@pytest.mark.parametrize(
    ("text", "rich", "plain"),
    [
        ("a", "a\n", " [SEP] a"),
        ("  a\n b ", "  a\n b \n", " [SEP] a\n b"),
        ("", "", ""),
        ("\t  ", " \n", " [SEP] "),
        (" \n\t", "", ""),
        ("\xa0", "\xa0\n", " [SEP] "),
    ],
)
def test_blank_pieces(text: str, rich: str, plain: str) -> None:
    assert piece(text) == Block(rich, plain)


def visit(shop: Shop, *actions: str) -> str:
    session = Session(shop)
    session.reset(0)
    for action in actions:
        assert session.act(action).accepted
    return observe(shop, session.state, "text_rich")


OPEN = ("search[tea]", "click[b000000000]")


def test_an_item_page_line_by_line() -> None:
    page = visit(small_shop(), *OPEN, "click[rose]", "click[large]", "click[small]")
    assert page == (
        "You have clicked rose.\nYou have clicked small.\n" + TOP + "[button] < Prev [button_]\n"
        "size\n  [clicked button] small [clicked button_]\n  [button] large [button_]\n"
        "flavor\n  [button] mint [button_]\n  [clicked button] rose [clicked button_]\n"
        "Green tea B000000000\nPrice: $12.5\nRating: N.A.\n[button] Description [button_]\n"
        "[button] Features [button_]\n[button] Reviews [button_]\n[button] Buy Now [button_]\n"
    )


def test_opened_products_are_marked_until_the_search_page() -> None:
    page = visit(small_shop(), *OPEN, "click[< prev]")
    assert page.startswith(TOP + "Page 1 (Total results: 23)\n[button] Next > [button_]\n")
    assert "\n\n[clicked button] B000000000 [clicked button_]\nGreen tea B000000000\n$12.5\n" in page
    assert "\n\n[button] B000000001 [button_]\n" in page
    assert "clicked" not in visit(small_shop(), *OPEN, "click[back to search]", "search[tea]")


@pytest.mark.parametrize(
    ("section", "body"),
    [("description", "Leaves.\n"), ("features", " Fresh\n Loose\n"), ("reviews", "")],
)
def test_sections(section: str, body: str) -> None:
    assert visit(small_shop(), *OPEN, f"click[{section}]") == f"{TOP}[button] < Prev [button_]\n{body}"


def test_the_last_page_escapes_options_for_html() -> None:
    shop = small_shop(STRICT, [make_product("B000000000", options={"size": ("<5' & é>",), "age": ("1",)})])
    session = Session(shop)
    session.reset(0)
    for action in (*OPEN, "click[<5' & é>]", "click[1]", "click[buy now]"):
        page = session.act(action).observation
    assert '\noptions\n{"age": "1", "size": "\\u003c5\\u0027 \\u0026 \\u00e9\\u003e"}\nattrs\n' in page
    assert "\nYour score (min 0.0, max 1.0)\n0.6666666666666666\nReward Details \nNone\n" in page


def test_text_and_address_of_the_same_page() -> None:
    session = Session(small_shop())
    session.reset(0, "me")
    for action in (*OPEN, "click[large]", "click[features]"):
        session.act(action)
    assert observe(session.shop, session.state, "text") == (
        "Instruction: [SEP] i want green tea [SEP] Back to Search [SEP] < Prev [SEP] Fresh [SEP] Loose"
    )
    assert observe(session.shop, session.state, "url") == (
        "http://127.0.0.1:3000/item_sub_page/me/B000000000/tea/1/Features/{'size': 'large'}"
    )
    with pytest.raises(UsageError, match="Unknown observation mode 'html'"):
        observe(session.shop, session.state, "html")


@pytest.mark.parametrize("rules", [COMPAT, STRICT])
def test_the_page_of_an_item_without_options(rules: object) -> None:
    shop = small_shop(rules, [make_product("B000000000", options={}, title="", features=())])
    assert visit(shop, *OPEN).startswith(f"{TOP}[button] < Prev [button_]\nPrice: $12.5\n")
