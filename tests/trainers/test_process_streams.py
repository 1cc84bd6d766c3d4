from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch

from data.episode import EpisodeResult
from envs.errors import RunError, UsageError
from envs.registry import make_spec
from envs.spec import LevelSet
from tests.trainers.test_online import config
from trainers.actor_critic import build_actor_critic
from trainers.config import NetworkConfig
from trainers.fragment import Act, Floats, Fragment, Rows
from trainers.online_parts import build_learner, build_streams
from trainers.playing import ActorCriticPlayer
from trainers.precision import place
from trainers.process_streams import ProcessStreams
from trainers.streams import LocalStreams

STEPS, ENVS = 40, 8
FIELDS = [field.name for field in dataclasses.fields(Fragment) if field.name not in ("observations", "episodes")]


def by_pixels(rows: Rows) -> tuple[Floats, Floats]:
    """Exact for each row alone: action and value depend on the sum of its pixels."""
    sums = np.asarray(rows["image"]).reshape(len(rows["image"]), -1).sum(axis=1, dtype=np.int64)
    logits = ((sums[:, None] * np.array([3, 7, 1, 5, 2])) % 11).astype(np.float32) / 11
    log_probs = logits - np.log(np.exp(logits.astype(np.float64)).sum(axis=1, keepdims=True)).astype(np.float32)
    return log_probs.astype(np.float32), (sums % 97).astype(np.float32)


@contextmanager
def processes(act: Act = by_pixels, env: str = "grid/default", **changes: Any) -> Iterator[ProcessStreams]:
    settings: dict[str, Any] = {"num_processes": 2, "num_envs": ENVS, "num_steps": STEPS, "seed": 3, "timeout_s": 60.0}
    streams = ProcessStreams(make_spec(env), LevelSet.range(env, 0, 50), act, **{**settings, **changes})
    try:
        yield streams
    finally:
        streams.close()
        assert not any(process.is_alive() for process in streams.processes)


def local(
    act: Act = by_pixels, env: str = "grid/default", num_envs: int = ENVS, num_steps: int = STEPS
) -> LocalStreams:
    return LocalStreams(env, num_envs, LevelSet.range(env, 0, 50), act, num_steps=num_steps, seed=3)


def assert_equal(first: Fragment, second: Fragment) -> None:
    for name in FIELDS:
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name), err_msg=name)
    for name, column in first.observations.items():
        np.testing.assert_array_equal(column, second.observations[name])
    assert first.episodes == second.episodes


@pytest.mark.parametrize("num_processes", [1, 2])
def test_fragments_of_processes_equal_those_of_the_calling_process(num_processes: int) -> None:
    here, ends, truncations = local(), list[EpisodeResult](), 0
    with processes(num_processes=num_processes) as there:
        for number in range(3):  # episodes go on from one to the next
            (expected,), (received,) = here.collect(number), there.collect(number)
            assert_equal(expected, received)
            ends = [*ends, *received.episodes]
            truncations += int((received.bootstrap_values[received.truncated] != 0).sum())
    here.close()
    assert truncations
    assert any(episode.terminated for episode in ends)


@pytest.mark.procgen
def test_procgen_in_processes_plays_the_same_levels_actions_and_frames() -> None:
    spec = make_spec("procgen/coinrun")
    module = build_actor_critic(spec, NetworkConfig(encoder="small", hidden_size=32), 0)
    player = ActorCriticPlayer(module, "cpu", "float32")
    here = local(player, "procgen/coinrun", num_steps=40)
    with processes(player, "procgen/coinrun", num_steps=40) as there:
        for number in range(2):
            (expected,), (received,) = here.collect(number), there.collect(number)
            np.testing.assert_array_equal(expected.actions, received.actions)
            np.testing.assert_array_equal(expected.observations["image"], received.observations["image"])
            np.testing.assert_array_equal(expected.rewards, received.rewards)
            # Batches of another size round otherwise.
            np.testing.assert_allclose(expected.log_probs, received.log_probs, atol=1e-5)
            np.testing.assert_allclose(expected.values, received.values, atol=1e-5)
            assert expected.episodes == received.episodes
    here.close()


@pytest.mark.chaos
def test_the_fragment_of_a_killed_process_is_discarded_and_others_play_on() -> None:
    seen = []

    def act(rows: Rows) -> tuple[Floats, Floats]:
        seen.append(len(rows["image"]))
        if len(seen) == 2 * 2 * STEPS:  # well inside the second fragment
            os.kill(there.processes[1].pid, signal.SIGKILL)
        return by_pixels(rows)

    with processes(act) as there:
        (first,) = there.collect(0)
        first_pids = [process.pid for process in there.processes]
        image = np.array(first.observations["image"])
        (second,) = there.collect(1)
        # The lost fragment and its repetition use one memory: the fragment before is still being learned from.
        np.testing.assert_array_equal(first.observations["image"], image)
        (third,) = there.collect(2)
        assert [(part.incarnation, part.number) for part in (first, second, third)] == [(0, 0), (1, 1), (1, 2)]
        assert there.num_lost == 1
        assert not set(first_pids) & {process.pid for process in there.processes}
    # What the next incarnation plays is a fresh stream of its own name, not the rest of the lost one.
    assert (second.actions != first.actions).any()
    (repeated,) = local().collect(1)
    assert (second.actions != repeated.actions).any()


