"""Several models trained in one process: each ends as it would have ended alone."""

from __future__ import annotations

import argparse
import dataclasses
import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from actors.policy import Policy
from envs.errors import UsageError
from envs.registry import make_spec
from metrics.history import read_history
from tests.trainers.algorithms_helpers import algorithm_config
from tests.trainers.helpers import final_parameters, grid_experiment, without_perf
from trainers.algorithms import ALGORITHMS
from trainers.checkpoint import load_policy
from trainers.commands import add_arguments, run
from trainers.config import AlgorithmConfig, AugmentationConfig, ExperimentConfig, NetworkConfig
from trainers.launch import run_inline
from trainers.launch_together import run_together
from trainers.loop import SCORE, DivergedError, TrainResult
from trainers.reporter import NullReporter
from trainers.run_files import read_json
from trainers.together import CastsOfAutocast, check_vectorizable
from trainers.together_command import several

RATES = (1e-3, 3e-4, 2e-3)


def nothing(policy: Policy, learner_step: int) -> dict[str, float]:
    return {}


def falling(policy: Policy, learner_step: int) -> dict[str, float]:
    return {SCORE: 1.0 - learner_step / 100}


def members(base: ExperimentConfig, folder: Path, count: int = 3, **train: Any) -> dict[Path, ExperimentConfig]:
    """Models that differ in seed and schedule."""
    configs = {}
    for seed, rate in enumerate(RATES[:count]):
        settings = dataclasses.replace(base.train, learning_rate=rate, warmup_steps=seed, **train)
        configs[folder / f"m{seed}"] = dataclasses.replace(base, seed=seed, train=settings)
    return configs


def assert_as_alone(together: Path, alone: Path) -> None:
    """The same parameters, optimizer state and rows of metrics, but for the order of additions."""
    mine, theirs = final_parameters(together), final_parameters(alone)
    assert mine.keys() == theirs.keys()
    for name in mine:
        assert_near(mine[name], theirs[name], name)
    states = [torch.load(path / "optimizer.pt", weights_only=True)["state"] for path in (together, alone)]
    for index, state in states[1].items():
        assert_near(states[0][index]["exp_avg"], state["exp_avg"], f"momentum {index}")
    rows = [without_perf(read_history(path.parents[1] / "metrics.jsonl")) for path in (together, alone)]
    for first, second in zip(*rows, strict=True):
        assert first.keys() == second.keys()
        for name, value in second.items():
            np.testing.assert_allclose(first[name], value, rtol=2e-3, atol=1e-5, err_msg=name)


def assert_near(first: torch.Tensor, second: torch.Tensor, name: str) -> None:
    """As a whole: a step of Adam depends on the sign alone where a gradient is almost zero."""
    distance = float((first.double() - second.double()).norm())
    assert distance <= 5e-3 * float(second.double().norm()) + 1e-6, f"{name} is off by {distance}"


def assert_all_as_alone(configs: dict[Path, ExperimentConfig], alone: Path) -> None:
    results = run_together(configs, evaluate=nothing)
    ends = []
    for (run_dir, config), result in zip(configs.items(), results, strict=True):
        assert isinstance(result, TrainResult)
        single = run_inline(config, alone / run_dir.name, evaluate=nothing)
        assert_as_alone(result.last, single.last)
        if single.averaged is not None:
            assert_as_alone_policy(result.averaged, single.averaged)
        ends.append(final_parameters(result.last))
    name = next(name for name, tensor in ends[0].items() if tensor.is_floating_point() and tensor.numel() > 50)
    assert not torch.equal(ends[0][name], ends[1][name]), "they are different models"


def assert_as_alone_policy(together: Path | None, alone: Path) -> None:
    assert together is not None
    mine, theirs = final_parameters(together), final_parameters(alone)
    for name in theirs:
        assert_near(mine[name], theirs[name], name)


CASES: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "bc": ("bc", {}, {"augmentation": AugmentationConfig(shift=2, cutout=3), "max_grad_norm": 0.5}),
    "bc-averaged": ("bc", {}, {"average": "ema", "average_decay": 0.8, "weight_decay": 0.1}),
    "bcq": ("bcq", {"sharing": "maps"}, {"accumulation_steps": 2}),
    "bcq-copy": ("bcq", {"target_update": "copy", "target_period": 3, "bins": 11}, {}),
    "cql": ("cql", {}, {"max_grad_norm": 1.0, "final_learning_rate_fraction": 0.1}),
    "iql": ("iql", {}, {"augmentation": AugmentationConfig(shift=2, consistency=0.5)}),
    "iql-groups": ("iql", {"level_groups": 3, "sharing": "nothing", "target_update": "copy", "target_period": 4}, {}),
    "bct": ("bct", {}, {"batch_size": 4}),
    "dt": ("dt", {"timesteps": True}, {"batch_size": 4}),
}


