from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from actors.sources import SourceSpec, build_source
from envs.errors import UsageError
from envs.procgen_tables import GAMES
from envs.registry import make_spec
from envs.spec import LevelSet
from metrics.ledger import Ledger, SealedTestError
from metrics.protocol import strict
from tests.trainers.test_networks import images
from tests.trainers.test_torch_policy import inputs
from trainers.checkpoint import load_policy
from trainers.config import NetworkConfig
from trainers.experts import expert_names, load_expert, read_provenance
from trainers.experts.publish import draw_curve, measure, write_weights
from trainers.experts.reference import REFERENCE
from trainers.online import train_online
from trainers.online_config import grid_ppo


@pytest.fixture
def finished_run(tmp_path: Path) -> Path:
    network = NetworkConfig(encoder="small", hidden_size=16)
    config = dataclasses.replace(grid_ppo(), env_steps=512, num_envs=8, fragment_steps=32, network=network)
    train_online(config, tmp_path / "run")
    return tmp_path / "run"


def test_a_published_policy_acts_like_the_run_it_came_from(finished_run: Path, tmp_path: Path) -> None:
    provenance = write_weights(finished_run, "toy", tmp_path)
    assert provenance["training"]["env_steps"] == 512
    original, published = load_policy(finished_run / "checkpoints" / "last"), load_expert("toy", tmp_path)
    side = original.spec.observation_columns["image"].shape[0]
    frames: Any = images(5, side)
    np.testing.assert_allclose(original.act(inputs(frames, 5)), published.act(inputs(frames, 5)), atol=0.02)
    assert (tmp_path / "toy.safetensors").stat().st_size < 2.2 * provenance["num_parameters"] + 2_000
    assert published.policy_id == read_provenance("toy", tmp_path)["policy_id"]


def test_measuring_the_test_needs_a_permit(finished_run: Path, tmp_path: Path) -> None:
    write_weights(finished_run, "toy", tmp_path)
    policy, spec = load_expert("toy", tmp_path), make_spec("grid/default")
    levels = LevelSet.range(spec.name, 0, 6)
    protocol = strict(spec, levels, num_test=6)
    with pytest.raises(SealedTestError):
        measure(policy, protocol, None, num_envs=4)
    permit = Ledger(tmp_path / "ledger.jsonl").issue(policy.policy_id, "toy", levels.fingerprint, "last", "a test")
    measured = measure(policy, protocol, permit, num_envs=4)["sampled"]
    assert measured["gap"]["point"] == pytest.approx(measured["train"]["point"] - measured["test"]["point"], abs=2e-3)
    assert measured["train"]["low"] <= measured["train"]["point"] <= measured["train"]["high"]
    assert all(path.exists() for path in draw_curve(finished_run, "toy", {"sampled": measured}, tmp_path / "figures"))


def test_unknown_experts_are_answered_with_the_closest(finished_run: Path, tmp_path: Path) -> None:
    write_weights(finished_run, "starpilot", tmp_path)
    with pytest.raises(UsageError, match="Did you mean 'starpilot'"):
        load_expert("starpilt", tmp_path)


def test_every_game_has_a_reference() -> None:
    assert set(REFERENCE) == set(GAMES)
    assert all(entry["train"]["mean"] > entry["test"]["mean"] for entry in REFERENCE.values())


@pytest.mark.parametrize("name", expert_names())
def test_shipped_experts_load_and_say_where_they_come_from(name: str) -> None:
    policy, provenance = load_expert(name), read_provenance(name)
    assert provenance["license"] == "MIT"
    assert provenance["command"].startswith("gengap train ")
    shown = policy.act(inputs(images(2), 2))  # type: ignore[arg-type]
    assert shown.shape == (2, policy.spec.num_actions)
    returns, chance = provenance["returns"]["sampled"], provenance["returns_of_random_actions"]
    assert returns["train"]["low"] > chance["train"]["high"]


def test_shipped_policies_are_sources_by_name() -> None:
    source = build_source(SourceSpec(env="procgen/coinrun", name="ppo:coinrun"))
    assert source.name == read_provenance("coinrun")["policy_id"]
    assert not source.privileged
    with pytest.raises(UsageError, match=r"conirun.*Did you mean 'coinrun'"):
        build_source(SourceSpec(env="procgen/coinrun", name="ppo:conirun"))
    with pytest.raises(UsageError, match="was made for 'procgen/coinrun'"):
        build_source(SourceSpec(env="grid/default", name="ppo:coinrun"))
