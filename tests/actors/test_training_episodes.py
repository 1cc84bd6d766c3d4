from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from actors.collect_command import run as run_collect
from actors.replaying import Workers
from actors.training_episodes import TrainingConfig, collect_training, episodes_of_training
from data.dataset import Dataset
from data.training_record import RECORD, PlayedEpisode, RecordWriter, TrainingRecord
from envs.errors import RunError, UsageError
from envs.overrides import apply_overrides
from envs.registry import make_vec
from envs.replay import replay
from trainers.config import NetworkConfig
from trainers.online import train_online
from trainers.online_config import OnlineConfig
from trainers.ppo import PPOConfig


def train(run_dir: Path, env: str, **changes: Any) -> TrainingRecord:
    config = OnlineConfig(
        name="recorded",
        env=env,
        num_levels=20,
        env_steps=2048,
        num_envs=8,
        fragment_steps=32,
        network=NetworkConfig(encoder="small", hidden_size=16),
        ppo=PPOConfig(epochs=1, minibatches=2),
        record_episodes=True,
    )
    train_online(dataclasses.replace(config, **changes), run_dir)
    return TrainingRecord(run_dir / RECORD)


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "trained"
    train(folder, "grid/default")
    return folder


def test_the_dataset_of_a_training_holds_every_episode_with_its_rewards(run_dir: Path, tmp_path: Path) -> None:
    args = argparse.Namespace(
        recipe="ppo-suboptimal",
        overrides=[f"run={run_dir}", "num_envs=4"],
        out=tmp_path / "data",
        list=False,
        packed=False,
        address=None,
    )
    result = run_collect(args)
    dataset, record = Dataset.open(tmp_path / "data"), list(TrainingRecord(run_dir / RECORD))
    assert result["num_episodes"] == dataset.num_episodes == len(record) > 20
    assert result["num_transitions"] == sum(len(played.actions) for _, played in record)
    table = dataset.episodes
    expected = sorted((played.level, len(played.actions), round(played.episode_return, 4)) for _, played in record)
    found = zip(table["level"].tolist(), table["length"].tolist(), np.round(table["return"], 4).tolist(), strict=True)
    assert sorted(found) == expected


def test_the_episodes_are_what_the_environment_shows_and_pays(run_dir: Path) -> None:
    played = {}
    for update, one in TrainingRecord(run_dir / RECORD):
        played.setdefault((one.level, one.actions.tobytes()), []).append((update, one))
    env = make_vec("grid/default", 1)
    episodes = list(episodes_of_training(run_dir, workers=Workers(num_envs=3)))
    assert len({(episode.level, episode.episode) for episode in episodes}) == len(episodes)
    for episode in episodes[:15]:
        update, one = played[episode.level, episode.actions.tobytes()].pop(0)
        assert episode.policy_id == f"trained-update-{update:06d}"
        np.testing.assert_array_equal(episode.behavior_logp, one.log_probs.astype(np.float32))
        shown, _ = env.reset(options={"levels": np.array([episode.level])})
        for t, action in enumerate(episode.actions):
            np.testing.assert_array_equal(episode.observations["image"][t], shown["image"][0])
            shown, rewards, *_ = env.step(np.array([action]))
            assert rewards[0] == episode.rewards[t]
    env.close()


def test_a_budget_takes_episodes_from_the_whole_training(run_dir: Path) -> None:
    everything = list(episodes_of_training(run_dir))
    total = sum(len(episode) for episode in everything)
    some = list(episodes_of_training(run_dir, max_transitions=total // 3))
    assert 0.2 * total < sum(len(episode) for episode in some) < 0.5 * total
    updates = [int(episode.policy_id.rsplit("-", 1)[1]) for episode in some]
    every = [int(episode.policy_id.rsplit("-", 1)[1]) for episode in everything]
    assert min(updates) < min(every) + 2
    assert max(updates) > max(every) - 2
    assert len(list(episodes_of_training(run_dir, max_transitions=10 * total))) == len(everything)


@pytest.mark.ray
def test_actors_render_the_same_dataset(run_dir: Path, tmp_path: Path, ray_cluster: Any) -> None:
    fingerprints = {
        collect_training(config_of(run_dir, num_actors=number), tmp_path / str(number)).fingerprint for number in (0, 2)
    }
    assert len(fingerprints) == 1


@pytest.mark.slow
@pytest.mark.procgen
def test_a_procgen_training_with_processes_replays_to_its_returns(tmp_path: Path) -> None:
    record = list(train(tmp_path / "run", "procgen/starpilot", num_env_processes=2, overlap=True, env_steps=8192))
    assert len(record) > 50
    for _, one in record[:3]:
        again = replay("procgen/starpilot", one.level, one.actions)
        assert (again["length"], again["unused_actions"]) == (len(one.actions), 0)
        assert again["episode_return"] == pytest.approx(one.episode_return)
    episodes = list(episodes_of_training(tmp_path / "run"))
    returns = sorted(round(one.episode_return, 4) for _, one in record)
    assert sorted(round(episode.episode_return, 4) for episode in episodes) == returns
    assert not any(episode.final_observation_known for episode in episodes)


def test_an_environment_that_plays_otherwise_is_an_error_and_leaves_nothing(run_dir: Path, tmp_path: Path) -> None:
    record = TrainingRecord(run_dir / RECORD)
    writer = RecordWriter(tmp_path / "run" / RECORD, record.env)
    _, first = next(iter(record))
    longer = np.concatenate([first.actions, first.actions])
    writer.append(0, [dataclasses.replace(first, episode_return=first.episode_return + 1)])
    writer.close()
    with pytest.raises(RunError, match=r"was recorded with .* and comes out with"):
        list(episodes_of_training(tmp_path / "run"))
    config = config_of(tmp_path / "run")
    with pytest.raises(RunError, match="was recorded with"):
        collect_training(config, tmp_path / "data")
    assert not (tmp_path / "data").exists()
    writer = RecordWriter(tmp_path / "other" / RECORD, record.env)
    doubled = PlayedEpisode(first.level, longer, np.zeros(len(longer), np.float16), first.episode_return, True, False)
    writer.append(0, [doubled])
    writer.close()
    with pytest.raises(RunError, match="was recorded with"):
        list(episodes_of_training(tmp_path / "other"))


def config_of(run_dir: Path, num_actors: int = 0) -> TrainingConfig:
    return apply_overrides(TrainingConfig(), {"run": str(run_dir), "num_actors": str(num_actors)})


def test_wrong_use_is_answered(tmp_path: Path) -> None:
    args = argparse.Namespace(
        recipe="ppo-suboptimal", overrides=[], out=tmp_path / "data", list=False, packed=False, address=None
    )
    with pytest.raises(UsageError, match="run=DIR"):
        run_collect(args)
    args.overrides = [f"run={tmp_path}"]
    with pytest.raises(UsageError, match="record_episodes=true"):
        run_collect(args)
