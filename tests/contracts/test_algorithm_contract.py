"""What every registered algorithm must do, on images with fixed actions and on texts with candidates."""

from __future__ import annotations

import copy
import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from actors.policy import PolicyInput
from envs.errors import UsageError
from envs.registry import make_spec
from envs.spec import EnvSpec
from tests.golden.record import golden_file, golden_losses
from tests.trainers.algorithms_helpers import (
    BYTES,
    GRID,
    SEQUENCE_MODELS,
    SMALL,
    Case,
    algorithm_config,
    batch_for,
    build,
    cases,
    describe,
)
from tests.trainers.helpers import grid_experiment
from trainers.algorithms import ALGORITHMS, Algorithm, build_algorithm
from trainers.checkpoint import Progress, load_policy, save_checkpoint
from trainers.config import AlgorithmConfig, TrainConfig
from trainers.distributed import WorkerContext
from trainers.learner import Learner
from trainers.sequence_policy import build_policy
from trainers.together import VectorizedStep

CASES = cases()


@pytest.fixture(params=CASES, ids=describe)
def case(request: pytest.FixtureRequest) -> Case:
    chosen: Case = request.param
    return chosen


@pytest.fixture
def spec(case: Case) -> EnvSpec:
    return make_spec(case[0])


@pytest.fixture
def algorithm(case: Case) -> Algorithm:
    return build(case)


def test_losses_are_named_finite_scalars(algorithm: Algorithm, spec: EnvSpec) -> None:
    for size in (1, 8):
        losses = algorithm(batch_for(algorithm, spec, size))
        assert "total" in losses
        for name, loss in losses.items():
            assert loss.shape == (), name
            assert torch.isfinite(loss), name
            assert name.isidentifier(), "names become train/loss/<name>"


def test_gradients_of_the_total_reach_exactly_the_trainable_parameters(algorithm: Algorithm, spec: EnvSpec) -> None:
    algorithm(batch_for(algorithm, spec, 8))["total"].backward()
    for name, parameter in algorithm.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, f"{name} gets no gradient"
            assert torch.isfinite(parameter.grad).all(), name
            # A softmax over candidates does not see what is added to all scores alike.
            assert parameter.grad.abs().sum() > 0 or name.endswith("score.bias"), f"the gradient of {name} is zero"
        else:
            assert ".target." in f".{name}", f"{name} is not trainable, and no target either"
            assert parameter.grad is None, f"{name} is not trainable"


