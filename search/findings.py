"""From a study to the numbers of its report: a plain dictionary that JSON can hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from envs.errors import RunError
from metrics import statistics
from metrics.profiles import profile_with_bands, shared_thresholds
from metrics.protocol import ActionMode, Role
from metrics.table import EvaluationTable
from search.curves import training_curves
from search.level_scores import (
    HELDOUT_ROLES,
    NORMALIZED,
    RAW,
    ROLES,
    Bootstrap,
    level_aggregates,
    level_scores,
    policy_returns,
)
from search.predictors import predictors
from search.report_shown import read_shown
from search.robustness import robustness_curves
from search.selection import Choice
from search.study import EXPERT_POLICY, RANDOM_POLICY, Study


def build_findings(study: Study, bootstrap: Bootstrap | None = None) -> dict[str, Any]:
    """Every number of the report, without the headline.

    Args:
        study: With evaluations and a selection.
        bootstrap: Seed, resamples and confidence of the intervals.

    Raises:
        RunError: If the study has not come as far as selection.
    """
    if study.selection is None or not len(study.table):
        raise RunError(
            f"The study {study.directory} has no evaluations or no selection yet; `gengap status {study.directory}` "
            "shows how far it is, `gengap sweep --resume` continues it."
        )
    bootstrap = bootstrap or Bootstrap()
    selection, choices = study.selection, [c for n in _level_counts(study) if (c := study.selection.choice(n))]
    mode = selection.mode
    return {
        "study": study.name,
        "env": study.env,
        "environments": _environments(study.table),
        "created": study.created,
        "protocol": ", ".join(sorted(study.table.frame["protocol"].unique())),
        "mode": mode,
        "levels": [_level_entry(study, choice, mode, bootstrap) for choice in choices],
        "strata": study.strata,
        "mixtures": [_level_entry(study, choice, mode, bootstrap) for choice in selection.mixture_choices],
        "random": policy_returns(study.table, [RANDOM_POLICY], mode, bootstrap),
        "expert": policy_returns(study.table, [EXPERT_POLICY], mode, bootstrap),
        "other_policies": _other_policies(study, mode, bootstrap),
        "test_difference_of_ends": difference_of_ends(study, choices, mode, bootstrap),
        "seeds": list(study.seeds),
        "learning_rates": list(study.learning_rates),
        "num_transitions": study.num_transitions,
        "selection": selection.to_json(),
        "ledger": [dict(record) for record in study.ledger],
        "grown": [dict(record) for record in study.grown],
        "failures": [dict(record) for record in study.failures],
        "datasets": [asdict(record) for record in study.datasets],
        "trials": [asdict(trial) | {"tracker": study.tracker(trial)} for trial in study.trials],
        "predictors": predictors(study, mode, bootstrap.rng("predictors"), **bootstrap.options),
        "per_level": {role.value: _per_level(study, choices, role, mode) for role in HELDOUT_ROLES},
        "profiles": _profiles(study, choices, mode, bootstrap),
        "robustness": robustness_curves(study, bootstrap.options),
        "regrets": dict(study.regrets) if study.regrets else None,
        "curves": {str(c.num_levels): training_curves([study.history(p) for p in c.policies]) for c in choices},
        "shown": read_shown(study),
        "timings_s": dict(study.timings_s),
        "machine": dict(study.machine),
        "commands": commands(study),
        "bootstrap": asdict(bootstrap),
    }


def difference_of_ends(
    study: Study, choices: Sequence[Choice], mode: ActionMode, bootstrap: Bootstrap
) -> dict[str, Any] | None:
    """Return at the most levels minus at the fewest, level by level; on validation until the test is played."""
    if len(choices) < 2:
        return None
    first, last = choices[0], choices[-1]
    for role in (Role.TEST, Role.VALIDATION):
        pair = [level_scores(study.table, role, mode, RAW, c.policies) for c in (last, first)]
        if pair[0] is None or pair[1] is None or not np.array_equal(pair[0].levels, pair[1].levels):
            continue
        interval = statistics.paired_difference(
            pair[0].values, pair[1].values, bootstrap.rng("ends", role.value, mode), **bootstrap.options
        )
        improvement = statistics.paired_bootstrap(
            pair[0].values,
            pair[1].values,
            statistics.probability_of_improvement,
            bootstrap.rng("ends improve", role.value, mode),
            **bootstrap.options,
        )
        ends = {"role": role.value, "first": first.num_levels, "last": last.num_levels}
        return {
            **interval.to_json(),
            **ends,
            "resolved": interval.excludes(0.0),
            "probability_of_improvement": improvement.to_json(),
        }
    return None


def commands(study: Study) -> list[str]:
    """What to type to make, continue and read this study again."""
    directory, here = study.directory.resolve(), Path.cwd()
    # A report may be handed on: whose folder it lay in says nothing to others.
    shown = directory.relative_to(here) if directory.is_relative_to(here) else directory
    return [line for line in (study.command, f"gengap sweep --resume {shown}", f"gengap report {shown}") if line]


def _environments(table: EvaluationTable) -> dict[str, str]:
    """Role -> the environment in which it was played."""
    played = table.frame.groupby("role")["env"].unique()
    return {role.value: ", ".join(sorted(played[role.value])) for role in ROLES if role.value in played}


def _level_counts(study: Study) -> list[int]:
    chosen = [choice.num_levels for choice in study.selection.choices] if study.selection else []
    return sorted({*study.level_counts, *chosen})


def _level_entry(study: Study, choice: Choice, mode: ActionMode, bootstrap: Bootstrap) -> dict[str, Any]:
    dataset = study.dataset(choice.num_levels, choice.mixture)
    gaps = _gaps(study.table, choice, mode, bootstrap)
    others: dict[str, Any] = {m: policy_returns(study.table, choice.policies, m, bootstrap) for m in study.table.modes}
    return {
        "num_levels": choice.num_levels,
        "mixture": choice.mixture,
        "strata": dict(dataset.strata) if dataset else {},
        "realised_transitions": dataset.realised_transitions if dataset else None,
        "config_id": choice.config_id,
        "policies": list(choice.policies),
        **policy_returns(study.table, choice.policies, mode, bootstrap),
        "aggregates": level_aggregates(study.table, choice.policies, mode, bootstrap),
        "gap": next((gap | {"role": role} for role, gap in gaps.items()), None),
        "gaps": gaps,
        "modes": {m: value for m, value in others.items() if m != mode and value["returns"]},
    }


def _gaps(table: EvaluationTable, choice: Choice, mode: ActionMode, bootstrap: Bootstrap) -> dict[str, Any]:
    """Train minus held-out normalized return, to each held-out split in the order of `HELDOUT_ROLES`."""
    gaps = {}
    for role in HELDOUT_ROLES:
        played = set(table.where(role=role.value, mode=mode, policy=list(choice.policies)).policies)
        policies = [policy for policy in choice.policies if policy in played]
        train = level_scores(table, Role.TRAIN, mode, NORMALIZED, policies)
        heldout = level_scores(table, role, mode, NORMALIZED, policies)
        if train is not None and heldout is not None and len(train.values) == len(heldout.values):
            rng = bootstrap.rng("gap", choice.config_id, role.value, mode)
            gaps[role.value] = statistics.gap_interval(train.values, heldout.values, rng, **bootstrap.options).to_json()
    return gaps


def _other_policies(study: Study, mode: ActionMode, bootstrap: Bootstrap) -> list[dict[str, Any]]:
    """Policies that are no trial of the search, such as the one retrained over several workers."""
    known = {trial.trial_id for trial in study.trials} | {RANDOM_POLICY, EXPERT_POLICY}
    names = [name for name in study.table.policies if name not in known]
    return [{"policy": name, **policy_returns(study.table, [name], mode, bootstrap)} for name in names]


def _per_level(study: Study, choices: Sequence[Choice], role: Role, mode: ActionMode) -> dict[str, Any] | None:
    """Mean normalized return over seeds, rows being level counts and columns held-out levels."""
    rows = {c.num_levels: level_scores(study.table, role, mode, NORMALIZED, c.policies) for c in choices}
    played = {count: scores for count, scores in rows.items() if scores is not None}
    if not played:
        return None
    shared = sorted(set.intersection(*(set(scores.levels.tolist()) for scores in played.values())))
    return {
        "levels": shared,
        "num_levels": list(played),
        "normalized": [s.values[:, np.isin(s.levels, shared)].mean(axis=0).tolist() for s in played.values()],
    }


def _profiles(study: Study, choices: Sequence[Choice], mode: ActionMode, bootstrap: Bootstrap) -> dict[str, Any] | None:
    """Performance profiles on the most sealed split that all level counts played; None if a mean says as much."""
    for role in HELDOUT_ROLES:
        rows = {c.num_levels: level_scores(study.table, role, mode, NORMALIZED, c.policies) for c in choices}
        scores = {count: found.values for count, found in rows.items() if found is not None}
        if scores and len(scores) == len(rows):
            thresholds = shared_thresholds(list(scores.values()))
            if thresholds is None:
                return None
            lines = {
                str(count): profile_with_bands(
                    values, thresholds, bootstrap.rng("profile", role.value, mode, str(count)), **bootstrap.options
                ).to_json()
                for count, values in scores.items()
            }
            return {"role": role.value, "lines": lines}
    return None
