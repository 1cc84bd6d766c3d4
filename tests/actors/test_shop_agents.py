"""Scripted shoppers: how good they are, shortest ways, recovery, and that readers only read."""

from __future__ import annotations

import itertools
from functools import lru_cache
from typing import Any

import numpy as np
import pytest

from actors import shop_reading as reading
from actors.policy import PolicyInput, RandomPolicy
from actors.recipes import build_collection
from actors.rollout import RecordOptions, play
from actors.shop_agents import SHOP_AGENTS, ShopPlanner, best_actions
from actors.sources import SourceSpec, build_source
from data.episode import EpisodeResult
from data.schema import episode_checksum
from envs.errors import UsageError
from envs.registry import make_vec
from envs.shop.offers import Offers
from envs.shop.render import observe
from envs.shop.state import Page, ShopState, step
from envs.shop.stock import world_shop
from envs.shop.world.config import world_config
from envs.text import decode_texts

ENV = "shop/default"
LEVELS = range(1_000_000, 1_000_120)
SHOP = world_shop(world_config("shop/tiny"))


@lru_cache(maxsize=16)
def results(agent: str, noise: float = 0.0) -> tuple[EpisodeResult, ...]:
    options = {"noise": noise} if noise else {}
    policy = build_source(SourceSpec(env=ENV, name=agent, options=options)).policy
    played = play(make_vec(ENV, 64), policy, [(level, 0) for level in LEVELS], seed=0)
    return tuple(sorted(played, key=lambda result: result.level))


def mean(agent: str, measure: str, noise: float = 0.0) -> float:
    return float(np.mean([result.metrics[measure] for result in results(agent, noise)]))


def test_agents_differ_in_quality_as_their_knowledge_does() -> None:
    scores = [mean(agent, "score") for agent in ("random", "shop-rule", "shop-limited", "shop-oracle", "shop-expert")]
    assert scores == sorted(scores)
    assert scores[0] < 0.3 < scores[1] < scores[2] - 0.05
    assert scores[2] < scores[3] - 0.1
    assert mean("shop-expert", "strict_success") > mean("shop-oracle", "strict_success") > 0.6


def test_the_expert_meets_every_constraint_wherever_a_query_finds_a_way() -> None:
    planner = ShopPlanner(ENV)
    reachable = [level for level in LEVELS if met(planner, level)]
    assert len(reachable) > 0.8 * len(LEVELS)
    by_level = {result.level: result for result in results("shop-expert")}
    assert all(by_level[level].metrics["strict_success"] for level in reachable)
    assert max(result.length for result in by_level.values()) <= 12


def met(planner: ShopPlanner, level: int) -> bool:
    """Whether some offered query finds a product that meets every constraint."""
    shop = world_shop(world_config(ENV))
    latent = shop.goals.world.latent_goal(level)  # type: ignore[attr-defined]
    latents = shop.goals.world.latents  # type: ignore[attr-defined]
    first = planner.plan(level).start
    for action in Offers(shop).at(first).actions:
        found = step(shop, first, action)
        if found and any(latent.satisfied_by(latents.get(shop.products.index(asin))) for asin in found.hits):
            return True
    return False


def test_noise_is_recovered_from() -> None:
    assert mean("shop-expert", "strict_success", 0.2) > 0.9 * mean("shop-expert", "strict_success")
    lengths = [float(np.mean([result.length for result in results("shop-expert", noise)])) for noise in (0.0, 0.2)]
    assert lengths[1] > lengths[0] + 0.5


def brute_force_cost(planner: ShopPlanner, level: int, limit: int) -> int:
    """Steps to one of the wanted purchases, by breadth first over every candidate."""
    plan, offers = planner.plan(level), Offers(SHOP)
    front, seen = [plan.start], set[Any]()
    for cost in range(1, limit + 1):
        following = []
        for state in front:
            for action in offers.at(state).actions:
                after = step(SHOP, state, action)
                if after is None:
                    continue
                if after.purchase is not None:
                    wish = plan.wishes.get(after.purchase.asin)
                    if wish is not None and wish.items() <= after.options.items():
                        return cost
                    continue
                key = (
                    after.page,
                    after.keywords,
                    after.number,
                    after.asin,
                    after.section,
                    tuple(after.options.items()),
                )
                if key not in seen:
                    seen.add(key)
                    following.append(after)
        front = following
    return limit + 1


