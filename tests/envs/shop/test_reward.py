"""Rewards equal every recorded row and the published cases; the strict reward has none of the leniency."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envs.errors import UsageError
from envs.shop.files import ShopFiles, open_shop
from envs.shop.goals import NO_CAP, Goal, goal_from_record
from envs.shop.nouns import Nouns, heuristic_nouns, spacy_tagger
from envs.shop.product import Product, product_from_loaded
from envs.shop.reward import compat_reward, matched_attributes, strict_reward, strict_success, type_parts
from tests.envs.shop.golden import built_goals, by_asin, content, rows

REWARDS = rows("rewards.jsonl.gz")


def with_crumbs(record: dict[str, Any]) -> dict[str, Any]:
    """Categories are separated by a character that is easily mistaken for this one."""
    return {**record, "product_category": record["product_category"].replace(">", "\u203a")}


def goal(**changes: Any) -> Goal:
    plain = {
        "query": "tea",
        "product_category": "Home > Kitchen > Tea",
        "name": "Tea Pot",
        "attributes": ["easy use"],
        "goal_options": {"color": "red"},
        "price_upper": 50.0,
    }
    return goal_from_record(with_crumbs({**plain, **changes}))


def product(**changes: Any) -> Product:
    plain = {
        "query": "tea",
        "product_category": "Home > Kitchen > Tea",
        "Title": "Tea Pot",
        "Attributes": ["easy use"],
        "BulletPoints": ["One", "Two"],
        "Description": "For Tea.",
    }
    return product_from_loaded(with_crumbs({**plain, **changes}))


NOUNS = (("Tea", "Pot"), ("Tea", "Pot"))


@pytest.mark.parametrize("tag", sorted({row["tag"] for row in REWARDS}))
def test_every_recorded_reward(tag: str) -> None:
    for row in (row for row in REWARDS if row["tag"] == tag):
        bought = by_asin()[row["asin"]] if row["asin"] else product_from_loaded(row["product"])
        wanted = goal_from_record(row["goal"])
        case = (wanted, bought, row["options"], row["price"], row["goal_nouns"], row["product_nouns"])
        if row["expected"] is None:
            with pytest.raises(UsageError):
                compat_reward(*case)
        else:
            assert compat_reward(*case).as_dict() == row["expected"], row["id"]


def test_the_recorded_nouns_come_with_the_products() -> None:
    nouns = Nouns()
    for row in REWARDS:
        if row["asin"]:
            assert nouns.of_product(by_asin()[row["asin"]]) == tuple(row["product_nouns"])


@pytest.mark.parametrize(
    ("changes", "price", "words"),
    [
        ({"attributes": []}, 5.0, "without attributes"),
        ({"price_upper": 0.0}, 5.0, "above 0"),
        ({"price_upper": -1.0}, 5.0, "above 0"),
        ({"price_upper": float("nan")}, 5.0, "above 0"),
        ({}, None, "no price"),
    ],
)
def test_rewards_that_are_not_defined(changes: dict[str, Any], price: float | None, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        compat_reward(goal(**changes), product(), {}, price, *NOUNS)


@pytest.mark.parametrize(
    ("bought", "wanted", "match"),
    [
        ("a > b > c", "a > b > c", True),
        ("c > a > b", "a > b > c", True),
        ("a > x > b", "a > b", True),
        ("a > a > b", "a > b > b", True),
        ("a > a > c", "a > b > b", False),
        ("x > y", "a > b", False),
        ("a>b", " a  >  b ", True),
        ("a", "a", False),
        ("", "", False),
    ],
)
def test_two_distinct_categories_must_be_shared(bought: str, wanted: str, match: bool) -> None:
    parts = type_parts(goal(product_category=wanted), product(product_category=bought), *NOUNS)
    assert parts.category_match is match


@pytest.mark.parametrize(
    ("shared", "wanted", "alike", "r_type"),
    [
        (0, 3, True, 0.0),
        (1, 11, True, 0.1),
        (1, 10, True, 1.0),
        (1, 10, False, 0.5),
        (2, 10, False, 0.5),
        (3, 10, False, 1.0),
        (0, 0, False, 0.5),
        (0, 0, True, 1.0),
    ],
)
def test_title_scores_decide_the_type(shared: int, wanted: int, alike: bool, r_type: float) -> None:
    nouns = [f"n{number}" for number in range(wanted)]
    other = goal() if alike else goal(query="cups", product_category="x")
    assert type_parts(other, product(), nouns, [noun.upper() for noun in nouns[:shared]]).r_type == r_type


def test_repeated_nouns_count_in_the_denominator_only() -> None:
    assert type_parts(goal(), product(), ["Tea", "tea", "TEA", "Leaf"], ["tea", "tea"]).title_score == 0.25


@pytest.mark.parametrize(
    ("wanted", "changes", "count"),
    [
        (["tea bag", "green", "loose"], {"Attributes": ["tea bags", "green", "loose"]}, 3),
        (["tea bag", "green", "loose"], {"Attributes": ["tea bags", "green"]}, 2),
        (["tea bag", "green"], {"Attributes": ["loose"], "BulletPoints": ["A Tea bag"], "Description": "GREEN"}, 2),
        (["Green"], {"Attributes": ["loose"], "Description": "GREEN"}, 0),
        (["one two"], {"Attributes": [], "BulletPoints": ["One", "Two"]}, 1),
        (["one two"], {"Attributes": [], "BulletPoints": "One Two"}, 0),
        (["dummy attr"], {"Attributes": ["DUMMY_ATTR"]}, 1),
    ],
)
def test_attributes(wanted: list[str], changes: dict[str, Any], count: int) -> None:
    assert matched_attributes(wanted, product(**changes)) == count


def test_total_and_weights() -> None:
    parts = compat_reward(goal(), product(), {"color": "red"}, 50.0, *NOUNS)
    assert parts.total == 1.0
    assert parts.success
    parts = compat_reward(goal(attributes=["easy use", "x", "y"], goal_options=[]), product(), {}, 60.0, *NOUNS)
    assert (parts.total, parts.r_option, parts.w_option, parts.n_opt) == (0.25, None, None, 0)
    assert (parts.r_att, parts.w_att, parts.w_price, parts.r_price) == (1 / 3, 0.75, 0.25, False)
    assert not parts.success


def test_no_cap_is_a_million() -> None:
    dear = goal(price_upper=NO_CAP)
    assert compat_reward(dear, product(), {}, 1_000_000.0, *NOUNS).r_price
    assert not compat_reward(dear, product(), {}, 1_000_000.01, *NOUNS).r_price


@pytest.mark.parametrize(
    ("wanted", "chosen", "released", "strict"),
    [
        ({"size": "x-large"}, {"size": "large"}, 1, 0),
        (["large"], {"size": "x-large"}, 1, 0),
        ({"size": "large"}, {"fit": "large"}, 1, 0),
        ({"size": "large"}, {"size": "Large "}, 1, 1),
        ({"color": "titanium"}, {"color": "titanium"}, 0, 1),
        ({"color": "é"}, {"color": "é"}, 0, 1),
        (["dark green"], {"color": "dark red"}, 1, 0),
        (["dark green"], {"shade": "dark green"}, 1, 1),
        ({}, {"size": "large"}, 0, 0),
    ],
)
def test_strict_options(wanted: Any, chosen: dict[str, str], released: int, strict: int) -> None:
    case = (goal(goal_options=wanted), product(), chosen, 5.0, *NOUNS)
    assert compat_reward(*case).n_opt == released
    assert strict_reward(*case).n_opt == strict
    assert strict_success(*case[:4]) == (strict == len(wanted))


def test_strict_attributes() -> None:
    wanted = goal(attributes=["machine wash"], goal_options=[])
    washable = product(Attributes=["machine washable"], Description="machine wash")
    assert compat_reward(wanted, washable, {}, 5.0, *NOUNS).n_att == 1
    assert strict_reward(wanted, washable, {}, 5.0, *NOUNS).n_att == 0
    assert strict_reward(wanted, product(Attributes=[" Machine  Wash"]), {}, 5.0, *NOUNS).n_att == 1
    unknown = product(Attributes=["DUMMY_ATTR"], Description="Machine wash cold")
    assert strict_reward(wanted, unknown, {}, 5.0, *NOUNS).n_att == 1


def test_a_strict_goal_may_want_no_attribute() -> None:
    parts = strict_reward(goal(attributes=[]), product(), {"color": "red"}, 5.0, *NOUNS)
    assert (parts.total, parts.r_att, parts.w_att) == (1.0, 1.0, 0.0)


@pytest.mark.parametrize(
    ("changes", "chosen", "price"),
    [({"query": "cups"}, "red", 5.0), ({"Attributes": []}, "red", 5.0), ({}, "blue", 5.0), ({}, "red", 51.0)],
)
def test_strict_success_needs_every_constraint(changes: dict[str, Any], chosen: str, price: float) -> None:
    assert strict_success(goal(), product(), {"color": "red"}, 5.0)
    assert not strict_success(goal(), product(**changes), {"color": chosen}, price)


def test_buying_the_target_as_asked_is_a_strict_success() -> None:
    prices = content("product_prices.json")["product_prices"]
    for wanted in built_goals("synthetic")[::10]:
        target = replace(by_asin()[wanted.asin], attributes=wanted.attributes)
        assert isinstance(wanted.options, dict)
        if prices[wanted.asin] <= wanted.price_upper:
            assert strict_success(wanted, target, wanted.options, prices[wanted.asin])


@given(
    attributes=st.lists(st.text(max_size=8), min_size=1, max_size=3),
    options=st.dictionaries(st.text(max_size=6), st.text(max_size=6), max_size=3),
    as_list=st.booleans(),
    chosen=st.dictionaries(st.text(max_size=6), st.text(max_size=6), max_size=3),
    price=st.floats(0, 2e6),
    nouns=st.lists(st.text(max_size=4), max_size=4),
)
def test_rewards_lie_between_0_and_1(
    attributes: list[str],
    options: dict[str, str],
    as_list: bool,
    chosen: dict[str, str],
    price: float,
    nouns: list[str],
) -> None:
    wanted = goal(attributes=attributes, goal_options=list(options.values()) if as_list else options)
    for reward in (compat_reward, strict_reward):
        parts = reward(wanted, product(), chosen, price, nouns, ["Tea"])
        assert 0.0 <= parts.total <= parts.r_type <= 1.0
        assert parts.n_att <= len(attributes)
        assert parts.n_opt <= len(wanted.options)


def test_nouns_come_from_product_table_tagger() -> None:
    calls = []

    def tagger(title: str) -> tuple[str, ...]:
        calls.append(title)
        return ("tagged",)

    nouns = Nouns({"Tea Pot": ("Pot",)}, tagger)
    assert nouns.of_title("Tea Pot") == ("Pot",)
    assert nouns.of_title("Cup") == nouns.of_title("Cup") == ("tagged",)
    assert calls == ["Cup"]
    assert nouns.of_product(product()) == ("Pot",)
    assert nouns.of_product(replace(product(), title_nouns=())) == ()


def test_the_heuristic_keeps_most_types() -> None:
    assert heuristic_nouns("Soft 2-Pack Tea Pot, for Home (Large) 12 oz") == ("Pack", "Tea", "Pot", "Home", "oz")
    same = 0
    cases = [row for row in REWARDS if row["asin"] and row["expected"]]
    for row in cases:
        wanted, bought = goal_from_record(row["goal"]), by_asin()[row["asin"]]
        found = type_parts(wanted, bought, heuristic_nouns(wanted.title), heuristic_nouns(bought.title))
        same += found.r_type == row["expected"]["r_type"]
    assert same / len(cases) > 0.9


def test_nouns_can_be_tagged_by_spacy(tmp_path: Path) -> None:
    """A pipeline of three rules: no trained model comes with the package."""
    pipeline = pytest.importorskip("spacy").blank("en")
    rules = pipeline.add_pipe("attribute_ruler")
    rules.add([[{"LOWER": "tea"}], [{"LOWER": "bag"}]], {"POS": "NOUN"})
    rules.add([[{"IS_TITLE": True}]], {"POS": "PROPN"})
    rules.add([[{"LOWER": "quick"}]], {"POS": "ADJ"})
    pipeline.to_disk(tmp_path / "model")
    assert spacy_tagger(str(tmp_path / "model"))("Quick Assam tea, a tea bag") == ("Assam", "tea", "tea", "bag")
    product = {"asin": "B1", "name": "Quick Assam tea", "category": "", "query": "", "product_category": ""}
    product |= {"full_description": "", "small_description": ""}
    (tmp_path / "products.json").write_text(json.dumps([product]))
    files = ShopFiles(products=str(tmp_path / "products.json"), tagger=str(tmp_path / "model"))
    assert open_shop(files, with_goals=False).nouns.of_title("Quick Assam tea") == ("Assam", "tea")


def test_a_missing_tagger_is_named() -> None:
    with pytest.raises(UsageError, match=r"pip install|spacy download"):
        spacy_tagger("no_such_model")
