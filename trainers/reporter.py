"""Where a loop's numbers go: step metrics stream to loggers, evaluations and checkpoints to whoever started the run."""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from envs.errors import UsageError
from metrics.loggers import Logger
from metrics.wandb_logger import WandbLogger
from trainers.checkpoint import write_pointer

WORST = -1e9
"""Stands for a value that is not finite: schedulers record NaN, but never stop a trial for it."""


class Reporter(Protocol):
    """What the training loop talks to."""

    def log(self, learner_step: int, values: Mapping[str, float]) -> None:
        """One row of metrics; the loop writes each learner step at most once."""
        ...

    def report(self, learner_step: int, metrics: Mapping[str, float], checkpoint: Path) -> None:
        """An evaluation and the checkpoint that it judges. May wait for other workers."""
        ...

    def close(self) -> None:
        """Flush and release."""
        ...


class NullReporter:
    """Says nothing: workers other than the first."""

    def log(self, learner_step: int, values: Mapping[str, float]) -> None:
        """Nothing."""

    def report(self, learner_step: int, metrics: Mapping[str, float], checkpoint: Path) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


@dataclass
class LocalReporter:
    """Rows go to a logger; evaluations are in those rows already."""

    logger: Logger
    tracker: WandbLogger | None = None
    """The one among the loggers that may have a page."""

    @property
    def url(self) -> str:
        """Address of the run's page, or an empty text."""
        return (self.tracker.url if self.tracker else None) or ""

    def log(self, learner_step: int, values: Mapping[str, float]) -> None:
        """One row."""
        self.logger.write(learner_step, dict(values))

    def report(self, learner_step: int, metrics: Mapping[str, float], checkpoint: Path) -> None:
        """Nothing: the row of this step carries the evaluation."""

    def close(self) -> None:
        """Close the logger."""
        self.logger.close()


@dataclass
class MultiReporter:
    """Several reporters, in order: the one on disk comes first."""

    reporters: Sequence[Reporter]

    def log(self, learner_step: int, values: Mapping[str, float]) -> None:
        """To each."""
        for reporter in self.reporters:
            reporter.log(learner_step, values)

    def report(self, learner_step: int, metrics: Mapping[str, float], checkpoint: Path) -> None:
        """To each."""
        for reporter in self.reporters:
            reporter.report(learner_step, metrics, checkpoint)

    def close(self) -> None:
        """Each, in reverse order."""
        for reporter in reversed(self.reporters):
            reporter.close()


@dataclass
class CompleteMetrics:
    """Makes every report complete and finite, as Tune demands: one missing metric would abort the whole sweep."""

    _last: dict[str, float] = field(default_factory=dict)

    def complete(self, learner_step: int, metrics: Mapping[str, float]) -> dict[str, float]:
        """The metrics with missing ones carried over, values that are not finite replaced, and the learner step.

        Raises:
            UsageError: If a metric of the sealed test is among them.
        """
        sealed = [name for name in metrics if _is_sealed(name)]
        if sealed:
            raise UsageError(
                f"{sealed[0]!r} was reported to the search, which may not see the test; play the test after selection."
            )
        finite = {name: float(value) if math.isfinite(value) else WORST for name, value in metrics.items()}
        self._last = {**self._last, **finite}
        diverged = float(any(not math.isfinite(value) for value in metrics.values()))
        return {**self._last, "learner_step": float(learner_step), "diverged": diverged}


def _is_sealed(name: str) -> bool:
    return name.startswith("eval/test/") or (name.startswith("eval/gap/") and "test" in name)


class TuneReporter:
    """Reports evaluations to Ray Tune with a pointer checkpoint; use it in the thread of the Tune function."""

    def __init__(self) -> None:
        self._metrics = CompleteMetrics()

    def log(self, learner_step: int, values: Mapping[str, float]) -> None:
        """Nothing: step metrics never pass through Tune."""

    def report(self, learner_step: int, metrics: Mapping[str, float], checkpoint: Path) -> None:
        """One Tune result; a scheduler may end the trial here."""
        from ray import tune

        values: dict[str, Any] = self._metrics.complete(learner_step, metrics)
        values["learner_step"] = learner_step
        with tempfile.TemporaryDirectory() as folder:
            write_pointer(Path(folder), checkpoint, learner_step)
            tune.report(values, checkpoint=tune.Checkpoint.from_directory(folder))

    def close(self) -> None:
        """Nothing to release."""