def test_forward_changes_nothing(algorithm: Algorithm, spec: EnvSpec) -> None:
    before = copy.deepcopy(algorithm.state_dict())
    algorithm(batch_for(algorithm, spec, 8))["total"].backward()
    for name, tensor in algorithm.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def test_the_mean_over_halves_of_a_batch_is_that_of_the_whole(algorithm: Algorithm, spec: EnvSpec) -> None:
    """Two ranks, or two parts that are accumulated, then learn what one would."""
    batch = batch_for(algorithm, spec, 8)
    whole = algorithm(batch)
    whole["total"].backward()
    expected = {name: p.grad.clone() for name, p in algorithm.named_parameters() if p.grad is not None}
    algorithm.zero_grad()
    halves = [algorithm(part) for part in batch.split(2)]
    for losses in halves:
        (losses["total"] / 2).backward()
    for name, loss in whole.items():
        torch.testing.assert_close(sum(losses[name] for losses in halves) / 2, loss, rtol=1e-4, atol=1e-5)
    for name, parameter in algorithm.named_parameters():
        if parameter.requires_grad:
            torch.testing.assert_close(parameter.grad, expected[name], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("case", [case for case in CASES if case[0] == "grid/default"], ids=describe)
def test_several_models_in_one_pass_have_the_losses_and_gradients_of_each_alone(case: Case, spec: EnvSpec) -> None:
    config = TrainConfig(precision="float32", accumulation_steps=2)
    alone, together = (
        [Learner(build(case, seed=seed), config, WorkerContext()) for seed in range(3)] for _ in range(2)
    )
    batches = [batch_for(learner.algorithm, spec, 8, seed=seed) for seed, learner in enumerate(alone)]
    expected = [learner.step(batch) for learner, batch in zip(alone, batches, strict=True)]
    found = VectorizedStep(together).step(batches)
    for single, one, losses, others in zip(alone, together, expected, found, strict=True):
        assert losses.keys() == others.keys()
        for name, loss in losses.items():
            torch.testing.assert_close(others[name], loss, rtol=1e-4, atol=1e-5)
        for (name, parameter), other in zip(
            single.algorithm.named_parameters(), one.algorithm.parameters(), strict=True
        ):
            if parameter.grad is not None:
                assert other.grad is not None, name
                scale = float(parameter.grad.abs().max())
                torch.testing.assert_close(other.grad, parameter.grad, rtol=1e-3, atol=1e-4 * scale + 1e-8)


def test_the_policy_is_made_of_parameters_of_the_algorithm(algorithm: Algorithm, case: Case, spec: EnvSpec) -> None:
    own = {id(parameter) for parameter in algorithm.parameters()}
    policy = list(algorithm.policy().parameters())
    assert policy
    assert all(id(parameter) in own for parameter in policy)
    log_probs = act(algorithm, spec, 3)
    np.testing.assert_allclose(np.exp(log_probs).sum(1), 1.0, rtol=1e-4)


def test_a_saved_policy_acts_as_the_one_that_learned(case: Case, spec: EnvSpec, tmp_path: Path) -> None:
    algorithm = build(case)
    config = dataclasses.replace(grid_experiment(Path("unused")), network=case[1], algorithm=case[2])
    learner = Learner(algorithm, config.train, WorkerContext())
    for step in range(2):
        learner.step(batch_for(algorithm, spec, 8, seed=step))
    algorithm.eval()
    path = save_checkpoint(tmp_path, learner, Progress(learner_step=2), config, spec)
    loaded = load_policy(path)
    loaded.precision = "float32"
    mine = build_policy(algorithm.policy(), spec, "", precision="float32")
    for step in range(6):
        np.testing.assert_array_equal(loaded.act(inputs(spec, 3, step)), mine.act(inputs(spec, 3, step)))


def test_the_seed_alone_makes_the_parameters(case: Case) -> None:
    state = torch.random.get_rng_state()
    first, second, other = build(case, seed=3), build(case, seed=3), build(case, seed=4)
    assert torch.equal(state, torch.random.get_rng_state()), "the global generator was touched"
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert any(not torch.equal(a, b) for a, b in zip(first.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize("name", sorted(ALGORITHMS))
def test_an_option_that_is_not_read_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="entropy_bonu"):
        build_algorithm(GRID, AlgorithmConfig(name=name, options={"entropy_bonu": 1.0}), SMALL, seed=0)


@pytest.mark.parametrize("name", SEQUENCE_MODELS)
def test_sequence_models_refuse_texts(name: str) -> None:
    with pytest.raises(UsageError, match="Use bc, bcq, cql or iql for texts"):
        build_algorithm(make_spec("quiz/default"), algorithm_config(name), BYTES, seed=0)


def test_an_unknown_algorithm_is_answered_with_the_closest_match() -> None:
    with pytest.raises(UsageError, match=r"Unknown algorithm 'bcc'\. Did you mean 'bc"):
        build_algorithm(GRID, AlgorithmConfig(name="bcc"), SMALL, seed=0)


@pytest.mark.parametrize("name", sorted(ALGORITHMS))
def test_golden_losses_fall(name: str, grid_data: Path, tmp_path: Path) -> None:
    """Fifty float32 steps on recorded grid data; a refactoring must not move them."""
    losses = golden_losses(name, grid_data, tmp_path)
    golden = json.loads(golden_file(name).read_text())
    assert losses.keys() == golden.keys()
    for term, expected in golden.items():
        # Other CPUs sum in another order, which fifty steps amplify.
        np.testing.assert_allclose(losses[term], expected, rtol=2e-3, atol=1e-4)
    total = losses["train/loss/total"]
    assert np.mean(total[-2:]) < np.mean(total[:2]), "the loss falls"


def inputs(spec: EnvSpec, size: int, step: int) -> PolicyInput:
    """What a policy is shown in a step of `size` episodes that begin together."""
    rng = np.random.default_rng(step)
    batch = batch_for(Algorithm(spec, SMALL, {}), spec, size, seed=step)
    columns = {}
    for name, column in batch.observations.items():
        if isinstance(column, torch.Tensor):
            columns[name] = column.numpy()
        else:
            columns[name] = tuple(np.split(column.values.numpy(), column.offsets[1:-1].numpy()))
    starting = np.full(size, step == 0)
    actions = np.where(starting, -1, rng.integers(0, 2, size)).astype(np.int32)
    return PolicyInput(columns, starting, actions, np.where(starting, 0, 0.1).astype(np.float32))


def act(algorithm: Algorithm, spec: EnvSpec, size: int) -> np.ndarray:
    return build_policy(algorithm.policy(), spec, "", precision="float32").act(inputs(spec, size, 0))
