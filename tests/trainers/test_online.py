from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from envs.errors import RunError, UsageError
from envs.registry import make_spec
from metrics.history import read_history
from metrics.loggers import NullLogger
from tests.limits import small_files
from trainers.actor_critic import build_actor_critic
from trainers.checkpoint import load_policy
from trainers.config import NetworkConfig
from trainers.fragment import Fragment
from trainers.online import done_fraction, run_updates, train_online
from trainers.online_checkpoint import restore_learner, save_learner
from trainers.online_config import ONLINE_RECIPES, OnlineConfig, build_online
from trainers.online_files import OnlineFiles, OnlineProgress
from trainers.online_parts import build_learner, build_streams
from trainers.ppo import PPOConfig
from trainers.ppo_commands import run
from trainers.ray_streams import RayStreams
from trainers.stopping import Stopping
from trainers.streams import Streams


def config(**changes: Any) -> OnlineConfig:
    base = OnlineConfig(
        name="test",
        env="grid/default",
        num_levels=1,
        env_steps=512,
        num_envs=4,
        fragment_steps=32,
        network=NetworkConfig(encoder="small", hidden_size=32),
        ppo=PPOConfig(discount=0.95, epochs=2, minibatches=2),
        precision="float32",
    )
    return dataclasses.replace(base, **changes)


def fragments_of(settings: OnlineConfig, count: int) -> list[list[Fragment]]:
    """Fragments of fresh, never updated parameters."""
    spec = make_spec(settings.env)
    streams = build_streams(settings, spec, build_learner(settings, spec))
    fragments = [collect(streams, number) for number in range(count)]
    streams.close()
    return fragments


def collect(streams: Streams, number: int) -> list[Fragment]:
    streams.begin(number)
    return streams.finish()


def parameters(learner: Any) -> torch.Tensor:
    return torch.cat([parameter.detach().reshape(-1) for parameter in learner.module.parameters()])


@pytest.mark.slow
def test_ppo_improves_on_the_grid(tmp_path: Path) -> None:
    ppo = PPOConfig(discount=0.95, learning_rate=2e-3, epochs=4, minibatches=4, entropy_weight=0.005)
    settings = config(env_steps=5_600, num_envs=16, ppo=ppo)
    train_online(settings, tmp_path)
    returns = [row["train/episode/return_mean"] for row in read_history(tmp_path / "metrics.jsonl")]
    # The first fragment is left out: only lucky episodes have ended by then.
    assert np.mean(returns[-3:]) > 0.93 > np.mean(returns[1:4]) + 0.1


def test_resuming_gives_the_same_next_update(tmp_path: Path) -> None:
    settings = config()
    spec = make_spec(settings.env)
    first, second = fragments_of(settings, 2)
    straight = build_learner(settings, spec)
    straight.update(first)
    save_learner(tmp_path, straight, spec, settings, OnlineProgress(env_steps=128, elapsed_s=1.5))

    resumed = build_learner(dataclasses.replace(settings, seed=settings.seed), spec)
    with torch.no_grad():
        resumed.module.value.bias += 1.0  # whatever it was before
    assert restore_learner(tmp_path, resumed) == {"env_steps": 128, "elapsed_s": 1.5, "recent_returns": []}
    assert torch.equal(parameters(straight), parameters(resumed))
    # Environments start fresh episodes after a resumption, so their running returns do too.
    straight.rewards._running.clear()
    assert straight.update(second) == resumed.update(second)
    assert torch.equal(parameters(straight), parameters(resumed))
    assert resumed.learner_step == 2 * settings.ppo.epochs * settings.ppo.minibatches


@pytest.mark.parametrize("limit", [500, 20_000])
def test_a_full_disk_is_one_clear_line_and_leaves_nothing(tmp_path: Path, limit: int) -> None:
    settings = config()
    spec = make_spec(settings.env)
    learner = build_learner(settings, spec)
    with small_files(limit), pytest.raises(RunError, match=r"No space left while writing .*checkpoints"):
        save_learner(tmp_path, learner, spec, settings, OnlineProgress(env_steps=128, elapsed_s=1.5))
    assert list((tmp_path / "checkpoints").iterdir()) == []


