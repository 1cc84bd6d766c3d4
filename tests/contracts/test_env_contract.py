"""Every registered environment keeps the contract."""

from __future__ import annotations

import platform
import sys

import numpy as np
import pytest

from envs.procgen_tables import GAMES
from envs.registry import env_names, make_vec
from envs.vector import LevelEnv
from tests.contracts.env_contract import EnvContract

SMALL_SHOPS = ("shop/default", "shop/tiny")
HAS_PROCGEN = sys.platform == "linux" and platform.machine() == "x86_64"


def parameter(name: str) -> object:
    if name.startswith("shop/"):
        # Building a large catalogue takes minutes; the worlds differ in their configuration only.
        return pytest.param(name, marks=[] if name in SMALL_SHOPS else [pytest.mark.slow])
    if not name.startswith("procgen/"):
        return pytest.param(name)
    needs_engine = pytest.mark.skipif(not HAS_PROCGEN, reason="Procgen runs on Linux x86-64 only")
    return pytest.param(name, marks=[pytest.mark.procgen, needs_engine])


class TestRegisteredEnvironments(EnvContract):
    @pytest.fixture(params=[parameter(name) for name in env_names()])
    def env_name(self, request: pytest.FixtureRequest) -> str:
        return str(request.param)


def test_all_environments_are_registered() -> None:
    expected = {f"procgen/{game}{suffix}" for game in GAMES for suffix in ("", "-hard")}
    assert len(expected) == 32
    expected |= {"grid/default", "quiz/default", "shop/default", "shop/10k", "shop/catalogue-b", "shop/catalogue-c"}
    assert expected <= set(env_names())


def test_the_single_view_takes_one_slot_only() -> None:
    with pytest.raises(ValueError, match="1 slot"):
        LevelEnv(make_vec("grid/default", 2))


def test_an_environment_needs_a_slot() -> None:
    with pytest.raises(ValueError, match="1 or more"):
        make_vec("grid/default", 0)


def test_levels_may_be_any_integer_dtype() -> None:
    env = make_vec("grid/default", 2)
    _, infos = env.reset(options={"levels": np.array([4, 5], dtype=np.uint8)})
    assert infos["levels"].tolist() == [4, 5]
