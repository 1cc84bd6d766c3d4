"""From a config or a command line to a run's files."""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path

import pytest
import torch

from envs.errors import UsageError
from search.sweep import locked
from tests.trainers.helpers import grid_experiment
from trainers import commands
from trainers.config import AugmentationConfig, TrainConfig
from trainers.launch import run, torch_threads
from trainers.loop import TrainResult
from trainers.online_config import build_online
from trainers.optim import build_optimizer, learning_rate_at
from trainers.ppo import PPOConfig
from trainers.ppo_commands import prepare as prepare_online
from trainers.run_files import open_reporter, prepare_run, read_json
from trainers.version import code_version


def test_a_run_leaves_its_config_its_version_and_its_result(grid_data: Path, tmp_path: Path) -> None:
    result = run(grid_experiment(grid_data, learner_steps=3), tmp_path / "run")
    assert read_json(tmp_path / "run" / "config.json")["train"]["learner_steps"] == 3
    about = read_json(tmp_path / "run" / "run.json")
    assert about["code_version"] == code_version()
    assert about["run_id"].startswith("grid-test-s0-")
    stored = TrainResult.from_json(read_json(tmp_path / "run" / "result.json"))
    assert stored == result
    assert stored.data["fingerprint"]


def test_the_tracker_gets_the_whole_experiment(
    grid_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []

    class Tracker:
        url = "https://example.org/run"

        def __init__(self, **settings: object) -> None:
            made.append(settings)

        def write(self, step: int, values: object) -> None: ...

        def close(self) -> None: ...

    monkeypatch.setattr("trainers.run_files.WandbLogger", Tracker)
    config = grid_experiment(grid_data, learner_steps=2)
    config = dataclasses.replace(config, tracking=dataclasses.replace(config.tracking, wandb="offline"))
    prepare_run(config, tmp_path, resume=False)
    reporter = open_reporter(config, tmp_path, resume_from=None, data={"fingerprint": "abc"}, group="study")
    assert reporter.url == "https://example.org/run"
    (settings,) = made
    assert settings["run_id"] == read_json(tmp_path / "run.json")["run_id"]
    assert (settings["group"], settings["name"]) == ("study", tmp_path.name)
    assert settings["config"]["train"]["learner_steps"] == 2
    assert settings["config"]["realised"]["fingerprint"] == "abc"
    assert settings["config"]["code_version"] == code_version()


def test_the_run_id_survives_a_resume(grid_data: Path, tmp_path: Path) -> None:
    config = grid_experiment(grid_data)
    prepare_run(config, tmp_path, resume=False)
    before = read_json(tmp_path / "run.json")
    prepare_run(config, tmp_path, resume=True)
    assert read_json(tmp_path / "run.json") == before


def test_a_resumed_run_may_change_how_but_not_what(grid_data: Path, tmp_path: Path) -> None:
    prepare_run(grid_experiment(grid_data), tmp_path, resume=False)
    prepare_run(grid_experiment(grid_data, num_workers=2), tmp_path, resume=True)
    with pytest.raises(UsageError, match=r"train\.batch_size is 32 there and 64 here"):
        prepare_run(grid_experiment(grid_data, batch_size=64), tmp_path, resume=True)


def test_the_learning_rate_warms_up_and_decays(grid_data: Path) -> None:
    train = grid_experiment(
        grid_data, learner_steps=110, learning_rate=1.0, warmup_steps=10, final_learning_rate_fraction=0.2
    ).train
    rates = [learning_rate_at(train, step) for step in range(1, 111)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[9] == 1.0
    assert rates[59] == pytest.approx(0.6)
    assert rates[-1] == pytest.approx(0.2)
    assert sorted(rates[10:], reverse=True) == rates[10:]
    assert learning_rate_at(dataclasses.replace(train, final_learning_rate_fraction=1.0, warmup_steps=0), 110) == 1.0


def test_parameters_that_are_not_trainable_are_left_out_of_the_optimizer(grid_data: Path) -> None:
    layer = torch.nn.Linear(2, 2)
    layer.bias.requires_grad_(False)
    groups = build_optimizer(grid_experiment(grid_data).train, layer).param_groups
    assert [id(parameter) for group in groups for parameter in group["params"]] == [id(layer.weight)]


def test_the_number_of_threads_is_given_back() -> None:
    before = torch.get_num_threads()
    with torch_threads(2):
        assert torch.get_num_threads() == 2
    assert torch.get_num_threads() == before


def command(*words: object) -> dict[str, object]:
    parser = argparse.ArgumentParser()
    parser.add_argument("--address")
    commands.add_arguments(parser)
    return commands.run(parser.parse_args([str(word) for word in words]))


def test_the_command_trains_refuses_to_overwrite_and_resumes(grid_data: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    few = ("evaluation.num_train_levels=2", "evaluation.num_validation_levels=2", "evaluation.num_envs=2")
    words = ("grid-bc", "train.learner_steps=4", "tracking.wandb=disabled", *few, "--data", grid_data, "--out", out)
    result = command(*words)
    assert (result["learner_step"], result["run"]) == (4, str(out))
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    with pytest.raises(UsageError, match="already holds a run"):
        command(*words)
    assert command(*words, "--resume")["last"] == result["last"]


def test_the_command_answers_wrong_use_in_one_line(tmp_path: Path) -> None:
    for words, message in [
        (["grid-bcc"], "Did you mean 'grid-bc'"),
        ([], "Name a recipe"),
        (["grid-bc"], "names no dataset"),
        (["grid-bc", "train.learner_step=3"], "learner_steps"),
        (["grid-bc", "--data", str(tmp_path / "nothing")], "nothing"),
        (["grid-ppo", "--data", "x"], "learns by playing"),
        (["grid-bc", "train.learning_rate=nan"], "train.learning_rate received 'nan'"),
        (["grid-bc", "train.weight_decay=inf"], "train.weight_decay received 'inf'"),
        (["grid-bc", "train.weight_decay=-1"], "from 0 on"),
        (["grid-ppo", "ppo.learning_rate=nan"], "ppo.learning_rate received 'nan'"),
    ]:
        with pytest.raises(UsageError, match=message):
            command(*words, "--out", tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["learning_rate", "weight_decay", "final_learning_rate_fraction"])
def test_a_rate_is_a_number(name: str) -> None:
    for value in (float("nan"), float("inf"), -1.0):
        with pytest.raises(UsageError, match=f"train.{name} is {value}"):
            TrainConfig(**{name: value})
    with pytest.raises(UsageError, match="must hold numbers"):
        AugmentationConfig(color=float("nan"))


def test_nothing_is_written_for_a_config_that_json_cannot_hold(grid_data: Path, tmp_path: Path) -> None:
    config = grid_experiment(grid_data, max_grad_norm=float("nan"))
    with pytest.raises(UsageError, match=r"^train\.max_grad_norm=nan is not finite"):
        prepare_run(config, tmp_path / "run", resume=False)
    weighted = dataclasses.replace(grid_experiment(grid_data).data, weights=(1.0, float("inf")))
    with pytest.raises(UsageError, match=r"data\.weights"):
        prepare_run(dataclasses.replace(config, data=weighted), tmp_path / "run", resume=False)
    online = build_online("grid-ppo")
    with pytest.raises(UsageError, match=r"^ppo\.clip=nan is not finite"):
        prepare_online(dataclasses.replace(online, ppo=PPOConfig(clip=float("nan"))), tmp_path / "run", resume=False)
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_can_be_no_directory_is_refused(grid_data: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/run")):
        with pytest.raises(UsageError, match=r"cannot be .*--out"):
            prepare_run(grid_experiment(grid_data), place, resume=False)
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(UsageError, match=r"cannot be .*--out"):
            prepare_online(build_online("grid-ppo"), place, resume=False)
        with pytest.raises(UsageError, match=r"cannot be .*--out"), locked(place):
            pass
