"""Averaged weights: the averages themselves, what is kept and judged of them, and going on after an interruption."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from actors.policy import Policy
from metrics.history import read_history
from tests.trainers.algorithms_helpers import GRID, SMALL, algorithm_config, batch_for
from tests.trainers.helpers import final_parameters, grid_experiment, without_perf
from trainers.algorithms import build_algorithm
from trainers.checkpoint import averaged_checkpoint, load_policy, policy_id
from trainers.config import ExperimentConfig, TrainConfig
from trainers.distributed import WorkerContext
from trainers.evaluation import SCORE, named_averaged
from trainers.launch import run_inline
from trainers.learner import Learner

KINDS = pytest.mark.parametrize("kind", ["ema", "uniform"])


def flat(module: torch.nn.Module) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in module.parameters()]).double()


def expected_average(weights: list[torch.Tensor], config: TrainConfig) -> torch.Tensor:
    """`weights` are those before the first step and after every one."""
    if config.average == "uniform":
        return torch.stack(weights[1 + int(config.average_after * config.learner_steps) :]).mean(0)
    average = weights[0]
    for step, current in enumerate(weights[1:], start=1):
        decay = min(config.average_decay, (1 + step) / (10 + step))
        average = decay * average + (1 - decay) * current
    return average


@KINDS
@pytest.mark.parametrize("name", ["bc", "cql", "iql", "dt"])
def test_averages_are_averages(kind: Any, name: str) -> None:
    train = grid_experiment(Path("unused"), learner_steps=9).train
    train = dataclasses.replace(train, average=kind, average_decay=0.5, average_after=0.5)
    algorithm = build_algorithm(GRID, algorithm_config(name), SMALL, seed=0)
    learner = Learner(algorithm, train, WorkerContext())
    weights = [flat(algorithm.policy())]
    for step in range(9):
        learner.step(batch_for(algorithm, GRID, 8, seed=step))
        weights.append(flat(algorithm.policy()))
    assert learner.average is not None
    torch.testing.assert_close(flat(learner.average.policy), expected_average(weights, train), rtol=1e-5, atol=1e-6)
    assert not any(parameter.requires_grad for parameter in learner.average.policy.parameters())


def experiment(dataset: Path, kind: Any = "ema", name: str = "bc", members: int = 1) -> ExperimentConfig:
    config = grid_experiment(dataset, evaluate_every=10, average=kind, average_decay=0.8)
    return dataclasses.replace(config, algorithm=algorithm_config(name, members=members))


@KINDS
@pytest.mark.parametrize(("name", "members"), [("bc", 1), ("cql", 1), ("dt", 1), ("bc", 2)])
def test_last_best_and_averaged_policies_are_kept_and_judged(
    grid_data: Path, tmp_path: Path, kind: Any, name: str, members: int
) -> None:
    seen: list[tuple[int, str]] = []

    def evaluate(policy: Policy, learner_step: int) -> dict[str, float]:
        seen.append((learner_step, policy.policy_id))
        return {SCORE: {10: 0.2, 20: 0.9, 30: 0.3, 40: 0.4}[learner_step] + 0.01 * (len(seen) % 2 == 0)}

    result = run_inline(experiment(grid_data, kind, name, members), tmp_path, evaluate=evaluate)
    assert [step for step, _ in seen] == [10, 10, 20, 20, 30, 30, 40, 40]
    checkpoints = tmp_path / "checkpoints"
    found = {link: load_policy(checkpoints / link).policy_id for link in ("last", "best", "averaged")}
    assert found == {"best": seen[2][1], "last": seen[6][1], "averaged": seen[7][1]}
    assert len(set(found.values())) == 3
    assert result.metrics == {SCORE: 0.4, "eval/validation/averaged_normalized_return": pytest.approx(0.41)}
    assert result.averaged == averaged_checkpoint(tmp_path)
    kept = {path.name for path in checkpoints.iterdir() if not path.is_symlink()}
    assert kept == {"step-00000020", "step-00000040", "step-00000040-averaged"}
    averaged = load_policy(checkpoints / "averaged")
    assert policy_id(averaged.network) == found["averaged"], "the file holds the averages"


def test_an_interrupted_average_goes_on(grid_data: Path, tmp_path: Path) -> None:
    class Interruption(Exception):
        pass

    def evaluate(policy: Policy, learner_step: int) -> dict[str, float]:
        return {SCORE: learner_step / 100}

    def interrupted(policy: Policy, learner_step: int) -> dict[str, float]:
        if learner_step == 30:
            raise Interruption
        return evaluate(policy, learner_step)

    config = experiment(grid_data, name="iql")
    run_inline(config, tmp_path / "a", evaluate=evaluate)
    with pytest.raises(Interruption):
        run_inline(config, tmp_path / "b", evaluate=interrupted)
    run_inline(config, tmp_path / "b", evaluate=evaluate)
    for link in ("last", "averaged"):
        a, b = (final_parameters(tmp_path / run / "checkpoints" / link) for run in ("a", "b"))
        assert all(torch.equal(a[name], b[name]) for name in a), link
    histories = [without_perf(read_history(tmp_path / name / "metrics.jsonl")) for name in ("a", "b")]
    assert histories[0] == histories[1]


def test_the_averaged_policy_is_played_on_the_same_levels(grid_data: Path, tmp_path: Path) -> None:
    config = dataclasses.replace(
        experiment(grid_data), train=dataclasses.replace(experiment(grid_data).train, learner_steps=6)
    )
    metrics = run_inline(config, tmp_path).metrics
    plain = {name for name in metrics if "averaged_" not in name}
    assert {name for name in metrics if "averaged_" in name} == set(named_averaged(dict.fromkeys(plain, 0.0)))
    assert named_averaged({"eval/gap/validation": 1.0}) == {"eval/gap/averaged_validation": 1.0}
    assert np.isfinite(list(metrics.values())).all()
