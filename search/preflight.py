"""What a study will cost, and whether it fits, before it starts."""

from __future__ import annotations

import dataclasses
import platform
import time
from pathlib import Path
from typing import Any

import psutil
import torch

from actors.collect_config import row_bytes
from actors.placement import Cluster
from actors.sources import SourceSpec, build_source
from data.files import check_disk_space, format_bytes
from envs.console import say
from envs.errors import UsageError
from envs.registry import make_spec
from metrics.protocols import is_shift
from search.config import SweepConfig
from search.placing import concurrent_trials
from search.selection import find_rule
from search.space import collected_levels, data_specs, dataset_path, trial_groups, trial_specs
from search.variants import axis_of, options_of, recorded_transitions_of
from trainers.algorithms import build_algorithm
from trainers.batches import made_up_batch
from trainers.distributed import WorkerContext
from trainers.launch import preflight, torch_threads
from trainers.learner import Learner

CHECKPOINT_BYTES = 20_000_000
"""About two checkpoints of a trial with optimizer state, metrics and tracker files."""


def check_study(config: SweepConfig, out: Path, cluster: Cluster) -> None:
    """Say what the study will take; refuse what cannot be placed or stored.

    Raises:
        UsageError: If the cluster can never place a trial, or a name in the configuration is unknown.
        RunError: If the disk is short.
    """
    check_names(config)
    train = config.experiment.train
    preflight(config.experiment, cluster)
    preflight(
        dataclasses.replace(config.experiment, train=dataclasses.replace(train, num_workers=config.retrain_workers)),
        cluster,
        field="retrain_workers",
    )
    needed = study_bytes(config)
    check_disk_space(out, needed)
    trials = len(trial_specs(config))
    mixtures = f" x {len(config.mixtures)} mixtures over {config.strata}" if config.strata else ""
    mixtures += f" x {len(config.variants)} values of {axis_of(config.variants)}" if config.variants else ""
    parallel = max(1, min(len(trial_groups(config)), concurrent_trials(config, cluster)))
    seconds = estimate_training_s(config) * trials / parallel
    say(
        f"Study {config.name}: {len(config.level_counts)} level counts{mixtures} x {len(config.learning_rates)} "
        f"learning rates x {len(config.seeds)} seeds = {trials} trials, {parallel} at a time; about "
        f"{format_bytes(needed)} on disk and "
        f"{seconds / 60:.0f} min of training before early stopping (measured on this machine), plus collection and "
        f"evaluation. Written to {out}."
    )


def check_names(config: SweepConfig) -> None:
    """Refuse an unknown environment, protocol, mixture or rule, and settings that exclude each other.

    Raises:
        UsageError: With the closest match.
    """
    spec = make_spec(config.experiment.env)
    find_rule(config.selection_rule)
    if config.seeds_together and config.experiment.train.num_workers > 1:
        raise UsageError(
            "seeds_together trains in one process, but experiment.train.num_workers is "
            f"{config.experiment.train.num_workers}; set it to 1, or seeds_together=false."
        )
    if not config.strata and config.mixtures != ("natural",):
        raise UsageError(f"mixtures is {config.mixtures}; say what they mix, for example strata=department.")
    during, after = config.experiment.evaluation.protocol, config.judge.protocol
    if is_shift(during) and during != after:
        raise UsageError(
            f"experiment.evaluation.protocol is {during!r}, but judge.protocol is {after!r}: a study has one protocol, "
            f"which also chooses its training levels. Set judge.protocol={during}; the other then follows."
        )
    if config.level_counts[-1] > spec.level_universe:
        raise UsageError(f"{config.level_counts[-1]} levels were asked of {spec.name!r}; it has {spec.level_universe}.")
    for data in data_specs(config):
        collected_levels(config, data)
        if config.variants:
            options = options_of(data.mixture, config.collect_options)
            build_source(SourceSpec(env=spec.name, name=config.collect_source, options=options))


def study_bytes(config: SweepConfig) -> int:
    """Upper estimate of what a study writes."""
    largest = recorded_transitions_of(config.variants, config.num_transitions)
    rows = (
        largest * 1.3 * len({dataset_path(Path(), spec) for spec in data_specs(config)})
    )  # the last round of episodes overshoots
    trials = len(trial_specs(config)) + 1
    return int(rows * row_bytes(make_spec(config.experiment.env)) + trials * CHECKPOINT_BYTES)


def estimate_training_s(config: SweepConfig, num_steps: int = 4) -> float:
    """Seconds of one trial's training on one worker, from a few timed learner steps on made-up frames.

    Environments with text columns are not timed (0 is returned): their steps take milliseconds.
    """
    experiment, spec = config.experiment, make_spec(config.experiment.env)
    if any(column.ragged for column in spec.observation_columns.values()):
        return 0.0
    train = dataclasses.replace(experiment.train, num_workers=1, use_gpu=False)
    algorithm = build_algorithm(spec, experiment.algorithm, experiment.network, seed=0)
    learner = Learner(algorithm, train, WorkerContext())
    batch = made_up_batch(spec, train.batch_size, window=algorithm.window)
    with torch_threads(train.threads_per_worker):
        learner.step(batch)
        started_s = time.perf_counter()
        for _ in range(num_steps):
            learner.step(batch)
    return (time.perf_counter() - started_s) / num_steps * train.learner_steps


def machine() -> dict[str, Any]:
    """What the study ran on."""
    return {
        "cores": psutil.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30),
        "gpus": torch.cuda.device_count(),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }
