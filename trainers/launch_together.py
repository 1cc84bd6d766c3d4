"""From several configs to several run directories, trained together in this process."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from data.files import atomic_write_json
from trainers.config import ExperimentConfig
from trainers.distributed import WorkerContext
from trainers.launch import check, open_and_check, pick_device, torch_threads
from trainers.loop import DivergedError, Evaluate, TrainResult
from trainers.loop_together import Member, check_alike, choose_vectorized, train_together
from trainers.reporter import LocalReporter, MeanReporter, MultiReporter, NullReporter, Reporter
from trainers.run_files import RESULT, open_reporter, prepare_run
from trainers.training_data import TrainingData


def run_together(
    configs: Mapping[Path, ExperimentConfig],
    *,
    reporter: Reporter | None = None,
    resume: bool = True,
    group: str | None = None,
    console: bool = False,
    evaluate: Evaluate | None = None,
) -> list[TrainResult | DivergedError]:
    """Train several models of one network at once; each leaves the run directory that `launch.run` would leave.

    Args:
        configs: The experiment of each run directory; see `trainers.loop_together.OWN` for what may differ.
        reporter: Also gets the mean of all models' evaluations, for example a `TuneReporter`.
        resume: Go on from the last checkpoint of each, where there is one.
        group: The tracker's group.
        console: Print a line per row of metrics.
        evaluate: None plays the protocol's train and validation levels.

    Returns:
        What each left, in order; of a model that diverged the error.

    Raises:
        UsageError: For a config that does not fit its data, or models that cannot train together.
        RunError: If the disk is full or a file damaged.
    """
    experiments = list(configs.values())
    check_alike(experiments)
    context = WorkerContext(device=pick_device(experiments[0].train))
    opened = _open(experiments, context)
    is_vectorized = choose_vectorized(experiments[0], opened[0].spec, len(experiments))
    mean = MeanReporter(reporter or NullReporter())
    members: list[Member] = []
    own: list[LocalReporter] = []
    with contextlib.ExitStack() as stack:
        for data, (run_dir, config) in zip(opened, configs.items(), strict=True):
            folder = run_dir.resolve()
            resume_from = prepare_run(config, folder, resume=resume)
            local = open_reporter(
                config, folder, resume_from=resume_from, data=data.report, group=group, console=console
            )
            both = MultiReporter([local, mean])
            stack.enter_context(contextlib.closing(both))
            own.append(local)
            members.append(
                Member(
                    config=config,
                    run_dir=folder,
                    reporter=both,
                    data=data,
                    resume_from=resume_from,
                    evaluate=evaluate,
                )
            )
        with torch_threads(experiments[0].train.threads_per_worker):
            results = train_together(members, context, is_vectorized, after_step=mean.flush)
    return [_record(*parts) for parts in zip(results, members, own, strict=True)]


def _open(experiments: Sequence[ExperimentConfig], context: WorkerContext) -> list[TrainingData]:
    """The data of each, in its own order; what several learn from is opened once."""
    opened: dict[str, TrainingData] = {}
    found = []
    for config in experiments:
        key = repr(config.data)
        if key in opened:
            check(config, opened[key])
        else:
            opened[key] = open_and_check(config).placed(config.train, context)
        data = opened[key]
        found.append(dataclasses.replace(data, sampler=data.sampler.with_seed(config.seed)))
    return found


def _record(result: TrainResult | DivergedError, member: Member, local: LocalReporter) -> TrainResult | DivergedError:
    """Write down what a run left."""
    if isinstance(result, DivergedError):
        return result
    named = dataclasses.replace(result, wandb_url=local.url)
    atomic_write_json(member.run_dir / RESULT, named.to_json())
    return named
