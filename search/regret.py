"""What each selection rule would have chosen in a study, and what that costs against the oracle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from envs.errors import UsageError
from metrics import statistics
from metrics.protocol import ActionMode, Role
from metrics.table import EvaluationTable
from search.level_scores import NORMALIZED, Bootstrap, level_scores
from search.selection import RULES, BestMean, Choice, TrialScores, needs_crafted, trial_scores

ORACLE = "oracle"


def rule_regrets(
    table: EvaluationTable,
    crafted: Mapping[str, float] | None = None,
    *,
    mode: ActionMode = "sampled",
    bootstrap: Bootstrap | None = None,
) -> list[dict[str, Any]]:
    """One entry per rule and group of trials: each level count (and mixture) by itself, then all of them together.

    Args:
        table: Evaluations of every trial of a study, the test included.
        crafted: Trial -> its score on crafted shifts; None leaves that rule out.
        mode: Action mode.
        bootstrap: Seed, resamples and confidence of the intervals.

    Returns:
        Entries ``{"rule", "sees", "among", "num_configs", "chosen", "test", "best", "regret": interval,
        "rank_correlation"}``; the regret is the oracle's test return minus that of what the rule chose, on the same
        levels. Rules whose split
        was not played are left out. `rank_correlation` is Spearman's, of the rule's score with the test return over
        the group's configurations; None where it means nothing.

    Raises:
        UsageError: If the test was not played with every trial.
    """
    bootstrap = bootstrap or Bootstrap()
    oracle = check_tested(table, mode)
    groups = _groups(oracle)
    entries = []
    for rule in RULES.values():
        if not isinstance(rule, BestMean) or (needs_crafted(rule) and not crafted):
            continue
        shown = trial_scores(table, rule, mode, crafted)
        if rule.role is not None and any(rule.role not in trial.returns for trial in shown):
            continue
        for name, members in groups.items():
            entries.append(_entry(table, rule, name, _of(shown, members), _of(oracle, members), mode, bootstrap))
    return entries


def _groups(trials: Sequence[TrialScores]) -> dict[str, frozenset[str]]:
    """Name -> trials; a group with one configuration leaves nothing to choose."""
    groups: dict[str, list[TrialScores]] = {}
    for trial in trials:
        name = f"{trial.num_levels} levels" + (f", {trial.mixture}" if trial.mixture else "")
        groups.setdefault(name, []).append(trial)
    groups["all"] = list(trials)
    return {
        name: frozenset(trial.policy for trial in members)
        for name, members in groups.items()
        if len({trial.config_id for trial in members}) > 1
    }


def _of(trials: Sequence[TrialScores], members: frozenset[str]) -> list[TrialScores]:
    return [trial for trial in trials if trial.policy in members]


def check_tested(table: EvaluationTable, mode: ActionMode) -> list[TrialScores]:
    """What the oracle sees of every trial.

    Raises:
        UsageError: If the test was not played with every trial.
    """
    trials = trial_scores(table, RULES[ORACLE], mode)
    missing = [trial.policy for trial in trials if Role.TEST not in trial.returns]
    if missing or not trials:
        raise UsageError(
            f"{len(missing)} of {len(trials)} trials have not read the test, the first of them "
            f"{missing[0] if missing else 'none'}; regret is told from the test of all of them. "
            "`gengap rules STUDY --test REASON` reads it and writes every read into the ledger."
        )
    return trials


def _entry(
    table: EvaluationTable,
    rule: BestMean,
    among: str,
    shown: Sequence[TrialScores],
    tested: Sequence[TrialScores],
    mode: ActionMode,
    bootstrap: Bootstrap,
) -> dict[str, Any]:
    chosen, best = rule.select(shown), RULES[ORACLE].select(tested)
    return {
        "rule": rule.name,
        "sees": "recorded episodes of training levels" if rule.crafted else ", ".join(sorted(rule.visible)),
        "among": among,
        "num_configs": len({trial.config_id for trial in shown}),
        "chosen": chosen.config_id,
        "test": _test_scores(table, chosen, mode).mean(),
        "best": best.config_id,
        "regret": _regret(table, chosen, best, mode, bootstrap.rng("regret", rule.name, among), bootstrap),
        "rank_correlation": _rank_correlation(rule, shown, tested),
    }


def _regret(
    table: EvaluationTable,
    chosen: Choice,
    best: Choice,
    mode: ActionMode,
    rng: np.random.Generator,
    bootstrap: Bootstrap,
) -> dict[str, Any]:
    if chosen.config_id == best.config_id:
        same = "the oracle's own choice: nothing to compare"
        return statistics.Interval(0.0, np.nan, np.nan, bootstrap.confidence, same).to_json()
    a, b = (_test_scores(table, choice, mode) for choice in (best, chosen))
    return statistics.paired_difference(a, b, rng, **bootstrap.options).to_json()


def _test_scores(table: EvaluationTable, choice: Choice, mode: ActionMode) -> np.ndarray[Any, Any]:
    scores = level_scores(table, Role.TEST, mode, NORMALIZED, choice.policies)
    assert scores is not None
    return scores.values


def _rank_correlation(rule: BestMean, shown: Sequence[TrialScores], tested: Sequence[TrialScores]) -> float | None:
    frame = pd.DataFrame(
        {
            "config": [trial.config_id for trial in shown],
            "score": [rule.score(trial) for trial in shown],
            "test": [trial.score(Role.TEST) for trial in tested],
        }
    )
    means = frame.groupby("config").mean()
    if len(means) < 3 or means.nunique().min() < 2:
        return None
    ranks = means.rank()
    return float(np.corrcoef(ranks["score"], ranks["test"])[0, 1])