def test_a_run_goes_on_where_it_was_stopped(tmp_path: Path) -> None:
    train_online(config(env_steps=256), tmp_path)
    result = train_online(config(env_steps=512), tmp_path)
    rows = read_history(tmp_path / "metrics.jsonl")
    assert [row["env_steps"] for row in rows] == [128, 256, 384, 512]
    assert [row["learner_step"] for row in rows] == [4, 8, 12, 16]
    assert result["env_steps"] == 512
    state = json.loads((tmp_path / "checkpoints" / "last" / "state.json").read_text())
    assert state["updates"] == 4
    assert len([entry for entry in (tmp_path / "checkpoints").iterdir() if not entry.is_symlink()]) == 1


def test_the_checkpoint_is_a_policy(tmp_path: Path) -> None:
    settings = config(env_steps=128)
    train_online(settings, tmp_path)
    policy = load_policy(tmp_path / "checkpoints" / "last")
    assert policy.spec == make_spec("grid/default")
    assert policy.policy_id.startswith("policy-")


def test_a_damaged_checkpoint_is_an_error(tmp_path: Path) -> None:
    settings = config(env_steps=128)
    train_online(settings, tmp_path)
    (tmp_path / "checkpoints" / "last" / "model.safetensors").write_bytes(b"torn")
    with pytest.raises(RunError, match="damaged"):
        train_online(settings, tmp_path)


def test_updates_on_two_fragments_equal_updates_on_both_as_one() -> None:
    settings = config(ppo=PPOConfig(epochs=1, minibatches=1, normalize_rewards=False))
    spec = make_spec(settings.env)
    (whole,) = fragments_of(settings, 1)[0]
    halves = [_half(whole, slice(0, 2)), _half(whole, slice(2, 4))]
    together, apart = build_learner(settings, spec), build_learner(settings, spec)
    together.update([whole])
    apart.update(halves)
    torch.testing.assert_close(parameters(together), parameters(apart), rtol=1e-3, atol=1e-5)


def _half(fragment: Fragment, slots: slice) -> Fragment:
    steps, num_envs = fragment.actions.shape
    image = np.asarray(fragment.observations["image"])
    frames = image.reshape(steps, num_envs, *image.shape[1:])[:, slots].reshape(-1, *image.shape[1:])
    names = ("actions", "log_probs", "values", "rewards", "terminated", "truncated", "bootstrap_values")
    parts = {name: getattr(fragment, name)[:, slots] for name in names}
    return dataclasses.replace(
        fragment, observations={"image": frames}, last_values=fragment.last_values[slots], **parts
    )


def test_time_or_steps_end_the_training() -> None:
    progress = OnlineProgress(env_steps=100, elapsed_s=30.0)
    assert done_fraction(config(env_steps=200), progress) == 0.5
    assert done_fraction(config(env_steps=200, max_time_s=40.0), progress) == 0.75


def test_wrong_settings_are_refused() -> None:
    with pytest.raises(UsageError, match="num_envs is 0"):
        config(num_envs=0)
    with pytest.raises(UsageError, match="num_streams"):
        config(num_streams=-1)
    assert {name: recipe().name for name, recipe in ONLINE_RECIPES.items()} == {name: name for name in ONLINE_RECIPES}


@pytest.mark.ray
def test_a_lost_fragment_is_discarded_whole(ray_cluster: Any) -> None:
    settings = config(num_streams=2)
    spec = make_spec(settings.env)
    learner = build_learner(settings, spec)
    streams = build_streams(settings, spec, learner)
    assert isinstance(streams, RayStreams)
    try:
        first = collect(streams, 0)
        assert [(part.stream, part.incarnation, part.number) for part in first] == [(0, 0, 0), (1, 0, 0)]
        ray_cluster.kill(streams.actors[1])
        second = collect(streams, 1)
        assert [(part.stream, part.incarnation, part.number) for part in second] == [(0, 0, 1)]
        learner.update(second)
        third = collect(streams, 2)
        assert [(part.stream, part.incarnation, part.number) for part in third] == [(0, 0, 2), (1, 1, 2)]
        assert streams.num_lost == 1
        # The replacement starts fresh episodes: no running return is carried over from the lost one.
        learner.update(third)
        assert set(learner.rewards._running) == {(0, 0), (1, 1)}
    finally:
        streams.close()


