"""A study directory made by hand, whose truth is known: which trial solves which level is written down here."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from metrics.ledger import Ledger
from metrics.loggers import JsonLinesLogger
from metrics.protocol import Role
from metrics.table import EvaluationTable
from search.selection import Selection, select_configurations
from search.space import TrialSpec

ENV = "procgen/maze"
LEVEL_COUNTS = (10, 100, 1000)
LEARNING_RATES = (0.0005, 0.001)
SEEDS = (0, 1)
TRANSITIONS = 20_000
NUM_PLAYED = {Role.TRAIN: 50, Role.VALIDATION: 60, Role.TEST: 120}
FIRST_LEVEL = {Role.TRAIN: 0, Role.VALIDATION: 1_000_000, Role.TEST: 2_000_000}
BEST_RATE, WORSE_RATE = 0.001, 0.0005
RANDOM_SUCCESS = 0.1
CHANGES = (("none", 0, 0.6), ("blur", 1, 0.5), ("blur", 2, 0.4), ("blur", 3, 0.2), ("shop-I1", 1, 0.3))
"""Family, strength, share of validation levels solved."""


@dataclass(frozen=True, kw_only=True)
class Truth:
    """Shares of levels solved by the better learning rate; the other solves 0.1 less, but more of the test."""

    train: tuple[float, ...] = (0.9, 0.8, 0.7)
    validation: tuple[float, ...] = (0.2, 0.4, 0.6)
    test: tuple[float, ...] = (0.2, 0.35, 0.6)
    first_validation_level: int = field(default=FIRST_LEVEL[Role.VALIDATION])

    def success(self, role: Role, num_levels: int, learning_rate: float) -> float:
        """The share of the levels of `role` that is solved."""
        share = {Role.TRAIN: self.train, Role.VALIDATION: self.validation, Role.TEST: self.test}[role]
        change = 0.0 if learning_rate == BEST_RATE else 0.1 if role == Role.TEST else -0.1
        return share[LEVEL_COUNTS.index(num_levels)] + change


NO_EFFECT = Truth(validation=(0.3, 0.3, 0.3), test=(0.3, 0.3, 0.3))


def trial_specs() -> list[TrialSpec]:
    """Every trial of the study."""
    return [TrialSpec(n, rate, seed) for n in LEVEL_COUNTS for rate in LEARNING_RATES for seed in SEEDS]


def rows(
    policy: str,
    role: Role,
    success: float,
    *,
    num_played: int | None = None,
    mode: str = "sampled",
    train_seed: int = 0,
    **extra: Any,
) -> pd.DataFrame:
    """Evaluations where exactly the share `success` of the levels is solved; harder levels are solved by fewer."""
    count = num_played or NUM_PLAYED[role]
    difficulty = np.random.default_rng(train_seed).permutation((np.arange(count) + 0.5) / count)
    episode_return = np.where(difficulty < success, 10.0, 0.0)
    return pd.DataFrame(
        {
            "protocol": "strict",
            "role": role.value,
            "env": ENV,
            "level": FIRST_LEVEL[role] + np.arange(count),
            "episode": 0,
            "mode": mode,
            "policy": policy,
            "train_seed": train_seed,
            "episode_return": episode_return,
            "normalized_return": (episode_return - 5.0) / 5.0,
            "length": 100,
            "terminated": True,
            "truncated": False,
            **extra,
        }
    )


def changed_rows(policy: str, seed: int, **columns: Any) -> EvaluationTable:
    """Validation of one policy, unchanged and under `CHANGES`."""
    frames = [
        rows(
            policy,
            Role.VALIDATION,
            share,
            train_seed=seed,
            env="procgen/maze" if family == "none" else f"procgen/maze+{family}-{strength}",
            family=family,
            strength=strength,
            note="",
            **columns,
        )
        for family, strength, share in CHANGES
    ]
    return EvaluationTable(pd.concat(frames, ignore_index=True))


def trial_rows(spec: TrialSpec, role: Role, truth: Truth, mode: str = "sampled") -> pd.DataFrame:
    """Evaluations of one trial on one split."""
    return rows(
        spec.trial_id,
        role,
        truth.success(role, spec.num_levels, spec.learning_rate),
        num_played=min(spec.num_levels, NUM_PLAYED[role]) if role == Role.TRAIN else None,
        mode=mode,
        train_seed=spec.seed,
        config_id=spec.config_id,
        num_levels=spec.num_levels,
        learning_rate=spec.learning_rate,
    )


def open_table(truth: Truth | None = None) -> EvaluationTable:
    """Train and validation of every trial, and the random policy: what a search may look at."""
    truth = truth or Truth()
    frames = [
        trial_rows(spec, role, truth, mode)
        for spec in trial_specs()
        for role in (Role.TRAIN, Role.VALIDATION)
        for mode in ("sampled", "greedy")
    ]
    frames += [rows("random", role, RANDOM_SUCCESS) for role in Role if role != Role.TRAIN_HELDOUT]
    return EvaluationTable(pd.concat(frames, ignore_index=True))


def sealed_rows(policies: set[str], truth: Truth | None = None) -> EvaluationTable:
    """Sealed test results of some trials."""
    specs = [spec for spec in trial_specs() if spec.trial_id in policies]
    return EvaluationTable(pd.concat([trial_rows(spec, Role.TEST, truth or Truth()) for spec in specs]))


def write_study(directory: Path, truth: Truth | None = None, *, tested: bool = True) -> Path:
    """Write a whole study directory.

    Args:
        directory: Where; it is made.
        truth: What the policies solve.
        tested: Whether the sealed test was played after selection.
    """
    directory.mkdir(parents=True, exist_ok=True)
    table = open_table(truth)
    selection = select_configurations(table, "validation")
    if tested:
        policies = [policy for choice in selection.choices for policy in choice.policies]
        table = table.append(sealed_rows(set(policies), truth))
        _write_ledger(directory, selection)
    table.write(directory / "evaluations.parquet")
    _write_json(directory / "selection.json", selection.to_json())
    _write_json(directory / "study.json", _header())
    _write_json(directory / "config.json", {"experiment": {"train": {"learner_steps": 600}}})
    for spec in trial_specs():
        _write_trial(directory / "trials" / spec.trial_id, spec, truth or Truth())
    return directory


def _write_ledger(directory: Path, selection: Selection) -> None:
    ledger = Ledger(directory / "ledger.jsonl")
    for choice in selection.choices:
        for policy in choice.policies:
            ledger.issue(policy, choice.config_id, f"data-{choice.num_levels}", selection.rule, choice.reason)


def _write_trial(directory: Path, spec: TrialSpec, truth: Truth) -> None:
    logger = JsonLinesLogger(directory / "metrics.jsonl")
    for step in range(0, 601, 100):
        values = {"train/loss/total": 1.5 - step / 600, "transitions_seen": step * 128}
        for role in (Role.TRAIN, Role.VALIDATION):
            success = truth.success(role, spec.num_levels, spec.learning_rate) * (1 - np.exp(-step / 200))
            values[f"eval/{role.value}/normalized_return"] = 2 * success - 1
            values[f"eval/{role.value}/episode_return"] = 10 * success
        logger.write(step, values)
    logger.close()
    (directory / "wandb").mkdir()
    _write_json(directory / "config.json", {"name": spec.trial_id, "env": ENV, "train": {"learner_steps": 600}})
    _write_json(directory / "result.json", {"learner_step": 600})


def _header() -> dict[str, Any]:
    trials = [
        {
            "trial_id": spec.trial_id,
            "num_levels": spec.num_levels,
            "learning_rate": spec.learning_rate,
            "train_seed": spec.seed,
            "config_id": spec.config_id,
            "status": "finished",
            "wandb_url": "https://wandb.ai/lab/gengap/runs/abc" if spec.seed == 0 else None,
        }
        for spec in trial_specs()
    ]
    datasets = [
        {
            "num_levels": count,
            "realised_transitions": TRANSITIONS,
            "num_episodes": 400 + count,
            "fingerprint": f"{count:016x}",
            "mean_return": 9.5,
        }
        for count in LEVEL_COUNTS
    ]
    return {
        "name": "maze-diversity",
        "env": ENV,
        "created": "2026-01-02T03:04:05+00:00",
        "command": "gengap sweep maze-diversity",
        "level_counts": list(LEVEL_COUNTS),
        "num_transitions": TRANSITIONS,
        "seeds": list(SEEDS),
        "learning_rates": list(LEARNING_RATES),
        "datasets": datasets,
        "trials": trials,
        "timings_s": {"collect": 61.0, "search": 250.5, "retrain": 80.2, "test": 33.1},
        "machine": {"cores": 2, "gpu": "none"},
    }


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value), encoding="utf-8")
