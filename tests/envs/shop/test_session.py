"""Sessions: the recordings of the original, the strict rules, and what must hold for any actions."""

from __future__ import annotations

import pickle
import sys
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envs.errors import UsageError
from envs.shop.render import MODES
from envs.shop.rules import COMPAT, PRESETS, STRICT, preset
from envs.shop.session import Session, Turn
from envs.shop.state import Page, clickables
from tests.envs.shop.recordings import make_product, recorded_shop, rows, small_shop

EPISODES = rows("transcripts.jsonl.gz")


@pytest.mark.parametrize("episode", EPISODES, ids=lambda episode: f"{episode['episode']}-{episode['tag']}")
def test_episodes_of_the_original(episode: dict[str, Any]) -> None:
    shop = recorded_shop(episode["goal_set"], episode["show_attrs"])
    sessions = [Session(shop, mode) for mode in MODES]
    for step in episode["steps"]:
        turns = [_take(session, step) for session in sessions]
        assert {session.mode: turn.observation for session, turn in zip(sessions, turns, strict=True)} == step["obs"]
        turn, state = turns[0], sessions[0].state
        assert (turn.has_search_bar, list(turn.clickables)) == (step["has_search_bar"], step["clickables"])
        assert {
            "keywords": None if state.keywords is None else list(state.keywords),
            "page": state.number,
            "asin": state.asin,
            "options": state.options,
            "visited": sorted(state.visited),
        } == {**step["state"], "visited": sorted(step["state"]["visited"])}
        if "action" in step:
            assert (turn.reward, turn.terminated) == (step["reward"], step["done"])
            assert turn.accepted == isinstance(step["reward"], float)
        assert _bought(turn) == step.get("purchase")


def _take(session: Session, step: dict[str, Any]) -> Turn:
    if "reset" in step:
        return session.reset(step["goal_index"], step["session_id"])
    if "global_seed" in step:
        session.rng.seed(step["global_seed"])
    return session.act(step["action"])


def _bought(turn: Turn) -> dict[str, Any] | None:
    bought = turn.purchase
    if bought is None:
        return None
    parts = bought.parts.as_dict()
    hidden = {"total", "n_att", "n_opt"} | {key for key, value in parts.items() if value is None}
    info = {key: value for key, value in parts.items() if key not in hidden}
    return {"asin": bought.asin, "options": bought.options, "price": bought.price, "info": info}


def play(session: Session, *actions: str) -> Turn:
    session.reset(0)
    for action in actions[:-1]:
        assert session.act(action).accepted, action
    return session.act(actions[-1])


def test_strict_searches_on_the_search_page_only() -> None:
    session = Session(small_shop())
    assert not play(session, "search[tea]", "search[other]").accepted
    assert session.state.keywords == ("tea",)
    assert play(Session(small_shop(COMPAT)), "search[tea]", "search[other]").accepted


def test_strict_offers_no_page_beyond_the_last() -> None:
    session = Session(small_shop())
    last = play(session, "search[tea]", "click[next >]", "click[next >]")
    assert last.clickables[:2] == ("back to search", "< prev")
    assert len(last.clickables) == 2 + 3
    assert "Next >" not in last.observation
    assert not session.act("click[next >]").accepted
    assert play(session, "search[nothing]").clickables == ("back to search",)
    ten = small_shop(products=[make_product(f"B{number:09d}") for number in range(10)])
    assert "next >" not in play(Session(ten), "search[tea]").clickables
    assert "next >" in play(Session(small_shop(COMPAT)), "search[nothing]").clickables


BUY = ("search[tea]", "click[b000000000]", "click[large]", "click[buy now]")


@pytest.mark.parametrize("rules", [STRICT, replace(STRICT, search_anywhere=True)])
def test_strict_ends_with_the_purchase(rules: Any) -> None:
    session = Session(small_shop(rules))
    bought = play(session, *BUY)
    assert (bought.reward, bought.terminated, bought.purchase is not None) == (1.0, True, True)
    for action in ("search[tea]", "click[back to search]", "nonsense"):
        after = session.act(action)
        assert after == bought._replace(reward=0.0, accepted=False, purchase=None)
    assert not session.reset(0).terminated


