"""A search for the best mixture of named sources, as a frozen dataclass."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from actors.collect import CollectConfig
from actors.sources import parse_source
from envs.errors import UsageError, unknown_name
from envs.level_text import parse_levels
from envs.overrides import read_literal
from metrics.protocol import Role
from search.config import FULL_JUDGE
from search.dimensions import parse_dimensions
from search.selection import find_rule
from trainers.config import EvaluationConfig, ExperimentConfig
from trainers.several_envs import MEAN_OVER_ENVS, slug_of

RETURN = "eval/validation/normalized_return"
COSTS = ("cost/transitions_seen", "cost/wall_s")
_METRIC = re.compile(r"eval/(?:gap/)?([a-z_]+)(?:/.+)?")


@dataclass(frozen=True, kw_only=True)
class MixtureSearchConfig:
    """A study: arms of equal compute search mixtures of the same sources, and what each found is trained and judged."""

    name: str
    experiment: ExperimentConfig
    sources: dict[str, str]
    """Source -> a dataset's directory, or what to record: ``grid-expert?noise=0.2 levels=0:40 transitions=2000``, with
    ``env=NAME`` in one of `experiment.data.other_envs`."""
    num_transitions: int
    """Distinct transitions of a full run's mixture, exactly; the weights share them out."""
    arms: dict[str, str] = field(default_factory=lambda: {"search": "regression", "stratified": "stratified"})
    """Arm -> a proposer in `search.mixtures.PROPOSERS` with its options, and fields of the experiment that are its
    own: ``law ridge=0.01``, ``stratified mixing.controller=linear-law``."""
    baseline: str = "stratified"
    """The arm that the others are compared with."""
    dimensions: dict[str, str] = field(default_factory=dict)
    """Fields of the experiment that every arm searches beside its mixtures; see `search.dimensions`."""
    minimum_weight: float = 0.0
    """Of every source."""
    num_proposals: int = 16
    """Configurations that each arm tries."""
    seeds: tuple[int, ...] = (0, 1)
    """Train seeds of every configuration that is tried."""
    proxy_steps: int = 0
    """Learner steps of a trial, on as much less data, so that it repeats data as often as a full run; 0: full runs."""
    confirm_seeds: tuple[int, ...] = (100, 101, 102)
    """Fresh train seeds with which what each arm found is trained in full."""
    pilot_seeds: tuple[int, ...] = ()
    """Train seeds of full runs of the baseline before the search: from their spread the study states the smallest
    difference that it can detect. Empty: it states none."""
    objectives: tuple[str, ...] = (RETURN,)
    """What the search makes large ("eval/...") or small ("eval/gap/...", "cost/..."); the first one decides."""
    scheduler: Literal["none", "asha"] = "none"
    """"asha" stops configurations, by the mean of their seeds, within each arm. Population-based training is no
    scheduler of a study, because its mixtures change on the way: see `search.population`."""
    judge: EvaluationConfig = field(default_factory=lambda: FULL_JUDGE)
    """What is played after the search."""
    checkpoint: Literal["last", "best"] = "last"
    selection_rule: str = "validation"
    """Says which splits the search may see."""
    seed: int = 0
    """Of the proposers."""
    max_concurrent_trials: int = 0
    """0: as many as the cluster has CPUs for."""
    num_actors: int = 2
    """Evaluator actors."""
    num_collectors: int = 2
    """Collector actors; 0 records in this process, which is faster for small sources."""

    def __post_init__(self) -> None:
        for name, least in (("num_transitions", 1), ("num_proposals", 1), ("proxy_steps", 0)):
            if getattr(self, name) < least:
                raise UsageError(f"{name} is {getattr(self, name)}; it must be at least {least}.")
        if len(self.sources) < 2:
            raise UsageError(f"sources is {self.sources}; a mixture needs at least two.")
        if self.baseline not in self.arms:
            raise unknown_name("baseline (it must be one of the arms)", self.baseline, self.arms)
        for name in ("seeds", "confirm_seeds"):
            seeds = getattr(self, name)
            if not seeds or len(set(seeds)) < len(seeds):
                raise UsageError(f"{name} is {seeds}; give at least one, and none twice.")
        if shared := set(self.seeds) & set(self.confirm_seeds):
            raise UsageError(f"The seeds {sorted(shared)} are in seeds and in confirm_seeds; confirm with fresh ones.")
        if self.pilot_seeds and (
            len(set(self.pilot_seeds)) < max(2, len(self.pilot_seeds))
            or set(self.pilot_seeds) & {*self.seeds, *self.confirm_seeds}
        ):
            raise UsageError(f"pilot_seeds is {self.pilot_seeds}; give two or more that nothing else uses, or none.")
        if self.proxy_steps > self.experiment.train.learner_steps:
            raise UsageError(
                f"proxy_steps is {self.proxy_steps}; a trial is at most as long as a full run, "
                f"{self.experiment.train.learner_steps} learner steps."
            )
        if "train.learner_steps" in self.dimensions:
            raise UsageError("train.learner_steps is no dimension: arms are compared at equal compute.")
        parse_dimensions(self.dimensions)
        check_objectives(self.objectives, self.selection_rule)

    @property
    def trial_steps(self) -> int:
        """Learner steps of a trial of the search."""
        return self.proxy_steps or self.experiment.train.learner_steps