@pytest.mark.chaos
def test_a_process_that_hangs_is_lost_and_losing_all_is_an_error() -> None:
    with processes(timeout_s=60.0) as there:
        there.collect(0)
        os.kill(there.processes[0].pid, signal.SIGSTOP)
        there._timeout_s = 1.0
        with pytest.raises(RunError, match=r"lost 3 times while playing fragment 1.*did not answer within 0"):
            hang(there)
        there._timeout_s = 60.0
        (fragment,) = there.collect(1)
        assert fragment.incarnation == there.num_lost == 3


def hang(there: ProcessStreams) -> None:
    """Collect with no time at all, so that each new set of processes is too slow as well."""
    there._timeout_s = 0.0
    there.collect(1)


def test_an_error_in_an_environment_is_shown_with_its_reason() -> None:
    with processes() as there:
        there.collect(0)
        there._views["actions"][:] = 99
        there._send(64)
        with pytest.raises(RunError, match=r"'grid/default' failed(.|\n)*Actions of 'grid/default' lie in 0\.\.4"):
            there._wait()


def test_the_processes_end_with_the_learner_whatever_ends_it() -> None:
    code = """
import sys
from tests.trainers.test_process_streams import ProcessStreams, LevelSet, by_pixels, make_spec
if __name__ == "__main__":
    streams = ProcessStreams(make_spec("grid/default"), LevelSet.range("grid/default", 0, 5), by_pixels,
                             num_processes=2, num_envs=4, num_steps=4, seed=0)
    streams.collect(0)
    print(*[process.pid for process in streams.processes], flush=True)
    sys.stdin.read()
"""
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        pids = [int(word) for word in parent.stdout.readline().split()]
        assert len(pids) == 2
        parent.kill()
    deadline = time.monotonic() + 20
    while any(is_running(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(is_running(pid) for pid in pids)


def is_running(pid: int) -> bool:
    try:
        state = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()[0]  # noqa: SIM115
    except FileNotFoundError:
        return False
    return state != "Z"


def test_ragged_columns_and_slots_that_cannot_be_divided_are_refused() -> None:
    with pytest.raises(UsageError, match="columns of varying length"), processes(env="quiz/default"):
        pass
    with pytest.raises(UsageError, match="must be a multiple of 6"), processes(num_processes=3):
        pass
    with pytest.raises(UsageError, match="must be a multiple of 6"):
        config(num_env_processes=3, num_envs=8)
    with pytest.raises(UsageError, match="one of the two must be 0"):
        config(num_env_processes=2, num_streams=2)


@pytest.mark.parametrize("num_env_processes", [0, 2])
def test_ahead_plays_the_parameters_of_when_it_began(num_env_processes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    gate, act = threading.Event(), ActorCriticPlayer.__call__
    monkeypatch.setattr(ActorCriticPlayer, "__call__", lambda player, rows: gate.wait(60) and act(player, rows))
    settings = config(overlap=True, num_env_processes=num_env_processes, fragment_steps=16)
    spec = make_spec(settings.env)
    learner = build_learner(settings, spec)
    streams = build_streams(settings, spec, learner)
    try:
        gate.set()
        streams.begin(0)
        first = streams.finish()
        before = build_actor_critic(spec, settings.network, settings.seed)
        before.load_state_dict(learner.module.state_dict())
        gate.clear()  # so that every action of the next fragment is chosen after the update
        streams.begin(1)
        learner.update(first)
        gate.set()
        (second,) = streams.finish()
        taken = log_probs_of(before, second)
        np.testing.assert_allclose(taken, second.log_probs, atol=1e-5)
        assert np.abs(log_probs_of(learner.module, second) - second.log_probs).max() > 1e-4
    finally:
        streams.close()


def log_probs_of(module: torch.nn.Module, fragment: Fragment) -> np.ndarray:
    with torch.no_grad():
        logits, _ = module({"image": torch.from_numpy(np.array(fragment.observations["image"]))})
    log_probs = torch.log_softmax(logits, dim=1).numpy()
    return log_probs[np.arange(len(log_probs)), fragment.actions.reshape(-1)].reshape(fragment.actions.shape)


@pytest.mark.parametrize("num_env_processes", [0, 2])
def test_closing_in_the_middle_of_a_fragment_does_not_wait_for_its_end(num_env_processes: int) -> None:
    settings = config(overlap=True, num_env_processes=num_env_processes, fragment_steps=100_000)
    spec = make_spec(settings.env)
    streams = build_streams(settings, spec, build_learner(settings, spec))
    streams.begin(0)
    time.sleep(0.3)
    started = time.monotonic()
    streams.close()
    assert time.monotonic() - started < 10
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("streams")]


@pytest.mark.parametrize("encoder", ["small", "impala"])
def test_a_player_with_cast_weights_says_exactly_what_the_network_says(encoder: str) -> None:
    spec = make_spec("procgen/coinrun")
    module = build_actor_critic(spec, NetworkConfig(encoder=encoder, hidden_size=32), 0)
    player = ActorCriticPlayer(
        build_actor_critic(spec, NetworkConfig(encoder=encoder, hidden_size=32), 1), "cpu", "bfloat16"
    )
    player.take(module)
    image = np.random.default_rng(0).integers(0, 256, (16, 64, 64, 3), dtype=np.uint8)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        logits, values = place(module, "cpu")({"image": torch.from_numpy(image)})
    log_probs, own_values = player({"image": image})
    np.testing.assert_array_equal(log_probs, torch.log_softmax(logits, dim=1).numpy())
    np.testing.assert_array_equal(own_values, values.numpy())
    assert player.module.policy.encoder.linear.weight.dtype == torch.bfloat16