def test_the_original_goes_on_after_the_purchase() -> None:
    session = Session(small_shop(COMPAT))
    play(session, *BUY)
    assert not session.act("click[back to search]").terminated
    for action in BUY[:-1]:
        assert session.act(action).accepted
    assert session.act(BUY[-1]).reward == 1.0


ODD = {
    "length": ("6 ft [usb-c]", "two\nlines", "", "naïve"),
    "size": ("length", "buy now", "attributes", "next >", "search", "item_page", "search_results"),
}


def odd_session(rules: Any) -> Session:
    return Session(small_shop(rules, [make_product("B000000000", options=ODD)]))


@pytest.mark.parametrize("value", ["6 ft [usb-c]", "two\nlines", "", "attributes", "next >", "search"])
def test_strict_lets_every_value_but_a_button_be_chosen(value: str) -> None:
    session = odd_session(STRICT)
    turn = play(session, "search[tea]", "click[b000000000]", f"click[{value}]")
    assert turn.accepted
    assert value in session.state.options.values()
    assert session.state.page is Page.ITEM
    if value:
        assert turn.observation.startswith(f"You have clicked {value}.\n")


def test_buttons_of_the_page_come_before_equal_values() -> None:
    assert play(odd_session(STRICT), "search[tea]", "click[b000000000]", "click[buy now]").terminated


def test_labels_win_in_the_original() -> None:
    session = odd_session(COMPAT)
    play(session, "search[tea]", "click[b000000000]", "click[attributes]")
    assert session.state.page is Page.SECTION
    for value in ("6 ft [usb-c]", "two\nlines", "", "search"):
        assert not play(session, "search[tea]", "click[b000000000]", f"click[{value}]").accepted


def test_strict_marks_exactly_what_was_chosen() -> None:
    session = odd_session(STRICT)
    turn = play(session, 'search["length"]', "click[b000000000]", "click[naïve]")
    assert "  [clicked button] naïve [clicked button_]\n" in turn.observation
    assert "  [button] length [button_]\n" in turn.observation
    original = odd_session(COMPAT)
    turn = play(original, 'search["length"]', "click[b000000000]", "click[naïve]")
    assert "  [button] naïve [button_]\n" in turn.observation
    assert "  [clicked button] length [clicked button_]\n" in turn.observation


def test_strict_goes_by_the_page_not_by_its_address() -> None:
    session, original = odd_session(STRICT), odd_session(COMPAT)
    for one in (session, original):
        play(one, "search[search_results]", "click[b000000000]", "click[description]", "click[< prev]")
    assert session.state.page is Page.ITEM
    assert (original.state.page, original.state.number) == (Page.RESULTS, 0)


def test_strict_takes_prefixes_as_words() -> None:
    for rules, query in ((STRICT, "<c> grocery"), (COMPAT, None)):
        session = Session(small_shop(rules))
        assert play(session, "search[<c> grocery]").accepted
        assert session.shop.search.queries == ([] if query is None else [query])
    session = Session(small_shop(COMPAT))
    for query in ("<a> sugar free", "<c>"):
        assert not play(session, f"search[{query}]").accepted
    play(session, "search[<r>]")
    assert len(set(session.state.hits)) == 23


def test_goals_are_checked() -> None:
    session = Session(small_shop())
    with pytest.raises(UsageError, match="reset it"):
        session.act("search[tea]")
    for index in (-1, 23):
        with pytest.raises(UsageError, match="goals 0 to 22"):
            session.reset(index)
    assert Session(small_shop(COMPAT)).reset(-1).has_search_bar
    with pytest.raises(UsageError, match="Did you mean 'text_rich'"):
        Session(small_shop(), "text-rich")