@pytest.mark.parametrize("case", CASES)
def test_vectorized_models_end_as_alone(grid_data: Path, tmp_path: Path, case: str) -> None:
    name, options, changes = CASES[case]
    base = grid_experiment(grid_data, **{"learner_steps": 6, "batch_size": 16, "log_every": 3, **changes})
    base = dataclasses.replace(base, algorithm=algorithm_config(name, **options))
    configs = members(base, tmp_path / "together", 2, together="vectorized")
    assert_all_as_alone(configs, tmp_path / "alone")


def test_every_algorithm_is_among_the_cases() -> None:
    assert {name for name, _, _ in CASES.values()} == set(ALGORITHMS)


def test_models_in_turns_are_those_trained_alone_to_the_bit(grid_data: Path, tmp_path: Path) -> None:
    configs = members(grid_experiment(grid_data, learner_steps=8), tmp_path / "together", together="in_turns")
    for (run_dir, config), result in zip(configs.items(), run_together(configs, evaluate=nothing), strict=True):
        assert isinstance(result, TrainResult)
        single = run_inline(config, tmp_path / "alone" / run_dir.name, evaluate=nothing)
        mine, theirs = final_parameters(result.last), final_parameters(single.last)
        assert all(torch.equal(mine[name], theirs[name]) for name in theirs)


def test_bfloat16_is_cast_as_alone(grid_data: Path, tmp_path: Path) -> None:
    base = grid_experiment(grid_data, learner_steps=6, batch_size=16, precision="bfloat16", log_every=6)
    base = dataclasses.replace(base, algorithm=algorithm_config("iql"))
    together = members(base, tmp_path / "together", together="vectorized")
    run_together(together, evaluate=nothing)
    for run_dir, config in members(base, tmp_path / "alone").items():
        run_inline(config, run_dir, evaluate=nothing)
        np.testing.assert_allclose(first_loss(tmp_path / "together" / run_dir.name), first_loss(run_dir), rtol=1e-2)


