"""Actors may die, hang or be many: what comes out is the same."""

from __future__ import annotations

import dataclasses
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from actors.chunks import split
from actors.collect import CollectConfig, collect
from actors.env_actor import PlayTask, RecordTask, new_task_key
from actors.evaluate import evaluate, evaluate_inline, evaluate_on_pool
from actors.policy import Policy, PolicyInput, RandomPolicy
from actors.pool import ActorPool
from actors.sources import SourceSpec, load_policy
from data.verify import verify
from envs.errors import RunError, UsageError
from envs.registry import make_spec
from envs.spec import LevelSet
from metrics.ledger import SealedTestError
from metrics.protocol import Role, strict
from metrics.protocols import build_protocol, training_levels

pytestmark = pytest.mark.ray

GRID = "grid/default"
JOBS = [(level, episode) for level in range(60) for episode in (0, 1)]
COLLECT = CollectConfig(
    env=GRID, source="grid-expert", options={"noise": 0.2}, num_levels=40, min_transitions=6_000, num_envs=4
)


@pytest.fixture
def pool(ray_cluster: Any) -> Iterator[ActorPool]:
    with ActorPool(2, deadline_s=5) as pool:
        yield pool


def results_task(policy: Policy | None = None, env: str = GRID) -> PlayTask:
    return PlayTask(key=new_task_key(), source=SourceSpec(env=env, name="random"), seed=0, num_envs=4, policy=policy)


def pids(pool: ActorPool) -> list[int]:
    return [place.info.pid for place in pool._places if place.info is not None]


def test_every_job_arrives_once(pool: ActorPool) -> None:
    results = list(pool.play_results(results_task(), JOBS))
    assert sorted((result.level, result.episode) for result in results) == JOBS
    assert pool.num_replaced == 0


@pytest.mark.parametrize("policy", [None, "grid-expert"])
def test_a_pool_plays_several_environments_as_one_process_does(pool: ActorPool, policy: str | None) -> None:
    train = training_levels("grid-variants", GRID, 6)
    protocol = build_protocol(
        "grid-variants", make_spec(GRID), train, num_validation=5, episodes_per_level=2, modes=("sampled", "greedy")
    )
    expected = evaluate(policy, protocol, seed=3)
    assert expected.where(role="validation").frame["env"].unique().tolist() == ["grid/distractors"]
    assert evaluate_on_pool(pool, policy, protocol, seed=3, num_envs=3).frame.equals(expected.frame)


def test_a_policy_that_knows_one_environment_is_not_sent_to_others(pool: ActorPool) -> None:
    expert = load_policy(SourceSpec(env=GRID, name="grid-expert"))
    train = training_levels("grid-variants", GRID, 2)
    with pytest.raises(UsageError, match="knows the levels of one environment"):
        evaluate_on_pool(pool, expert, build_protocol("grid-variants", make_spec(GRID), train))


@pytest.mark.parametrize(
    ("num_jobs", "num_envs", "sizes"),
    [(160, 80, [80, 80]), (140, 48, [70, 70]), (3, 80, [2, 1]), (1, 80, [1]), (400, 48, [100, 100, 50, 50, 50, 50])],
)
def test_a_chunk_fills_the_slots_and_both_actors_end_together(num_jobs: int, num_envs: int, sizes: list[int]) -> None:
    jobs = [(level, 0) for level in range(num_jobs)]
    chunks = list(split(jobs, 2, num_envs))
    assert [len(chunk.remaining) for chunk in chunks] == sizes
    assert [job for chunk in chunks for job in chunk.remaining] == jobs


@pytest.mark.chaos
def test_a_killed_env_actor_changes_nothing_in_the_dataset(ray_cluster: Any, tmp_path: Path) -> None:
    """SIGKILL in the middle of collection: replaced, and the fingerprint equals that of an undisturbed run."""
    from ray.util.state import list_actors

    undisturbed = collect(dataclasses.replace(COLLECT, num_actors=0, num_envs=9), tmp_path / "undisturbed")
    killed: list[int] = []

    def kill_twice(done: float, total: float | None = None, note: str = "") -> None:
        if len(killed) < 2 and done > 1500 * (1 + len(killed)):
            filters = [("class_name", "=", "EnvActor"), ("state", "=", "ALIVE")]
            alive = list_actors(address=ray_cluster.get_runtime_context().gcs_address, filters=filters)
            victim = next(actor.pid for actor in alive if actor.pid not in killed)
            os.kill(victim, signal.SIGKILL)
            killed.append(victim)

    disturbed = collect(dataclasses.replace(COLLECT, num_actors=2), tmp_path / "disturbed", kill_twice)
    assert len(killed) == 2
    assert disturbed.fingerprint == undisturbed.fingerprint
    assert verify(tmp_path / "disturbed") == []


