"""Selects configurations by a named rule; the one function here hides from a rule what it may not see."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from envs.errors import UsageError
from metrics.protocol import ActionMode, Role
from metrics.table import EvaluationTable
from search.rules import (
    METRIC,
    RULES,
    BestMean,
    Choice,
    SelectionRule,
    TrialScores,
    find_rule,
    needs_crafted,
)

__all__ = [
    "METRIC",
    "RULES",
    "BestMean",
    "Choice",
    "Selection",
    "SelectionRule",
    "TrialScores",
    "find_rule",
    "needs_crafted",
    "select_configurations",
    "trial_scores",
    "visible_rows",
]


@dataclass(frozen=True, kw_only=True)
class Selection:
    """What was selected at every level count and overall, by which rule, and what the rule could see."""

    rule: str
    visible_roles: tuple[str, ...]
    mode: ActionMode = "sampled"
    choices: tuple[Choice, ...] = field(default=())
    """One per level count, in increasing order."""
    mixture_choices: tuple[Choice, ...] = ()
    """One per level count and mixture, in a study with strata."""
    overall: str = ""
    """The configuration chosen among all level counts."""

    @property
    def oracle(self) -> bool:
        """Whether the rule saw the test."""
        return Role.TEST.value in self.visible_roles

    @property
    def tested(self) -> tuple[Choice, ...]:
        """The choices that read the sealed test, each configuration once."""
        return tuple({c.config_id: c for c in (*self.mixture_choices, *self.choices)}.values())

    def choice(self, num_levels: int) -> Choice | None:
        """The choice at a level count, if there is one."""
        return next((choice for choice in self.choices if choice.num_levels == num_levels), None)

    def to_json(self) -> dict[str, Any]:
        """A JSON object; `from_json` reads it back."""
        return asdict(self) | {"oracle": self.oracle, "metric": METRIC}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Selection:
        """The inverse of `to_json`."""
        return cls(
            rule=value["rule"],
            visible_roles=tuple(value["visible_roles"]),
            mode=value.get("mode", "sampled"),
            choices=tuple(map(_choice, value["choices"])),
            mixture_choices=tuple(map(_choice, value.get("mixture_choices", ()))),
            overall=value["overall"],
        )


def _choice(item: Mapping[str, Any]) -> Choice:
    known = {name: item[name] for name in Choice.__dataclass_fields__ if name in item}
    return Choice(**{**known, "policies": tuple(item["policies"])})


def visible_rows(table: EvaluationTable, rule: SelectionRule) -> EvaluationTable:
    """The rows a rule may see. Everything handed to a rule is derived from what this returns."""
    return table.where(role=[role.value for role in rule.visible])


def trial_scores(
    table: EvaluationTable,
    rule: SelectionRule,
    mode: ActionMode = "sampled",
    crafted: Mapping[str, float] | None = None,
) -> list[TrialScores]:
    """Each trial's mean returns on the splits that the rule may see; levels count equally.

    Args:
        table: Evaluations with the columns ``config_id`` and ``num_levels``; rows without a `config_id` (the random
            policy, the expert) are no trials.
        rule: Decides what is visible.
        mode: Action mode that is compared.
        crafted: Trial -> its score on crafted shifts, if there are any.

    Raises:
        UsageError: If the table has no column ``config_id``.
    """
    if "config_id" not in table.frame.columns:
        raise UsageError(
            "The evaluation table has no column config_id, so seeds cannot be grouped; use a study's table."
        )
    rows = visible_rows(table, rule).where(mode=mode).frame
    rows = rows[rows["config_id"].fillna("").astype(str) != ""]
    mixture = rows["mixture"].fillna("").astype(str) if "mixture" in rows.columns else ""
    rows = rows.assign(mixture=mixture)
    keys = ["policy", "config_id", "num_levels", "mixture", "train_seed"]
    by_level = rows.groupby([*keys, "role", "env", "level"], sort=True)[METRIC].mean()
    by_role = by_level.groupby([*keys, "role"], sort=True).mean()
    trials: dict[tuple[Any, ...], dict[Role, float]] = defaultdict(dict)
    for (*key, role), value in by_role.items():
        trials[tuple(key)][Role(role)] = float(value)
    return [
        TrialScores(
            policy=policy,
            config_id=config,
            num_levels=int(levels),
            mixture=mixture,
            train_seed=int(seed),
            returns=returns,
            crafted=(crafted or {}).get(policy) if needs_crafted(rule) else None,
        )
        for (policy, config, levels, mixture, seed), returns in trials.items()
    ]


def select_configurations(
    table: EvaluationTable,
    rule_name: str,
    mode: ActionMode = "sampled",
    crafted: Mapping[str, float] | None = None,
) -> Selection:
    """Apply a rule at every level count by itself, at every level count of every mixture, and among all trials.

    Args:
        table: Evaluations of every trial; rows that the rule may not see are dropped before anything else.
        rule_name: Name in `RULES`.
        mode: Action mode that is compared.
        crafted: Trial -> its score on crafted shifts, for the rule that asks for it.

    Raises:
        UsageError: For an unknown rule, or if there is nothing to select from.
    """
    rule = find_rule(rule_name)
    trials = trial_scores(table, rule, mode, crafted)
    counts = sorted({trial.num_levels for trial in trials})
    groups = dict.fromkeys((trial.num_levels, trial.mixture) for trial in trials if trial.mixture)
    return Selection(
        rule=rule.name,
        visible_roles=tuple(role.value for role in Role if role in rule.visible),
        mode=mode,
        choices=tuple(rule.select([t for t in trials if t.num_levels == count]) for count in counts),
        mixture_choices=tuple(
            replace(rule.select([t for t in trials if (t.num_levels, t.mixture) == group]), among=group[1])
            for group in sorted(groups)
        ),
        overall=rule.select(trials).config_id,
    )
