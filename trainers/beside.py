"""Evaluation beside training: evaluator actors judge checkpoints while the learner goes on.

The learner hands over a checkpoint and takes the next step. What the actors find comes back later, in the order in
which it was handed over, and is written under the learner step of its checkpoint, so the record of a run is the same as
if it had waited each time. Checkpoints that are not judged yet are kept, and are judged after a restart.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from actors.evaluate import evaluate_on_pool
from envs.spec import EnvSpec, LevelSet
from metrics.table import summarize
from trainers.checkpoint import Progress, averaged_path, checkpoint_path, prune, save_progress
from trainers.config import ExperimentConfig
from trainers.distributed import WorkerContext, gather_objects
from trainers.evaluation import SCORE, named_averaged, training_protocol_of
from trainers.reporter import Reporter

_PATIENCE_S = 1.0  # workers must not wait for each other longer than a collective allows


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What was found of one checkpoint."""

    learner_step: int
    metrics: dict[str, float]
    wall_s: float
    """Of playing and summarizing."""
    lag_s: float
    """From handing over to the answer."""


class Judges(Protocol):
    """Judges of checkpoints, in the order in which they come, without the caller waiting."""

    def submit(self, learner_step: int, checkpoint: Path, averaged: Path | None) -> None:
        """Judge a checkpoint, and the one of averaged weights beside it; returns at once."""
        ...

    def arrived(self, timeout_s: float) -> list[Verdict]:
        """What was found since the last call; waits so long for a first one."""
        ...

    def close(self) -> None:
        """End the actors; what was not judged by then is not."""
        ...


class Evaluators:
    """Judges that are Ray actors of a pool of their own, fed from a thread of this process.

    They play on the CPU, whatever the learner computes on. Checkpoints must be readable where they run.

    Args:
        config: The experiment; `evaluation.num_evaluators` actors share the levels of each checkpoint.
        spec: The environment that is trained in.
        train_levels: Levels of the realised mixture.
    """

    def __init__(self, config: ExperimentConfig, spec: EnvSpec, train_levels: LevelSet) -> None:
        from actors.placement import ClusterRole
        from actors.pool import ActorPool

        self._config = config
        self._protocol = training_protocol_of(config, spec, train_levels)
        self._lengths: dict[tuple[str, str, int, int], int] = {}
        self._wanted: queue.SimpleQueue[_Request | None] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[Verdict | Exception] = queue.SimpleQueue()
        self.pool = ActorPool(config.evaluation.num_evaluators, role=ClusterRole.EVALUATOR)
        """The actors."""
        self._thread = threading.Thread(target=self._work, name="evaluators", daemon=True)
        self._thread.start()

    def submit(self, learner_step: int, checkpoint: Path, averaged: Path | None) -> None:
        """Judge a checkpoint; returns at once."""
        self._wanted.put(_Request(learner_step, checkpoint, averaged, time.monotonic()))

    def arrived(self, timeout_s: float) -> list[Verdict]:
        """What was found since the last call.

        Raises:
            UsageError: If a policy cannot be judged.
            RunError: If the actors cannot go on.
        """
        found: list[Verdict] = []
        while True:
            try:
                wait_s = 0.0 if found else timeout_s
                answer = self._answers.get(block=wait_s > 0, timeout=wait_s or None)
            except queue.Empty:
                return found
            if isinstance(answer, Exception):
                raise answer
            found.append(answer)

    def close(self) -> None:
        """End the actors."""
        self._wanted.put(None)
        self.pool.close()
        self._thread.join(timeout=5.0)

    def _work(self) -> None:
        try:
            while (request := self._wanted.get()) is not None:
                self._answers.put(self._judge(request))
        except Exception as error:  # raised again where the learner asks for answers
            self._answers.put(error)

    def _judge(self, request: _Request) -> Verdict:
        started = time.monotonic()
        metrics = self._metrics(request.checkpoint)
        if request.averaged is not None:
            metrics |= named_averaged(self._metrics(request.averaged))
        now = time.monotonic()
        return Verdict(
            learner_step=request.learner_step,
            metrics=metrics,
            wall_s=now - started,
            lag_s=now - request.since_s,
        )

    def _metrics(self, checkpoint: Path) -> dict[str, float]:
        settings = self._config.evaluation
        table = evaluate_on_pool(
            self.pool,
            checkpoint,
            self._protocol,
            seed=self._config.seed,
            num_envs=settings.num_envs,
            temperature=settings.temperature,
            train_seed=self._config.seed,
            expected_lengths=self._lengths,
        )
        keys = table.frame[["env", "mode", "level", "episode"]].itertuples(index=False, name=None)
        self._lengths = dict(zip(keys, table.frame["length"].tolist(), strict=True))
        return summarize(table)


