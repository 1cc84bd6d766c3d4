"""Parameters divided among workers: the same learning as whole ones, and checkpoints that anybody reads."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.multiprocessing
from torch import nn
from torch.distributed.tensor import DTensor

from actors.sources import SourceSpec, build_source
from data.writer import DatasetWriter
from envs.errors import UsageError
from envs.registry import make_spec, make_vec
from metrics.history import read_history, series
from metrics.loggers import JsonLinesLogger
from tests.trainers.algorithms_helpers import algorithm_config
from tests.trainers.helpers import final_parameters, grid_experiment
from tests.trainers.tiny_bert import tiny_bert
from trainers.checkpoint import load_policy
from trainers.config import ExperimentConfig, NetworkConfig
from trainers.distributed import WorkerContext
from trainers.launch import open_and_check, run_inline
from trainers.learner import Learner
from trainers.loop import train
from trainers.reporter import LocalReporter, NullReporter
from trainers.sharding import transformer_layers

QUIZ = "quiz/default"


@pytest.fixture(scope="module")
def quiz_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("quiz") / "data"
    source = build_source(SourceSpec(env=QUIZ, name="quiz-expert", options={"noise": 0.2}))
    with DatasetWriter(path, make_spec(QUIZ), {"command": "test"}) as writer:
        for episode in source.play_jobs(make_vec(QUIZ, 7), [(level, 0) for level in range(30)], seed=0):
            writer.add(episode)
        writer.finish()
    return path


def experiment(data: Path, model: str, algorithm: str, **train: Any) -> ExperimentConfig:
    config = grid_experiment(data, learner_steps=6, batch_size=8, log_every=3, checkpoint_every=3, **train)
    network = NetworkConfig(encoder="hf", hidden_size=16, pretrained=model)
    return dataclasses.replace(config, env=QUIZ, network=network, algorithm=algorithm_config(algorithm))


def worker(rank: int, rendezvous: str, configs: dict[str, ExperimentConfig], folder: Path) -> None:
    """One of two processes that train sharded; it checks that it holds half of the parameters."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=rendezvous, rank=rank, world_size=2)
    seen: list[int] = []
    step = Learner.step

    def counted(self: Learner, batch: Any) -> Any:
        parameters = list(self.algorithm.parameters())
        assert all(isinstance(parameter, DTensor) for parameter in parameters)
        local = sum(parameter.to_local().numel() for parameter in parameters)
        whole = sum(parameter.numel() for parameter in parameters)
        assert local < 0.6 * whole, f"{local} of {whole} on rank {rank}"
        seen.append(local)
        return step(self, batch)

    Learner.step = counted  # type: ignore[method-assign]
    try:
        for name, config in configs.items():
            context, run_dir = WorkerContext(rank=rank, world_size=2), folder / name
            resume = run_dir / "checkpoints" / "last"
            run_dir.mkdir(exist_ok=True, parents=True)
            reporter = LocalReporter(JsonLinesLogger(run_dir / "metrics.jsonl")) if rank == 0 else NullReporter()
            train(
                config,
                reporter,
                run_dir=run_dir,
                context=context,
                resume_from=resume.resolve() if resume.exists() else None,
                evaluate=None if name == "bc" else lambda policy, step: {},
            )
            reporter.close()
        assert seen
    finally:
        torch.distributed.destroy_process_group()


def assert_close(first: Path, second: Path) -> None:
    a, b = final_parameters(first), final_parameters(second)
    assert a.keys() == b.keys()
    for name in a:
        if name.endswith(("score.bias", "key.bias")):
            continue  # a softmax does not see what is added to all scores alike: Adam follows rounding errors
        distance = float((a[name].double() - b[name].double()).norm())
        assert distance <= 5e-3 * float(b[name].double().norm()) + 1e-5, f"{name} is off by {distance}"


@pytest.mark.slow
def test_two_sharded_ranks_are_one_whole_one(quiz_data: Path, tmp_path: Path) -> None:
    """Losses, parameters, evaluations and policies; `iql` with targets, the gradient's norm and accumulation."""
    (tmp_path / "model").mkdir()
    model = tiny_bert(tmp_path / "model", layers=2, dropout=0.0)
    changes: dict[str, dict[str, Any]] = {
        "bc": {"evaluate_every": 3},
        "iql": {"max_grad_norm": 0.5, "accumulation_steps": 2, "weight_decay": 0.01},
    }
    whole = {name: experiment(quiz_data, model, name, **extra) for name, extra in changes.items()}
    sharded = {
        name: dataclasses.replace(config, train=dataclasses.replace(config.train, num_workers=2, shard=True))
        for name, config in whole.items()
    }
    # The first half of one run is whole, so that what follows is read from an ordinary checkpoint.
    begun = dataclasses.replace(whole["iql"].train, learner_steps=3)
    run_inline(dataclasses.replace(whole["iql"], train=begun), tmp_path / "two" / "iql", evaluate=lambda p, s: {})
    arguments = (f"file://{tmp_path / 'rendezvous'}", sharded, tmp_path / "two")
    torch.multiprocessing.spawn(worker, arguments, nprocs=2)
    for name, config in whole.items():
        evaluate = None if name == "bc" else lambda policy, step: {}
        one = run_inline(config, tmp_path / "one" / name, evaluate=evaluate)
        two = tmp_path / "two" / name / "checkpoints" / "last"
        assert_close(two, one.last)
        states = [torch.load(path / "optimizer.pt", weights_only=True)["state"] for path in (one.last, two)]
        for index, state in states[0].items():
            assert type(states[1][index]["exp_avg"]) is torch.Tensor, "gathered whole"
            assert states[1][index]["exp_avg"].shape == state["exp_avg"].shape
        losses = [
            series(read_history(tmp_path / runs / name / "metrics.jsonl"), "train/loss/total")[1]
            for runs in ("one", "two")
        ]
        np.testing.assert_allclose(losses[1][-1:], losses[0][-1:], rtol=1e-3)
        assert load_policy(two).spec.name == QUIZ


def test_layers_are_the_members_of_the_outermost_lists() -> None:
    inner = nn.ModuleList([nn.Linear(1, 1)])
    layers = nn.ModuleList([nn.Sequential(nn.Linear(1, 1)), nn.Sequential(inner)])
    assert transformer_layers(nn.Sequential(nn.Linear(1, 1), nn.Sequential(layers))) == list(layers)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_workers": 1}, "num_workers is 1"),
        ({"average": "ema"}, r"train\.average \(now 'ema'\)"),
        ({"compile": True}, r"train\.compile \(now True\)"),
        ({}, r"network\.encoder is 'small'"),
    ],
)
def test_sharding_is_refused_where_it_means_nothing(grid_data: Path, changes: dict[str, Any], message: str) -> None:
    config = grid_experiment(grid_data, **{"shard": True, "num_workers": 2, **changes})
    with pytest.raises(UsageError, match=message):
        open_and_check(config)
