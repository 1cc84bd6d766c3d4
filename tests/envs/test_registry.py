"""Names, specs, options, and a quiet import."""

from __future__ import annotations

import subprocess
import sys
from functools import partial

import pytest

from envs import registry
from envs.errors import UsageError
from envs.grid import GridConfig, GridVectorEnv
from envs.grid import make_spec as make_grid_spec
from envs.procgen_tables import GAMES
from envs.registry import env_names, make_spec, make_vec, register


def test_every_name_is_its_specs_name() -> None:
    assert all(make_spec(name).name == name for name in env_names())


def test_an_unknown_name_is_answered_with_the_closest_match() -> None:
    with pytest.raises(UsageError, match="Did you mean 'procgen/starpilot'"):
        make_vec("procgen/starpilott", 1)
    with pytest.raises(UsageError, match="Unknown environment"):
        make_spec("nothing/like-it")


def test_an_unknown_option_is_refused() -> None:
    with pytest.raises(UsageError, match="Allowed: num_threads, cache_bytes"):
        make_vec("procgen/maze", 1, threads=2)
    with pytest.raises(UsageError, match="Allowed: none"):
        make_vec("grid/default", 1, size=3)


def test_own_environments_register_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_ENTRIES", dict(registry._ENTRIES))
    config = GridConfig("mine/small", size=5, num_walls=(0, 1))
    spec, build = partial(make_grid_spec, config), partial(GridVectorEnv, config)
    register("mine/small", spec, build)
    register("mine/small", spec, build)  # imported twice
    assert make_vec("mine/small", 2).task.name == "mine/small"
    with pytest.raises(UsageError, match="exists already"):
        register("grid/default", spec, build)


def test_both_normalization_tables() -> None:
    jumper = make_spec("procgen/jumper")
    assert jumper.normalize([3, 10]).tolist() == [0, 1]
    assert jumper.normalize(3, "paper") == pytest.approx(2 / 9)
    assert make_spec("procgen/leaper").return_bounds["paper"] == (1.5, 10)
    differing = [game for game in GAMES if len(set(make_spec(f"procgen/{game}").return_bounds.values())) > 1]
    assert differing == ["jumper", "leaper"]
    assert make_spec("procgen/starpilot-hard").return_bounds == {"official": (1.5, 35)}
    assert make_spec("procgen/starpilot").return_bounds["official"] == (2.5, 64)
    with pytest.raises(UsageError, match="no normalization table"):
        make_spec("procgen/starpilot-hard").normalize(3, "paper")


PROGRAM = """
import sys
from envs.registry import make_vec
print("before", file=sys.stderr)
assert not {"gym", "procgen", "torch", "ray"} & set(sys.modules)
make_vec("procgen/maze", 1).reset(seed=0)
import gym_notices.notices
assert len(gym_notices.notices.notices) > 1, "the table of notices is left as it was"
print("after", file=sys.stderr)
"""


@pytest.mark.procgen
def test_procgen_loads_lazily_and_without_gyms_banner() -> None:
    result = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False, timeout=120)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "before\nafter\n")