@pytest.mark.chaos
def test_killed_actors_lose_and_double_no_job(pool: ActorPool) -> None:
    arrived = []
    for number, result in enumerate(pool.play_results(results_task(slow_policy()), JOBS)):
        arrived.append((result.level, result.episode))
        if number in (10, 50):
            os.kill(pids(pool)[0], signal.SIGKILL)
    assert sorted(arrived) == JOBS
    assert pool.num_replaced == 2


@pytest.mark.chaos
def test_a_hanging_actor_is_replaced_after_the_deadline(pool: ActorPool) -> None:
    stopped, arrived = 0, []
    for result in pool.play_results(results_task(slow_policy()), JOBS):
        arrived.append((result.level, result.episode))
        if not stopped:
            stopped = pids(pool)[0]
            os.kill(stopped, signal.SIGSTOP)
    assert sorted(arrived) == JOBS
    assert pool.num_replaced == 1


def slow_policy() -> Policy:
    """Random play that takes a while. Defined in here so that it travels by value."""

    class Slow(RandomPolicy):
        def act(self, inputs: PolicyInput) -> np.ndarray:
            import time

            time.sleep(0.002)
            return super().act(inputs)

    return Slow(make_spec(GRID))


@pytest.mark.chaos
def test_jobs_that_keep_killing_their_actors_end_the_run_with_their_name(ray_cluster: Any) -> None:
    class Deadly(RandomPolicy):
        privileged = True

        def act(self, inputs: PolicyInput) -> np.ndarray:
            import os

            if 13 in inputs.levels:  # type: ignore[operator]
                os._exit(1)
            return super().act(inputs)

    with (
        ActorPool(2, max_failures=1) as pool,
        pytest.raises(RunError, match=r"\d actors were lost while playing level 13, episode [01]: "),
    ):
        list(pool.play_results(results_task(Deadly(make_spec(GRID))), JOBS))


def test_wrong_use_in_an_actor_is_the_callers_error(pool: ActorPool) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        list(pool.play_results(results_task(), [(2**40, 0)]))
    task = RecordTask(key=new_task_key(), source=SourceSpec(env=GRID, name="quiz-expert"), seed=0, num_envs=2)
    with pytest.raises(UsageError, match="quiz/default"):
        list(pool.play_episodes(task, JOBS))
    with pytest.raises(UsageError, match="twice"):
        list(pool.play_results(results_task(), [(1, 0), (1, 0)]))
    assert len(list(pool.play_results(results_task(), JOBS))) == len(JOBS), "the pool goes on"


def test_an_abandoned_run_leaves_a_usable_pool(pool: ActorPool) -> None:
    stream = pool.play_results(results_task(slow_policy()), JOBS)
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    assert len(list(pool.play_results(results_task(), JOBS[:10]))) == 10


def test_more_actors_than_cpus_are_not_waited_for(ray_cluster: Any) -> None:
    with ActorPool(50) as pool:
        assert len(pool) == 4
        assert len(list(pool.play_results(results_task(), JOBS[:8]))) == 8
    with pytest.raises(UsageError, match="at least 1"):
        ActorPool(0)


def test_no_actor_starting_is_an_error_not_a_wait(ray_cluster: Any) -> None:
    with ActorPool(4) as blocker:
        blocker.wait_until_started()
        with ActorPool(1, start_timeout_s=2) as starved, pytest.raises(RunError, match="No env actor started"):
            list(starved.play_results(results_task(), JOBS[:4]))


def test_evaluation_on_actors_equals_evaluation_in_process(pool: ActorPool) -> None:
    protocol = strict(
        make_spec(GRID),
        LevelSet.range(GRID, 0, 10),
        num_validation=10,
        num_test=3,
        episodes_per_level=2,
        modes=("sampled", "greedy"),
    )
    inline = evaluate_inline(RandomPolicy(make_spec(GRID)), protocol, num_envs=8)
    assert evaluate_on_pool(pool, None, protocol, num_envs=3).frame.equals(inline.frame)
    sent = evaluate_on_pool(pool, RandomPolicy(make_spec(GRID)), protocol, num_envs=8)
    assert sent.frame.equals(inline.frame)
    with pytest.raises(SealedTestError):
        evaluate_on_pool(pool, None, protocol, roles=[Role.TEST])


@pytest.mark.parametrize(
    ("env", "source"),
    [("quiz/default", "random"), pytest.param("procgen/maze", "maze-search", marks=pytest.mark.procgen)],
)
def test_actors_record_what_is_recorded_in_process(ray_cluster: Any, tmp_path: Path, env: str, source: str) -> None:
    config = CollectConfig(env=env, source=source, num_levels=6, min_transitions=100, num_envs=3, num_actors=2)
    by_actors = collect(config, tmp_path / "actors")
    in_process = collect(dataclasses.replace(config, num_actors=0, num_envs=6), tmp_path / "process")
    assert by_actors.fingerprint == in_process.fingerprint