def test_linear_layers_under_vmap_compute_in_the_precision_of_autocast() -> None:
    def one(inputs: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        with CastsOfAutocast():
            return torch.nn.functional.linear(inputs, weight)

    rows, weights = torch.randn(3, 2, 4), torch.randn(3, 5, 4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.vmap(one)(rows, weights).dtype == torch.bfloat16
        with torch.autocast("cpu", enabled=False):
            assert torch.vmap(one)(rows, weights).dtype == torch.float32


def first_loss(run_dir: Path) -> float:
    return next(row["train/loss/total"] for row in read_history(run_dir / "metrics.jsonl") if "train/loss/total" in row)


def test_every_model_has_its_own_evaluations_best_policy_and_result(grid_data: Path, tmp_path: Path) -> None:
    base = grid_experiment(grid_data, learner_steps=12, evaluate_every=6, together="vectorized")
    configs = members(base, tmp_path)
    scores: dict[str, float] = {}

    def evaluate(policy: Policy, learner_step: int) -> dict[str, float]:
        # The second model gets worse.
        scores[policy.policy_id] = 0.1 * len(scores) if len(scores) != 4 else 0.0
        return {SCORE: scores[policy.policy_id]}

    results = run_together(configs, evaluate=evaluate)
    assert len(scores) == 6, "six different policies were played"
    assert [result.best_step for result in results if isinstance(result, TrainResult)] == [12, 6, 12]
    for run_dir in configs:
        policy = load_policy(run_dir / "checkpoints" / "best")
        assert policy.policy_id in scores
        assert TrainResult.from_json(read_json(run_dir / "result.json")).learner_step == 12


class Interruption(Exception):
    pass


@pytest.mark.parametrize("mode", ["vectorized", "in_turns"])
def test_an_interrupted_group_ends_as_an_undisturbed_one(grid_data: Path, tmp_path: Path, mode: str) -> None:
    """The interruption comes when one of three models has saved step 8 and the others have not."""
    base = grid_experiment(grid_data, learner_steps=12, evaluate_every=4, together=mode)
    calls = []

    def interrupted(policy: Policy, learner_step: int) -> dict[str, float]:
        calls.append(learner_step)
        if len(calls) == 5:
            raise Interruption
        return falling(policy, learner_step)

    whole, parts = members(base, tmp_path / "whole"), members(base, tmp_path / "parts")
    undisturbed = run_together(whole, evaluate=falling)
    with pytest.raises(Interruption):
        run_together(parts, evaluate=interrupted)
    resumed = run_together(parts, evaluate=falling)
    for first, second in zip(undisturbed, resumed, strict=True):
        assert isinstance(first, TrainResult)
        assert isinstance(second, TrainResult)
        assert_as_alone(second.last, first.last)
        assert (second.best_step, second.best_score) == (4, 0.96)
    again = run_together(parts, evaluate=falling)
    assert [result.learner_step for result in again if isinstance(result, TrainResult)] == [12] * 3


def test_a_model_goes_on_alone_where_the_group_left_it(grid_data: Path, tmp_path: Path) -> None:
    """Its checkpoint is an ordinary one, optimizer state included."""
    base = grid_experiment(grid_data, learner_steps=12, evaluate_every=4, together="vectorized")
    calls = []

    def interrupted(policy: Policy, learner_step: int) -> dict[str, float]:
        calls.append(learner_step)
        if learner_step == 12:
            raise Interruption
        return falling(policy, learner_step)

    configs = members(base, tmp_path / "group")
    with pytest.raises(Interruption):
        run_together(configs, evaluate=interrupted)
    for run_dir, config in configs.items():
        went_on = run_inline(config, run_dir, evaluate=falling)
        alone = run_inline(config, tmp_path / "alone" / run_dir.name, evaluate=falling)
        assert_as_alone(went_on.last, alone.last)


class Recorder(NullReporter):
    def __init__(self) -> None:
        self.reports: list[tuple[int, dict[str, float]]] = []

    def report(self, learner_step: int, metrics: Mapping[str, float], checkpoint: Path) -> None:
        assert (checkpoint / "policy.json").exists()
        self.reports.append((learner_step, dict(metrics)))


def test_the_mean_over_the_models_that_are_left_is_reported_once_a_step(grid_data: Path, tmp_path: Path) -> None:
    base = grid_experiment(grid_data, learner_steps=9, evaluate_every=3, log_every=3)
    configs, values = members(base, tmp_path), itertools.cycle([0.1, 0.2, 0.6])

    def evaluate(policy: Policy, learner_step: int) -> dict[str, float]:
        if learner_step == 6 and (value := next(values)) == 0.2:
            raise DivergedError("for the test")
        return {SCORE: value if learner_step == 6 else learner_step / 10}

    recorder = Recorder()
    results = run_together(configs, evaluate=evaluate, reporter=recorder)
    assert [type(result) for result in results] == [TrainResult, DivergedError, TrainResult]
    assert recorder.reports == [(3, {SCORE: 0.3}), (6, {SCORE: pytest.approx(0.35)}), (9, {SCORE: 0.9})]


@pytest.mark.parametrize("mode", ["vectorized", "in_turns"])
def test_a_model_that_diverges_leaves_the_others_alone(grid_data: Path, tmp_path: Path, mode: str) -> None:
    configs = members(grid_experiment(grid_data, learner_steps=12, together=mode, log_every=3), tmp_path / "group")
    wild, calm = tmp_path / "group" / "m1", tmp_path / "group" / "m2"
    train = dataclasses.replace(configs[wild].train, learning_rate=1e30)
    configs[wild] = dataclasses.replace(configs[wild], train=train)
    results = run_together(configs, evaluate=nothing)
    assert [type(result) for result in results] == [TrainResult, DivergedError, TrainResult]
    assert not (wild / "result.json").exists()
    single = run_inline(configs[calm], tmp_path / "alone", evaluate=nothing)
    assert_as_alone(calm / "checkpoints" / "last", single.last)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train": {"batch_size": 16}}, r"train\.batch_size is 32 for one and 16 for another"),
        ({"network": {"hidden_size": 8}}, r"network\.hidden_size is 32 for one and 8 for another"),
        ({"algorithm": {"members": 2}}, r"algorithm\.members is 1 for one and 2"),
    ],
)
def test_models_of_two_kinds_are_refused(
    grid_data: Path, tmp_path: Path, changes: dict[str, dict[str, Any]], message: str
) -> None:
    first = grid_experiment(grid_data)
    parts = {name: dataclasses.replace(getattr(first, name), **values) for name, values in changes.items()}
    with pytest.raises(UsageError, match=message):
        run_together({tmp_path / "a": first, tmp_path / "b": dataclasses.replace(first, **parts)})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("algorithm", "train", "message"),
    [
        (algorithm_config("bct", dropout=0.1), {}, "dropout"),
        (algorithm_config("bc"), {"compile": True}, "neither compiled"),
        (algorithm_config("bc"), {"num_workers": 2}, r"train\.num_workers=1"),
    ],
)
def test_what_cannot_be_vectorized_is_refused_with_the_reason(
    grid_data: Path, tmp_path: Path, algorithm: AlgorithmConfig, train: dict[str, Any], message: str
) -> None:
    base = dataclasses.replace(grid_experiment(grid_data, together="vectorized", **train), algorithm=algorithm)
    with pytest.raises(UsageError, match=message):
        run_together(members(base, tmp_path / "group"), evaluate=nothing)
    assert not (tmp_path / "group").exists()


