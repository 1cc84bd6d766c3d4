"""Population-based training: the worse really go on from the better ones' parameters, and mixtures move."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from envs.errors import UsageError
from metrics.history import read_history
from search.population import Member, PopulationConfig, explored, first_members, train_population
from search.simplex import Simplex
from tests.trainers.helpers import final_parameters, grid_experiment, record_grid
from trainers.config import DataConfig, EvaluationConfig
from trainers.launch import run_inline

SIMPLEX = Simplex.of_sizes({"a": 300, "b": 500}, 400, 0.1)


RATE = "train.learning_rate"


def population(folder: Path, *, learner_steps: int = 30, evaluate_every: int = 10, **changes: Any) -> PopulationConfig:
    evaluation = EvaluationConfig(num_train_levels=4, num_validation_levels=80, num_envs=40)
    experiment = grid_experiment(
        folder, learner_steps=learner_steps, evaluate_every=evaluate_every, evaluation=evaluation
    )
    data = DataConfig(datasets=(str(folder / "a"), str(folder / "b")))
    defaults: dict[str, Any] = {"members": 2, "dimensions": {RATE: "log 1e-9 1e-2"}}
    return PopulationConfig(
        name="population",
        experiment=dataclasses.replace(experiment, data=data),
        simplex=SIMPLEX,
        **{**defaults, **changes},
    )


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 1000), moves=st.integers(0, 3))
def test_steps_stay_feasible_and_in_range(seed: int, moves: int) -> None:
    texts = {"kind": "choice x y", "size": "int 2 9 if kind=x", "rate": "log 1e-4 1e-2"}
    config = population(Path(), dimensions=texts, seed=seed)
    member = first_members(config)[0]
    for _ in range(moves + 1):
        after = explored(config, member)
        SIMPLEX.check(SIMPLEX.named(after.weights))
        values: Any = after.values
        assert ("size" in values) == (values["kind"] == "x")
        assert values.get("size", 2) in range(2, 10)
        assert 1e-4 <= values["rate"] <= 1e-2
        assert after == explored(config, member), "the same step for the same ancestors"
        member = after


def test_a_step_goes_to_a_mixture_nearby() -> None:
    config, middle = population(Path(), jitter=0.1), Member(name="member-0", weights=(0.5, 0.5), values={})
    moved = [explored(config, dataclasses.replace(middle, moves=moves)).weights[0] - 0.5 for moves in range(50)]
    assert all(moved), "every step moves"
    assert 0.01 < np.std(moved) < 0.05
    assert max(moved) > 0 > min(moved)


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"members": 1}, "nobody to learn from"), ({"simplex": Simplex(names=("a",))}, "one dataset for each")],
)
def test_a_population_that_cannot_be_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        dataclasses.replace(population(Path()), **changes)
    config = population(Path())
    train = dataclasses.replace(config.experiment.train, evaluate_every=0)
    with pytest.raises(UsageError, match="compared at evaluations"):
        dataclasses.replace(config, experiment=dataclasses.replace(config.experiment, train=train))


def test_a_run_goes_on_from_the_checkpoint_of_another(grid_data: Path, tmp_path: Path) -> None:
    first = run_inline(grid_experiment(grid_data, learner_steps=20), tmp_path / "a", evaluate=lambda p, s: {})
    config = grid_experiment(grid_data, learner_steps=30, learning_rate=1e-12)
    second = run_inline(config, tmp_path / "b", evaluate=lambda p, s: {}, init_from=first.last)
    a, b = final_parameters(first.last), final_parameters(second.last)
    assert all(torch.allclose(a[name], b[name], atol=1e-6) for name in a), "nothing was learned in between"
    assert [row["learner_step"] for row in read_history(tmp_path / "b" / "metrics.jsonl")] == [25, 30]


@pytest.fixture(scope="module")
def grid_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("population") / "grid"
    record_grid(path, range(20))
    return path


@pytest.mark.ray
@pytest.mark.slow
def test_the_worse_member_is_replaced_by_a_copy_of_the_better_one(
    tmp_path: Path, ray_cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One member cannot learn, so it must go on from the other's parameters, at the other's step.

    What it does with them is taken out: after its first copy it learns nothing again, so that its own checkpoint tells
    where it started.
    """
    for name in ("a", "b"):
        record_grid(tmp_path / name, range(20))
    config = population(tmp_path, learner_steps=180, evaluate_every=60)
    learns = Member(name="member-0", weights=(0.5, 0.5), values={RATE: 3e-3})
    idles = Member(name="member-1", weights=(0.4, 0.6), values={RATE: 1e-12})

    def explored_idle(config: PopulationConfig, donor: Member) -> Member:
        return dataclasses.replace(explored(config, donor), values={RATE: 1e-12})

    monkeypatch.setattr("search.population.first_members", lambda config: [learns, idles])
    monkeypatch.setattr("search.population.explored", explored_idle)
    out = tmp_path / "out"
    records = {record["place"]: record for record in train_population(config, out)}

    assert {record["metrics"]["learner_step"] for record in records.values()} == {180}
    assert [entry["from"] for entry in records["place-0"]["lineage"]] == [None, "place-0", "place-0"]
    own, copy, *_ = records["place-1"]["lineage"]
    assert (own["from"], own["from_step"], own["name"]) == (None, 0, "member-1")
    assert (copy["from"], copy["from_step"], copy["name"]) == ("place-0", 60, "member-0"), "it was not exploited"
    assert not np.allclose(copy["weights"], (0.5, 0.5)), "it explores a mixture beside its donor's"
    assert copy["weights"] == list(explored(config, learns).weights)

    def parameters(entry: dict[str, Any], place: str) -> dict[str, torch.Tensor]:
        return final_parameters(out / "trials" / place / entry["generation"] / "checkpoints" / "last")

    before, after = parameters(own, "place-1"), parameters(copy, "place-1")
    donor = parameters(records["place-0"]["lineage"][0], "place-0")
    assert all(torch.allclose(after[name], donor[name], atol=1e-6) for name in donor)
    assert not all(torch.allclose(before[name], donor[name], atol=1e-3) for name in donor)
    rows = read_history(out / "trials" / "place-1" / copy["generation"] / "metrics.jsonl")
    assert rows[0]["learner_step"] > 60, "it did not begin again"