class MeanReporter:
    """Collects the reports of several models and hands on their mean, with the first one's checkpoint.

    Args:
        reporter: Gets one report per learner step, when `flush` is called.
    """

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter
        self._reports: list[tuple[int, dict[str, float], Path]] = []

    def log(self, learner_step: int, values: Mapping[str, float]) -> None:
        """Nothing: each model writes its own rows."""

    def report(self, learner_step: int, metrics: Mapping[str, float], checkpoint: Path) -> None:
        """Keep it until the others have reported."""
        self._reports.append((learner_step, dict(metrics), checkpoint))

    def flush(self) -> None:
        """Hand on the mean of the latest step's reports; what all of them hold is averaged."""
        if not self._reports:
            return
        latest = max(step for step, _, _ in self._reports)
        chosen = [(metrics, checkpoint) for step, metrics, checkpoint in self._reports if step == latest]
        self._reports = []
        names = set.intersection(*(set(metrics) for metrics, _ in chosen))
        means = {name: sum(metrics[name] for metrics, _ in chosen) / len(chosen) for name in sorted(names)}
        self._reporter.report(latest, means, chosen[0][1])

    def close(self) -> None:
        """Close what it reports to."""
        self._reporter.close()


class TrainReporter:
    """Reports to Ray Train from every worker; the first one also writes the run's logs.

    `report` is a barrier over the workers and slow (about one per 2 s), so it carries evaluations only.

    Args:
        local: What writes logs on the first worker, None elsewhere.
        reports: File to which the first worker appends every report, for the process that started the run.
    """

    def __init__(self, local: Reporter | None, reports: Path) -> None:
        self._local = local
        self._reports = reports

    def log(self, learner_step: int, values: Mapping[str, float]) -> None:
        """A row of the first worker's logs."""
        if self._local is not None:
            self._local.log(learner_step, values)

    def report(self, learner_step: int, metrics: Mapping[str, float], checkpoint: Path) -> None:
        """Tell the starting process and Ray Train."""
        import ray.train

        if self._local is None:
            ray.train.report({})
            return
        append_report(self._reports, learner_step, metrics, checkpoint)
        with tempfile.TemporaryDirectory() as folder:
            write_pointer(Path(folder), checkpoint, learner_step)
            values = {"learner_step": learner_step, **metrics}
            ray.train.report(values, checkpoint=ray.train.Checkpoint.from_directory(folder))

    def close(self) -> None:
        """Close the logs."""
        if self._local is not None:
            self._local.close()


def append_report(path: Path, learner_step: int, metrics: Mapping[str, float], checkpoint: Path) -> None:
    """Add a report to a file that `ReportTail` follows."""
    row = {"learner_step": learner_step, "metrics": dict(metrics), "checkpoint": str(checkpoint)}
    with path.open("a") as stream:
        stream.write(json.dumps(row) + "\n")


class ReportTail:
    """Follows a file of reports and hands each to a reporter, once.

    Reports cross from Ray Train's workers to the trial's own thread this way: no further actor, and nothing is lost
    when a process dies.
    """

    def __init__(self, path: Path, reporter: Reporter) -> None:
        self._path = path
        self._reporter = reporter
        self._position = path.stat().st_size if path.exists() else 0

    def forward(self) -> int:
        """Hand on what was added since the last call; the number of reports."""
        if not self._path.exists():
            return 0
        with self._path.open("rb") as stream:
            stream.seek(self._position)
            added = stream.read()
        complete = added[: added.rfind(b"\n") + 1]
        self._position += len(complete)
        rows = [json.loads(line) for line in complete.splitlines()]
        for row in rows:
            self._reporter.report(row["learner_step"], row["metrics"], Path(row["checkpoint"]))
        return len(rows)
