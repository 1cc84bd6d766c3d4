from __future__ import annotations

import json
import logging
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from envs.errors import UsageError
from metrics.history import read_history
from metrics.loggers import JsonLinesLogger, MultiLogger, encode
from metrics.wandb_logger import REMOVED, WandbLogger, has_api_key, resolve_mode, safe_run_id, without_secrets
from tests.metrics.wandb_reader import read_records, read_rows
from tests.metrics.wandb_stub import WandbStub, wandb_stub

ROOT = Path(__file__).resolve().parents[2]
SECRET = "hunter2-very-secret-value"
API_KEY = "f00d" * 10


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """No setting of the machine's owner, and no memory of W&B's process-wide service from test to test."""
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("NETRC", str(tmp_path / "no-netrc"))
    monkeypatch.setenv("DEPLOY_TOKEN", SECRET)
    yield
    if "wandb" in sys.modules:
        sys.modules["wandb"].teardown()


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> Iterator[WandbStub]:
    with wandb_stub() as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        monkeypatch.setenv("WANDB_API_KEY", API_KEY)
        yield server


def make(directory: Path, run_id: str = "trial-1", **options: Any) -> WandbLogger:
    settings: dict[str, Any] = {"project": "gengap", "group": "study", "name": "trial", "config": {"seed": 0}}
    return WandbLogger(run_id=run_id, directory=directory, **{**settings, **options})


def write_rows(logger: MultiLogger | WandbLogger, count: int, start: int = 0) -> None:
    for index in range(start, start + count):
        values = {"train/loss/total": 1 / (index + 1), "train/perf/steps_per_s": 7, "note": f"row {index}", "ok": True}
        if index % 10 == 9:
            values["eval/validation/normalized_return"] = index / 3
        logger.write(index * 20, values)


def local_log(directory: Path) -> Path:
    sys.modules["wandb"].teardown()  # its service closes the file a moment after the run has finished
    (path,) = directory.glob("wandb/*run-*/*.wandb")
    return path


def test_an_offline_run_reads_back_equal_to_the_json_lines(tmp_path: Path) -> None:
    config = {"train": {"learning_rate": 5e-4}, "dataset_fingerprint": "abc", "code_version": "0.1.0"}
    tracker = make(tmp_path, mode="offline", config=config)
    logger = MultiLogger([JsonLinesLogger(tmp_path / "metrics.jsonl"), tracker])
    write_rows(logger, 600)  # beyond one block of the local log
    logger.write(600 * 20, {"bad": math.nan, "huge": math.inf})
    logger.close()
    path = local_log(tmp_path)
    assert path.stat().st_size > 32_768
    assert [_comparable(row) for row in read_rows(path)] == [
        _comparable(row) for row in read_history(tmp_path / "metrics.jsonl")
    ]
    (run,) = [record.run for record in read_records(path) if record.HasField("run")]
    assert (run.run_id, run.run_group, run.display_name, run.project) == ("trial-1", "study", "trial", "gengap")
    assert {item.key: json.loads(item.value_json) for item in run.config.update if item.key != "_wandb"} == config
    metrics = [record.metric for record in read_records(path) if record.HasField("metric")]
    assert ("*", "learner_step") in [(metric.glob_name, metric.step_metric) for metric in metrics]


def _comparable(row: dict[str, Any]) -> Any:
    return json.loads(encode(row))  # NaN, which equals nothing, becomes a string


def test_an_online_run_arrives_complete(stub: WandbStub, tmp_path: Path) -> None:
    tracker = make(tmp_path, mode="online", config={"train": {"batch_size": 64}})
    logger = MultiLogger([JsonLinesLogger(tmp_path / "metrics.jsonl"), tracker])
    write_rows(logger, 300)
    logger.close()
    rows = [{k: v for k, v in row.items() if not k.startswith("_")} for row in stub.history["trial-1"]]
    assert rows == read_history(tmp_path / "metrics.jsonl")
    assert stub.configs["trial-1"]["train"] == {"value": {"batch_size": 64}}
    assert tracker.url is not None
    assert tracker.url.startswith(stub.url)


def test_a_run_resumed_in_the_same_process_goes_on_under_its_id(stub: WandbStub, tmp_path: Path) -> None:
    for start in (0, 30):
        tracker = make(tmp_path, mode="online")
        write_rows(tracker, 30, start)
        tracker.close()
    assert [row["learner_step"] for row in stub.history["trial-1"]] == [20 * index for index in range(60)]
    assert [row["_step"] for row in stub.history["trial-1"]] == list(range(60))


def test_rows_that_a_resumed_run_replays_are_not_there_twice(stub: WandbStub, tmp_path: Path) -> None:
    for start in (0, 17):
        tracker = make(tmp_path, mode="online")
        write_rows(tracker, 30, start)
        tracker.close()
    assert [row["learner_step"] for row in stub.history["trial-1"]] == [20 * index for index in range(47)]


def test_steps_that_go_backwards_are_kept(tmp_path: Path) -> None:
    tracker = make(tmp_path, mode="offline")
    for step in (1, 2, 3, 10, 4, 5, 11):
        tracker.write(step, {"x": step})
    tracker.close()
    assert [row["learner_step"] for row in read_rows(local_log(tmp_path))] == [1, 2, 3, 10, 4, 5, 11]


