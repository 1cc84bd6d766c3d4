"""BCQ, CQL and IQL against their equations, written out row by row."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
import torch

from envs.errors import UsageError
from envs.registry import make_spec
from tests.trainers.algorithms_helpers import BYTES, GRID, SMALL, algorithm_config, batch_for
from trainers.algorithms import build_algorithm
from trainers.algorithms.bcq import BCQ
from trainers.algorithms.cql import CQL
from trainers.algorithms.iql import IQL
from trainers.algorithms.q_policy import IMITATION, Q
from trainers.batches import TensorBatch

QUIZ = make_spec("quiz/default")
ENVS = pytest.mark.parametrize("env", ["grid", "quiz"])


def make(name: str, env: str, **options: Any) -> Any:
    spec, network = (GRID, SMALL) if env == "grid" else (QUIZ, BYTES)
    algorithm = build_algorithm(spec, algorithm_config(name, **options), network, seed=0)
    with torch.no_grad():  # a target that differs from the network, as after some steps
        for parameter in algorithm.target.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    return algorithm


def transitions(algorithm: Any, env: str) -> TensorBatch:
    """A batch whose next observations differ from the observations, and offer other candidates."""
    spec = GRID if env == "grid" else QUIZ
    batch, following = batch_for(algorithm, spec, 8), batch_for(algorithm, spec, 8, seed=5)
    return dataclasses.replace(batch, next_observations=following.observations)


def rows(values: torch.Tensor) -> list[list[float]]:
    """The possible entries of each row."""
    return [[value for value in row if value > -math.inf] for row in values.detach().double().tolist()]


def huber(difference: float) -> float:
    return difference**2 / 2 if abs(difference) < 1 else abs(difference) - 0.5


def log_sum_exp(values: list[float]) -> float:
    return math.log(sum(math.exp(value) for value in values))


@ENVS
def test_cql_is_its_equation(env: str) -> None:
    algorithm: CQL = make("cql", env, alpha=0.7, discount=0.9, reward_scale=2.0)
    batch = transitions(algorithm, env)
    q = rows(algorithm.acting.q(batch.observations))
    online = rows(algorithm.acting.q(batch.next_observations))
    target = rows(algorithm.target.network(batch.next_observations)[Q])
    td, conservative = [], []
    for b, action in enumerate(batch.actions.tolist()):
        best = int(np.argmax(online[b]))
        y = 2 * batch.rewards[b].item() + (0 if batch.terminated[b] else 0.9 * target[b][best])
        td.append(huber(q[b][action] - y))
        conservative.append(log_sum_exp(q[b]) - q[b][action])
    losses = algorithm(batch)
    assert losses["td"].item() == pytest.approx(np.mean(td), rel=1e-4)
    assert losses["conservative"].item() == pytest.approx(np.mean(conservative), rel=1e-4)
    assert losses["total"].item() == pytest.approx(np.mean(td) + 0.7 * np.mean(conservative), rel=1e-4)


@ENVS
@pytest.mark.parametrize("threshold", [0.0, 0.9])
def test_bcq_is_its_equation(env: str, threshold: float) -> None:
    algorithm: BCQ = make("bcq", env, threshold=threshold, discount=0.9, logit_penalty=0.3)
    batch = transitions(algorithm, env)
    outputs = algorithm.acting.network(batch.observations)
    following = algorithm.acting.network(batch.next_observations)
    online, seen = rows(following[Q]), rows(following[IMITATION])
    target = rows(algorithm.target.network(batch.next_observations)[Q])
    q, logits = rows(outputs[Q]), rows(outputs[IMITATION])
    td, likelihood, squares, excluded = [], [], [], 0
    for b, action in enumerate(batch.actions.tolist()):
        allowed = [a for a, logit in enumerate(seen[b]) if math.exp(logit - max(seen[b])) > threshold]
        excluded += len(seen[b]) - len(allowed)
        best = max(allowed, key=lambda a: online[b][a])
        y = batch.rewards[b].item() + (0 if batch.terminated[b] else 0.9 * target[b][best])
        td.append(huber(q[b][action] - y))
        likelihood.append(log_sum_exp(logits[b]) - logits[b][action])
        squares.append(np.mean(np.square(logits[b])))
    losses = algorithm(batch)
    assert losses["td"].item() == pytest.approx(np.mean(td), rel=1e-4)
    assert losses["total"].item() == pytest.approx(np.mean(td) + np.mean(likelihood) + 0.3 * np.mean(squares), rel=1e-4)
    if threshold == 0:
        assert excluded == 0


@ENVS
def test_iql_is_its_equation(env: str) -> None:
    algorithm: IQL = make("iql", env, expectile=0.7, beta=2.0, max_weight=1.05, discount=0.9)
    batch = transitions(algorithm, env)
    outputs, targets = algorithm.critic(batch.observations), algorithm.target.network(batch.observations)
    v, following = outputs["v"], algorithm.critic(batch.next_observations)["v"]
    logits = rows(algorithm.actor(batch.observations))
    value, q, policy = [], [], []
    for b, action in enumerate(batch.actions.tolist()):
        u = min(targets[name][b, action].item() for name in ("q1", "q2")) - v[b, 0].item()
        value.append(abs(0.7 - (u < 0)) * u**2)
        y = batch.rewards[b].item() + (0 if batch.terminated[b] else 0.9 * following[b, 0].item())
        q.append(sum((outputs[name][b, action].item() - y) ** 2 for name in ("q1", "q2")))
        policy.append(min(math.exp(2 * u), 1.05) * (log_sum_exp(logits[b]) - logits[b][action]))
    losses = algorithm(batch)
    for name, expected in (("value", value), ("q", q), ("policy", policy)):
        assert losses[name].item() == pytest.approx(np.mean(expected), rel=1e-4), name
    assert losses["total"].item() == pytest.approx(np.mean(value) + np.mean(q) + np.mean(policy), rel=1e-4)


@pytest.mark.parametrize("name", ["bcq", "cql", "iql"])
def test_truncation_bootstraps_and_termination_does_not(name: str) -> None:
    algorithm = make(name, "grid", discount=0.5)
    batch, flags = transitions(algorithm, "grid"), torch.zeros(8, dtype=torch.bool)
    running = algorithm.backup(dataclasses.replace(batch, terminated=flags, truncated=flags))
    cut_off = algorithm.backup(dataclasses.replace(batch, terminated=flags, truncated=~flags))
    over = algorithm.backup(dataclasses.replace(batch, terminated=~flags, truncated=flags))
    assert torch.equal(cut_off, running)
    assert torch.equal(over, batch.rewards)
    assert not torch.allclose(running, over)
    twice = make(name, "grid", discount=1.0).backup(dataclasses.replace(batch, terminated=flags, truncated=flags))
    torch.testing.assert_close(twice - batch.rewards, 2 * (running - batch.rewards))


@pytest.mark.parametrize("name", ["bcq", "cql", "iql"])
def test_next_values_are_those_of_the_next_candidates(name: str) -> None:
    """What the present page offers must not matter for the value of the next one."""
    algorithm = make(name, "quiz")
    batch = dataclasses.replace(transitions(algorithm, "quiz"), terminated=torch.zeros(8, dtype=torch.bool))
    other = batch_for(algorithm, QUIZ, 8, seed=9)
    expected = algorithm.backup(batch)
    assert torch.equal(algorithm.backup(dataclasses.replace(batch, observations=other.observations)), expected)
    moved = algorithm.backup(dataclasses.replace(batch, next_observations=other.observations))
    assert (moved != expected).all()
    last = {**batch.next_observations, "candidates": other.observations["candidates"]}
    offered = algorithm.backup(dataclasses.replace(batch, next_observations=last))
    assert (offered != expected).any(), "and what the next one offers does"


@pytest.mark.parametrize("name", ["bcq", "cql", "iql"])
@pytest.mark.parametrize("encoder", ["bytes", "cross"])
def test_an_end_page_without_candidates_is_worth_nothing(name: str, encoder: str) -> None:
    from envs.text import encode_text
    from trainers.networks import collate

    network = dataclasses.replace(BYTES, encoder=encoder)
    algorithm = build_algorithm(QUIZ, algorithm_config(name), network, seed=0)
    empty = np.zeros(0, dtype=np.uint8)
    ended = collate({"page": (encode_text("thank you"),) * 8, "candidates": (empty,) * 8})
    batch = batch_for(algorithm, QUIZ, 8)
    batch = dataclasses.replace(batch, next_observations=ended, terminated=torch.ones(8, dtype=torch.bool))
    assert torch.equal(algorithm.backup(batch), batch.rewards)
    losses = algorithm(batch)
    losses["total"].backward()
    assert all(torch.isfinite(loss) for loss in losses.values())
    assert all(torch.isfinite(p.grad).all() for p in algorithm.parameters() if p.grad is not None)


def test_values_of_a_group_of_levels_are_its_own(grid_data: Any) -> None:
    from data.dataset import Dataset

    algorithm: IQL = make("iql", "grid", level_groups=3)
    algorithm.read_data(Dataset.open(grid_data))  # levels 0 .. 39
    assert algorithm.first_levels.tolist() == [14, 27]
    batch = batch_for(algorithm, GRID, 6)
    batch = dataclasses.replace(batch, levels=torch.tensor([0, 13, 14, 26, 27, 39]))
    values = torch.arange(18.0).reshape(6, 3)
    assert algorithm._of_group(values, batch).tolist() == [0, 3, 7, 10, 14, 17]
    with pytest.raises(UsageError, match="40 levels"):
        make("iql", "grid", level_groups=41).read_data(Dataset.open(grid_data))


def test_epsilon_greedy_is_almost_always_the_best_allowed_action() -> None:
    algorithm: BCQ = make("bcq", "quiz", acting="epsilon", epsilon=0.1, threshold=0.99)
    observations = batch_for(algorithm, QUIZ, 8).observations
    outputs = algorithm.acting.network(observations)
    probabilities = torch.softmax(algorithm.policy()(observations), dim=1)
    torch.testing.assert_close(probabilities.sum(1), torch.ones(8))
    for b in range(8):
        logits, values = outputs[IMITATION][b].detach(), outputs[Q][b].detach()
        allowed = [a for a in range(len(logits)) if math.exp(logits[a] - logits.max()) > 0.99]
        best = max(allowed, key=lambda a: values[a].item())
        for action in range(len(logits)):
            share = 0.1 / len(allowed) if action in allowed else 0.0
            assert probabilities[b, action].item() == pytest.approx(share + 0.9 * (action == best), abs=1e-6)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("cql", {"alpha": -1.0}, "0 or more"),
        ("cql", {"discount": 1.5}, "0 to 1"),
        ("cql", {"target_update": "polyack"}, "Did you mean 'polyak'"),
        ("cql", {"target_rate": 0.0}, "above 0"),
        ("cql", {"target_update": "copy", "target_period": 0}, "at least 1"),
        ("cql", {"bins": 0}, "1 bin or more"),
        ("cql", {"acting": "epsilon", "epsilon": 1.0}, "below 1"),
        ("bcq", {"threshold": 1.0}, "below 1"),
        ("bcq", {"sharing": "all"}, "Allowed"),
        ("iql", {"expectile": 1.0}, "between 0 and 1"),
        ("iql", {"level_groups": 0}, "1 or more"),
    ],
)
def test_bad_options_are_refused(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        build_algorithm(GRID, algorithm_config(name, **options), SMALL, seed=0)


def test_maps_can_only_be_shared_where_there_are_maps() -> None:
    with pytest.raises(UsageError, match="needs an image encoder"):
        build_algorithm(QUIZ, algorithm_config("bcq", sharing="maps"), BYTES, seed=0)
