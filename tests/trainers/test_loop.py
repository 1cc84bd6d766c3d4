"""The loop: what it writes, what it keeps, and that an interrupted run ends as an undisturbed one."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from actors.policy import Policy
from data.dataset import Dataset
from envs.errors import UsageError
from envs.registry import level_tags
from metrics.history import read_history
from metrics.protocol import Role
from tests.trainers.helpers import final_parameters, grid_experiment, without_perf
from trainers.checkpoint import load_policy
from trainers.config import EvaluationConfig
from trainers.distributed import WorkerContext
from trainers.evaluation import InlineEvaluation, protocol_of, share_of
from trainers.launch import run_inline
from trainers.loop import SCORE, DivergedError, TrainResult
from trainers.torch_policy import TorchPolicy
from trainers.training_data import TrainingData, open_training_data

ROOT = Path(__file__).resolve().parents[2]


class Interruption(Exception):
    pass


def constant(policy: Policy, learner_step: int) -> dict[str, float]:
    return {SCORE: 0.5}


def falling(policy: Policy, learner_step: int) -> dict[str, float]:
    return {SCORE: 1.0 - learner_step / 100}


def interrupted_at(step: int):
    def evaluate(policy: Policy, learner_step: int) -> dict[str, float]:
        if learner_step == step:
            raise Interruption
        return falling(policy, learner_step)

    return evaluate


def same_parameters(first: Path, second: Path) -> bool:
    a, b = final_parameters(first), final_parameters(second)
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_each_learner_step_has_one_row_with_the_agreed_names(grid_data: Path, tmp_path: Path) -> None:
    config = grid_experiment(grid_data, learner_steps=23, evaluate_every=10, log_every=5)
    run_inline(config, tmp_path, evaluate=falling)
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    rows = read_history(tmp_path / "metrics.jsonl")
    assert [row["learner_step"] for row in rows] == [0, 5, 10, 15, 20, 23]
    assert len(lines) == len(rows), "no step was written twice"
    assert rows[0]["data/diversity/num_levels"] == 40
    assert rows[0]["data/diversity/state_vendi"] > 1
    assert all(row["transitions_seen"] == row["learner_step"] * 32 for row in rows)
    assert {"train/loss/total", "train/perf/transitions_per_s", SCORE} <= rows[-1].keys()
    assert [SCORE in row for row in rows] == [False, False, True, False, True, True]


def test_the_last_and_the_best_policy_are_both_kept(grid_data: Path, tmp_path: Path) -> None:
    seen: dict[int, str] = {}

    def evaluate(policy: Policy, learner_step: int) -> dict[str, float]:
        seen[learner_step] = policy.policy_id
        return {SCORE: {10: 0.2, 20: 0.9, 30: 0.3, 40: 0.4}[learner_step]}

    result = run_inline(grid_experiment(grid_data, evaluate_every=10, checkpoint_every=5), tmp_path, evaluate=evaluate)
    assert (result.best_step, result.best_score, result.learner_step) == (20, 0.9, 40)
    assert load_policy(tmp_path / "checkpoints" / "best").policy_id == seen[20]
    assert load_policy(tmp_path / "checkpoints" / "last").policy_id == seen[40] != seen[20]
    kept = sorted(path.name for path in (tmp_path / "checkpoints").iterdir() if not path.is_symlink())
    assert kept == ["step-00000020", "step-00000040"]


def test_without_evaluations_the_best_is_the_last(grid_data: Path, tmp_path: Path) -> None:
    result = run_inline(grid_experiment(grid_data), tmp_path, evaluate=lambda policy, step: {})
    assert result.best == result.last


@pytest.mark.parametrize("checkpoint_every", [0, 7])
def test_an_interrupted_run_ends_as_an_undisturbed_one(grid_data: Path, tmp_path: Path, checkpoint_every: int) -> None:
    schedule = {"warmup_steps": 5, "final_learning_rate_fraction": 0.1}
    config = grid_experiment(grid_data, evaluate_every=10, checkpoint_every=checkpoint_every, **schedule)
    undisturbed = run_inline(config, tmp_path / "a", evaluate=falling)
    with pytest.raises(Interruption):
        run_inline(config, tmp_path / "b", evaluate=interrupted_at(30))
    resumed = run_inline(config, tmp_path / "b", evaluate=falling)
    assert same_parameters(undisturbed.last, resumed.last)
    assert (resumed.best_step, resumed.best_score) == (undisturbed.best_step, undisturbed.best_score) == (10, 0.9)
    histories = [without_perf(read_history(tmp_path / name / "metrics.jsonl")) for name in ("a", "b")]
    assert histories[0] == histories[1]


@pytest.mark.chaos
def test_a_run_killed_by_sigkill_ends_as_an_undisturbed_one(grid_data: Path, tmp_path: Path) -> None:
    config = grid_experiment(grid_data, evaluate_every=10, checkpoint_every=5)
    undisturbed = run_inline(config, tmp_path / "a", evaluate=falling)
    code = f"""
