"""The toys' experts are right in every state, also after random actions."""

from __future__ import annotations

import numpy as np
import pytest

from actors.policy import PolicyInput
from actors.sources import SourceSpec, build_source, load_policy
from data.episode import Episode
from envs.errors import UsageError
from envs.grid_levels import VARIANTS, make_level, solve
from envs.registry import make_spec, make_vec

JOBS = [(level, episode) for level in range(20) for episode in (0, 1)]


def record(env: str, name: str, **options: float | bool) -> list[Episode]:
    source = build_source(SourceSpec(env=env, name=name, options=options))
    assert source.privileged
    return list(source.play_jobs(make_vec(env, 7), JOBS, seed=0))


@pytest.mark.parametrize("env", ["grid/default", "grid/chain-3"])
def test_the_grid_expert_takes_a_shortest_way(env: str) -> None:
    for episode in record(env, "grid-expert"):
        assert episode.episode_return == pytest.approx(1)
        assert len(episode) == len(solve(make_level(VARIANTS[env], episode.level)))


def test_the_grid_expert_recovers_from_noise() -> None:
    played = record("grid/default", "grid-expert", noise=0.4)
    assert np.mean([episode.episode_return for episode in played]) > 0.95
    assert not any((episode.actions == 0).any() for episode in played), "noise moves, it does not wait"


def test_grid_labels_lead_to_the_goal() -> None:
    """Following the label wherever the noisy episode went is what the expert itself would do."""
    taken = {(e.level, e.episode): e for e in record("grid/default", "grid-expert", noise=0.4)}
    for labeled in record("grid/default", "grid-expert", noise=0.4, relabel=True):
        original = taken[labeled.level, labeled.episode]
        assert np.array_equal(labeled.rewards, original.rewards)
        certain = original.behavior_logp > np.log(0.4 / 4 + 0.6 / 2 - 1e-3)
        assert (certain.sum() > 0) or len(labeled) < 3
        assert (labeled.actions > 0).all()


def test_the_quiz_expert_answers_everything() -> None:
    assert all(e.episode_return == pytest.approx(1) for e in record("quiz/default", "quiz-expert"))
    assert np.mean([e.episode_return for e in record("quiz/default", "quiz-expert", noise=1.0)]) < 0.6


def test_an_experts_probabilities_are_the_mixture_it_states() -> None:
    policy = load_policy(SourceSpec(env="grid/default", name="grid-expert", options={"noise": 0.2}))
    level = make_level(VARIANTS["grid/default"], 3)
    env = make_vec("grid/default", 1)
    observations, _ = env.reset(options={"levels": np.array([3])})
    inputs = PolicyInput(
        observations, np.array([True]), np.array([-1], dtype=np.int32), np.zeros(1, dtype=np.float32), np.array([3])
    )
    probabilities = np.exp(policy.act(inputs)[0])
    assert probabilities.sum() == pytest.approx(1)
    assert probabilities[0] == 0
    assert probabilities[solve(level)[0]] == probabilities.max()
    others = np.sort(probabilities)[1:-1]
    assert others[0] == pytest.approx(0.05)


def test_single_episodes_equal_those_of_a_batch() -> None:
    source = build_source(SourceSpec(env="grid/default", name="grid-expert", options={"noise": 0.3}))
    for episode in list(source.play_jobs(make_vec("grid/default", 5), JOBS[:10], seed=4)):
        alone = source.play(episode.level, episode.episode, seed=4)
        assert list(alone.actions) == list(episode.actions)


def test_unknown_sources_and_options_are_answered() -> None:
    with pytest.raises(UsageError, match="Did you mean 'grid-expert'"):
        build_source(SourceSpec(env="grid/default", name="grid-expret"))
    with pytest.raises(UsageError, match="Did you mean 'noise'"):
        build_source(SourceSpec(env="grid/default", name="grid-expert", options={"nois": 0.1}))
    with pytest.raises(UsageError, match="grid/default"):
        build_source(SourceSpec(env="quiz/default", name="grid-expert"))
    with pytest.raises(UsageError, match="quiz/default"):
        build_source(SourceSpec(env="grid/default", name="quiz-expert"))
    assert make_spec("grid/default").num_actions == 5