@pytest.mark.ray
def test_streams_that_never_deliver_are_an_error(ray_cluster: Any) -> None:
    settings = config(num_streams=1, fragment_timeout_s=0.0)
    spec = make_spec(settings.env)
    streams = build_streams(settings, spec, build_learner(settings, spec))
    assert isinstance(streams, RayStreams)
    with pytest.raises(RunError, match="lost three times while playing fragment 0"):
        collect(streams, 0)
    assert streams.incarnations == [3]
    streams.close()
    with pytest.raises(UsageError, match=r"num_streams is 99 but the cluster has .* 4 CPUs"):
        build_streams(config(num_streams=99), spec, build_learner(settings, spec))


@pytest.mark.ray
def test_streams_play_the_parameters_of_the_learner(ray_cluster: Any, tmp_path: Path) -> None:
    settings = config(num_streams=1, env_steps=256)
    spec = make_spec(settings.env)
    learner = build_learner(settings, spec)
    streams = build_streams(settings, spec, learner)
    try:
        files = OnlineFiles(tmp_path, settings, spec, learner)
        run_updates(settings, learner, streams, files, NullLogger(), Stopping())
        (remote,) = collect(streams, 2)
    finally:
        streams.close()
    np.testing.assert_allclose(log_probs_of(learner.module, remote), remote.log_probs, atol=1e-4)
    with torch.no_grad():
        _, values = learner.module({"image": torch.from_numpy(np.array(remote.observations["image"]))})
    np.testing.assert_allclose(values.numpy(), remote.values.reshape(-1), atol=1e-4)


@pytest.mark.ray
def test_ray_streams_play_ahead_while_the_learner_learns(ray_cluster: Any) -> None:
    settings = config(num_streams=2, overlap=True)
    spec = make_spec(settings.env)
    learner = build_learner(settings, spec)
    streams = build_streams(settings, spec, learner)
    try:
        first = collect(streams, 0)
        before = build_actor_critic(spec, settings.network, settings.seed)
        before.load_state_dict(learner.module.state_dict())
        streams.begin(1)
        learner.update(first)
        second = streams.finish()
    finally:
        streams.close()
    assert [fragment.number for fragment in second] == [1, 1]
    for fragment in second:
        np.testing.assert_allclose(log_probs_of(before, fragment), fragment.log_probs, atol=1e-4)
        assert np.abs(log_probs_of(learner.module, fragment) - fragment.log_probs).max() > 1e-4


def log_probs_of(module: torch.nn.Module, fragment: Fragment) -> np.ndarray:
    """Of the actions taken, [T, B]."""
    with torch.no_grad():
        logits, _ = module({"image": torch.from_numpy(np.array(fragment.observations["image"]))})
    log_probs = torch.log_softmax(logits, dim=1).numpy()
    return log_probs[np.arange(len(log_probs)), fragment.actions.reshape(-1)].reshape(fragment.actions.shape)


def command(tmp_path: Path, *overrides: str, resume: bool = False) -> dict[str, Any]:
    small = ["num_envs=4", "fragment_steps=16", "network.hidden_size=16", "tracking.wandb=disabled"]
    args = argparse.Namespace(
        recipe="grid-ppo", overrides=[*small, *overrides], out=tmp_path / "run", resume=resume, address=None
    )
    return run(args)


def test_the_command_trains_and_goes_on_only_with_the_same_settings(tmp_path: Path) -> None:
    first = command(tmp_path, "env_steps=64")
    assert first["env_steps"] == 64
    with pytest.raises(UsageError, match="already holds a run"):
        command(tmp_path, "env_steps=128")
    with pytest.raises(UsageError, match="num_levels is 200 there and 7 here"):
        command(tmp_path, "env_steps=128", "num_levels=7", resume=True)
    assert command(tmp_path, "env_steps=128", resume=True)["env_steps"] == 128
    older = json.loads((tmp_path / "run" / "config.json").read_text())
    del older["overlap"], older["ppo"]["clip"]  # as a version before these fields wrote it
    (tmp_path / "run" / "config.json").write_text(json.dumps(older))
    with pytest.raises(UsageError, match="overlap is False there and True here"):
        command(tmp_path, "env_steps=128", "overlap=true", resume=True)
    assert command(tmp_path, "env_steps=128", resume=True)["env_steps"] == 128  # nothing left to do
    assert load_policy(first["checkpoint"]).spec.name == "grid/default"


def test_the_command_names_the_closest_recipe_and_field(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Did you mean 'procgen-ppo'"):
        build_online("procgen-pp")
    with pytest.raises(UsageError, match="Did you mean 'env_steps'"):
        command(tmp_path, "env_step=3")
