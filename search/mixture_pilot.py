"""The pilot of a mixture search: what its comparison of arms can detect, written down before anything is searched."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from actors.placement import ClusterRole
from actors.pool import ActorPool
from envs.console import say
from envs.errors import RunError
from metrics.power import Design, Spread
from metrics.protocol import ActionMode, Role
from search.judging import Judge
from search.level_scores import RAW, level_scores
from search.mixture_arms import Arms
from search.mixture_config import MixtureSearchConfig
from search.mixture_trials import MixtureTrial, mixture_policy
from search.mixture_tuning import confirm_mixtures
from search.report_parts import Section, Table

MODE: ActionMode = "sampled"


def pilot_trials(config: MixtureSearchConfig, arms: Arms) -> list[MixtureTrial]:
    """Full runs of the baseline's first proposal, on seeds that nothing else has; it does not count as asked."""
    proposal = arms.proposers[config.baseline].propose(0)
    return [MixtureTrial.of(config.baseline, proposal, seed, kind="pilot") for seed in config.pilot_seeds]


def run_pilot(config: MixtureSearchConfig, arms: Arms, study_dir: Path) -> dict[str, Any]:
    """Train and judge the pilot on validation levels; the smallest difference between arms that the test can show.

    Raises:
        RunError: If its policies were not judged on the same levels.
    """
    trials = pilot_trials(config, arms)
    confirm_mixtures(config, trials, study_dir, label="pilot")
    policies = [mixture_policy(config, trial, study_dir) for trial in trials]
    with ActorPool(config.num_actors, role=ClusterRole.EVALUATOR) as pool:
        judge = Judge(config, study_dir, pool, policies[0].levels)
        judge.judge(policies)
        table = judge.table()
    scores = level_scores(table, Role.VALIDATION, MODE, RAW, [policy.name for policy in policies])
    if scores is None:
        raise RunError("The pilot was not judged on validation levels; give judge.num_validation_levels.")
    others = max(1, len(config.arms) - 1)
    design = Design(
        spread=Spread.of(scores.values),
        num_runs=len(config.confirm_seeds),
        num_levels=config.judge.num_test_levels or len(scores.levels),
        confidence=1 - 0.05 / others,
    )
    say(f"Pilot: a difference of {design.smallest_difference:.3f} in return between arms can be detected")
    value = {"pilot_runs": len(trials), "pilot_levels": len(scores.levels), "mean": float(scores.values.mean())}
    return {**design.to_json(), **value, "stated_at": datetime.now(UTC).isoformat(timespec="seconds")}


def design_section(findings: Mapping[str, Any]) -> Section:
    """What was stated before the search; empty for a study without a pilot."""
    design = findings.get("design")
    rows = []
    if design:
        rows = [
            ["smallest difference between arms that is detected", f"{design['smallest_difference']:.3f}"],
            ["with the probability", f"{100 * design['power']:.0f} %"],
            ["confidence of the interval", f"{100 * design['confidence']:.3g} %"],
            ["runs of each arm, test levels", f"{design['num_runs']}, {design['num_levels']}"],
            ["standard deviation of a run's mean", f"{design['spread_of_runs']:.3f}"],
            ["standard deviation of what run and level leave", f"{design['spread_of_rest']:.3f}"],
            ["pilot runs, validation levels", f"{design['pilot_runs']}, {design['pilot_levels']}"],
            ["mean return of the pilot", f"{design['mean']:.3f}"],
            ["stated at", design["stated_at"]],
        ]
    return Section(
        title="What the design can detect",
        short="Design",
        note="From full runs of the baseline on seeds of their own, written down before the search began; in units of "
        "the episode return.",
        table=Table(["", ""], rows) if rows else None,
    )
