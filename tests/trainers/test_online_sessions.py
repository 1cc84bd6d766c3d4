"""Trainings that are made in several sessions: leases, signals, kills, and what is kept and recorded on the way."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from actors.training_episodes import RECORD
from data.training_record import TrainingRecord
from envs.errors import RunError, UsageError
from envs.registry import make_spec
from envs.replay import replay
from envs.spec import EnvSpec
from metrics.history import read_history
from tests.trainers.test_online import config
from trainers.checkpoint import load_policy
from trainers.config import NetworkConfig
from trainers.kept import KeptPolicy, build_network, kept_policies, load_kept, select_near
from trainers.online import train_online
from trainers.online_config import OnlineConfig
from trainers.online_parts import build_learner, build_streams
from trainers.stopping import Stopping


def full(**changes: Any) -> OnlineConfig:
    """16 updates of 128 steps on levels where episodes end."""
    base = config(env_steps=2048, num_levels=20, record_episodes=True, keep_every_env_steps=500, checkpoint_every_s=0.0)
    return dataclasses.replace(base, **changes)


def final_parameters(run_dir: Path) -> torch.Tensor:
    policy = load_policy(run_dir / "checkpoints" / "last")
    return torch.cat([parameter.detach().reshape(-1) for parameter in policy.network.parameters()])  # type: ignore[attr-defined]


@pytest.mark.parametrize("num_env_processes", [0, 2])
def test_overlapped_training_is_determined_by_the_seed(tmp_path: Path, num_env_processes: int) -> None:
    settings = config(overlap=True, env_steps=640, num_env_processes=num_env_processes)
    for name in ("first", "again"):
        result = train_online(settings, tmp_path / name)
    assert result["env_steps"] == 640
    assert torch.equal(final_parameters(tmp_path / "first"), final_parameters(tmp_path / "again"))
    train_online(dataclasses.replace(settings, overlap=False), tmp_path / "in turn")
    assert not torch.equal(final_parameters(tmp_path / "first"), final_parameters(tmp_path / "in turn"))


def test_a_lease_ends_with_a_checkpoint_and_the_next_goes_on(tmp_path: Path) -> None:
    settings = config(overlap=True, env_steps=100_000_000, lease_s=3.0)
    started = time.monotonic()
    result = train_online(settings, tmp_path)
    assert time.monotonic() - started < 6
    assert (result["finished"], result["stopped_by"]) == (False, "lease_s")
    steps = result["env_steps"]
    assert json.loads((tmp_path / "checkpoints/last/state.json").read_text())["progress"]["env_steps"] == steps
    finished = train_online(dataclasses.replace(settings, env_steps=steps + 256, lease_s=None), tmp_path)
    assert (finished["finished"], finished["stopped_by"], finished["env_steps"]) == (True, None, steps + 256)


def test_no_round_begins_that_would_outlast_the_lease() -> None:
    stopping = Stopping(lease_s=50.0)
    assert stopping.reason() is None
    assert stopping.reason(next_s=49.0) is None
    assert stopping.reason(next_s=51.0) == "lease_s"
    assert Stopping(None).reason(next_s=1e9) is None


def test_the_first_sigterm_asks_and_the_next_one_is_what_it_was(tmp_path: Path) -> None:
    asked: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: asked.append(number))
    try:
        stopping = Stopping()
        with stopping.on_sigterm():
            os.kill(os.getpid(), signal.SIGTERM)
            assert stopping.reason() == "SIGTERM"
            assert asked == []
            os.kill(os.getpid(), signal.SIGTERM)
            assert asked == [signal.SIGTERM]
        thread = threading.Thread(target=lambda: train_online(config(env_steps=128), tmp_path))
        thread.start()  # signals cannot be caught there
        thread.join()
        assert (tmp_path / "checkpoints" / "last").exists()
    finally:
        signal.signal(signal.SIGTERM, before)


COMMAND = [
    sys.executable, "gengap.py", "train", "grid-ppo", "num_envs=8", "fragment_steps=16", "network.hidden_size=16",
    "tracking.wandb=disabled", "num_env_processes=2", "overlap=true", "record_episodes=true", "checkpoint_every_s=0.3",
    "keep_every_env_steps=1000", "num_levels=20", "ppo.minibatches=1", "ppo.epochs=1", "--json",
]  # fmt: skip


def start(run_dir: Path, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*COMMAND, "--out", str(run_dir), *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def wait_for(check: Any, timeout_s: float = 60.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not check():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def saved_steps(run_dir: Path) -> int:
    try:
        return int(json.loads((run_dir / "checkpoints/last/state.json").read_text())["progress"]["env_steps"])
    except FileNotFoundError:
        return 0


@pytest.mark.slow
@pytest.mark.chaos
def test_sigterm_saves_and_sigkill_loses_only_what_came_after_the_checkpoint(tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    with start(run_dir, "env_steps=100000000") as process:
        wait_for(lambda: saved_steps(run_dir) > 2000)
        process.terminate()
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    result = json.loads(out.splitlines()[-1])
    assert (result["finished"], result["stopped_by"]) == (False, "SIGTERM")
    assert result["env_steps"] == saved_steps(run_dir)
    stopped_at = result["env_steps"]
    with start(run_dir, "env_steps=100000000", "--resume") as process:
        wait_for(lambda: saved_steps(run_dir) > stopped_at + 1500)
        process.kill()
        process.communicate()
    resumed_at = saved_steps(run_dir)
    target = resumed_at + 1024
    with start(run_dir, f"env_steps={target}", "--resume") as process:
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert json.loads(out.splitlines()[-1])["finished"]
    rows = read_history(run_dir / "metrics.jsonl")
    assert [row["env_steps"] for row in rows] == list(range(128, target + 1, 128))
    kept = [policy.env_steps for policy in kept_policies(run_dir)]
    assert kept == sorted(
        {step for step in range(1000, target + 1) if step % 128 == 0 and step % 1000 < 128} | {target}
    )
    record = TrainingRecord(run_dir / RECORD)
    assert record.num_episodes == sum(row["train/episode/count"] for row in rows)
    for update, played in list(record)[-20:]:
        assert update < target // 128
        again = replay("grid/default", played.level, played.actions)
        assert again["episode_return"] == pytest.approx(played.episode_return)
        assert again["length"] == len(played.actions)


def test_the_record_holds_every_episode_and_replays_to_its_return(tmp_path: Path) -> None:
    train_online(full(env_steps=1024), tmp_path)
    train_online(full(), tmp_path)
    record = TrainingRecord(tmp_path / RECORD)
    rows = read_history(tmp_path / "metrics.jsonl")
    played = list(record)
    assert len(played) == record.num_episodes == sum(row["train/episode/count"] for row in rows) > 10
    for row in rows:
        returns = [episode.episode_return for update, episode in played if (update + 1) * 128 == row["env_steps"]]
        assert len(returns) == row["train/episode/count"]
        assert not returns or np.mean(returns) == pytest.approx(row["train/episode/return_mean"])
    for _, episode in played:
        again = replay("grid/default", episode.level, episode.actions)
        assert (again["length"], again["unused_actions"]) == (len(episode.actions), 0)
        assert (again["terminated"], again["truncated"]) == (episode.terminated, episode.truncated)
        assert again["episode_return"] == pytest.approx(episode.episode_return)


def test_policies_are_kept_on_schedule_with_their_returns(tmp_path: Path) -> None:
    settings = full()
    train_online(settings, tmp_path)
    kept = kept_policies(tmp_path)
    assert [policy.env_steps for policy in kept] == [512, 1024, 1536, 2048]
    last = kept[-1]
    returns = [episode.episode_return for _, episode in TrainingRecord(tmp_path / RECORD)][-200:]
    assert last.return_mean == pytest.approx(np.mean(returns))
    assert last.num_episodes == len(returns)
    network = build_network(EnvSpec.from_json(last.env), NetworkConfig(**last.network), load_kept(last))
    half = torch.cat([parameter.detach().reshape(-1) for parameter in network.parameters()])
    torch.testing.assert_close(half, final_parameters(tmp_path), atol=1e-3, rtol=1e-3)
    assert not torch.equal(half, final_parameters(tmp_path))  # rounded


def test_what_was_kept_after_the_checkpoint_is_forgotten(tmp_path: Path) -> None:
    settings = full(env_steps=1024)
    train_online(settings, tmp_path)
    stray = tmp_path / "kept" / "steps-000000009999"
    kept = kept_policies(tmp_path)[-1]
    stray.with_suffix(".safetensors").write_bytes(kept.weights.read_bytes())
    values = json.loads(kept.weights.with_suffix(".json").read_text())
    values |= {"env_steps": 9999, "weights": f"{stray.name}.safetensors"}
    stray.with_suffix(".json").write_text(json.dumps(values))
    assert kept_policies(tmp_path)[-1].env_steps == 9999
    train_online(full(), tmp_path)
    assert kept_policies(tmp_path)[-1].env_steps == 2048
    assert not list((tmp_path / "kept").glob("*9999*"))


def policies(*returns: float) -> list[KeptPolicy]:
    return [
        KeptPolicy(
            weights=Path(f"{number}.safetensors"), policy_id=str(number), env={}, network={}, env_steps=number,
            learner_step=number, elapsed_s=1.0, return_mean=value, num_episodes=0 if np.isnan(value) else 200,
        )
        for number, value in enumerate(returns, 1)
    ]  # fmt: skip


def test_the_nearest_policy_is_selected_for_each_fraction_of_the_final_return() -> None:
    kept = policies(float("nan"), 1.0, 2.4, 5.0, 7.6, 7.4, 9.0, 10.5, 10.0)
    chosen = select_near(kept, (0.25, 0.75, 1.0))
    assert [policy.return_mean for policy in chosen] == [2.4, 7.6, 10.0]
    with pytest.raises(UsageError, match="keep more of them"):
        select_near(policies(9.0, 10.0), (0.25, 0.75, 1.0))
    with pytest.raises(UsageError, match="kept no policies"):
        select_near(policies(float("nan")), (1.0,))
    with pytest.raises(UsageError, match=r"fraction 1\.5"):
        select_near(kept, (1.5,))


@pytest.mark.slow
def test_a_compiled_network_learns_the_same(tmp_path: Path) -> None:
    results = {}
    for compile in (False, True):
        settings = config(compile=compile, env_steps=256)
        train_online(settings, tmp_path / str(compile))
        results[compile] = final_parameters(tmp_path / str(compile))
    torch.testing.assert_close(results[True], results[False], atol=1e-4, rtol=1e-3)


def test_a_compiler_that_fails_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:

    def fail(*_: object, **__: object) -> None:
        raise torch._dynamo.exc.InternalTorchDynamoError("no compiler here\nand a long trace")

    monkeypatch.setattr(torch, "compile", lambda module: fail)
    settings = config(compile=True)
    streams = build_streams(settings, make_spec(settings.env), build_learner(settings, make_spec(settings.env)))
    streams.begin(0)
    with pytest.raises(RunError, match=r"torch\.compile does not work here: no compiler here"):
        streams.finish()
    streams.close()


def test_the_learner_does_not_need_ray_or_the_trackers(tmp_path: Path) -> None:
    code = f"""
import sys
for name in ("ray", "wandb", "pandas", "matplotlib", "pyarrow"):
    sys.modules[name] = None
sys.argv = ["gengap", "train", "grid-ppo", "env_steps=64", "num_envs=4", "fragment_steps=16", "num_env_processes=1",
            "network.hidden_size=16", "tracking.wandb=disabled", "--out", {str(tmp_path / "run")!r}]
import gengap
if __name__ == "__main__":
    gengap.main()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert saved_steps(tmp_path / "run") == 64


def test_the_number_of_processes_changes_only_rounding(tmp_path: Path) -> None:
    for number in (0, 1, 2):
        train_online(config(num_env_processes=number, env_steps=256), tmp_path / str(number))
    torch.testing.assert_close(final_parameters(tmp_path / "0"), final_parameters(tmp_path / "2"), atol=1e-3, rtol=1e-2)
    assert torch.equal(final_parameters(tmp_path / "1"), final_parameters(tmp_path / "2"))
