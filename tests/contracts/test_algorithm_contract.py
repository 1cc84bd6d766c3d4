"""What every registered algorithm must do, on images with fixed actions and on texts with candidates."""

from __future__ import annotations

import copy

import pytest
import torch

from envs.errors import UsageError
from envs.registry import make_spec
from envs.spec import EnvSpec
from tests.trainers.helpers import random_batch
from trainers.algorithms import ALGORITHMS, Algorithm, build_algorithm
from trainers.config import AlgorithmConfig, NetworkConfig

CASES = [("grid/default", "small"), ("grid/default", "impala"), ("quiz/default", "bytes"), ("quiz/default", "cross")]


@pytest.fixture(params=CASES, ids=lambda case: case[0] + "-" + case[1])
def case(request: pytest.FixtureRequest) -> tuple[EnvSpec, NetworkConfig]:
    env, encoder = request.param
    return make_spec(env), NetworkConfig(encoder=encoder, hidden_size=16)


@pytest.fixture(params=sorted(ALGORITHMS))
def algorithm(request: pytest.FixtureRequest, case: tuple[EnvSpec, NetworkConfig]) -> Algorithm:
    return build_algorithm(case[0], AlgorithmConfig(name=request.param), case[1], seed=0)


def test_losses_are_named_finite_scalars(algorithm: Algorithm, case: tuple[EnvSpec, NetworkConfig]) -> None:
    for size in (1, 8):
        losses = algorithm(random_batch(case[0], size))
        assert "total" in losses
        for name, loss in losses.items():
            assert loss.shape == (), name
            assert torch.isfinite(loss), name
            assert name.isidentifier(), "names become train/loss/<name>"


def test_gradients_of_the_total_reach_exactly_the_trainable_parameters(
    algorithm: Algorithm, case: tuple[EnvSpec, NetworkConfig]
) -> None:
    algorithm(random_batch(case[0], 8))["total"].backward()
    for name, parameter in algorithm.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, f"{name} gets no gradient"
            assert torch.isfinite(parameter.grad).all(), name
            assert parameter.grad.abs().sum() > 0, f"the gradient of {name} is zero"
        else:
            assert parameter.grad is None, f"{name} is not trainable"


def test_forward_changes_no_parameter(algorithm: Algorithm, case: tuple[EnvSpec, NetworkConfig]) -> None:
    before = copy.deepcopy(algorithm.state_dict())
    algorithm(random_batch(case[0], 8))["total"].backward()
    for name, tensor in algorithm.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def test_the_policy_is_a_part_of_the_algorithm(algorithm: Algorithm, case: tuple[EnvSpec, NetworkConfig]) -> None:
    policy = algorithm.policy()
    assert any(module is policy for module in algorithm.modules())
    logits = policy(random_batch(case[0], 3).observations)
    assert logits.shape[0] == 3


@pytest.mark.parametrize("name", sorted(ALGORITHMS))
def test_the_seed_alone_makes_the_parameters(name: str, case: tuple[EnvSpec, NetworkConfig]) -> None:
    state = torch.random.get_rng_state()
    first, second = (build_algorithm(case[0], AlgorithmConfig(name=name), case[1], seed=3) for _ in range(2))
    other = build_algorithm(case[0], AlgorithmConfig(name=name), case[1], seed=4)
    assert torch.equal(state, torch.random.get_rng_state()), "the global generator was touched"
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert any(not torch.equal(a, b) for a, b in zip(first.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize("name", sorted(ALGORITHMS))
def test_an_option_that_is_not_read_is_refused(name: str, case: tuple[EnvSpec, NetworkConfig]) -> None:
    with pytest.raises(UsageError, match="entropy_bonu"):
        build_algorithm(case[0], AlgorithmConfig(name=name, options={"entropy_bonu": 1.0}), case[1], seed=0)


def test_an_unknown_algorithm_is_answered_with_the_closest_match(case: tuple[EnvSpec, NetworkConfig]) -> None:
    with pytest.raises(UsageError, match=r"Unknown algorithm 'bcc'\. Did you mean 'bc'\?"):
        build_algorithm(case[0], AlgorithmConfig(name="bcc"), case[1], seed=0)
