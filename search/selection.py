"""Named rules that select a configuration, and the one function that hides from a rule what it may not see."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Protocol

from envs.errors import UsageError, unknown_name
from metrics.protocol import ActionMode, Role
from metrics.table import EvaluationTable

METRIC = "normalized_return"
"""What the rules compare."""


@dataclass(frozen=True, kw_only=True)
class TrialScores:
    """What a rule is told about one trained policy."""

    policy: str
    """Trial id."""
    config_id: str
    """Names the configuration: the seeds of one share it."""
    num_levels: int
    train_seed: int
    mixture: str = ""
    """Of the strata it learned from; empty in a study without strata."""
    returns: Mapping[Role, float]
    """Mean over levels of the normalized return; only roles that the rule may see."""

    def score(self, role: Role) -> float:
        """The trial's mean return on a split.

        Raises:
            UsageError: If the rule was not shown this split, or it was not played.
        """
        if role not in self.returns:
            shown = ", ".join(self.returns) or "none"
            raise UsageError(
                f"The selection rule asked for role {str(role)!r} of trial {self.policy!r}; it was shown: {shown}. "
                "Evaluate that split, or choose a rule that may see it."
            )
        return self.returns[role]


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The configuration that a rule chose among some trials."""

    config_id: str
    policies: tuple[str, ...]
    """Trial ids of the configuration, one per train seed."""
    num_levels: int
    score: float
    """The value the rule maximized."""
    reason: str
    mixture: str = ""
    """Mixture over strata of the chosen trials; empty in a study without strata."""
    among: str = ""
    """Set if only trials of that mixture were compared."""

    @property
    def where(self) -> str:
        """Among which trials it was chosen."""
        return f"at {self.num_levels} levels" + (f" of the mixture {self.among}" if self.among else "")


class SelectionRule(Protocol):
    """Chooses a configuration from the trials' scores on the splits it may see."""

    @property
    def name(self) -> str:
        """Name in `RULES`."""
        ...

    @property
    def visible(self) -> frozenset[Role]:
        """The roles whose results the rule is shown."""
        ...

    def select(self, trials: Sequence[TrialScores]) -> Choice:
        """The chosen configuration."""
        ...


@dataclass(frozen=True, kw_only=True)
class BestMean:
    """Takes the configuration with the best mean over train seeds of the return on one split.

    Configurations that lack a seed which others have are passed over: fewer seeds make an extreme mean likelier.
    Ties go to the name that sorts first.
    """

    name: str
    role: Role
    visible: frozenset[Role]

    def select(self, trials: Sequence[TrialScores]) -> Choice:
        """The chosen configuration.

        Raises:
            UsageError: If there is no trial.
        """
        if not trials:
            raise UsageError("No finished trial is left to select from; look at the trials' errors and sweep again.")
        groups: dict[str, list[TrialScores]] = defaultdict(list)
        for trial in trials:
            groups[trial.config_id].append(trial)
        num_seeds = max(len(group) for group in groups.values())
        complete = {name: group for name, group in sorted(groups.items()) if len(group) == num_seeds}
        scores = {name: sum(t.score(self.role) for t in group) / num_seeds for name, group in complete.items()}
        best = max(scores, key=scores.__getitem__)
        return Choice(
            config_id=best,
            policies=tuple(trial.policy for trial in sorted(groups[best], key=lambda t: (t.train_seed, t.policy))),
            num_levels=groups[best][0].num_levels,
            score=scores[best],
            reason=self._reason(num_seeds, len(complete), len(groups) - len(complete)),
            mixture=groups[best][0].mixture,
        )

    def _reason(self, num_seeds: int, num_complete: int, num_passed_over: int) -> str:
        seeds = "1 seed" if num_seeds == 1 else f"{num_seeds} seeds"
        compared = "the only configuration" if num_complete == 1 else f"best of {num_complete} configurations"
        skipped = f"; {num_passed_over} with fewer seeds passed over" if num_passed_over else ""
        return f"{compared} by mean {self.role.value} return over {seeds}{skipped}"


RULES: dict[str, SelectionRule] = {
    "validation": BestMean(
        name="validation", role=Role.VALIDATION, visible=frozenset({Role.TRAIN, Role.TRAIN_HELDOUT, Role.VALIDATION})
    ),
    "train": BestMean(name="train", role=Role.TRAIN, visible=frozenset({Role.TRAIN})),
    # An upper bound for papers, not a method: it looks at the answer, and reports call it an oracle.
    "oracle": BestMean(name="oracle", role=Role.TEST, visible=frozenset(Role)),
}


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


def find_rule(name: str) -> SelectionRule:
    """The rule of that name.

    Raises:
        UsageError: For an unknown name, answered with the closest match.
    """
    if name not in RULES:
        raise unknown_name("selection rule", name, RULES)
    return RULES[name]


def visible_rows(table: EvaluationTable, rule: SelectionRule) -> EvaluationTable:
    """The rows a rule may see. Everything handed to a rule is derived from what this returns."""
    return table.where(role=[role.value for role in rule.visible])


def trial_scores(table: EvaluationTable, rule: SelectionRule, mode: ActionMode = "sampled") -> list[TrialScores]:
    """Each trial's mean returns on the splits that the rule may see; levels count equally.

    Args:
        table: Evaluations with the columns ``config_id`` and ``num_levels``; rows without a `config_id` (the random
            policy, the expert) are no trials.
        rule: Decides what is visible.
        mode: Action mode that is compared.

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
        )
        for (policy, config, levels, mixture, seed), returns in trials.items()
    ]


def select_configurations(table: EvaluationTable, rule_name: str, mode: ActionMode = "sampled") -> Selection:
    """Apply a rule at every level count by itself, at every level count of every mixture, and among all trials.

    Args:
        table: Evaluations of every trial; rows that the rule may not see are dropped before anything else.
        rule_name: Name in `RULES`.
        mode: Action mode that is compared.

    Raises:
        UsageError: For an unknown rule, or if there is nothing to select from.
    """
    rule = find_rule(rule_name)
    trials = trial_scores(table, rule, mode)
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
