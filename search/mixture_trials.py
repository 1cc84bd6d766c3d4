"""The trials of a mixture search: what names them, and each one's experiment."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from actors.sources import build_source
from envs.errors import RunError, unknown_name
from envs.overrides import apply_overrides
from envs.registry import make_spec
from metrics.history import read_history
from metrics.protocols import is_shift
from search.dimensions import Value, apply_values, draw, parse_dimensions
from search.mixture_config import MixtureSearchConfig, check_several_envs, losses_of, parse_arm, parse_recorded
from search.mixtures import PROPOSERS, Proposal
from search.phases import StudyPolicy
from search.simplex import proxy_fraction
from search.space import DIVERGED, trial_path
from search.study import HISTORY_FILE, RESULT_FILE
from trainers.config import ExperimentConfig
from trainers.training_data import open_training_data

SOURCES = "sources"
Kind = Literal["search", "confirmed", "pilot"]


@dataclass(frozen=True, kw_only=True)
class MixtureTrial:
    """One training run of a mixture search."""

    arm: str
    number: int
    """Of the proposal within its arm."""
    seed: int
    weights: tuple[float, ...]
    values: dict[str, Value] = field(default_factory=dict)
    kind: Kind = "search"
    """"confirmed" is a full run of what its arm found, "pilot" one of the baseline before the search."""
    answer: int = 0
    """Which of its arm's answers it is a full run of; more than one if trials were added and changed it."""

    @property
    def config_id(self) -> str:
        """Names the configuration: everything but the seed."""
        if self.kind == "search":
            return f"{self.arm}-{self.number:03d}"
        return f"{self.arm}-{self.kind}" + (f"-{self.answer + 1}" if self.answer else "")

    @property
    def trial_id(self) -> str:
        """Names the trial; also its folder and its W&B run."""
        return f"{self.config_id}-seed-{self.seed}"

    @classmethod
    def of(cls, arm: str, proposal: Proposal, seed: int, *, kind: Kind = "search", answer: int = 0) -> MixtureTrial:
        """A trial of a proposal."""
        return cls(
            arm=arm,
            number=proposal.number,
            seed=seed,
            weights=proposal.weights,
            values=dict(proposal.values),
            kind=kind,
            answer=answer,
        )

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> MixtureTrial:
        """The inverse of ``dataclasses.asdict``."""
        return cls(**{**value, "weights": tuple(value["weights"])})


def full_run(arm: str, answer: int, seed: int) -> str:
    """The name of a full run of an arm's answer."""
    return MixtureTrial(arm=arm, number=0, seed=seed, weights=(), kind="confirmed", answer=answer).trial_id


def source_paths(config: MixtureSearchConfig, study_dir: Path) -> dict[str, Path]:
    """Where the dataset of each source lies: the directory it names, or in the study."""
    given = {name: Path(text) for name, text in config.sources.items()}
    return {name: path if path.is_dir() else study_dir / SOURCES / name for name, path in given.items()}


def experiment_of(config: MixtureSearchConfig, trial: MixtureTrial, study_dir: Path) -> ExperimentConfig:
    """The complete experiment of a trial; a proxy has as much less data as it is shorter."""
    base = apply_overrides(config.experiment, parse_arm(config.arms[trial.arm]).overrides)
    base = apply_values(base, trial.values)
    steps = base.train.learner_steps if trial.kind != "search" else config.trial_steps
    fraction = proxy_fraction(steps, base.train.learner_steps)
    data = dataclasses.replace(
        base.data,
        datasets=tuple(str(path) for path in source_paths(config, study_dir).values()),
        weights=trial.weights,
        max_transitions=max(1, round(config.num_transitions * fraction)),
        source_fraction=fraction,
    )
    evaluation = base.evaluation
    if is_shift(config.judge.protocol):
        evaluation = dataclasses.replace(evaluation, protocol=config.judge.protocol)
    return dataclasses.replace(
        base,
        name=trial.trial_id,
        seed=trial.seed,
        data=data,
        evaluation=evaluation,
        train=dataclasses.replace(base.train, learner_steps=steps),
    )


def mixture_policy(config: MixtureSearchConfig, trial: MixtureTrial, study_dir: Path) -> StudyPolicy:
    """The judged checkpoint of a full run.

    Raises:
        RunError: If it left none.
    """
    checkpoint = trial_path(study_dir, trial.trial_id) / "checkpoints" / config.checkpoint
    if not checkpoint.exists():
        raise RunError(
            f"The full run {trial.trial_id} left no checkpoint: its loss diverged. Narrow the dimensions and search "
            "again in another --out."
        )
    levels = open_training_data(experiment_of(config, trial, study_dir)).levels
    return StudyPolicy(
        name=trial.trial_id,
        checkpoint=checkpoint.resolve(),
        levels=levels,
        num_levels=len(levels),
        train_seed=trial.seed,
        columns={"config_id": trial.config_id, "num_levels": len(levels), "arm": trial.arm},
    )


def check_mixture_study(config: MixtureSearchConfig) -> None:
    """Refuse what cannot be read or named before anything is recorded.

    Raises:
        UsageError: Naming the source, arm or dimension, with the closest match.
    """
    make_spec(config.experiment.env)
    check_several_envs(config)
    for name, text in config.sources.items():
        if not Path(text).is_dir():
            build_source(parse_recorded(config, name).source_spec)
    for text in config.arms.values():
        arm = parse_arm(text)
        if arm.proposer not in PROPOSERS:
            raise unknown_name("mixture proposer", arm.proposer, PROPOSERS)
        experiment = apply_overrides(config.experiment, arm.overrides)
        for number in range(8):  # every branch of conditional dimensions, most likely
            apply_values(experiment, draw(parse_dimensions(config.dimensions), config.seed, number))


def trial_losses(config: MixtureSearchConfig, trial: MixtureTrial, study_dir: Path) -> tuple[float, ...]:
    """What came of a trial, read from its files: one number per objective, infinite where it failed.

    One that was stopped early counts with its last evaluation.
    """
    failed = (float("inf"),) * len(config.objectives)
    run_dir = trial_path(study_dir, trial.trial_id)
    if (run_dir / DIVERGED).exists() or not (run_dir / HISTORY_FILE).exists():
        return failed
    if (run_dir / RESULT_FILE).exists():
        result = json.loads((run_dir / RESULT_FILE).read_text())
        metrics = result["metrics"] | {f"cost/{name}": result[name] for name in ("transitions_seen", "wall_s")}
    else:
        rows = [row for row in read_history(run_dir / HISTORY_FILE) if any(name in row for name in config.objectives)]
        metrics = {**rows[-1], "cost/transitions_seen": rows[-1]["transitions_seen"]} if rows else {}
    return losses_of(config.objectives, metrics)
