"""The vector environment of the shop: pages, candidates, rewards, measures, and what datasets keep of them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.policy import RandomPolicy
from actors.rollout import RecordOptions, play
from data.dataset import Dataset
from data.writer import DatasetWriter
from envs.errors import UsageError
from envs.registry import env_names, make_spec, make_vec
from envs.shop import stock
from envs.shop.env import ShopVectorEnv, spec_of
from envs.shop.offers import LEAVE, MAX_QUERIES, Offers, max_offers
from envs.shop.queries import visible_queries
from envs.shop.rules import COMPAT, STRICT
from envs.shop.session import Session
from envs.shop.state import RESULTS_PER_PAGE, Page, ShopState, start, step
from envs.shop.stock import Shelf, world_shop
from envs.shop.world.config import WORLDS, WorldConfig, world_config
from envs.text import SEPARATOR, decode_text, decode_texts
from tests.envs.shop.recordings import make_product, small_shop

TINY = world_config("shop/tiny")
CHOICES = st.lists(st.integers(0, max_offers(TINY.axes[1], TINY.axis_values[1]) - 1), max_size=40)
LEVELS = st.sampled_from([0, 7, 950_000, 1_000_003, 2_000_009, 2**31 - 2])


def shown(observations: Any, slot: int = 0) -> tuple[str, list[str]]:
    return decode_text(observations["page"][slot]), decode_texts(observations["candidates"][slot])


def small_env(rules: Any = STRICT, **changes: Any) -> ShopVectorEnv:
    shop = small_shop(rules, **changes)
    spec = spec_of(WorldConfig(name="shop/small"))
    limited = type(spec)(**{**vars(spec), "level_universe": len(shop.goals)})
    return ShopVectorEnv(limited, shop, 1)


def check_state(shop: Any, state: ShopState) -> None:
    """What must hold wherever actions lead."""
    if state.page is Page.SEARCH:
        assert (state.keywords, state.number, state.asin, state.options) == (None, None, None, {})
        return
    assert state.keywords
    assert 1 <= (state.number or 0) <= max(1, -(-len(state.hits) // RESULTS_PER_PAGE))
    if state.page is Page.RESULTS:
        assert state.asin is None
        return
    assert state.asin in state.visited
    assert state.asin in state.hits
    product = shop.product(state.asin)
    assert all(value in product.options[name] for name, value in state.options.items())
    assert (state.purchase is not None) == (state.page is Page.DONE)


@settings(max_examples=150, deadline=None)
@given(LEVELS, CHOICES, st.sampled_from(["strict", "compat"]))
def test_any_actions_keep_the_state_valid_and_replay_the_same(level: int, choices: list[int], rules: str) -> None:
    env, transcripts = make_vec("shop/tiny", 1, rules=rules), []
    assert isinstance(env, ShopVectorEnv)
    for _ in range(2):
        observations, _ = env.reset(options={"levels": np.array([level])})
        transcript: list[Any] = [shown(observations)]
        for choice in choices:
            observations, rewards, terminated, truncated, infos = env.step(np.array([choice], dtype=np.int32))
            transcript.append((shown(observations), float(rewards[0]), bool(terminated[0]), bool(truncated[0])))
            shopper = env._slots[0]
            assert shopper is not None
            if rules == "strict":
                check_state(env.shop, shopper.state)
            assert 1 <= len(transcript[-1][0][1]) == len(shopper.offers.actions) <= env.task.num_actions
            assert (not infos["active"][0]) or len(transcript) - 1 < env.task.max_episode_steps
        paid = [reward for _, reward, _, _ in transcript[1:]]
        assert 0 <= sum(paid) <= 1
        assert sum(reward != 0 for reward in paid) <= 1
        transcripts.append(transcript)
    assert transcripts[0] == transcripts[1]


@settings(max_examples=60, deadline=None)
@given(LEVELS, CHOICES)
def test_pages_are_those_of_a_session_that_takes_the_same_actions(level: int, choices: list[int]) -> None:
    env, session = make_vec("shop/tiny", 1), Session(world_shop(TINY))
    assert isinstance(env, ShopVectorEnv)
    observations, _ = env.reset(options={"levels": np.array([level])})
    turn = session.reset(level)
    for choice in choices:
        assert shown(observations)[0] == turn.observation
        shopper = env._slots[0]
        assert shopper is not None
        if turn.terminated:
            return
        observations, rewards, terminated, _, infos = env.step(np.array([choice], dtype=np.int32))
        if choice < len(shopper.offers.actions):
            turn = session.act(shopper.offers.actions[choice])
            assert turn.accepted, "a candidate that cannot be taken was offered"
            assert (float(rewards[0]), bool(terminated[0])) == (pytest.approx(turn.reward), turn.terminated)
        if not infos["active"][0]:
            return


def test_the_search_page_offers_queries_and_results_offer_titles_with_prices() -> None:
    env = make_vec("shop/tiny", 1)
    observations, _ = env.reset(options={"levels": np.array([5])})
    page, candidates = shown(observations)
    instruction = page.split("\n")[2]
    assert candidates == [f"search[{query}]" for query in visible_queries(instruction)]
    page, candidates = shown(env.step(np.zeros(1, dtype=np.int32))[0])
    assert candidates[:2] == ["click[back to search]", "click[next >]"]
    lines = page.split("\n")
    links = [at for at, line in enumerate(lines) if line.startswith("[button] B") and len(line.split()[1]) == 10]
    assert len(links) == RESULTS_PER_PAGE
    assert candidates[2:] == [f"click[{lines[at + 1]}, {lines[at + 2]}]" for at in links]
    opened, candidates = shown(env.step(np.array([4], dtype=np.int32))[0])
    assert lines[links[2] + 1] in opened.split("\n")
    buttons = [line.strip() for line in opened.lower().split("\n") if "[button]" in line]
    shown_order = [f"[button] {text[6:-1]} [button_]" for text in candidates]
    assert sorted(shown_order) == sorted(buttons)
    session = Session(world_shop(TINY))
    session.reset(5)
    session.act("search[" + instruction + "]")
    product = session.state.hits[2]
    assert candidates == [f"click[{label}]" for label in session.act(f"click[{product.lower()}]").clickables]


def test_an_index_beyond_the_candidates_spends_a_step_only() -> None:
    env = make_vec("shop/tiny", 1)
    before, _ = env.reset(options={"levels": np.array([5])})
    for number in range(1, 31):
        after, rewards, terminated, truncated, infos = env.step(np.array([env.task.num_actions - 1], dtype=np.int32))
        assert shown(after) == shown(before)
        assert not rewards[0]
        assert not terminated[0]
        assert truncated[0] == (number == 30)
    assert {name: values[0] for name, values in infos["episode_metrics"].items()} == {
        "score": 0.0,
        "success": 0.0,
        "strict_success": 0.0,
    }


def play_texts(env: ShopVectorEnv, *wanted: str) -> tuple[float, dict[str, float], str]:
    """Takes the first candidate that starts with each text; reward, measures and last page."""
    observations, _ = env.reset(options={"levels": np.array([0])})
    for text in wanted:
        place = next(at for at, candidate in enumerate(shown(observations)[1]) if candidate.startswith(text))
        observations, rewards, _, _, infos = env.step(np.array([place], dtype=np.int32))
    assert not infos["active"][0]
    measures = {name: float(values[0]) for name, values in infos["episode_metrics"].items()}
    assert shown(observations)[1] == [LEAVE]
    return float(rewards[0]), measures, shown(observations)[0]


def test_a_purchase_pays_and_reports_score_success_and_strict_success() -> None:
    path = ("search[", "click[Green tea")
    reward, measures, page = play_texts(small_env(), *path, "click[large]", "click[buy now]")
    assert (reward, measures) == (1.0, {"score": 1.0, "success": 1.0, "strict_success": 1.0})
    assert page.startswith("Thank you for shopping with us!")
    reward, measures, _ = play_texts(small_env(), *path, "click[small]", "click[buy now]")
    assert reward == pytest.approx(2 / 3)
    assert measures == {"score": pytest.approx(2 / 3), "success": 0.0, "strict_success": 0.0}


def test_released_and_strict_judgment_differ_where_the_original_is_lenient() -> None:
    # The wanted flavor does not exist; the original takes any option whose value contains the wanted words.
    products = [make_product(f"B{number:09d}", options={"size": ("large mint",)}) for number in range(3)]
    wish = {"options": ("mint",), "products": products}
    steps = ("search[", "click[Green tea", "click[large mint]", "click[buy now]")
    reward, measures, _ = play_texts(small_env(**wish), *steps)
    assert reward == pytest.approx(2 / 3)
    assert measures == {"score": 1.0, "success": 1.0, "strict_success": 0.0}
    assert play_texts(small_env(COMPAT, **wish), *steps)[0] == 1.0


def test_a_stored_transition_keeps_the_candidates_of_both_its_states(tmp_path: Path) -> None:
    env = make_vec("shop/tiny", 4)
    jobs = [(level, 0) for level in range(12)]
    played = list(play(env, RandomPolicy(env.task), jobs, seed=2, record=RecordOptions(source="random")))
    with DatasetWriter(tmp_path / "set", env.task, {}) as writer:
        for episode in played:
            writer.add(episode)
    dataset = Dataset.open(tmp_path / "set")
    shop, offers, seen = world_shop(TINY), Offers(world_shop(TINY)), 0
    for position in range(dataset.num_episodes):
        episode = dataset.episode(position)
        assert len(episode.observations["candidates"]) == len(episode) + 1
        state = start(shop.goal(episode.level), str(episode.level))
        begin = int(dataset.episode_starts[position])
        batch = dataset.batch(np.arange(begin, begin + len(episode)), successors=True)
        assert batch.next_observations is not None
        assert batch.successor_known is not None
        assert batch.successor_known.all()
        for at, action in enumerate(episode.actions.tolist()):
            now = offers.at(state)
            state = step(shop, state, now.actions[action]) or state
            after = offers.at(state)
            rows = batch.observations["candidates"], batch.next_observations["candidates"]
            assert [decode_texts(row[at]) for row in rows] == [decode_texts(now.row), decode_texts(after.row)]
            seen += 1
    assert seen == len(dataset) > 100


def test_slots_and_environments_share_one_shop() -> None:
    first, second = make_vec("shop/tiny", 2), make_vec("shop/tiny", 3)
    assert isinstance(first, ShopVectorEnv)
    assert isinstance(second, ShopVectorEnv)
    assert first.shop is second.shop
    compat = make_vec("shop/tiny", 1, rules="compat")
    assert isinstance(compat, ShopVectorEnv)
    assert compat.shop is not first.shop
    assert compat.shop.products is first.shop.products, "presets must share the catalogue"


def test_a_contract_builds_no_catalogue(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any) -> None:
        raise AssertionError("a catalogue was built")

    monkeypatch.setattr("envs.shop.stock.World", refuse)
    monkeypatch.setattr("envs.shop.env.world_shop", refuse)
    assert set(WORLDS) <= set(env_names())
    assert all(make_spec(name).name == name for name in WORLDS)


def test_wrong_use_is_answered() -> None:
    with pytest.raises(UsageError, match="Did you mean 'strict'"):
        make_vec("shop/tiny", 1, rules="strikt")
    with pytest.raises(UsageError, match="Allowed: rules"):
        make_vec("shop/tiny", 1, preset="strict")
    with pytest.raises(UsageError, match="Did you mean 'shop/default'"):
        make_spec("shop/defualt")
    with pytest.raises(UsageError, match="23 goals"):
        ShopVectorEnv(make_spec("shop/tiny"), small_shop(), 1)
    with pytest.raises(UsageError, match="Did you mean"):
        world_shop(TINY).product("B000000000")


def test_no_world_offers_more_candidates_than_its_contract_says() -> None:
    spec, shop = make_spec("shop/tiny"), world_shop(TINY)
    offers = Offers(shop)
    for row in range(len(shop.products)):
        state = ShopState(goal=shop.goal(0), session="0", page=Page.ITEM, asin=shop.products.asin(row))
        assert len(offers.at(state).actions) <= spec.num_actions
    assert all(len(visible_queries(shop.goal(level).instruction)) <= MAX_QUERIES for level in range(200))


def test_a_text_that_holds_the_separator_stays_one_candidate() -> None:
    shop = small_shop(products=[make_product("B000000000", title=f"Tea{SEPARATOR}pot")])
    results = step(shop, start(shop.goal(0), "0"), "search[tea]")
    assert results is not None
    offered = Offers(shop).at(results)
    assert decode_texts(offered.row) == ["click[back to search]", "click[Tea pot, $12.5]"]
    assert offered.actions == ("click[back to search]", "click[b000000000]")


def test_the_catalogue_is_made_once_and_again_when_its_code_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GENGAP_CACHE", str(tmp_path))
    fresh = WorldConfig(name="shop/other", seed=77, products=40, sub_categories=2)
    first = stock._stock.__wrapped__(fresh)
    made = sorted(path.name for path in (tmp_path / "shop").iterdir() if not path.name.startswith("."))
    assert len(made) == 2

    def refuse(*args: Any) -> None:
        raise AssertionError("a catalogue was built again")

    monkeypatch.setattr(stock.World, "products", refuse)
    again = stock._stock.__wrapped__(fresh)
    assert [again[0][row] for row in range(40)] == [first[0][row] for row in range(40)]
    before = stock.stock_key(fresh)
    monkeypatch.setattr(stock, "_code_hash", lambda: "other code")
    assert stock.stock_key(fresh) != before
    with pytest.raises(AssertionError, match="built again"):
        stock._stock.__wrapped__(fresh)


def test_a_shop_without_a_cache_directory_is_built_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("no folder")
    monkeypatch.setenv("GENGAP_CACHE", str(blocked))
    fresh = WorldConfig(name="shop/other", seed=78, products=40, sub_categories=2)
    with pytest.warns(RuntimeWarning, match="built in memory"):
        shelf, search = stock._stock.__wrapped__(fresh)
    assert isinstance(shelf, Shelf)
    assert len(shelf) == 40
    assert search.search(shelf[3].title)
    assert os.listdir(tmp_path) == ["file"]
