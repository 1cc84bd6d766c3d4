"""Named rules that select a configuration, and what each of them may see."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from envs.errors import UsageError, unknown_name
from metrics.protocol import Role

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
    crafted: float | None = None
    """Of crafted shifts; only shown to a rule that asks for it."""

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

    def crafted_score(self) -> float:
        """The trial's score on crafted shifts.

        Raises:
            UsageError: If it was not computed.
        """
        if self.crafted is None:
            raise UsageError(
                f"The trial {self.policy!r} has no score on crafted shifts; they are computed from a study's recorded "
                "data (`gengap sweep` with selection_rule=crafted-shifts, or `gengap rules STUDY`)."
            )
        return self.crafted


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
    role: Role | None
    """None compares scores on crafted shifts instead of returns."""
    visible: frozenset[Role]

    @property
    def crafted(self) -> bool:
        """Whether it needs scores on crafted shifts."""
        return self.role is None

    def score(self, trial: TrialScores) -> float:
        """What it compares, of one trial."""
        return trial.crafted_score() if self.role is None else trial.score(self.role)

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
        scores = {name: sum(map(self.score, group)) / num_seeds for name, group in complete.items()}
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
        what = "agreement under crafted shifts" if self.role is None else f"{self.role.value} return"
        return f"{compared} by mean {what} over {seeds}{skipped}"


RULES: dict[str, SelectionRule] = {
    "validation": BestMean(
        name="validation", role=Role.VALIDATION, visible=frozenset({Role.TRAIN, Role.TRAIN_HELDOUT, Role.VALIDATION})
    ),
    "train": BestMean(name="train", role=Role.TRAIN, visible=frozenset({Role.TRAIN})),
    "train-heldout": BestMean(
        name="train-heldout", role=Role.TRAIN_HELDOUT, visible=frozenset({Role.TRAIN, Role.TRAIN_HELDOUT})
    ),
    "crafted-shifts": BestMean(name="crafted-shifts", role=None, visible=frozenset({Role.TRAIN})),
    # An upper bound for papers, not a method: it looks at the answer, and reports call it an oracle.
    "oracle": BestMean(name="oracle", role=Role.TEST, visible=frozenset(Role)),
}


def find_rule(name: str) -> SelectionRule:
    """The rule of that name.

    Raises:
        UsageError: For an unknown name, answered with the closest match.
    """
    if name not in RULES:
        raise unknown_name("selection rule", name, RULES)
    return RULES[name]


def needs_crafted(rule: SelectionRule) -> bool:
    """Whether a rule is to be shown scores on crafted shifts."""
    return bool(getattr(rule, "crafted", False))