import os, signal
from pathlib import Path
from tests.trainers.helpers import grid_experiment
from trainers.launch import run_inline
def evaluate(policy, step):
    if step == 30:
        os.kill(os.getpid(), signal.SIGKILL)
    return {{"{SCORE}": 1.0 - step / 100}}
config = grid_experiment(Path({str(grid_data)!r}), evaluate_every=10, checkpoint_every=5)
run_inline(config, Path({str(tmp_path / "b")!r}), evaluate=evaluate)
"""
    killed = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert killed.returncode == -signal.SIGKILL
    resumed = run_inline(config, tmp_path / "b", evaluate=falling)
    assert same_parameters(undisturbed.last, resumed.last)
    histories = [without_perf(read_history(tmp_path / name / "metrics.jsonl")) for name in ("a", "b")]
    assert histories[0] == histories[1]


def test_a_finished_run_takes_no_further_step_and_reports_again(grid_data: Path, tmp_path: Path) -> None:
    class Recorder:
        def __init__(self) -> None:
            self.reports: list[tuple[int, dict[str, float]]] = []

        def log(self, learner_step: int, values: object) -> None: ...

        def report(self, learner_step: int, metrics: dict[str, float], checkpoint: Path) -> None:
            assert (checkpoint / "policy.json").exists()
            self.reports.append((learner_step, metrics))

        def close(self) -> None: ...

    config, first, second = grid_experiment(grid_data, evaluate_every=20), Recorder(), Recorder()
    before = run_inline(config, tmp_path, evaluate=falling, reporter=first)
    after = run_inline(config, tmp_path, evaluate=falling, reporter=second)
    assert first.reports == [(20, {SCORE: 0.8}), (40, {SCORE: 0.6})]
    assert second.reports == [(40, {SCORE: 0.6})]
    assert (before.last, before.metrics, before.best) == (after.last, after.metrics, after.best)


def test_a_loss_that_is_not_finite_ends_the_run(grid_data: Path, tmp_path: Path) -> None:
    with pytest.raises(DivergedError, match=r"Lower train\.learning_rate"):
        run_inline(grid_experiment(grid_data, learning_rate=1e30), tmp_path, evaluate=constant)


def test_the_gradient_norm_is_clipped(grid_data: Path, tmp_path: Path) -> None:
    ends = [
        run_inline(grid_experiment(grid_data, max_grad_norm=norm), tmp_path / str(norm), evaluate=constant)
        for norm in (None, 1e-9)
    ]
    assert not same_parameters(ends[0].last, ends[1].last)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"env": "quiz/default"}, r"recorded in 'grid/default', but the experiment is on 'quiz/default'"),
        ({"data": {"datasets": ()}}, "names no dataset"),
        ({"data": {"weights": (0.5, 0.5)}}, "2 entries for 1 datasets"),
        ({"data": {"weights": (0.4,)}}, "sum to one"),
        ({"data": {"num_levels": 41}}, "41 levels"),
        ({"data": {"max_transitions": 10**6}}, "1000000 transitions"),
        ({"use_gpu": True}, "no CUDA device"),
    ],
)
def test_wrong_use_is_refused_before_anything_runs(
    grid_data: Path, tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    if "use_gpu" in changes and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    config = grid_experiment(grid_data)
    if isinstance(data := changes.get("data"), dict):
        changes = {"data": dataclasses.replace(config.data, **data)}
    with pytest.raises(UsageError, match=message):
        run_inline(grid_experiment(grid_data, **changes), tmp_path / "run", evaluate=constant)
    assert not (tmp_path / "run").exists()


def test_sampled_actions_are_judged_at_the_temperature_asked_for(grid_data: Path, tmp_path: Path) -> None:
    result = run_inline(grid_experiment(grid_data, learner_steps=30), tmp_path, evaluate=constant)
    policy, data = load_policy(result.last), open_training_data(grid_experiment(grid_data))

    def lengths(temperature: float, mode: str = "sampled") -> list[float]:
        evaluation = EvaluationConfig(
            num_train_levels=8, num_validation_levels=8, num_envs=4, modes=(mode,), temperature=temperature
        )
        config = dataclasses.replace(grid_experiment(grid_data), evaluation=evaluation)
        metrics = InlineEvaluation(config, data.spec, data.levels, WorkerContext())(policy, 1)
        return [metrics[f"eval/{role}/{name}"] for role in ("train", "validation") for name in ("length", "iqm")]

    assert lengths(1e-4) == lengths(1.0, "greedy"), "almost no chance is left"
    assert lengths(1.0) != lengths(1e-4)
    with pytest.raises(UsageError, match="must be positive"):
        EvaluationConfig(temperature=0.0)


def test_a_directory_holds_one_experiment(grid_data: Path, tmp_path: Path) -> None:
    run_inline(grid_experiment(grid_data, learner_steps=2), tmp_path, evaluate=constant)
    with pytest.raises(UsageError, match="already holds a run"):
        run_inline(grid_experiment(grid_data, learner_steps=2), tmp_path, evaluate=constant, resume=False)
    with pytest.raises(UsageError, match=r"train\.learner_steps is 2 there and 3 here"):
        run_inline(grid_experiment(grid_data, learner_steps=3), tmp_path, evaluate=constant)


def test_the_budget_and_the_levels_are_exact(grid_data: Path) -> None:
    config = grid_experiment(grid_data)
    config = dataclasses.replace(config, data=dataclasses.replace(config.data, num_levels=10, max_transitions=123))
    data = open_training_data(config)
    assert len(data.view) == 123
    assert data.levels.levels == tuple(Dataset.open(grid_data).levels[:10].tolist())


def test_strata_are_mixed_by_their_weights(grid_data: Path) -> None:
    def opened(**changes: Any) -> TrainingData:
        config = grid_experiment(grid_data)
        return open_training_data(dataclasses.replace(config, data=dataclasses.replace(config.data, **changes)))

    data = opened(strata="chain", strata_weights={"1": 0.25, "2": 0.75}, num_levels=8, max_transitions=150)
    assert len(data.view) == 150
    assert [part["levels"] for part in data.report["sources"].values()] == [2, 6]
    assert [part["weight"] for part in data.report["sources"].values()] == pytest.approx([0.25, 0.75])
    indices = np.concatenate([data.sampler.indices(step, 0, 1) for step in range(40)])
    levels = data.view.batch(indices).level
    long = np.array(level_tags("grid/default", levels.tolist(), "chain")) == 2
    assert long.mean() == pytest.approx(0.75, abs=0.03)
    with pytest.raises(UsageError, match=r"needs the tag in data\.strata"):
        opened(strata_weights={"1": 1.0})
    with pytest.raises(UsageError, match="leave one of them out"):
        opened(strata="chain", weights=(1.0,))


def test_workers_share_the_visible_levels_and_never_play_the_test(grid_data: Path) -> None:
    config = grid_experiment(grid_data)
    data = open_training_data(config)
    protocol = protocol_of(config.evaluation, data.spec, data.levels)
    shares = [share_of(protocol, WorkerContext(rank=rank, world_size=3)) for rank in range(3)]
    for role in (Role.TRAIN, Role.VALIDATION):
        played = [level for share in shares if share for level in share.split(role).levels]
        assert sorted(played) == sorted(protocol.split(role).levels)
    assert all(Role.TEST not in share.roles for share in shares if share)


def test_the_loop_evaluates_train_and_validation_by_itself(grid_data: Path, tmp_path: Path) -> None:
    result: TrainResult = run_inline(grid_experiment(grid_data, learner_steps=4), tmp_path)
    assert {SCORE, "eval/train/normalized_return", "eval/gap/validation"} <= result.metrics.keys()
    assert not [name for name in result.metrics if "test" in name]
    policy = load_policy(result.best)
    assert isinstance(policy, TorchPolicy)
