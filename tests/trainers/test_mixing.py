"""Controllers inside the training loop: on time, the same on all ranks, resumed exactly, blind to the test."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from actors.policy import Policy
from data.schedule import ControlledSchedule
from data.writer import DatasetWriter
from envs.errors import UsageError
from envs.grid import make_spec
from metrics.history import read_history
from tests.trainers.helpers import GRID, final_parameters, grid_episode, grid_experiment, two_rank_worker, without_perf
from trainers.batches import TensorBatch
from trainers.config import AlgorithmConfig, DataConfig, ExperimentConfig, MixingConfig
from trainers.feed import Feed
from trainers.launch import open_and_check, run_inline
from trainers.loop import SCORE

WEIGHT = "data/mixture/weight/"
LAW = {"rounds": 1, "round_steps": 2, "hold_steps": 5}


def record(path: Path, noise: float, levels: range) -> str:
    with DatasetWriter(path, make_spec(GRID), {"command": "test"}) as writer:
        for level in levels:
            writer.add(grid_episode(level, 0, noise=noise))
        writer.finish()
    return str(path)


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Random walks, which are many, and the solver's ways, which are few."""
    place = tmp_path_factory.mktemp("sources")
    return record(place / "random", 1.0, range(20)), record(place / "solver", 0.0, range(60))


def experiment(sources: tuple[str, str], controller: str, options: dict[str, Any], **changes: Any) -> ExperimentConfig:
    mixing = MixingConfig(controller=controller, options=options, probe_size=32, target=changes.pop("target", ()))
    reference = changes.pop("reference", "")
    config = grid_experiment(Path(sources[0]), **changes)
    mixing = dataclasses.replace(mixing, reference=reference)
    return dataclasses.replace(config, data=DataConfig(datasets=sources, weights=(0.5, 0.5)), mixing=mixing)


def quiet(policy: Policy, learner_step: int) -> dict[str, float]:
    return {SCORE: 0.0}


@pytest.mark.parametrize(
    ("controller", "options"),
    [("group-dro", {"update_every": 6}), ("gradient-alignment", {"update_every": 6}), ("linear-law", LAW)],
)
def test_every_batch_is_drawn_with_the_weights_of_its_step(
    sources: tuple[str, str], tmp_path: Path, controller: str, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: dict[int, list[float]] = {}
    plain = Feed.batch

    def batch(self: Feed, learner_step: int) -> TensorBatch:
        if (schedule := self._data.schedule) is not None and self._data.sampler.batch_size == 16:
            drawn[learner_step] = schedule.weights(learner_step - 1).tolist()
        return plain(self, learner_step)

    monkeypatch.setattr(Feed, "batch", batch)
    config = experiment(sources, controller, options, learner_steps=25, batch_size=16)
    result = run_inline(config, tmp_path, evaluate=quiet)

    schedule = ControlledSchedule([0.5, 0.5])
    schedule.load(result.data["mixing"]["history"])
    assert drawn == {step: schedule.weights(step - 1).tolist() for step in range(1, 26)}
    assert len({tuple(weights) for weights in drawn.values()}) > 2, "the weights moved"
    row = read_history(tmp_path / "metrics.jsonl")[-1]
    assert {name: row[WEIGHT + name] for name in ("random", "solver")} == pytest.approx(
        result.data["mixing"]["weights"]
    )
    average = np.mean(list(drawn.values()), axis=0)
    assert list(result.data["mixing"]["average_weights"].values()) == pytest.approx(average.tolist())


@pytest.mark.parametrize("step", [4, 9])
def test_a_controlled_run_resumes_to_the_same_weights_and_parameters(
    sources: tuple[str, str], tmp_path: Path, step: int
) -> None:
    """At 4 the law waits for its first measurement, at 9 it is in the middle of one."""
    config = experiment(sources, "linear-law", LAW, learner_steps=24, checkpoint_every=step)
    whole = run_inline(config, tmp_path / "whole", evaluate=quiet)

    def killed(self: Feed, learner_step: int) -> TensorBatch:
        if learner_step == step + 1:
            raise ConnectionError
        return plain(self, learner_step)

    plain = Feed.batch
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Feed, "batch", killed)
        with pytest.raises(ConnectionError):
            run_inline(config, tmp_path / "resumed", evaluate=quiet)
    resumed = run_inline(config, tmp_path / "resumed", evaluate=quiet)

    assert resumed.data["mixing"] == whole.data["mixing"]
    first, second = final_parameters(whole.last), final_parameters(resumed.last)
    assert all(torch.equal(first[name], second[name]) for name in first)
    rows = [without_perf(read_history(tmp_path / name / "metrics.jsonl")) for name in ("whole", "resumed")]
    assert rows[0] == rows[1]


