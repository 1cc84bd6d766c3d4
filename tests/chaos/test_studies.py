"""Studies as a user has them: in a bucket when the disk goes, with trials that fail, moved, reopened and added to."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest

from metrics.table import EvaluationTable
from tests.search.test_sweep import ROOT, finish, start, wait_for_trials

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.chaos]
FLAKY = '''
"""An environment whose simulator fails inside trials: once in one trial, always in another until it is mended."""
import dataclasses
import os
from functools import partial
from pathlib import Path

from envs.grid import VARIANTS, GridVectorEnv, make_spec
from envs.registry import register

HERE = Path(__file__).parent
config = dataclasses.replace(VARIANTS["grid/default"], name="flaky/easy")


def build(*args, **options):
    from ray import tune

    trial = str(tune.get_context().get_trial_name())
    if trial.startswith("levels-2-") and trial.endswith("seed-0") and not (HERE / "failed").exists():
        (HERE / "failed").touch()
        raise OSError("the simulator lost its display")
    if trial.startswith("levels-6-") and trial.endswith("seed-1") and not (HERE / "mended").exists():
        raise OSError("the simulator is not installed")
    return GridVectorEnv(config, *args, **options)


register(config.name, partial(make_spec, config), build)
'''


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    fsspec.filesystem("s3", skip_instance_cache=True).mkdir("studies")
    yield "s3://studies/grid"
    server.stop()


def stored_results(url: str) -> set[str]:
    files = fsspec.filesystem("s3", skip_instance_cache=True)
    place = f"{url}/manifest.json"
    names = json.loads(files.cat_file(place))["files"] if files.exists(place) else {}
    return {name for name in names if name.startswith("trials/") and name.endswith("result.json")}


def results(out: Path) -> dict[str, str]:
    return {str(path.relative_to(out)): path.read_text() for path in out.glob("trials/*/result.json")}


def gengap(*words: str, cwd: Path) -> dict[str, Any]:
    code = "import sys; sys.path.pop(0); from gengap import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, *words, "--json"],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), "WANDB_MODE": "offline"},
        text=True,
        capture_output=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    value: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return value


@pytest.mark.timeout(1800)
def test_a_study_outlives_its_disk_and_is_moved_reopened_compared_and_added_to(tmp_path: Path, bucket: str) -> None:
    out, words = tmp_path / "study", ["scheduler=none", "max_concurrent_trials=1"]
    process = start(out, *words, "--storage", bucket, "--storage-every", "0.5")
    wait_for_trials(out, 2, process)
    while not stored_results(bucket):
        assert process.poll() is None
    process.kill()
    process.communicate()
    kept = {name: text for name, text in results(out).items() if name in stored_results(bucket)}
    assert kept
    shutil.rmtree(out)

    again = tmp_path / "again"
    gengap("sweep", "--resume", bucket, "--out", str(again), cwd=tmp_path)
    finished = results(again)
    assert len(finished) == 4
    assert {name: finished[name] for name in kept} == kept, "a finished trial was run again"
    assert stored_results(bucket) == set(finished), "the copy is kept up to date by whoever goes on"

    moved = tmp_path / "elsewhere" / "grid"
    moved.parent.mkdir()
    shutil.copytree(again, moved, symlinks=True)
    first = gengap("report", str(moved), cwd=tmp_path)
    assert first["headline"] == json.loads((again / "report" / "report.json").read_text())["headline"]
    shutil.rmtree(again)
    trial = sorted(moved.glob("trials/*"))[0]
    judged = gengap("evaluate", str(trial), "--splits", "validation", "num_actors=0", cwd=tmp_path)
    assert "eval/validation/normalized_return" in judged
    by_count = gengap("compare", f"{moved}:2", f"{moved}:6", cwd=tmp_path)["comparisons"]
    assert {row["role"] for row in by_count} >= {"validation", "test"}
    reads = len((moved / "ledger.jsonl").read_text().splitlines())

    gengap("sweep", "--resume", str(moved), "seeds=0,1,2", cwd=tmp_path)
    grown = results(moved)
    assert len(grown) == 2 * 3
    assert {name: grown[name] for name in finished} == finished, "a finished trial was run again"
    table = EvaluationTable.read(moved / "evaluations.parquet")
    assert {Path(name).parent.name for name in grown} <= set(table.where(role="validation").policies)
    selected = json.loads((moved / "selection.json").read_text())
    tested = {name for choice in selected["choices"] for name in choice["policies"]}
    assert tested <= set(table.where(role="test").policies)
    assert len(tested) == 2 * 3
    assert len((moved / "ledger.jsonl").read_text().splitlines()) > reads
    (entry,) = json.loads((moved / "study.json").read_text())["grown"]
    assert entry["test_reads"] == reads
    text = (moved / "report" / "report.md").read_text()
    assert f"when the test had been read {reads} times" in text
    retrained = json.loads((moved / "retrained" / "config.json").read_text())
    overall = next(spec for spec in selected["choices"] if spec["config_id"] == selected["overall"])
    assert retrained["data"]["num_levels"] == overall["num_levels"]
    assert f"lr-{retrained['train']['learning_rate']:g}" in selected["overall"]


@pytest.mark.timeout(1800)
def test_failed_trials_are_tried_again_and_told_of(tmp_path: Path) -> None:
    (tmp_path / "flaky.py").write_text(FLAKY)
    out, words = tmp_path / "study", ["experiment.env=flaky/easy", "collect_source=random", "collect_options={}"]
    process = start(out, *words, "scheduler=none", "--plugin", "flaky", cwd=tmp_path)
    _, stderr = process.communicate(timeout=280)
    assert process.returncode == 1
    assert "1 of 4 trials failed" in stderr
    assert "the simulator is not installed" in stderr
    finished = results(out)
    assert len(finished) == 3
    failures = [json.loads(line) for line in (out / "failures.jsonl").read_text().splitlines()]
    told = sorted((row["trial"].split("-lr-")[0], row["retried"], row["error"]) for row in failures)
    assert told == [
        ("levels-2", True, "OSError: the simulator lost its display"),
        ("levels-6", False, "OSError: the simulator is not installed"),
        ("levels-6", True, "OSError: the simulator is not installed"),
        ("levels-6", True, "OSError: the simulator is not installed"),
    ]
    status = gengap("status", str(out), cwd=tmp_path)
    assert len(status["failures"]) == 4

    (tmp_path / "mended").touch()
    finish(start(out, *words, "scheduler=none", "--plugin", "flaky", cwd=tmp_path))
    again = results(out)
    assert len(again) == 4
    assert {name: again[name] for name in finished} == finished, "a finished trial was run again"
    assert len((out / "failures.jsonl").read_text().splitlines()) == 4
    text = (out / "report" / "report.md").read_text()
    assert "## Failed attempts" in text
    assert "given up | OSError: the simulator is not installed" in text
