from __future__ import annotations

import dataclasses
import json
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
from trainers.experts.publish import draw_curve, measure, publish
from trainers.experts.reference import REFERENCE
from trainers.experts.weights import check_room, last_policy, policies_near, write_expert
from trainers.kept import kept_policies
from trainers.online import train_online
from trainers.online_config import grid_ppo


@pytest.fixture(scope="module")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tmp_path = tmp_path_factory.mktemp("finished")
    network = NetworkConfig(encoder="small", hidden_size=16)
    config = dataclasses.replace(
        grid_ppo(),
        env_steps=2048,
        num_envs=8,
        fragment_steps=64,
        network=network,
        keep_every_env_steps=512,
        num_levels=10,
    )
    train_online(config, tmp_path / "run")
    return tmp_path / "run"


def write_weights(run_dir: Path, name: str, folder: Path) -> dict[str, Any]:
    config = json.loads((run_dir / "checkpoints" / "last" / "config.json").read_text())
    return write_expert(last_policy(run_dir, name), config, folder)


def test_a_published_policy_acts_like_the_run_it_came_from(finished_run: Path, tmp_path: Path) -> None:
    provenance = write_weights(finished_run, "toy", tmp_path)
    assert provenance["training"]["env_steps"] == 2048
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


def test_policies_near_fractions_of_the_final_return_are_published_with_what_they_reach(
    finished_run: Path, tmp_path: Path
) -> None:
    kept = kept_policies(finished_run)
    for policy, value in zip(kept, (0.2, 0.45, 0.7, 0.9), strict=True):  # chance decides what so short a run reaches
        path = policy.weights.with_suffix(".json")
        path.write_text(json.dumps({**json.loads(path.read_text()), "return_mean": value}))
    candidates = policies_near(finished_run, "toy", (0.25, 0.75, 1.0))
    assert [(one.name, one.env_steps) for one in candidates] == [("toy-25", 512), ("toy-75", 1536), ("toy", 2048)]
    publish(finished_run, candidates, command="gengap train", num_test=4, folder=tmp_path, figures=tmp_path)
    for one in candidates:
        provenance = read_provenance(one.name, tmp_path)
        assert provenance["training"]["env_steps"] == one.env_steps
        assert provenance["policy_id"] == next(p.policy_id for p in kept if p.env_steps == one.env_steps)
        assert set(provenance["returns"]) == {"sampled", "greedy"}
    assert read_provenance("toy-25", tmp_path)["chosen"]["training_return"] == 0.2
    assert (tmp_path / "ppo_toy.png").exists()


def test_more_than_eight_games_or_40_mb_are_refused(
    finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = last_policy(finished_run, "toy")
    config = json.loads((finished_run / "checkpoints" / "last" / "config.json").read_text())
    for number in range(8):
        other = dataclasses.replace(one, name=f"toy{number}", env={**one.env, "name": f"game/{number}"})
        check_room([other], tmp_path)
        write_expert(other, config, tmp_path)
    check_room([dataclasses.replace(one, name="another", env={**one.env, "name": "game/3"})], tmp_path)
    with pytest.raises(UsageError, match="9 games"):
        check_room([one], tmp_path)
    size = (tmp_path / "toy0.safetensors").stat().st_size
    monkeypatch.setattr("trainers.experts.weights.MAX_BYTES", 9 * size)
    again = dataclasses.replace(one, name="toy0", env={**one.env, "name": "game/0"})
    check_room([again, dataclasses.replace(again, name="toy0-75")], tmp_path)
    with pytest.raises(UsageError, match=r"published\. Remove others"):
        check_room([again, *(dataclasses.replace(again, name=f"toy0-{share}") for share in (25, 75))], tmp_path)


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
    if provenance.get("chosen", {}).get("fraction", 1.0) >= 0.5:  # a weak one may be near chance
        assert returns["train"]["low"] > chance["train"]["high"]


def test_shipped_policies_are_sources_by_name() -> None:
    source = build_source(SourceSpec(env="procgen/coinrun", name="ppo:coinrun"))
    assert source.name == read_provenance("coinrun")["policy_id"]
    assert not source.privileged
    with pytest.raises(UsageError, match=r"conirun.*Did you mean 'coinrun'"):
        build_source(SourceSpec(env="procgen/coinrun", name="ppo:conirun"))
    with pytest.raises(UsageError, match="was made for 'procgen/coinrun'"):
        build_source(SourceSpec(env="grid/default", name="ppo:coinrun"))
