"""A whole study as a user starts it: from an out-of-tree project, killed with SIGKILL, and resumed."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from envs.grid import VARIANTS, make_level
from envs.visual import STRENGTHS
from metrics.history import read_history
from metrics.protocol import Role
from metrics.robustness import PICTURED
from metrics.table import EvaluationTable

ROOT = Path(__file__).resolve().parents[2]
LIMIT_S = 1500
"""Nothing here is about speed: a minute or two on two free cores, and twenty times as long where others use them."""
PLUGIN = '''
"""An environment of somebody else's project."""
import dataclasses
from functools import partial

from envs.grid import VARIANTS, GridVectorEnv, make_spec  # gengap's, although this project has a folder called envs
from envs.registry import register

config = dataclasses.replace(VARIANTS["grid/default"], name="mygame/easy")
register(config.name, partial(make_spec, config), partial(GridVectorEnv, config))
'''
SMALL = [
    "level_counts=2,6",
    "num_transitions=200",
    "learning_rates=1e-3",
    "experiment.train.learner_steps=40",
    "experiment.train.evaluate_every=20",
    "experiment.train.batch_size=16",
    "experiment.evaluation.num_train_levels=4",
    "experiment.evaluation.num_validation_levels=4",
    "judge.num_train_levels=4",
    "judge.num_validation_levels=6",
    "judge.num_test_levels=8",
    "judge.num_envs=8",
    "experiment.evaluation.num_envs=8",
]


def start(out: Path, *words: str, cwd: Path = ROOT) -> subprocess.Popen[str]:
    # Like the installed command: no working folder on the path; Ctrl-C is heard even where the tests ignore it.
    code = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); sys.path.pop(0); "
        "from gengap import main; main()"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "WANDB_MODE": "offline"}
    command = [sys.executable, "-c", code, "sweep", "grid-diversity", *SMALL, "--out", str(out), "--json", *words]
    return subprocess.Popen(
        command,
        cwd=cwd,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def finish(process: subprocess.Popen[str]) -> dict[str, Any]:
    try:
        stdout, stderr = process.communicate(timeout=LIMIT_S)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGINT)  # it ends its Ray too
        raise
    assert process.returncode == 0, stderr[-3000:]
    result: dict[str, Any] = json.loads(stdout.splitlines()[-1])
    return result


def wait_for_trials(out: Path, count: int, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + LIMIT_S
    while len(list(out.glob("trials/*/result.json"))) < count:
        assert process.poll() is None, process.communicate()[1][-3000:]
        assert time.monotonic() < deadline, f"{count} trials never finished"
        time.sleep(0.1)


def survivors(session: int) -> list[psutil.Process]:
    alive = []
    for process in psutil.process_iter():
        try:
            if os.getsid(process.pid) == session and process.status() != psutil.STATUS_ZOMBIE:
                alive.append(process)
        except (ProcessLookupError, psutil.NoSuchProcess):
            continue
    return alive


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Somebody else's project, with folders that have our packages' names."""
    folder = tmp_path / "project"
    for name in ("data", "envs", "metrics"):
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").write_text("raise RuntimeError('the wrong package')\n")
    (folder / "mygame.py").write_text(PLUGIN)
    return folder


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(2 * LIMIT_S)
def test_a_plugin_of_another_project_is_swept_to_a_sealed_report(project: Path) -> None:
    out = project / "study"
    own = ["experiment.env=mygame/easy", "collect_source=random", "collect_options={}", "--plugin", "mygame"]
    process = start(Path("study"), *own, cwd=project)  # relative, while workers run in folders of their own
    result = finish(process)

    assert (out / "report" / "index.html").stat().st_size > 10_000
    report = json.loads((out / "report" / "report.json").read_text())
    assert report["headline"] == result["headline"]
    table = EvaluationTable.read(out / "evaluations.parquet")
    tested = set(table.where(role="test").policies)
    selected = {
        name for choice in json.loads((out / "selection.json").read_text())["choices"] for name in choice["policies"]
    }
    assert tested == selected
    assert set(table.where(role="validation").policies) == tested | {"random", "retrained"}
    study = json.loads((out / "study.json").read_text())
    assert [record["realised_transitions"] for record in study["datasets"]] == [200, 200]
    assert {(trial["status"], trial["learner_step"]) for trial in study["trials"]} <= {
        ("finished", 40),
        ("stopped early", 20),
    }
    ledger = (out / "ledger.jsonl").read_text().splitlines()
    assert len(ledger) == len(tested)
    deadline = time.monotonic() + 20
    while survivors(process.pid) and time.monotonic() < deadline:
        time.sleep(0.5)
    assert survivors(process.pid) == []


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(2 * LIMIT_S)
def test_a_configuration_that_diverges_is_passed_over(tmp_path: Path) -> None:
    out = tmp_path / "study"
    finish(start(out, "learning_rates=1e-3,1e30", "scheduler=none"))
    trials = json.loads((out / "study.json").read_text())["trials"]
    assert {(trial["learning_rate"], trial["status"]) for trial in trials} == {(1e-3, "finished"), (1e30, "diverged")}
    for trial in trials:
        attempts = list((out / "tune").rglob(f"*{trial['trial_id']}*/error.txt"))
        assert attempts == [], "it was tried again"
    selected = json.loads((out / "selection.json").read_text())
    assert all("lr-0.001" in choice["config_id"] for choice in selected["choices"])
    judged = EvaluationTable.read(out / "evaluations.parquet").policies
    assert not [name for name in judged if "1e+30" in name]


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(2 * LIMIT_S)
def test_mixtures_are_searched_under_a_shift_over_several_environments(tmp_path: Path) -> None:
    out = tmp_path / "study"
    words = ["judge.protocol=grid-variants", "strata=chain", "mixtures=natural,2", "scheduler=none", "seeds=0,1"]
    finish(start(out, *words))

    report = json.loads((out / "report" / "report.json").read_text())
    assert report["environments"] == {
        "train": "grid/default",
        "train_heldout": "grid/default",
        "validation": "grid/distractors",
        "test": "grid/chain-3",
    }
    entries = report["mixtures"]
    assert [(e["num_levels"], e["mixture"]) for e in entries] == [
        (2, "2"), (2, "natural"), (6, "2"), (6, "natural"),
    ]  # fmt: skip
    for entry in entries:
        assert entry["realised_transitions"] == 200
        assert set(entry["returns"]) == {role.value for role in Role}
        assert entry["returns"]["test"]["num_runs"] == 2
        assert entry["mixture"] == "natural" or list(entry["strata"]) == ["2"]
    table = EvaluationTable.read(out / "evaluations.parquet")
    trained = table.where(role="train", policy=[p for e in entries if e["mixture"] == "2" for p in e["policies"]])
    assert {len(make_level(VARIANTS["grid/default"], level).items) for level in set(trained.frame["level"])} == {2}
    assert len((out / "ledger.jsonl").read_text().splitlines()) == 4 * 2
    history = read_history(next(out.glob("trials/*/metrics.jsonl")))
    assert any("eval/train_heldout/normalized_return" in row for row in history)
    text = (out / "report" / "report.md").read_text()
    assert "## Mixtures over chain" in text
    assert "![" in text[text.index("## Mixtures over chain") :].split("##")[1]
    assert "(validation grid/distractors, test grid/chain-3)" in text
    assert "train minus train (held out)" in text
    assert "Mixtures over chain" in (out / "report" / "index.html").read_text()


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(2 * LIMIT_S)
def test_a_sweep_with_robustness_ends_with_its_curve_in_the_report(tmp_path: Path) -> None:
    out = tmp_path / "study"
    finish(start(out, "robustness=true", "scheduler=none", "seeds=0,1", "judge.modes=('sampled',)"))

    selected = json.loads((out / "selection.json").read_text())["overall"]
    played = {path.stem for path in (out / "robustness").glob("*.parquet")}
    assert played == {f"{selected}-seed-{seed}" for seed in (0, 1)}
    (entry,) = json.loads((out / "report" / "report.json").read_text())["robustness"]
    assert (entry["policy"], set(entry["policies"])) == (selected, played)
    conditions = {(point["family"], point["strength"]) for point in entry["curve"]}
    assert conditions == {("none", 0), ("grid-variants", 1), *itertools.product(PICTURED, STRENGTHS)}
    unchanged = next(point["normalized_return"]["point"] for point in entry["curve"] if point["family"] == "none")
    validated = EvaluationTable.read(out / "evaluations.parquet").where(role="validation", policy=sorted(played))
    assert unchanged == pytest.approx(validated.frame["normalized_return"].mean())  # the levels that it was selected by
    assert (out / "report" / "robustness_0.png").stat().st_size > 5_000
    assert "Robustness" in (out / "report" / "index.html").read_text()
    assert {json.loads(line)["policy_id"] for line in (out / "ledger.jsonl").read_text().splitlines()} >= played
    assert json.loads((out / "study.json").read_text())["timings_s"]["robustness"] > 0


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(2 * LIMIT_S)
@pytest.mark.chaos
def test_an_interrupted_and_killed_study_resumes_without_rerunning_finished_trials(tmp_path: Path) -> None:
    out = tmp_path / "study"
    alone = ["max_concurrent_trials=1", "scheduler=none"]
    process = start(out, *alone)
    wait_for_trials(out, 1, process)
    process.send_signal(signal.SIGINT)
    assert "Run the same command again" in process.communicate(timeout=LIMIT_S)[1]
    assert process.returncode == 130
    process = start(out, *alone)
    wait_for_trials(out, 2, process)
    process.kill()
    process.communicate()
    finished = {path: path.stat().st_mtime_ns for path in out.glob("trials/*/result.json")}

    finish(start(out, *alone))

    assert len(list(out.glob("trials/*/result.json"))) == 4
    assert {path: path.stat().st_mtime_ns for path in finished} == finished
    for history in out.glob("trials/*/metrics.jsonl"):
        steps = [row["learner_step"] for row in read_history(history)]
        assert steps == sorted(set(steps))
        assert {20, 40} <= set(steps)
    assert len((out / "ledger.jsonl").read_text().splitlines()) == 4