@pytest.mark.parametrize("aim", ["truth", "choice"])
def test_the_planned_way_is_a_shortest_one(aim: Any) -> None:
    planner = ShopPlanner("shop/tiny", aim)
    checked = 0
    for level in range(20):
        cost = planner.plan(level).from_search
        if cost <= 4:  # deeper searches take long
            assert brute_force_cost(planner, level, 4) == cost
            checked += 1
    assert checked >= 5


@pytest.mark.parametrize("aim", ["truth", "choice"])
def test_every_advised_action_comes_one_step_closer_from_anywhere(aim: Any) -> None:
    planner, offers, rng = ShopPlanner("shop/tiny", aim), Offers(SHOP), np.random.default_rng(0)
    for level in range(40):
        plan = planner.plan(level)
        state = plan.start
        for _ in range(12):
            actions = offers.at(state).actions
            after = step(SHOP, state, actions[int(rng.integers(len(actions)))])
            state = state if after is None or after.page is Page.DONE else after
        ways = {distance(plan, offers, state, pick) for pick in (min, max)}
        assert len(ways) == 1
        [steps] = ways
        assert steps <= 12
        for action in offers.at(state).actions:
            after = step(SHOP, state, action)
            if after is not None and after.page is not Page.DONE:
                assert 1 + distance(plan, offers, after, min) >= steps, f"{action} is a shorter way"


def distance(plan: Any, offers: Offers, state: ShopState, pick: Any) -> int:
    for steps in itertools.count(1):
        advised = best_actions(SHOP, plan, state)
        assert advised <= set(offers.at(state).actions)
        after = step(SHOP, state, pick(advised))
        assert after is not None
        if after.purchase is not None:
            assert after.purchase.asin in plan.wishes
            return steps
        state = after
    raise AssertionError


def test_the_oracle_chooses_the_best_of_all_hits_and_options() -> None:
    planner = ShopPlanner("shop/tiny", "choice")
    for level in range(12):
        plan = planner.plan(level)
        found = step(SHOP, plan.start, Offers(SHOP).at(plan.start).actions[0])
        assert found is not None
        assert plan.wishes.keys() <= set(found.hits)
        assert list(plan.costs) == [Offers(SHOP).at(plan.start).actions[0]]
        best = 0.0
        for asin in found.hits:
            options = SHOP.product(asin).options
            wanted = [name for name in options if name in plan.start.goal.options]
            for values in itertools.product(*(options[name] for name in wanted)):
                choice = dict(zip(wanted, values, strict=True))
                best = max(best, SHOP.judge(plan.start.goal, asin, choice).parts.total)
        asin, choice = next(iter(plan.wishes.items()))
        assert SHOP.judge(plan.start.goal, asin, choice).parts.total == pytest.approx(best)


def inputs_of(env: Any, observations: Any, levels: Any = None) -> PolicyInput:
    size = env.num_envs
    return PolicyInput(
        observations, np.ones(size, bool), np.full(size, -1, np.int32), np.zeros(size, np.float32), levels
    )


@pytest.mark.parametrize("name", ["shop-rule", "shop-limited"])
def test_readers_need_no_level(name: str) -> None:
    env = make_vec("shop/tiny", 3)
    observations, _ = env.reset(options={"levels": np.array([1, 2, 3])})
    advice = SHOP_AGENTS[name]("shop/tiny").advise(inputs_of(env, observations))
    assert advice.best.sum(axis=1).tolist() == [1, 1, 1]
    assert advice.allowed.sum(axis=1).tolist() == [len(decode_texts(row)) for row in observations["candidates"]]


