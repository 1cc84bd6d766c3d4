"""Two environments that take turns: the same episodes, and one steps while the policy looks at the other."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

from actors.evaluate import evaluate_inline
from actors.policy import PolicyInput, RandomPolicy
from actors.rollout import make_stage, play, play_on
from data.episode import EpisodeResult
from envs.errors import UsageError
from envs.registry import make_spec, make_vec
from envs.spec import LevelSet
from metrics.protocol import strict
from tests.actors.oracle import HashPolicy

JOBS = [(level, episode) for level in range(9) for episode in (0, 1)]


class Overlapping(HashPolicy):
    """As policies on a GPU say."""

    overlaps = memoryless = True


def overlapping(env: str) -> Overlapping:
    spec = make_spec(env)
    return Overlapping(spec.num_actions, spec.candidate_column)


def by_job(results: Any) -> dict[tuple[int, int], EpisodeResult]:
    found = list(results)
    assert len(found) == len({(result.level, result.episode) for result in found}), "none twice"
    return {(result.level, result.episode): result for result in found}


@pytest.mark.parametrize("mode", ["sampled", "greedy"])
@pytest.mark.parametrize("num_envs", [1, 5, 32])
@pytest.mark.parametrize(
    "env", ["grid/default", "quiz/default", pytest.param("procgen/coinrun", marks=pytest.mark.procgen)]
)
def test_episodes_are_those_of_one_environment(env: str, num_envs: int, mode: Any) -> None:
    jobs = JOBS if env != "procgen/coinrun" else JOBS[:4]
    policy = overlapping(env)
    alone = make_vec(env, 4)
    stage = make_stage(env, policy, num_envs)
    assert len(stage) == 2
    for _ in range(2):  # a stage is used again and again
        expected = by_job(play(alone, policy, jobs, seed=3, mode=mode, epsilon=0.2))
        assert by_job(play_on(stage, policy, jobs, seed=3, mode=mode, epsilon=0.2)) == expected
    assert list(play_on(stage, policy, [], seed=3)) == []
    for each in (alone, *stage):
        each.close()


def test_one_environment_steps_while_the_policy_looks_at_the_other() -> None:
    """Every step meets the policy while it acts: in turn they would wait for each other in vain."""
    meeting = threading.Barrier(2, timeout=5.0)
    acts = 0

    class Meeting(Overlapping):
        def act(self, inputs: PolicyInput) -> np.ndarray:
            nonlocal acts
            acts += 1
            if acts > 1:  # nothing steps yet when it acts first
                meeting.wait()
            return super().act(inputs)

    spec = make_spec("grid/default")
    policy = Meeting(spec.num_actions)
    stage = make_stage("grid/default", policy, 2)

    def meets(step: Any) -> Any:
        def stepped(actions: Any) -> Any:
            meeting.wait()
            return step(actions)

        return stepped

    for env in stage:
        env.step = meets(env.step)  # type: ignore[method-assign]
    played = play_on(stage, policy, JOBS, seed=0)
    next(played)
    assert acts > 4
    assert not meeting.broken
    meeting.abort()  # the last step has nobody to meet
    played.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("environments")]


def test_what_goes_wrong_in_a_step_is_told() -> None:
    policy = overlapping("grid/default")
    stage = make_stage("grid/default", policy, 2)

    def broken(actions: Any) -> Any:
        raise RuntimeError("the engine broke")

    stage[1].step = broken  # type: ignore[method-assign]
    with pytest.raises(RuntimeError, match="the engine broke"):
        list(play_on(stage, policy, JOBS, seed=0))


def test_who_overlaps() -> None:
    policy = overlapping("grid/default")
    plain = RandomPolicy(make_spec("grid/default"))
    assert [len(make_stage("grid/default", each, 2)) for each in (policy, plain)] == [2, 1]
    assert [len(make_stage("grid/default", policy, 2, wanted)) for wanted in (True, False, None)] == [2, 1, 2]
    with pytest.raises(UsageError, match="remembers its slots"):
        list(play_on(make_stage("grid/default", plain, 2, True), plain, JOBS, seed=0))


def test_tables_are_equal() -> None:
    spec = make_spec("grid/default")
    protocol = strict(spec, LevelSet.range(spec.name, 0, 20), num_train=6, num_validation=6, num_test=1)
    policy = overlapping("grid/default")
    tables = [evaluate_inline(policy, protocol, num_envs=4, overlap=overlap) for overlap in (False, True, None)]
    for table in tables[1:]:
        assert table.frame.equals(tables[0].frame)
