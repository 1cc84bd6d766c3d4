"""Compiled and recorded steps: what they refuse, and that they learn the same."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

from envs.errors import RunError, UsageError
from envs.registry import make_spec
from tests.trainers.algorithms_helpers import GRID, SMALL, algorithm_config, batch_for, build
from tests.trainers.helpers import final_parameters, grid_experiment
from trainers.config import TrainConfig
from trainers.cuda_graph import WARMUP_STEPS, GraphedStep, check_graphs, copy_batch
from trainers.distributed import WorkerContext
from trainers.launch import open_and_check, run_inline
from trainers.learner import Learner
from trainers.optim import load_optimizer, make_capturable, set_learning_rate


def assert_same_learning(first: Learner, second: Learner, steps: int) -> None:
    for step in range(steps):
        batch = batch_for(first.algorithm, GRID, 8, seed=step)
        losses = [learner.step(batch.to(learner.context.device)) for learner in (first, second)]
        for name, loss in losses[0].items():
            torch.testing.assert_close(losses[1][name].cpu(), loss.cpu(), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["bc", "iql"])
def test_compiled_steps_have_the_losses_of_the_others(name: str) -> None:
    case = ("grid/default", SMALL, algorithm_config(name))
    config = TrainConfig(precision="float32", max_grad_norm=1.0)
    plain, compiled = (
        Learner(build(case), dataclasses.replace(config, compile=on), WorkerContext()) for on in (False, True)
    )
    assert_same_learning(plain, compiled, 4)


def test_a_compiler_that_fails_is_an_error_that_names_the_option(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(batch: Any) -> Any:
        raise torch._dynamo.exc.BackendCompilerFailed(lambda: None, RuntimeError("no compiler"), None)  # type: ignore[arg-type]

    monkeypatch.setattr("trainers.learner.compiled", lambda module: fails)
    case = ("grid/default", SMALL, algorithm_config("bc"))
    learner = Learner(build(case), TrainConfig(compile=True), WorkerContext())
    with pytest.raises(RunError, match=r"train\.compile=false"):
        learner.step(batch_for(learner.algorithm, GRID, 8))


def test_graphs_are_refused_without_a_gpu(grid_data: Path) -> None:
    with pytest.raises(UsageError, match=r"train\.use_gpu is False"):
        open_and_check(grid_experiment(grid_data, cuda_graphs=True))
    with pytest.raises(UsageError, match=r"num_workers 2"):
        open_and_check(grid_experiment(grid_data, cuda_graphs=True, use_gpu=True, num_workers=2))
    config = TrainConfig(cuda_graphs=True, use_gpu=True)
    with pytest.raises(UsageError, match="needs a GPU, but the learner is on cpu"):
        Learner(build(("grid/default", SMALL, algorithm_config("bc"))), config, WorkerContext())


def test_what_has_no_constant_shape_is_not_recorded(grid_data: Path) -> None:
    config = grid_experiment(grid_data, cuda_graphs=True, use_gpu=True)
    check_graphs(config, GRID)
    with pytest.raises(UsageError, match="differ in length"):
        check_graphs(config, make_spec("quiz/default"))
    with pytest.raises(UsageError, match="dropout"):
        check_graphs(dataclasses.replace(config, algorithm=algorithm_config("bct", dropout=0.1)), GRID)


def test_a_batch_is_copied_whole_and_only_over_one_of_its_shape() -> None:
    algorithm = build(("grid/default", SMALL, algorithm_config("iql")))
    first, second = (batch_for(algorithm, GRID, 8, seed=seed) for seed in (0, 1))
    target = first.cloned()
    copy_batch(second, target)
    for field in dataclasses.fields(target):
        new, old = getattr(second, field.name), getattr(target, field.name)
        if isinstance(new, torch.Tensor):
            assert torch.equal(new, old), field.name
        elif isinstance(new, dict):
            assert all(torch.equal(new[name], old[name]) for name in new), field.name
    assert not torch.equal(first.rewards, target.rewards), "the clone is another tensor"
    with pytest.raises(RunError, match="must have one shape"):
        copy_batch(batch_for(algorithm, GRID, 7), target)
    with pytest.raises(RunError, match="next_observations"):
        copy_batch(dataclasses.replace(second, next_observations=None), target)


def test_a_recorded_run_goes_on_as_another_and_back() -> None:
    """Where the learning rate lies, and how step counts are kept, is this run's own."""
    case = ("grid/default", SMALL, algorithm_config("bc"))
    saved, other = (Learner(build(case), TrainConfig(), WorkerContext()) for _ in range(2))
    saved.step(batch_for(saved.algorithm, GRID, 8))
    make_capturable(saved.optimizer, torch.device("cpu"))
    set_learning_rate(saved.optimizer, 0.25)
    assert [float(group["lr"]) for group in saved.optimizer.param_groups] == [0.25]
    assert all(isinstance(group["lr"], torch.Tensor) for group in saved.optimizer.param_groups)
    state = saved.optimizer.state_dict()
    load_optimizer(other.optimizer, state)
    (group,) = other.optimizer.param_groups
    assert (group["lr"], group["capturable"]) == (5e-4, False)
    moments = [state["state"][0]["exp_avg"], other.optimizer.state_dict()["state"][0]["exp_avg"]]
    assert torch.equal(*moments)
    other.step(batch_for(saved.algorithm, GRID, 8))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", ["bc", "bcq", "bct", "cql", "dt", "iql"])
def test_recorded_steps_have_the_losses_of_the_others(name: str) -> None:
    case = ("grid/default", SMALL, algorithm_config(name))
    config, context = (
        TrainConfig(precision="float32", max_grad_norm=1.0, warmup_steps=6),
        WorkerContext(device=torch.device("cuda", 0)),
    )
    plain = Learner(build(case), config, context)
    recorded = Learner(build(case), dataclasses.replace(config, cuda_graphs=True, use_gpu=True), context)
    assert isinstance(recorded._graph, GraphedStep)
    assert_same_learning(plain, recorded, WARMUP_STEPS + 5)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_whole_run_on_a_gpu_is_the_same_with_all_options(grid_data: Path, tmp_path: Path) -> None:
    options: tuple[dict[str, Any], ...] = (
        {"resident": "never"},
        {"resident": "always", "cuda_graphs": True, "average": "none"},
    )
    ends = []
    for index, changes in enumerate(options):
        config = grid_experiment(grid_data, use_gpu=True, learner_steps=20, **changes)
        result = run_inline(config, tmp_path / str(index), evaluate=lambda policy, step: {})
        ends.append(final_parameters(result.last))
    for name, tensor in ends[0].items():
        torch.testing.assert_close(ends[1][name], tensor, rtol=1e-3, atol=1e-4)