def test_texts_are_not_vectorized(grid_data: Path) -> None:
    network = NetworkConfig(encoder="bytes", hidden_size=16)
    config = dataclasses.replace(grid_experiment(grid_data), env="quiz/default", network=network)
    with pytest.raises(UsageError, match="differ in length"):
        check_vectorizable(config, make_spec("quiz/default"))


def test_auto_takes_turns_on_a_cpu_and_says_why(
    grid_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_together(members(grid_experiment(grid_data, learner_steps=2), tmp_path), evaluate=nothing)
    assert "3 models in turns" in capsys.readouterr().err


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", ["bc", "cql", "iql"])
def test_models_on_a_gpu_are_vectorized_and_end_as_alone(
    grid_data: Path, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    base = grid_experiment(grid_data, learner_steps=8, batch_size=16, log_every=4, use_gpu=True)
    base = dataclasses.replace(base, algorithm=algorithm_config(name))
    assert_all_as_alone(members(base, tmp_path / "together"), tmp_path / "alone")
    assert "3 models, vectorized" in capsys.readouterr().err


def test_the_command_line_trains_seeds_and_values_into_ordinary_runs(grid_data: Path, tmp_path: Path) -> None:
    words = ["train.learner_steps=4", "train.batch_size=8", "evaluation.protocol=none", "tracking.wandb=disabled"]
    out = tmp_path / "out"
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    given = ["grid-bc", *words, "--data", str(grid_data), "--out", str(out), "--seeds", "3,4"]
    runs = run(parser.parse_args([*given, "--vary", "train.learning_rate=1e-3,3e-4"]))["runs"]
    names = [f"learning_rate-{rate}-s{seed}" for rate in ("1e-3", "3e-4") for seed in (3, 4)]
    assert [Path(run["run"]).name for run in runs] == names
    for name in names:
        config = read_json(out / name / "config.json")
        assert (config["seed"], f"{config['train']['learning_rate']:g}") in (
            (3, "0.001"),
            (4, "0.001"),
            (3, "0.0003"),
            (4, "0.0003"),
        )
        assert load_policy(out / name / "checkpoints" / "last").spec.name == "grid/default"


@pytest.mark.parametrize(
    ("seeds", "vary", "message"),
    [
        ("0,0", [], "different values"),
        ("0,,1", [], "different values"),
        ("0", ["train.learning_rate"], "is no list"),
        ("0", ["train.learning_rat=1e-3"], "learning_rate"),
        ("zero", [], "seed"),
    ],
)
def test_lists_that_do_not_parse_are_refused(grid_data: Path, seeds: str, vary: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        several(grid_experiment(grid_data), seeds, vary, None)


def test_runs_are_named_as_if_trained_alone(grid_data: Path) -> None:
    configs = several(grid_experiment(grid_data), "0,1", ["train.learning_rate=1e-3,3e-4"], None)
    assert [str(folder) for folder in configs][:2] == [
        "runs/train/grid-test-learning_rate-1e-3-s0",
        "runs/train/grid-test-learning_rate-1e-3-s1",
    ]
    assert [str(folder) for folder in several(grid_experiment(grid_data), "5", [], None)] == ["runs/train/grid-test-s5"]