def check_objectives(objectives: tuple[str, ...], rule_name: str) -> None:
    """Refuse what the study's rule may not see.

    Raises:
        UsageError: Naming the rule, the split, and what is allowed.
    """
    rule = find_rule(rule_name)
    if not objectives or len(set(objectives)) < len(objectives):
        raise UsageError(f"objectives is {objectives}; give at least one, and none twice.")
    for name in objectives:
        match = _METRIC.fullmatch(name)
        if match is None:
            if name not in COSTS:
                raise unknown_name("objective", name, [RETURN, "eval/gap/validation", *COSTS])
            continue
        if match[1] not in [role.value for role in Role]:
            raise unknown_name("split of the objective", match[1], [role.value for role in rule.visible])
        if Role(match[1]) not in rule.visible or Role(match[1]) == Role.TEST:
            shown = ", ".join(sorted(role.value for role in rule.visible if role != Role.TEST))
            raise UsageError(
                f"The objective {name!r} is of the split {match[1]!r}, which the search may not see under the rule "
                f"{rule.name!r}: the test is played once, after selection. Allowed splits: {shown}."
            )


def check_several_envs(config: MixtureSearchConfig) -> None:
    """Refuse weights that leave out the environment in which policies are judged, and returns that nobody measures.

    Raises:
        UsageError: Saying what to set.
    """
    experiment = config.experiment
    if experiment.data.other_envs and config.minimum_weight <= 0:
        raise UsageError(
            f"minimum_weight is 0, so a mixture could leave out {experiment.env!r}, in which policies are judged; give "
            "every source a little, for example minimum_weight=0.05."
        )
    each = (experiment.env, *experiment.data.other_envs) if experiment.evaluation.each_env else ()
    named = [MEAN_OVER_ENVS, *map(slug_of, each)]
    for objective in config.objectives:
        _, _, env = objective.partition("_return/")
        if env and (len(named) < 3 or env not in named):
            raise UsageError(
                f"The objective {objective!r} is of one environment among several. It needs experiment.data.other_envs "
                f"and experiment.evaluation.each_env=true and then ends in one of: {', '.join(named)}."
            )


def losses_of(objectives: tuple[str, ...], metrics: Mapping[str, float]) -> tuple[float, ...]:
    """What a proposer makes small, one per objective; a metric that is missing counts as failed."""
    values = (metrics.get(name, float("nan")) for name in objectives)
    return tuple(
        -value if name.startswith("eval/") and not name.startswith("eval/gap/") else value
        for name, value in zip(objectives, values, strict=True)
    )


@dataclass(frozen=True, kw_only=True)
class ArmConfig:
    """One arm, read."""

    proposer: str
    options: dict[str, Any]
    overrides: dict[str, str]


def parse_arm(text: str) -> ArmConfig:
    """``PROPOSER OPTION=VALUE ... FIELD.OF.EXPERIMENT=VALUE ...``.

    Raises:
        UsageError: For a word without a value.
    """
    words = text.split()
    if not words:
        raise UsageError("An arm is empty; name a proposer, for example 'regression'.")
    pairs = dict(_pair(word, text) for word in words[1:])
    return ArmConfig(
        proposer=words[0],
        options={name: read_literal(value) for name, value in pairs.items() if "." not in name},
        overrides={name: value for name, value in pairs.items() if "." in name},
    )


def parse_recorded(config: MixtureSearchConfig, name: str) -> CollectConfig:
    """What is recorded for a source.

    Raises:
        UsageError: If the text cannot be read.
    """
    words = config.sources[name].split()
    pairs = dict(_pair(word, config.sources[name]) for word in words[1:])
    unknown = [key for key in pairs if key not in ("levels", "transitions", "seed", "env")]
    if not words or unknown or "levels" not in pairs or "transitions" not in pairs:
        raise UsageError(
            f"The source {name!r} is {config.sources[name]!r}; give a dataset's directory, or write who plays, "
            "levels=FIRST:END and transitions=N, for example 'grid-expert?noise=0.2 levels=0:40 transitions=2000'."
        )
    env, allowed = pairs.get("env", config.experiment.env), (config.experiment.env, *config.experiment.data.other_envs)
    if env not in allowed:
        raise UsageError(f"The source {name!r} plays {env!r}; allowed: {', '.join(allowed)}. See data.other_envs.")
    played = parse_source(env, words[0])
    return CollectConfig(
        env=env,
        source=played.name,
        options=dict(played.options),
        levels=parse_levels(env, pairs["levels"]),
        min_transitions=_whole(pairs["transitions"], name),
        seed=_whole(pairs.get("seed", "0"), name),
        num_actors=config.num_collectors,
    )


def _pair(word: str, text: str) -> tuple[str, str]:
    name, equals, value = word.partition("=")
    if not equals or not name or not value:
        raise UsageError(f"{word!r} in {text!r} has no value; write NAME=VALUE.")
    return name, value


def _whole(text: str, name: str) -> int:
    if not text.isdigit():
        raise UsageError(f"The source {name!r} has the number {text!r}; it must be a whole number.")
    return int(text)