def test_a_purchase_tells_both_rewards() -> None:
    session = Session(small_shop(options={"size": "x-large"}))
    bought = play(session, *BUY).purchase
    assert bought is not None
    assert bought.released is not None
    assert (bought.released.total, bought.parts.total, bought.strict_success) == (1.0, pytest.approx(2 / 3), False)
    bought = play(Session(small_shop(COMPAT, options={"size": "x-large"})), *BUY).purchase
    assert bought is not None
    assert (bought.parts, bought.strict_success) == (bought.released, False)


def test_presets_differ_in_every_switch_but_the_hidden_page() -> None:
    differing = [field.name for field in fields(STRICT) if getattr(STRICT, field.name) != getattr(COMPAT, field.name)]
    assert sorted({*differing, "show_attributes"}) == sorted(field.name for field in fields(STRICT))
    with pytest.raises(UsageError, match="Did you mean 'compat'"):
        preset("compatible")


def test_another_copy_of_a_shop_answers_alike_and_shares_no_pages() -> None:
    shop = small_shop()
    before = [play(Session(shop), *BUY[:count]) for count in range(1, 5)]
    again = pickle.loads(pickle.dumps(shop))
    assert (len(shop.memo) > 0, len(again.memo)) == (True, 0)
    assert [play(Session(again), *BUY[:count]) for count in range(1, 5)] == before
    shown = replace(shop, rules=replace(STRICT, show_attributes=True))
    assert "attributes" in play(Session(shown), *BUY[:2]).clickables


def test_a_session_is_small() -> None:
    session = Session(recorded_shop("human"))
    play(session, "search[tea]", "click[next >]")
    state = session.state
    own = [session, state, state.hits, state.keywords, state.options, state.visited, session._clickables]
    own += [*(state.keywords or ()), *session._clickables, session._observation]
    assert sum(sys.getsizeof(thing) for thing in own) < 10_000


WORDS = st.sampled_from(["search", "click", "Click", "buy"])
ARGUMENTS = st.one_of(
    st.text(max_size=12),
    st.sampled_from(["tea", "<r>", "<c> grocery", "item_page", "search_results", '"size"', "next >", "buy now"]),
)
MADE_UP = st.one_of(st.text(max_size=20), st.builds("{}[{}]".format, WORDS, ARGUMENTS))
MOVES = st.lists(st.one_of(MADE_UP, st.integers(0, 40)), max_size=25)


@given(moves=MOVES, name=st.sampled_from(sorted(PRESETS)), mode=st.sampled_from(MODES), goal=st.integers(0, 597))
@settings(max_examples=150, deadline=None)
def test_any_actions_keep_the_session_valid(moves: list[str | int], name: str, mode: str, goal: int) -> None:
    shop = recorded_shop("human", preset=PRESETS[name])
    session = Session(shop, mode)
    turns, actions = [session.reset(goal)], []
    for move in moves:
        choices = turns[-1].clickables
        if isinstance(move, int):
            move = f"click[{choices[move % len(choices)]}]" if choices and move else "search[tea]"
        before = session.state
        turns.append(session.act(move))
        actions.append(move)
        _check(session, turns[-1])
        if not turns[-1].accepted:
            assert session.state is before
    again = Session(shop, mode)
    assert [again.reset(goal), *(again.act(action) for action in actions)] == turns


def _check(session: Session, turn: Turn) -> None:
    state = session.state
    assert 0 <= turn.reward <= 1
    assert turn.has_search_bar == (state.page is Page.SEARCH)
    assert turn.clickables == tuple(clickables(session.shop, state))
    assert len(state.shown()) <= 10
    assert (state.asin is not None) == (state.page in (Page.ITEM, Page.SECTION, Page.DONE))
    assert (state.purchase is not None) == (state.page is Page.DONE)
    if state.asin is not None:
        product = session.shop.product(state.asin)
        assert state.asin in state.visited
        assert all(value in product.options[group] for group, value in state.options.items())
    else:
        assert state.options == {}
    if turn.reward:
        assert turn.purchase is not None
        assert turn.terminated
