"""A study from environments to a sealed report. `sweep` reads top to bottom."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import Any

from actors.cluster import ray_session
from actors.evaluate import evaluate_on_pool
from actors.placement import ClusterRole, read_cluster
from actors.players import Play
from actors.pool import ActorPool
from envs.console import say
from metrics.protocol import Role
from metrics.table import EvaluationTable
from search.config import SweepConfig
from search.judging import EVALUATIONS_FOLDER, Judge, select, study_levels
from search.phases import (
    RETRAINED,
    StudyPolicy,
    collect_datasets,
    policies_of,
    retrain,
    retrained_as,
    trial_policy,
)
from search.preflight import check_study, machine
from search.report import write_report
from search.selection import Selection, find_rule
from search.showing import show_if_possible
from search.space import data_specs, has_diverged, trial_specs
from search.study import read_study, set_aside
from search.study_log import StudyLog, begin_study, locked, read_study_config
from search.tuning import run_trials
from search.variants import axis_of


def sweep(config: SweepConfig, out: Path, *, address: str | None = None, command: str = "") -> Path:
    """Run a study, or go on with an interrupted one; returns the report's page.

    Collect one dataset per level count and mixture with the same number of transitions; search level count x mixture x
    learning rate x seed; judge every policy on all levels but the test's; select per level count, and per mixture;
    train the selected configuration again on several workers; read the sealed test once with the selected policies;
    play the robustness curve if it is asked for; report.

    Args:
        config: The study.
        out: Its directory.
        address: Ray cluster to join; None starts a local one.
        command: How it was started, for the report.

    Raises:
        UsageError: If `out` holds another study, or the cluster cannot place this one.
        RunError: If a trial failed or the disk is full.
    """
    started_s = time.monotonic()
    out = out.resolve()  # Ray Train's workers run in a folder of their own
    with locked(out):
        log = open_study(config, out, command)
        with ray_session(address) as ray:
            check_study(config, out, read_cluster(ray))
            _run_phases(config, out, log)
        with log.timed("show"):
            show_if_possible(out)
        with log.timed("report"):
            page = write_report(out, wandb=config.experiment.tracking.wandb)
    say(f"Done in {time.monotonic() - started_s:.0f} s. Report: {page}  Everything: {out}")
    return page


def _run_phases(config: SweepConfig, out: Path, log: StudyLog) -> None:
    with log.timed("collect"):
        datasets = collect_datasets(config, out)
        log.add(datasets=datasets)
    with log.timed("search"):
        log.add(trials=run_trials(config, out))
    with log.timed("judge"):
        table = _judge(config, out, policies_of(config, out))
    if Role.TEST in find_rule(config.selection_rule).visible:
        with log.timed("test"):
            table = test_everything(
                config, out, f"the rule {config.selection_rule!r} looks at the test of all policies"
            )
    selection = select(config, out, table)
    with log.timed("retrain"):
        retrained = retrained_policy(config, out, selection)
    with log.timed("judge"):
        _judge(config, out, [retrained])
    with log.timed("test"):
        fingerprints = {
            spec.data_id: data["fingerprint"] for spec, data in zip(data_specs(config), datasets, strict=True)
        }
        _test(config, out, selection, fingerprints)
    if config.robustness:
        with log.timed("robustness"), ActorPool(config.num_actors, role=ClusterRole.EVALUATOR) as pool:
            play_robustness(config, out, selection, partial(evaluate_on_pool, pool))


def _judge(config: SweepConfig, out: Path, policies: list[StudyPolicy]) -> EvaluationTable:
    with ActorPool(config.num_actors, role=ClusterRole.EVALUATOR) as pool:
        judge = Judge(config, out, pool, study_levels(config))
        judge.judge(policies)
        return judge.table()


def retrained_policy(config: SweepConfig, out: Path, selection: Selection) -> StudyPolicy:
    """The selected configuration trained again on several workers; one of an earlier selection is set aside."""
    spec = next(spec for spec in trial_specs(config) if spec.config_id == selection.overall)
    run_dir = out / RETRAINED
    if run_dir.exists() and not retrained_as(config, out, spec):  # trials were added, and another one was selected
        set_aside(out, [run_dir, *(out / EVALUATIONS_FOLDER).glob(f"{RETRAINED}.*")])
    if not (run_dir / "result.json").exists():
        retrain(config, out, selection.overall)
    return trial_policy(config, out, spec, run_dir)


def _test(config: SweepConfig, out: Path, selection: Selection, fingerprints: dict[str, str]) -> None:
    specs = {spec.trial_id: spec for spec in trial_specs(config)}
    with ActorPool(config.num_actors, role=ClusterRole.EVALUATOR) as pool:
        judge = Judge(config, out, pool, study_levels(config))
        for choice in selection.tested:
            for name in choice.policies:
                reason = f"selected {choice.where}: {choice.reason}"
                fingerprint = fingerprints[specs[name].data_id]
                judge.test(trial_policy(config, out, specs[name]), selection, fingerprint, reason)
        judge.table()


def play_robustness(config: SweepConfig, out: Path, selection: Selection, play: Play) -> None:
    """Play the configuration selected among all, every train seed of it, under visual changes and shifts."""
    judge = Judge(config, out, None, study_levels(config))
    for spec in trial_specs(config):
        if spec.config_id == selection.overall and not has_diverged(out, spec):
            judge.robustness(trial_policy(config, out, spec), play)


def test_everything(config: SweepConfig, out: Path, reason: str) -> EvaluationTable:
    """Read the sealed test with every policy of a study: what a selection rule would have been worth, no result."""
    selection = Selection(rule="oracle", visible_roles=tuple(role.value for role in Role))
    with ActorPool(config.num_actors, role=ClusterRole.EVALUATOR) as pool:
        judge = Judge(config, out, pool, study_levels(config))
        for policy in policies_of(config, out):
            if policy.checkpoint is not None:
                judge.test(policy, selection, _data_fingerprint(out, policy), reason)
        return judge.table()


def _data_fingerprint(out: Path, policy: StudyPolicy) -> str:
    datasets = read_study(out).datasets
    mixture = str(policy.columns.get("mixture", ""))
    found = [d.fingerprint for d in datasets if (d.num_levels, d.mixture) == (policy.num_levels, mixture)]
    return found[0] if found else "not recorded"


def open_study(config: SweepConfig, out: Path, command: str) -> StudyLog:
    """Begin a study, or go on with the same one.

    Raises:
        UsageError: If the directory holds a study with another configuration.
    """
    header: dict[str, Any] = {
        "name": config.name,
        "env": config.experiment.env,
        "level_counts": list(config.level_counts),
        **({"strata": config.strata, "mixtures": list(config.mixtures)} if config.strata else {}),
        **({"axis": axis_of(config.variants), "mixtures": list(config.variants)} if config.variants else {}),
        "num_transitions": config.num_transitions,
        "seeds": list(config.seeds),
        "learning_rates": list(config.learning_rates),
        "machine": machine(),
    }
    return begin_study(config, out, command, header)


def read_config(study_dir: Path) -> SweepConfig:
    """The configuration of a study on disk; see `read_study_config`."""
    return read_study_config(SweepConfig, study_dir)