@dataclass(frozen=True)
class _Request:
    learner_step: int
    checkpoint: Path
    averaged: Path | None
    since_s: float


class Beside:
    """The loop's side: hands checkpoints over, and writes, counts and reports what comes back.

    Reports are a barrier where there are several workers, so those happen only where all of them are at the same step.

    Args:
        judges: Of the first worker; None on the others.
        context: This worker among all of them.
        reporter: Gets the rows and the reports.
        run_dir: Where the checkpoints are.
        batch_size: Transitions per learner step.
        averaged: Whether there are averaged weights to judge, too.
    """

    def __init__(
        self,
        judges: Judges | None,
        context: WorkerContext,
        reporter: Reporter,
        run_dir: Path,
        batch_size: int,
        *,
        averaged: bool,
    ) -> None:
        self._judges, self._context, self._reporter, self._run_dir = judges, context, reporter, run_dir
        self._batch_size, self._averaged = batch_size, averaged
        self._unreported: deque[Verdict] = deque()

    def hand_over(self, learner_step: int) -> None:
        """Let the saved checkpoint of a step be judged."""
        if self._judges is not None:
            checkpoint = checkpoint_path(self._run_dir, learner_step)
            self._judges.submit(learner_step, checkpoint, averaged_path(checkpoint) if self._averaged else None)

    def settle(self, progress: Progress, *, together: bool) -> Progress:
        """Take in what was found meanwhile, without waiting.

        Args:
            progress: As last saved.
            together: Whether all workers call this at this step.
        """
        progress = self._take(progress, timeout_s=0.0)
        if together or self._context.world_size == 1:
            self._report(done=True)
        return progress

    def finish(self, progress: Progress) -> Progress:
        """Wait until everything is judged. Collective."""
        done = False
        while not done:
            progress = self._take(progress, timeout_s=_PATIENCE_S if progress.pending else 0.0)
            done = self._report(done=not progress.pending)
        if self._judges is not None:
            prune(self._run_dir, progress)
        return progress

    def close(self) -> None:
        """End the judges."""
        if self._judges is not None:
            self._judges.close()

    def _take(self, progress: Progress, timeout_s: float) -> Progress:
        if self._judges is None:
            return progress
        for verdict in self._judges.arrived(timeout_s):
            step = verdict.learner_step
            seconds = {"train/perf/evaluation_s": verdict.wall_s, "train/perf/evaluation_lag_s": verdict.lag_s}
            row = {"transitions_seen": step * self._batch_size, **verdict.metrics, **seconds}
            self._reporter.log(step, row)  # before it counts as judged, so that a kill between the two loses nothing
            progress = progress.judged(step, verdict.metrics, verdict.metrics.get(SCORE))
            save_progress(self._run_dir, progress)
            self._unreported.append(verdict)
        return progress

    def _report(self, *, done: bool) -> bool:
        """Report what the first worker has taken in; whether it is done."""
        count, first_is_done = gather_objects((len(self._unreported), done), self._context)[0]
        for _ in range(count):
            if self._unreported:
                verdict = self._unreported.popleft()
                path = checkpoint_path(self._run_dir, verdict.learner_step)
                self._reporter.report(verdict.learner_step, verdict.metrics, path)
            else:
                self._reporter.report(0, {}, self._run_dir)
        return bool(first_is_done)
