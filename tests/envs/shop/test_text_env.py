"""The text environment: Gymnasium's contract, goals, bad input, both presets."""

from __future__ import annotations

import warnings
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from hypothesis import given, settings
from hypothesis import strategies as st

from envs.errors import UsageError
from envs.shop.rules import COMPAT, STRICT, ShopRules
from envs.shop.text_env import AnyText, ShopTextEnv, open_text_env
from tests.envs.shop.recordings import FILES, recorded_shop, rows, small_shop


@pytest.mark.parametrize(("rules", "mode"), [("strict", "text_rich"), ("compat", "text"), ("strict", "url")])
def test_gymnasiums_checker_passes(rules: str, mode: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(open_text_env("shop/tiny", rules, mode), skip_render_check=True)


@pytest.mark.parametrize("number", [0, 3, 40])
def test_it_plays_the_recordings_of_the_original(number: int) -> None:
    episode = rows("transcripts.jsonl.gz")[number]
    env = ShopTextEnv(recorded_shop(episode["goal_set"], episode["show_attrs"]))
    for step in episode["steps"]:
        if "reset" in step:
            observation, info = env.reset(options={"goal": step["goal_index"]})
        else:
            observation, reward, terminated, truncated, info = env.step(step["action"])
            assert (reward, terminated, truncated) == (step["reward"] or 0.0, step["done"], False)
        assert observation == step["obs"]["text_rich"]
        assert list(info["clickables"]) == step["clickables"]
        if "action" in step and step["done"]:
            return


def test_a_purchase_ends_the_episode_with_its_measures() -> None:
    env = ShopTextEnv(small_shop())
    _, info = env.reset(options={"goal": 4})
    assert info["goal"] == 4
    assert info["has_search_bar"]
    for action in ("search[tea]", "click[b000000004]", "click[large]"):
        _, reward, terminated, _, info = env.step(action)
        assert (reward, terminated, info["accepted"]) == (0.0, False, True)
        assert "score" not in info
    _, reward, terminated, truncated, info = env.step("click[Buy Now]")
    assert (reward, terminated, truncated) == (1.0, True, False)
    assert (info["score"], info["success"], info["strict_success"]) == (1.0, 1.0, 1.0)
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step("search[tea]")
    env.reset()
    assert not env.step("click[buy now]")[4]["accepted"]


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.one_of(st.text(max_size=20), st.sampled_from(["search[tea]", "click[b000000001]", "click[]", "[["])))
)
def test_no_text_raises_or_pays_twice(actions: list[str]) -> None:
    env, paid = ShopTextEnv(small_shop(), max_steps=30), 0.0
    env.reset(options={"goal": 0})
    for action in actions:
        observation, reward, terminated, truncated, _ = env.step(action)
        assert observation in env.observation_space
        paid += reward
        if terminated or truncated:
            break
    assert 0 <= paid <= 1


@pytest.mark.parametrize("rules", [STRICT, COMPAT])
@pytest.mark.parametrize("action", [None, 5, b"search[tea]", ["search[tea]"]])
def test_what_is_no_text_is_refused(rules: ShopRules, action: Any) -> None:
    env = ShopTextEnv(small_shop(rules))
    before, _ = env.reset(options={"goal": 0})
    observation, reward, terminated, truncated, info = env.step(action)
    assert (observation, reward, terminated, truncated, info["accepted"]) == (before, 0.0, False, False, False)


@pytest.mark.parametrize("goal", [1.5, 1.0, "x", "1", True, [1]])
def test_a_goal_that_is_no_whole_number_is_refused(goal: Any) -> None:
    env = ShopTextEnv(small_shop())
    with pytest.raises(UsageError, match=r"'goal' is .*; allowed: the whole number of a goal"):
        env.reset(options={"goal": goal})
    assert env.reset(options={"goal": np.int64(3)})[1]["goal"] == 3


def test_the_step_limit_cuts_off() -> None:
    env = ShopTextEnv(small_shop(), max_steps=2)
    env.reset(options={"goal": 0})
    assert env.step("nonsense")[2:4] == (False, False)
    _, _, terminated, truncated, info = env.step("search[tea]")
    assert (terminated, truncated, info["strict_success"]) == (False, True, 0.0)


def test_goals_are_drawn_by_the_rules() -> None:
    def drawn(env: ShopTextEnv) -> set[int]:
        return {env.reset(seed=seed)[1]["goal"] for seed in range(300)}

    assert drawn(ShopTextEnv(small_shop())) == set(range(23))
    assert drawn(ShopTextEnv(small_shop(COMPAT))) == set(range(1, 23)), "the original never draws goal 0"
    env = open_text_env("shop/tiny")
    assert env.reset(seed=3)[1]["goal"] == env.reset(seed=3)[1]["goal"] != env.reset(seed=4)[1]["goal"]
    shifted = open_text_env("shop/tiny", "compat").reset(seed=3)[1]["goal"]
    assert shifted == env.reset(seed=3)[1]["goal"] + 1, "a world has the oddity too"
    assert ShopTextEnv(small_shop(COMPAT)).reset(options={"goal": 0})[1]["goal"] == 0, "a named goal is no draw"


def test_files_and_worlds_open_alike() -> None:
    env = open_text_env(FILES, "compat")
    assert env.reset(options={"goal": 1})[0] == open_text_env(FILES, "compat").reset(options={"goal": 1})[0]
    assert open_text_env("shop/tiny").reset(options={"goal": 1_000_000})[0].startswith("WebShop\n")


@pytest.mark.parametrize(
    ("use", "message"),
    [
        (lambda: open_text_env("shop/tny"), "Did you mean 'shop/tiny'"),
        (lambda: open_text_env("shop/tiny", "lenient"), "preset"),
        (lambda: open_text_env("shop/tiny", mode="html"), "text_rich"),
        (lambda: ShopTextEnv(small_shop(), max_steps=0), "1 or more"),
        (lambda: ShopTextEnv(small_shop()).reset(options={"gaol": 1}), "Did you mean 'goal'"),
        (lambda: ShopTextEnv(small_shop()).reset(options={"goal": 99}), "There is no goal 99"),
    ],
)
def test_wrong_use_is_answered(use: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        use()


def test_any_text_fits_its_space() -> None:
    space = AnyText(5)
    assert "\u203a\n\u00e9" in space
    assert "" in space
    assert "123456" not in space
    assert 5 not in space
    assert all(space.sample() in space for _ in range(20))
    assert len({AnyText(100).sample() for _ in range(20)}) > 10
