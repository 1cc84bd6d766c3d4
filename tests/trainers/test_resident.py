"""Data in the device's memory: the batches, and so the learning, are those of the streamed data."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from data.dataset import Dataset
from data.writer import DatasetWriter
from envs.errors import UsageError
from envs.grid import make_spec
from envs.registry import make_spec as registered_spec
from metrics.history import read_history
from tests.trainers.algorithms_helpers import algorithm_config
from tests.trainers.helpers import GRID, final_parameters, grid_episode, grid_experiment, without_perf
from trainers import resident
from trainers.batches import TensorBatch, to_tensors
from trainers.config import AugmentationConfig, TrainConfig
from trainers.distributed import WorkerContext
from trainers.launch import run_inline
from trainers.resident import ResidentRows, check_resident, make_resident, resident_bytes


@pytest.fixture(scope="module")
def view(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Two directories; some final observations are unknown, one episode is cut, probabilities are stored."""
    views = []
    for part in range(2):
        path = tmp_path_factory.mktemp("parts") / str(part)
        with DatasetWriter(path, make_spec(GRID), {"command": "test"}) as writer:
            for number in range(part, 12, 2):
                episode = grid_episode(number, 0, noise=0.5)
                log_probs = np.full((len(episode), 5), np.log(0.2), dtype=np.float16)
                hidden = {} if number % 3 else _without_last(episode.observations)
                writer.add(dataclasses.replace(episode, behavior_log_probs=log_probs, **hidden))
            views.append(writer.finish())
    whole = Dataset.concat(views)
    return whole.select(max_transitions=len(whole) - 2)


def _without_last(observations: dict[str, Any]) -> dict[str, Any]:
    return {
        "observations": {name: column[:-1] for name, column in observations.items()},
        "final_observation_known": False,
    }


def same(first: TensorBatch, second: TensorBatch) -> None:
    for field in dataclasses.fields(TensorBatch):
        one, other = getattr(first, field.name), getattr(second, field.name)
        pairs = [(one[name], other[name]) for name in other] if isinstance(other, dict) else [(one, other)]
        for a, b in pairs:
            assert a.dtype == b.dtype if isinstance(b, torch.Tensor) else a == b, field.name
            assert not isinstance(b, torch.Tensor) or torch.equal(a, b), field.name


@pytest.mark.parametrize("successors", [True, False])
def test_rows_are_those_on_the_disk(view: Dataset, successors: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resident, "_CHUNK", 7)
    known = view.episodes["final_observation_known"]
    assert 0 < known.sum() < len(known)
    kept = ResidentRows(view, torch.device("cpu"), successors)
    for index in (np.arange(len(view)), np.array([5, 5, 0, len(view) - 1]), view.episode_starts[1:] - 1):
        same(kept.rows(index), to_tensors(view.batch(index, successors=successors)))
    held = [*kept._frames.values(), *kept._columns.values(), kept._rows, kept._known]
    assert sum(tensor.numel() * tensor.element_size() for tensor in held) == resident_bytes(view, successors)


EXPERIMENTS: dict[str, tuple[str, dict[str, Any]]] = {
    "bc": ("bc", {"augmentation": AugmentationConfig(shift=2, color=0.2, cutout=3)}),
    "iql": ("iql", {"augmentation": AugmentationConfig(shift=2, consistency=0.5)}),
    "dt": ("dt", {"accumulation_steps": 2}),
}


@pytest.mark.parametrize("case", EXPERIMENTS)
def test_a_run_on_resident_data_is_the_streamed_run(grid_data: Path, tmp_path: Path, case: str) -> None:
    name, changes = EXPERIMENTS[case]
    ends, rows = [], []
    for where in ("always", "never"):
        config = grid_experiment(grid_data, learner_steps=6, log_every=3, resident=where, **changes)
        config = dataclasses.replace(config, algorithm=algorithm_config(name))
        result = run_inline(config, tmp_path / where, evaluate=lambda policy, step: {})
        ends.append(final_parameters(result.last))
        rows.append(without_perf(read_history(tmp_path / where / "metrics.jsonl")))
    assert all(torch.equal(ends[0][key], ends[1][key]) for key in ends[1])
    assert rows[0][1:] == rows[1][1:]
    assert rows[0][0]["data/resident_bytes"] > 0
    assert "data/resident_bytes" not in rows[1][0]


def test_what_does_not_fit_is_an_error_or_streamed(
    view: Dataset, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    needed = resident_bytes(view, True)
    gpu: Any = SimpleNamespace(device=torch.device("cuda", 0), is_first=True)
    monkeypatch.setattr(resident, "free_bytes", lambda device: int(needed / resident.SHARE) - 10)
    with pytest.raises(UsageError, match=r"train\.resident=never"):
        make_resident(view, TrainConfig(resident="always"), gpu, True)
    assert make_resident(view, TrainConfig(), gpu, True) is None
    assert "read from the disk" in capsys.readouterr().err
    monkeypatch.setattr(resident, "free_bytes", lambda device: int(needed / resident.SHARE) + 10)
    monkeypatch.setattr(resident, "ResidentRows", lambda view, device, successors: (view, device, successors))
    assert make_resident(view, TrainConfig(), gpu, True) == (view, torch.device("cuda", 0), True)
    assert "in the memory of cuda:0" in capsys.readouterr().err
    assert make_resident(view, TrainConfig(), WorkerContext(), True) is None, "a CPU streams unless told otherwise"
    assert make_resident(view, TrainConfig(resident="never"), gpu, True) is None


def test_texts_are_streamed() -> None:
    with pytest.raises(UsageError, match="differ in length"):
        check_resident(registered_spec("quiz/default"))
