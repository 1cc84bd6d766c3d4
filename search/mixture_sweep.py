"""A mixture search from its sources to a sealed report. `sweep_mixtures` reads top to bottom."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from actors.cluster import ray_session
from actors.collect import collect
from actors.placement import ClusterRole, read_cluster
from actors.pool import ActorPool
from data.dataset import Dataset
from data.files import atomic_write_json, check_disk_space
from envs.console import Progress, say
from envs.spec import LevelSet
from search.judging import EVALUATIONS_FOLDER, Judge
from search.mixture_arms import Arms
from search.mixture_config import MixtureSearchConfig, parse_recorded
from search.mixture_envs import judge_elsewhere, read_tests_elsewhere
from search.mixture_measures import measured_summary
from search.mixture_pilot import run_pilot
from search.mixture_report import write_mixture_report
from search.mixture_trials import MixtureTrial, check_mixture_study, experiment_of, mixture_policy, source_paths
from search.mixture_tuning import confirm_mixtures, search_mixtures
from search.phases import StudyPolicy
from search.preflight import CHECKPOINT_BYTES, machine
from search.selection import Choice, Selection, find_rule
from search.showing import show_if_possible
from search.space import trial_path
from search.studies import KIND
from search.study import RANDOM_POLICY, SELECTION_FILE, read_json
from search.study_log import StudyLog, begin_study, locked, read_study_config
from trainers.launch import preflight
from trainers.training_data import open_training_data

TRAINING_LEVELS_FILE = "training_levels.json"


def sweep_mixtures(config: MixtureSearchConfig, out: Path, *, address: str | None = None, command: str = "") -> Path:
    """Run a mixture search, or go on with an interrupted one; returns the report's page.

    Record the sources; every arm tries mixtures, at equal compute, seeing validation levels only; what each arm found
    is trained in full on fresh seeds and judged on train and validation levels; the sealed test is read once with
    these; report.

    Args:
        config: The study.
        out: Its directory.
        address: Ray cluster to join; None starts a local one.
        command: How it was started, for the report.

    Raises:
        UsageError: If `out` holds another study, or the sources cannot fill the mixtures.
        RunError: If a trial failed or the disk is full.
    """
    started_s = time.monotonic()
    out = out.resolve()
    check_mixture_study(config)
    with locked(out):
        log = open_mixture_study(config, out, command)
        with ray_session(address) as ray:
            preflight(config.experiment, read_cluster(ray))
            check_disk_space(out, _trials(config) * CHECKPOINT_BYTES)
            _run_phases(config, out, log)
        with log.timed("show"):
            show_if_possible(out)
        with log.timed("report"):
            page = write_mixture_report(out, wandb=config.experiment.tracking.wandb)
    say(f"Done in {time.monotonic() - started_s:.0f} s. Report: {page}  Everything: {out}")
    return page


def _run_phases(config: MixtureSearchConfig, out: Path, log: StudyLog) -> None:
    with log.timed("collect"):
        sources = record_sources(config, out)
        log.add(sources=sources)
    arms = Arms(config, out, {name: record["transitions"] for name, record in sources.items()})
    if config.pilot_seeds and not log.has("design"):
        with log.timed("pilot"):
            log.add(design=run_pilot(config, arms, out))
    with log.timed("search"):
        search_mixtures(config, arms, out)
        log.add(configurations=measured_summary(config, arms, out))
    confirming = arms.confirming()
    with log.timed("confirm"):
        confirm_mixtures(config, confirming, out)
        log.add(confirmed=_confirmed(config, confirming, out), compute=_compute(config, arms, confirming, out))
    policies = [mixture_policy(config, trial, out) for trial in confirming]
    random = _random_policy(config, policies, out)
    with log.timed("judge"), ActorPool(config.num_actors, role=ClusterRole.EVALUATOR) as pool:
        judge = Judge(config, out, pool, random.levels)
        judge.judge([random, *policies])
        judge.table()
        judge_elsewhere(config, out, pool, confirming)
    selection = _select(config, arms, confirming, out)
    with log.timed("test"), ActorPool(config.num_actors, role=ClusterRole.EVALUATOR) as pool:
        judge = Judge(config, out, pool, random.levels)
        for trial, policy in zip(confirming, policies, strict=True):
            fingerprint = open_training_data(experiment_of(config, trial, out)).view.fingerprint
            judge.test(policy, selection, fingerprint, f"what the arm {trial.arm} found, on a fresh seed")
        judge.table()
        read_tests_elsewhere(config, out, pool, confirming, selection)


def record_sources(config: MixtureSearchConfig, out: Path) -> dict[str, dict[str, Any]]:
    """Record the sources that are no datasets yet; what each holds."""
    records = {}
    for name, path in source_paths(config, out).items():
        if not path.exists():
            wanted = parse_recorded(config, name)
            with Progress(f"collect {name}", wanted.min_transitions, "transitions") as progress:
                collect(wanted, path, progress=progress.update)
        dataset = Dataset.open(path)
        records[name] = {
            "transitions": len(dataset),
            "episodes": dataset.num_episodes,
            "levels": len(dataset.levels),
            "mean_return": float(dataset.episodes["return"].mean()),
            "played_by": ", ".join(dataset.sources),
            **({"env": dataset.env.name} if config.experiment.data.other_envs else {}),
            "fingerprint": dataset.fingerprint,
        }
    return records


def open_mixture_study(config: MixtureSearchConfig, out: Path, command: str) -> StudyLog:
    """Begin a study, or go on with the same one.

    Raises:
        UsageError: If the directory holds a study with another configuration.
    """
    header: dict[str, Any] = {
        "kind": KIND,
        "name": config.name,
        "env": config.experiment.env,
        "num_transitions": config.num_transitions,
        "seeds": list(config.confirm_seeds),
        "machine": machine(),
    }
    return begin_study(config, out, command, header)


def read_mixture_config(study_dir: Path) -> MixtureSearchConfig:
    """The configuration of a mixture search on disk; see `read_study_config`."""
    return read_study_config(MixtureSearchConfig, study_dir)


def _trials(config: MixtureSearchConfig) -> int:
    return len(config.arms) * (config.num_proposals * len(config.seeds) + len(config.confirm_seeds)) + len(
        config.pilot_seeds
    )


def _random_policy(config: MixtureSearchConfig, policies: Sequence[StudyPolicy], out: Path) -> StudyPolicy:
    """With all levels that a policy of this study may learn from: held-out levels look like none of them.

    They are those of all sources, so that answers that come with added trials are judged on the same levels.
    """
    path = out / TRAINING_LEVELS_FILE
    if not path.exists():
        begun = (out / EVALUATIONS_FOLDER).exists()  # by a version that took the levels of its policies
        parts = [policy.levels for policy in policies] if begun else _source_levels(config, out)
        levels = sorted({level for part in parts for level in part})
        atomic_write_json(path, LevelSet.of(config.experiment.env, levels).to_json())
    known = LevelSet.from_json(read_json(path))
    return StudyPolicy(name=RANDOM_POLICY, checkpoint=None, levels=known, num_levels=len(known))


def _source_levels(config: MixtureSearchConfig, out: Path) -> list[list[int]]:
    datasets = [Dataset.open(path) for path in source_paths(config, out).values()]
    return [dataset.levels_of(config.experiment.env).tolist() for dataset in datasets]


def _confirmed(config: MixtureSearchConfig, trials: Sequence[MixtureTrial], out: Path) -> list[dict[str, Any]]:
    """What each arm found, and what its mixture came to."""
    records: dict[str, dict[str, Any]] = {}
    for trial in trials:
        record = records.setdefault(
            trial.arm,
            {
                "arm": trial.arm,
                "how": config.arms[trial.arm],
                "config_id": trial.config_id,
                "number": trial.number,
                "weights": dict(zip(config.sources, trial.weights, strict=True)),
                "values": dict(trial.values),
                "policies": [],
                "realised": open_training_data(experiment_of(config, trial, out)).report,
            },
        )
        record["policies"].append(trial.trial_id)
    return list(records.values())


def _compute(
    config: MixtureSearchConfig, arms: Arms, confirming: Sequence[MixtureTrial], out: Path
) -> dict[str, dict[str, float]]:
    """Trials, and transitions drawn, of each arm: that they are equal is measured, not assumed."""
    spent = {name: {"trials": 0.0, "transitions_seen": 0.0} for name in config.arms}
    for trial in (*arms.trials(), *arms.superseded(), *confirming):
        path = trial_path(out, trial.trial_id) / "metrics.jsonl"
        if path.exists():
            last = json.loads(path.read_text().splitlines()[-1])
            spent[trial.arm]["trials"] += 1
            spent[trial.arm]["transitions_seen"] += last.get("transitions_seen", 0)
    return spent


def _select(config: MixtureSearchConfig, arms: Arms, confirming: Sequence[MixtureTrial], out: Path) -> Selection:
    """Write down, before the test is read, what each arm found and by what."""
    rule = find_rule(config.selection_rule)
    choices = []
    for name, proposer in arms.proposers.items():
        own = [trial for trial in confirming if trial.arm == name]
        best = min(observation.losses[0] for observation in proposer.successes())
        choices.append(
            Choice(
                config_id=own[0].config_id,
                policies=tuple(trial.trial_id for trial in own),
                num_levels=len(open_training_data(experiment_of(config, own[0], out)).levels),
                score=-best,
                reason=f"recommended by {config.arms[name]!r} after {len(proposer.history)} configurations",
                mixture=name,
            )
        )
    selection = Selection(
        rule=rule.name,
        visible_roles=tuple(role.value for role in rule.visible),
        choices=tuple(choices),
        overall=max(choices, key=lambda choice: choice.score).config_id,
    )
    atomic_write_json(out / SELECTION_FILE, selection.to_json())
    for choice in choices:
        say(f"Selected for the arm {choice.mixture}: {choice.reason}")
    return selection