@pytest.mark.parametrize(
    ("controller", "options"),
    [
        ("gradient-alignment", {"update_every": 4, "step_size": 3.0}),
        pytest.param("linear-law", LAW, marks=pytest.mark.slow),
    ],
)
def test_two_ranks_move_the_weights_as_one(
    sources: tuple[str, str], tmp_path: Path, controller: str, options: dict[str, Any]
) -> None:
    config = experiment(sources, controller, options, learner_steps=20, log_every=2)
    one = run_inline(config, tmp_path / "one")
    arguments = (f"file://{tmp_path / 'rendezvous'}", config, tmp_path / "two")
    torch.multiprocessing.spawn(two_rank_worker, arguments, nprocs=2)
    rows = [read_history(tmp_path / name / "metrics.jsonl") for name in ("one", "two")]
    for name in ("random", "solver"):
        weights = [[row[WEIGHT + name] for row in history] for history in rows]
        np.testing.assert_allclose(weights[1], weights[0], atol=2e-3)
    assert len({round(row[WEIGHT + "solver"], 6) for row in rows[1]}) > 2
    first, second = final_parameters(one.last), final_parameters(tmp_path / "two" / "checkpoints" / "last")
    for name in first:
        torch.testing.assert_close(second[name], first[name], rtol=5e-3, atol=1e-3)


def test_gradient_alignment_turns_to_the_source_that_serves_unseen_levels(
    sources: tuple[str, str], tmp_path: Path
) -> None:
    target = record(tmp_path / "validation", 0.0, range(1_000_000, 1_000_030))
    options = {"update_every": 4, "step_size": 1.0}
    config = experiment(sources, "gradient-alignment", options, learner_steps=40, target=(target,))
    result = run_inline(config, tmp_path / "run", evaluate=quiet)
    assert result.data["mixing"]["weights"]["solver"] > 0.7
    swapped = experiment(sources, "gradient-alignment", options, learner_steps=40, target=(sources[0],))
    result = run_inline(swapped, tmp_path / "swapped", evaluate=quiet)
    assert result.data["mixing"]["weights"]["random"] > 0.5


@pytest.mark.slow
def test_group_dro_follows_the_loss_in_excess_of_the_reference(sources: tuple[str, str], tmp_path: Path) -> None:
    """Random walks have the higher loss, but nothing can be learned of them that the reference does not know."""
    changes = {"learner_steps": 150, "learning_rate": 4e-3}
    plain = experiment(sources, "none", {}, **changes)
    reference = run_inline(plain, tmp_path / "reference", evaluate=quiet)
    options = {"update_every": 4, "step_size": 2.0}
    weights = {}
    for name, path in (("excess", str(reference.last)), ("loss", "")):
        config = experiment(sources, "group-dro", options, reference=path, **changes)
        weights[name] = run_inline(config, tmp_path / name, evaluate=quiet).data["mixing"]["weights"]
    assert weights["loss"]["random"] > 0.6
    assert weights["excess"]["solver"] > weights["loss"]["solver"] + 0.1


def test_sequence_models_are_probed_by_windows(sources: tuple[str, str], tmp_path: Path) -> None:
    config = experiment(sources, "linear-law", LAW, learner_steps=12)
    config = dataclasses.replace(config, algorithm=AlgorithmConfig(name="bct"))
    result = run_inline(config, tmp_path, evaluate=quiet)
    assert len(result.data["mixing"]["history"]) > 3


def test_without_a_controller_nothing_changes(sources: tuple[str, str], tmp_path: Path) -> None:
    result = run_inline(experiment(sources, "none", {}, learner_steps=10), tmp_path, evaluate=quiet)
    assert "mixing" not in result.data
    rows = read_history(tmp_path / "metrics.jsonl")
    assert [name for name in rows[-1] if name.startswith("data/mixture/")] == []
    planned = {name: rows[0][f"data/mixture/epochs/{name}"] for name in ("random", "solver")}
    sizes = {name: rows[0][f"data/mixture/transitions/{name}"] for name in planned}
    assert planned == pytest.approx({name: 0.5 * 10 * 32 / size for name, size in sizes.items()})


@pytest.mark.parametrize(
    ("mixing", "message"),
    [
        ({"controller": "linear-lawn"}, "Did you mean 'linear-law'"),
        ({"controller": "linear-law", "options": {"rounds": 2.5}}, "must be of type int"),
        ({"controller": "linear-law", "target": ("a", "a")}, "mixing.target lists a dataset twice"),
    ],
)
def test_wrong_use_is_refused_before_anything_is_written(
    sources: tuple[str, str], tmp_path: Path, mixing: dict[str, Any], message: str
) -> None:
    config = dataclasses.replace(experiment(sources, "none", {}), mixing=MixingConfig(**mixing))
    with pytest.raises(UsageError, match=message):
        run_inline(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_levels_of_the_sealed_test_are_no_target(sources: tuple[str, str], tmp_path: Path) -> None:
    target = record(tmp_path / "sealed", 0.0, range(2_000_500, 2_000_502))
    config = experiment(sources, "linear-law", LAW, target=(target,))
    with pytest.raises(UsageError, match="holds levels of the sealed test"):
        open_and_check(config)
