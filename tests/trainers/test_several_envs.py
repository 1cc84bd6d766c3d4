"""One policy learns from a mixture over several environments: weights, levels and returns are kept apart by each."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gengap
from actors.collect import CollectConfig, collect
from data.dataset import Dataset
from data.mixture import Mixture
from envs.errors import UsageError
from envs.grid import VARIANTS
from envs.registry import make_spec
from envs.spec import LevelSet
from metrics.history import read_history
from metrics.table import EvaluationTable
from tests.data.helpers import PIXELS, TEXT, make_episode, write
from tests.trainers.helpers import grid_episode, grid_experiment
from trainers.config import DataConfig, EvaluationConfig, ExperimentConfig, NetworkConfig, TrackingConfig, TrainConfig
from trainers.launch import run_inline
from trainers.several_envs import EveryEnvEvaluation
from trainers.training_data import open_training_data

OWN, OTHER = "grid/default", "grid/distractors"


def record(path: Path, env: str, levels: range) -> Dataset:
    episodes = [grid_episode(level, episode, VARIANTS[env]) for level in levels for episode in range(2)]
    return write(path, episodes, make_spec(env))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("games")
    record(path / "own", OWN, range(20))
    record(path / "other", OTHER, range(10, 30))
    return path


def command(*words: str) -> int:
    with pytest.raises(SystemExit) as ended:
        gengap.main(list(words))
    return int(ended.value.code or 0)


def experiment(folder: Path, **changes: Any) -> ExperimentConfig:
    config = grid_experiment(folder / "own", learner_steps=30)
    datasets = (str(folder / "own"), str(folder / "other"))
    data = DataConfig(datasets=datasets, other_envs=(OTHER,), weights=(0.25, 0.75), max_transitions=200)
    return dataclasses.replace(config, data=dataclasses.replace(data, **changes))


def test_the_same_number_is_another_level_elsewhere(folder: Path) -> None:
    own, other = Dataset.open(folder / "own"), Dataset.open(folder / "other")
    both = Dataset.concat([own, other], several_envs=True)
    assert both.envs == (OWN, OTHER)
    assert len(np.unique(both.level_index)) == 40
    assert both.levels_of(OWN).tolist() == list(range(20))
    assert both.levels_of(OTHER).tolist() == list(range(10, 30))
    assert both.levels_of("grid/chain-3").tolist() == []
    assert both.fingerprint == Dataset.concat([other, own], several_envs=True).fingerprint
    assert both.fingerprint not in (own.fingerprint, other.fingerprint)
    assert both.select(episodes=range(own.num_episodes)).fingerprint == own.fingerprint
    batch = both.batch([0, len(own)])
    np.testing.assert_array_equal(batch.observations["image"][1], other.batch([0]).observations["image"][0])


def test_several_environments_are_only_mixed_when_asked(folder: Path, tmp_path: Path) -> None:
    datasets = [Dataset.open(folder / "own"), Dataset.open(folder / "other")]
    with pytest.raises(UsageError, match="one view holds one environment"):
        Dataset.concat(datasets)
    with pytest.raises(UsageError, match=f"data.other_envs={OTHER}"):
        open_training_data(experiment(folder, other_envs=()))
    texts = write(tmp_path / "texts", [make_episode(TEXT)], TEXT)
    with pytest.raises(UsageError, match="no policy can learn from both"):
        Dataset.concat([write(tmp_path / "pixels", [make_episode(PIXELS)], PIXELS), texts], several_envs=True)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_levels": 5}, "use levels_per_source"),
        ({"strata": "source", "weights": ()}, "divides the levels of one environment"),
        ({"weights": (0.0, 1.0)}, f"holds nothing of '{OWN}'"),
        ({"other_envs": (OTHER, "grid/chain-3")}, "No dataset was recorded in grid/chain-3"),
        ({"other_envs": (OWN,)}, "environments besides"),
    ],
)
def test_what_means_nothing_over_several_environments_is_refused(
    folder: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        open_training_data(experiment(folder, **changes))


@pytest.mark.parametrize(("others", "evaluators"), [((), 0), ((OTHER,), 1)])
def test_judging_in_each_needs_others_and_the_learners_time(
    folder: Path, others: tuple[str, ...], evaluators: int
) -> None:
    config = experiment(folder, other_envs=others)
    evaluation = dataclasses.replace(config.evaluation, each_env=True, num_evaluators=evaluators)
    with pytest.raises(UsageError, match="judges in every one of"):
        open_training_data(dataclasses.replace(config, evaluation=evaluation))


def test_the_realised_mixture_counts_levels_of_each(folder: Path) -> None:
    data = open_training_data(experiment(folder, levels_per_source={"own": 5, "other": 8}))
    assert data.levels == LevelSet.range(OWN, 0, 5)
    assert data.other_levels == {OTHER: LevelSet.range(OTHER, 10, 18)}
    assert data.report["num_levels"] == 13
    assert {name: (s["env"], s["levels"]) for name, s in data.report["sources"].items()} == {
        "own": (OWN, 5),
        "other": (OTHER, 8),
    }
    assert data.spec.name == OWN
    drawn = np.concatenate([data.sampler.indices(step, 0, 1) for step in range(200)])
    own = data.group_sizes[0]
    assert (drawn < own).mean() == pytest.approx(0.25, abs=0.02)


def test_the_effective_number_of_levels_keeps_environments_apart(folder: Path) -> None:
    sets = {name: Dataset.open(folder / name) for name in ("own", "other")}
    mixture = Mixture(weights={"own": 0.5, "other": 0.5}, several_envs=True)
    report = mixture.realise(sets).report
    alone = {name: Mixture().realise({name: data}).report["effective_levels"] for name, data in sets.items()}
    # Two parts of equal weight without anything in common: the entropy is that of the choice and the mean of theirs.
    assert report["effective_levels"] == pytest.approx(2 * (alone["own"] * alone["other"]) ** 0.5)


def test_a_policy_learns_from_both_and_is_judged_in_each(folder: Path, tmp_path: Path) -> None:
    config = experiment(folder)
    evaluation = dataclasses.replace(config.evaluation, each_env=True, num_validation_levels=6)
    run_inline(dataclasses.replace(config, evaluation=evaluation), tmp_path / "run")
    last = read_history(tmp_path / "run" / "metrics.jsonl")[-1]
    name = "eval/validation/normalized_return"
    values = [last[f"{name}/{env.replace('/', '-')}"] for env in (OWN, OTHER)]
    assert last[name] == values[0]
    assert last[f"{name}/mean_over_envs"] == pytest.approx(sum(values) / 2)
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["data"]["sources"]["other"]["env"] == OTHER

    words = ["num_actors=0", "num_train_levels=4", "num_validation_levels=6", "modes=sampled"]
    assert command("evaluate", str(tmp_path / "run"), "--env", OTHER, *words) == 0
    table = EvaluationTable.read(tmp_path / "run" / "evaluation" / "grid-distractors" / "evaluations.parquet")
    assert set(table.frame["env"]) == {OTHER}
    assert set(table.where(role="train").frame["level"]) <= set(range(10, 30))
    assert command("evaluate", str(tmp_path / "run"), "--env", "grid/chain-3", *words) == 2


def test_environments_count_the_same_in_the_mean() -> None:
    def gives(value: float) -> Any:
        names = [f"eval/{role}/{what}_return" for role in ("train", "validation") for what in ("normalized", "episode")]
        return lambda policy, step: dict.fromkeys(names, value) | {"eval/gap/validation": value}

    found = EveryEnvEvaluation("a/x", {"a/x": gives(0.2), "b": gives(0.8)})(None, 1)  # type: ignore[arg-type]
    assert found["eval/validation/normalized_return/mean_over_envs"] == pytest.approx(0.5)
    assert found["eval/gap/validation"] == 0.2
    assert found["eval/train/episode_return/a-x"] == 0.2


@pytest.mark.procgen
@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("procgen") is None, reason="Procgen is not on this machine")
def test_procgen_games_are_mixed(tmp_path: Path) -> None:
    games = ("maze", "coinrun", "bigfish")
    for game in games:
        env = f"procgen/{game}"
        wanted = CollectConfig(
            env=env, source="random", levels=LevelSet.range(env, 0, 3), min_transitions=150, num_actors=0
        )
        collect(wanted, tmp_path / game)
    config = ExperimentConfig(
        name="games",
        env="procgen/maze",
        data=DataConfig(
            datasets=tuple(str(tmp_path / game) for game in games),
            other_envs=("procgen/coinrun", "procgen/bigfish"),
            weights=(0.2, 0.5, 0.3),
            max_transitions=300,
        ),
        network=NetworkConfig(encoder="small", hidden_size=16),
        train=TrainConfig(learner_steps=4, batch_size=16),
        evaluation=EvaluationConfig(
            num_train_levels=2, num_validation_levels=2, num_test_levels=2, num_envs=2, each_env=True
        ),
        tracking=TrackingConfig(wandb="disabled"),
    )
    run_inline(config, tmp_path / "run")
    last = read_history(tmp_path / "run" / "metrics.jsonl")[-1]
    for game in games:
        assert f"eval/validation/normalized_return/procgen-{game}" in last
    sources = json.loads((tmp_path / "run" / "result.json").read_text())["data"]["sources"]
    assert {name: (s["env"], s["weight"]) for name, s in sources.items()} == {
        game: (f"procgen/{game}", weight) for game, weight in zip(games, (0.2, 0.5, 0.3), strict=True)
    }
