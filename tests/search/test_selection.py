"""Rules select the right configuration, and are shown only what they may see."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
import pytest

from envs.errors import UsageError
from metrics.protocol import Role
from metrics.table import EvaluationTable
from search.selection import RULES, Choice, Selection, TrialScores, select_configurations, trial_scores, visible_rows
from search.space import TrialSpec
from tests.search.synthetic_study import (
    BEST_RATE,
    LEVEL_COUNTS,
    WORSE_RATE,
    open_table,
    rows,
    sealed_rows,
    trial_specs,
)


@pytest.fixture(scope="module")
def full_table() -> EvaluationTable:
    """Every trial on every split, the test included: more than a search should ever hold."""
    return open_table().append(sealed_rows({spec.trial_id for spec in trial_specs()}))


@dataclass(frozen=True)
class Peeking:
    """A rule that claims to need validation only and tries to read the test."""

    name: str = "peeking"
    visible: frozenset[Role] = frozenset({Role.VALIDATION})

    def select(self, trials: Sequence[TrialScores]) -> Choice:
        best = max(trials, key=lambda trial: trial.score(Role.TEST))
        return Choice(config_id=best.config_id, policies=(), num_levels=best.num_levels, score=0.0, reason="")


@pytest.mark.parametrize("name", ["validation", "train"])
def test_a_rule_that_may_not_see_the_test_gets_no_test_number(full_table: EvaluationTable, name: str) -> None:
    rule = RULES[name]
    assert visible_rows(full_table, rule).roles == [
        role.value for role in Role if role in rule.visible and role != Role.TRAIN_HELDOUT
    ]
    for trial in trial_scores(full_table, rule):
        assert set(trial.returns) <= rule.visible
        with pytest.raises(UsageError, match="asked for role 'test'"):
            trial.score(Role.TEST)


def test_a_rule_that_peeks_is_refused(full_table: EvaluationTable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(RULES, "peeking", Peeking())
    with pytest.raises(UsageError, match=r"asked for role 'test'.*was shown: validation"):
        select_configurations(full_table, "peeking")


def test_test_results_do_not_change_what_an_honest_rule_selects(full_table: EvaluationTable) -> None:
    assert select_configurations(full_table, "validation") == select_configurations(open_table(), "validation")


def test_validation_takes_the_best_mean_over_seeds_at_every_level_count() -> None:
    selection = select_configurations(open_table(), "validation")
    assert [choice.num_levels for choice in selection.choices] == list(LEVEL_COUNTS)
    assert [choice.config_id for choice in selection.choices] == [f"levels-{n}-lr-{BEST_RATE:g}" for n in LEVEL_COUNTS]
    assert selection.choices[0].policies == ("levels-10-lr-0.001-seed-0", "levels-10-lr-0.001-seed-1")
    assert selection.choices[2].score == pytest.approx(2 * 0.6 - 1)
    assert selection.overall == "levels-1000-lr-0.001"
    assert "best of 2 configurations by mean validation return over 2 seeds" in selection.choices[0].reason


def test_train_prefers_what_fits_and_the_oracle_what_generalizes(full_table: EvaluationTable) -> None:
    assert select_configurations(full_table, "train").overall == "levels-10-lr-0.001"
    oracle = select_configurations(full_table, "oracle")
    assert oracle.overall == f"levels-1000-lr-{WORSE_RATE:g}"
    assert oracle.oracle
    assert "test" in oracle.visible_roles
    assert not select_configurations(full_table, "validation").oracle


def test_a_configuration_with_a_missing_seed_is_passed_over() -> None:
    table = open_table()
    kept = table.frame[table.frame["policy"] != "levels-1000-lr-0.001-seed-1"]
    choice = select_configurations(EvaluationTable(kept), "validation").choices[2]
    assert choice.config_id == f"levels-1000-lr-{WORSE_RATE:g}"
    assert "1 with fewer seeds passed over" in choice.reason


def test_ties_go_to_the_first_name_whatever_the_order_of_the_trials() -> None:
    trials = [
        TrialScores(
            policy=f"{name}-{seed}", config_id=name, num_levels=5, train_seed=seed, returns={Role.VALIDATION: 0.5}
        )
        for name in ("b", "a")
        for seed in (1, 0)
    ]
    choices = [RULES["validation"].select(order) for order in (trials, trials[::-1])]
    assert choices[0] == choices[1]
    assert (choices[0].config_id, choices[0].policies) == ("a", ("a-0", "a-1"))


def test_random_and_expert_rows_are_no_trials() -> None:
    assert {trial.policy for trial in trial_scores(open_table(), RULES["validation"])} == {
        spec.trial_id for spec in trial_specs()
    }


def test_selection_survives_json() -> None:
    selection = select_configurations(open_table(), "validation")
    assert Selection.from_json(json.loads(json.dumps(selection.to_json()))) == selection


def mixed_table() -> EvaluationTable:
    """Two mixtures at two level counts; "uniform" validates better with many levels only."""
    success = {(10, "natural"): 0.4, (10, "uniform"): 0.2, (100, "natural"): 0.5, (100, "uniform"): 0.8}
    frames = []
    for (count, mixture), validation in success.items():
        for rate, change in ((BEST_RATE, 0.0), (WORSE_RATE, -0.1)):
            config = TrialSpec(count, rate, 0, mixture).config_id
            for seed in (0, 1):
                extra = {"config_id": config, "num_levels": count, "mixture": mixture}
                name = TrialSpec(count, rate, seed, mixture).trial_id
                frames.append(rows(name, Role.VALIDATION, validation + change, train_seed=seed, **extra))
    frames.append(rows("random", Role.VALIDATION, 0.1))
    return EvaluationTable(pd.concat(frames, ignore_index=True))


def test_a_configuration_is_chosen_for_every_mixture_and_all_of_them_are_tested() -> None:
    selection = select_configurations(mixed_table(), "validation")
    assert [(c.num_levels, c.mixture) for c in selection.choices] == [(10, "natural"), (100, "uniform")]
    groups = [(10, "natural"), (10, "uniform"), (100, "natural"), (100, "uniform")]
    assert [(c.num_levels, c.mixture) for c in selection.mixture_choices] == groups
    for choice in selection.mixture_choices:
        assert choice.among == choice.mixture
        assert choice.config_id == TrialSpec(choice.num_levels, BEST_RATE, 0, choice.mixture).config_id
        assert len(choice.policies) == 2
        assert "best of 2 configurations" in choice.reason
    assert selection.overall == TrialSpec(100, BEST_RATE, 0, "uniform").config_id
    assert sorted(c.config_id for c in selection.tested) == sorted(c.config_id for c in selection.mixture_choices)
    assert Selection.from_json(json.loads(json.dumps(selection.to_json()))) == selection
    assert [c.where for c in selection.mixture_choices[:1]] == ["at 10 levels of the mixture natural"]


def test_without_strata_the_choices_per_level_count_are_tested() -> None:
    selection = select_configurations(open_table(), "validation")
    assert selection.mixture_choices == ()
    assert selection.tested == selection.choices


def test_an_unknown_rule_is_answered_with_the_closest_name() -> None:
    with pytest.raises(UsageError, match="Did you mean 'validation'"):
        select_configurations(open_table(), "validaton")


def test_nothing_to_select_from_says_so() -> None:
    with pytest.raises(UsageError, match="No finished trial"):
        select_configurations(open_table().where(policy="random"), "validation")