def test_runs_of_one_process_do_not_mix(tmp_path: Path) -> None:
    first, second = (make(tmp_path / name, name, mode="offline") for name in ("a", "b"))
    for step in range(20):
        first.write(step, {"x": "a"})
        second.write(step, {"x": "b"})
    first.close()
    second.close()
    for name in ("a", "b"):
        assert [row["x"] for row in read_rows(local_log(tmp_path / name))] == [name] * 20


def test_no_secret_and_no_environment_leaves_the_machine(stub: WandbStub, tmp_path: Path) -> None:
    config = {"api_key": "k", "nested": [{"password": "p", "note": f"use {SECRET} here"}], "max_tokens": 7}
    tracker = make(tmp_path, mode="online", config=config)
    write_rows(tracker, 20)
    tracker.close()
    assert stub.configs["trial-1"]["nested"]["value"] == [{"password": REMOVED, "note": REMOVED}]
    assert stub.configs["trial-1"]["max_tokens"]["value"] == 7
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    sent = "\n".join([*stub.bodies, *(path.read_bytes().decode("latin-1") for path in files)])
    hidden = [
        SECRET,
        API_KEY,
        os.environ["PATH"],
        sys.executable,
        sys.argv[0],
        str(ROOT),
        "DEPLOY_TOKEN",
        os.uname().nodename,
    ]
    assert [text for text in hidden if text in sent] == []
    assert sorted(stub.uploads) == ["config.yaml", "wandb-summary.json"]


def test_a_broken_tracker_is_dropped_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("importlib.import_module", lambda name: (_ for _ in ()).throw(ImportError(f"no {name}")))
    with caplog.at_level(logging.WARNING):
        tracker = make(tmp_path, mode="offline")
        write_rows(tracker, 5)
        tracker.close()
        tracker.close()
    assert [record.message for record in caplog.records] == [
        "W&B is dropped for run trial-1, the JSON lines go on: ImportError('no wandb')"
    ]


def test_a_value_that_wandb_refuses_does_not_reach_training(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tracker = make(tmp_path, mode="offline")
    tracker.write(0, {"x": 1})
    tracker.write(1, {7: 1})  # type: ignore[dict-item]
    tracker.close()
    assert "W&B is dropped" in caplog.text
    assert read_rows(local_log(tmp_path)) == [{"learner_step": 0, "x": 1}]


def test_disabled_starts_and_writes_nothing(tmp_path: Path) -> None:
    tracker = make(tmp_path, mode="disabled")
    tracker.write(0, {"x": 1})
    tracker.close()
    assert list(tmp_path.iterdir()) == []


def test_online_only_with_a_key(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: Any) -> None:
    assert (resolve_mode("auto"), resolve_mode("offline"), resolve_mode("disabled")) == (
        "offline",
        "offline",
        "disabled",
    )
    assert resolve_mode("online") == "offline"
    assert "no API key" in caplog.text
    monkeypatch.setenv("WANDB_API_KEY", API_KEY)
    assert (resolve_mode("auto"), resolve_mode("online"), resolve_mode("offline")) == ("online", "online", "offline")
    for wish in ("offline", "disabled"):
        monkeypatch.setenv("WANDB_MODE", wish)
        assert (resolve_mode("auto"), resolve_mode("online")) == (wish, "online")


def test_a_key_in_the_netrc_file_of_the_right_host_counts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "netrc"
    monkeypatch.setenv("NETRC", str(path))
    assert not has_api_key()
    path.write_text("machine elsewhere.example login user password p\n")
    assert not has_api_key()
    path.write_text("machine api.wandb.ai login user password p\n")
    assert has_api_key()
    monkeypatch.setenv("WANDB_BASE_URL", "http://wandb.local:8080")
    assert not has_api_key()
    path.write_text("machine wandb.local:8080 login user password p\n")
    assert has_api_key()


def test_run_ids_are_made_acceptable_and_stay_apart() -> None:
    assert safe_run_id("trial_00-a.b") == "trial_00-a.b"
    ids = {safe_run_id(name) for name in ("a/b", "a:b", "a-b", "x" * 200 + "1", "x" * 200 + "2")}
    assert len(ids) == 5
    assert all(len(name) <= 56 and "/" not in name for name in ids)


def test_only_secrets_are_removed_from_the_config(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_API_KEY", "0123456789")
    config = {
        "aws_secret_access_key": "s",
        "hf-token": "t",
        "tokenizer": "bytes",
        "token": 3,
        "keys": ["plain", "0123456789"],
        "deep": {"AccessKey": "k", "seeds": (0, 1)},
    }
    assert without_secrets(config) == {
        "aws_secret_access_key": REMOVED,
        "hf-token": REMOVED,
        "tokenizer": "bytes",
        "token": 3,
        "keys": ["plain", REMOVED],
        "deep": {"AccessKey": REMOVED, "seeds": [0, 1]},
    }


def test_an_unknown_mode_is_answered(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Did you mean 'offline'"):
        make(tmp_path, mode="ofline")


def test_wandb_is_imported_only_by_a_run() -> None:
    code = "import sys, metrics.loggers, metrics.wandb_logger, metrics.table; print('wandb' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"