def test_the_rule_buys_the_first_hit() -> None:
    policy = build_source(SourceSpec(env="shop/tiny", name="shop-rule")).policy
    for result in play(make_vec("shop/tiny", 4), policy, [(level, 0) for level in range(20)], seed=0):
        goal = SHOP.goal(result.level)
        [first, *_] = SHOP.hits(tuple(goal.instruction.lower().split(" "))) or ()
        assert result.episode_return == pytest.approx(SHOP.judge(goal, first, {}).parts.total)
        assert result.length == 3


def test_what_the_reader_understands_of_pages() -> None:
    goal = SHOP.goal(0)
    product = SHOP.products[0]
    name, values = next(iter(product.options.items()))
    state = ShopState(goal=goal, session="0", page=Page.ITEM, asin=product.asin, options={name: values[1]})
    page = observe(SHOP, state, "text_rich")
    assert reading.instruction_of(page) == goal.instruction
    groups = reading.option_groups(page)
    assert [list(group) for group in groups] == [list(group) for group in product.options.values()]
    assert [value for group in groups for value, chosen in group.items() if chosen] == [values[1]]
    assert reading.price_cap("tea, and price lower than 40.00 dollars") == 40.0
    assert reading.price_cap("tea") == float("inf")
    assert reading.lowest_price("click[Tea, 12 bags, $12.5 to $29.99]") == 12.5


def test_options_are_chosen_by_the_words_of_the_instruction() -> None:
    page = "Instruction:\nx\n[button] Back to Search [button_]\n[button] < Prev [button_]\nsize\n"
    page += "".join(f"  [button] {value} [button_]\n" for value in ("small", "x-small", "8", "80"))
    assert reading.missing_values(page, reading.tokens("x small dress")) == ["x-small"]
    assert reading.missing_values(page, reading.tokens("dress in size 8")) == ["8"]
    assert reading.missing_values(page, reading.tokens("large dress")) == []
    chosen = page.replace("  [button] x-small [button_]", "  [clicked button] x-small [clicked button_]")
    assert reading.missing_values(chosen, reading.tokens("x small dress")) == []


@pytest.mark.parametrize("name", sorted(SHOP_AGENTS))
def test_episodes_do_not_depend_on_slots(name: str) -> None:
    source = build_source(SourceSpec(env="shop/tiny", name=name, options={"noise": 0.3}))
    jobs = [(level, episode) for level in (4, 9, 2) for episode in (0, 1)]
    sums = []
    for num_envs in (1, 5):
        played = source.play_jobs(make_vec("shop/tiny", num_envs), jobs, 3)
        sums.append({(episode.level, episode.episode): episode_checksum(episode) for episode in played})
    assert sums[0] == sums[1]
    assert len(sums[0]) == 6


def test_an_expert_labels_the_steps_of_another() -> None:
    planner = build_source(SourceSpec(env="shop/tiny", name="shop-expert", options={"noise": 0.5, "relabel": True}))
    plain = build_source(SourceSpec(env="shop/tiny", name="shop-expert", options={"noise": 0.5}))
    env, jobs = make_vec("shop/tiny", 4), [(level, 0) for level in range(12)]
    labeled = {episode.level: episode for episode in planner.play_jobs(env, jobs, 0)}
    differing = 0
    for episode in plain.play_jobs(env, jobs, 0):
        assert np.array_equal(labeled[episode.level].rewards, episode.rewards)
        differing += int((labeled[episode.level].actions != episode.actions).sum())
    assert differing > 5


def test_recipes_and_wrong_use() -> None:
    assert build_collection("shop-expert").source == "shop-expert"
    assert build_collection("shop-noisy").options == {"noise": 0.2}
    for name in SHOP_AGENTS:
        with pytest.raises(UsageError, match="'quiz/default'"):
            build_source(SourceSpec(env="quiz/default", name=name))


def test_recording_keeps_the_measures() -> None:
    env = make_vec("shop/tiny", 4)
    jobs = [(level, 0) for level in range(8)]
    recorded = play(env, RandomPolicy(env.task), jobs, seed=0, record=RecordOptions(source="r"))
    by_level = {episode.level: episode.result() for episode in recorded}
    for result in play(env, RandomPolicy(env.task), jobs, seed=0):
        assert by_level[result.level] == result
        assert set(result.metrics) == {"score", "success", "strict_success"}
