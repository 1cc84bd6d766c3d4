"""What reaches loggers, Tune and Train, and in which shape."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from envs.errors import UsageError
from metrics.loggers import JsonLinesLogger
from tests.trainers.helpers import grid_experiment
from trainers.checkpoint import load_policy
from trainers.launch import run_inline
from trainers.reporter import (
    WORST,
    CompleteMetrics,
    LocalReporter,
    MultiReporter,
    NullReporter,
    ReportTail,
    TuneReporter,
    append_report,
)


class Recorder(NullReporter):
    def __init__(self) -> None:
        self.reports: list[tuple[int, dict[str, float], Path]] = []
        self.closed = 0

    def report(self, learner_step: int, metrics: Any, checkpoint: Path) -> None:
        self.reports.append((learner_step, dict(metrics), checkpoint))

    def close(self) -> None:
        self.closed += 1


def test_reports_to_tune_are_complete_and_finite() -> None:
    metrics = CompleteMetrics()
    first = metrics.complete(10, {"eval/validation/iqm": 0.5, "eval/gap/validation": 0.1})
    second = metrics.complete(20, {"eval/validation/iqm": math.nan})
    assert first == {"eval/validation/iqm": 0.5, "eval/gap/validation": 0.1, "learner_step": 10.0, "diverged": 0.0}
    assert second == {
        "eval/validation/iqm": WORST,
        "eval/gap/validation": 0.1,
        "learner_step": 20.0,
        "diverged": 1.0,
    }


@pytest.mark.parametrize("name", ["eval/test/iqm", "eval/gap/test", "eval/gap/test_low", "eval/gap/greedy_test"])
def test_the_test_never_reaches_tune(name: str) -> None:
    with pytest.raises(UsageError, match="may not see the test"):
        CompleteMetrics().complete(1, {name: 0.5})


def test_several_reporters_get_everything_and_are_all_closed(tmp_path: Path) -> None:
    first, second = LocalReporter(JsonLinesLogger(tmp_path / "metrics.jsonl")), Recorder()
    both = MultiReporter([first, second])
    both.log(5, {"a": 1.0})
    both.report(5, {"b": 2.0}, tmp_path)
    both.close()
    assert json.loads((tmp_path / "metrics.jsonl").read_text()) == {"learner_step": 5, "a": 1.0}
    assert second.reports == [(5, {"b": 2.0}, tmp_path)]
    assert second.closed == 1


def test_the_tail_hands_on_each_report_once_and_waits_for_whole_lines(tmp_path: Path) -> None:
    path, recorder = tmp_path / "reports.jsonl", Recorder()
    append_report(path, 1, {"old": 1.0}, tmp_path)
    tail = ReportTail(path, recorder)
    assert tail.forward() == 0, "reports from before the start belong to an earlier run"
    append_report(path, 2, {"a": 1.0}, tmp_path / "c")
    with path.open("a") as stream:
        stream.write('{"learner_step": 3, ')
        stream.flush()
        assert tail.forward() == 1
        stream.write('"metrics": {}, "checkpoint": "x"}\n')
    assert (tail.forward(), tail.forward()) == (1, 0)
    assert recorder.reports == [(2, {"a": 1.0}, tmp_path / "c"), (3, {}, Path("x"))]


def trial(params: dict[str, Any]) -> None:
    """A Tune function that trains in its own process."""
    config = grid_experiment(Path(params["data"]), evaluate_every=20, seed=params["seed"])
    run_inline(
        config,
        Path(params["out"]) / f"trial-{params['seed']}",
        reporter=TuneReporter(),
        evaluate=lambda policy, step: {"eval/validation/normalized_return": step / 100 + params["seed"]},
    )


@pytest.mark.ray
@pytest.mark.slow
def test_a_trial_reports_to_tune_with_a_checkpoint_that_leads_to_its_policy(
    grid_data: Path, tmp_path: Path, ray_cluster: Any
) -> None:
    from ray import tune

    tuner = tune.Tuner(
        tune.with_resources(trial, {"CPU": 1}),
        param_space={"data": str(grid_data), "out": str(tmp_path), "seed": tune.grid_search([0, 1])},
        tune_config=tune.TuneConfig(metric="eval/validation/normalized_return", mode="max"),
        run_config=tune.RunConfig(name="tune", storage_path=str(tmp_path), verbose=0),
    )
    results = tuner.fit()
    assert results.num_errors == 0, results.errors
    best = results.get_best_result()
    assert best.metrics["learner_step"] == 40
    assert best.metrics["eval/validation/normalized_return"] == pytest.approx(1.4)
    assert list(best.metrics_dataframe["learner_step"]) == [20, 40]
    with best.checkpoint.as_directory() as folder:
        loaded = load_policy(folder)
    assert loaded.policy_id == load_policy(tmp_path / "trial-1" / "checkpoints" / "last").policy_id
    assert sum(path.stat().st_size for path in Path(best.checkpoint.path).iterdir()) < 1000, "only a pointer"
