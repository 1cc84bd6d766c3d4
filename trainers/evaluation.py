"""The evaluations that a training loop makes: train and validation levels, played where the policy is."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path

from actors.evaluate import evaluate_inline
from actors.policy import Policy
from envs.errors import UsageError
from envs.registry import env_names, make_spec
from envs.spec import EnvSpec, LevelSet
from metrics.protocol import ACTION_MODES, EvaluationProtocol
from metrics.protocols import build_protocol, training_protocol
from metrics.table import EvaluationTable, summarize
from trainers.config import EvaluationConfig, ExperimentConfig
from trainers.distributed import WorkerContext, gather_objects
from trainers.several_envs import EveryEnvEvaluation
from trainers.torch_policy import TorchPolicy

SCORE = "eval/validation/normalized_return"
"""What the best checkpoint is best in."""

NUM_TRAIN_LEVELS = 100
"""Training levels that are played unless settings or the published protocol say otherwise."""

NO_PROTOCOL = "none"
"""Value of `EvaluationConfig.protocol` with which nothing is played."""


def protocol_of(
    settings: EvaluationConfig,
    spec: EnvSpec,
    train_levels: LevelSet,
    *,
    algorithm: str = "",
    training: bool = False,
    distinct_from: LevelSet | None = None,
) -> EvaluationProtocol:
    """The evaluation protocol that settings name, for these training levels.

    Args:
        settings: Name, numbers of levels and action modes.
        spec: The environment that is trained in.
        train_levels: Levels of the realised mixture.
        algorithm: What learned the policy; the published protocol plays each in its own way.
        training: Whether a policy is judged while it learns; protocols play less then.
        distinct_from: Training levels that test levels may not look like, for whoever plays the test.

    Raises:
        UsageError: For an unknown protocol, or training levels that it does not allow.
    """
    name = training_protocol(settings.protocol) if training else settings.protocol
    published = name.startswith("paper")
    modes = settings.modes
    if modes is None and not published:
        modes = ("sampled",) if training else ACTION_MODES
    return build_protocol(
        name,
        spec,
        train_levels,
        distinct_from=distinct_from,
        algorithm=algorithm,
        num_train=settings.num_train_levels or (None if published else NUM_TRAIN_LEVELS),
        num_validation=settings.num_validation_levels,
        num_test=settings.num_test_levels,
        episodes_per_level=settings.episodes_per_level,
        modes=modes,
    )


def training_protocol_of(config: ExperimentConfig, spec: EnvSpec, train_levels: LevelSet) -> EvaluationProtocol:
    """What is played to judge an experiment's policy while it learns; see `protocol_of`."""
    return protocol_of(config.evaluation, spec, train_levels, algorithm=config.algorithm.name, training=True)


class InlineEvaluation:
    """Plays all levels but the test's in the training processes, every worker its share of the levels."""

    def __init__(self, config: ExperimentConfig, spec: EnvSpec, train_levels: LevelSet, context: WorkerContext) -> None:
        self._config = config
        self._context = context
        self._protocol = training_protocol_of(config, spec, train_levels)

    def __call__(self, policy: Policy, learner_step: int) -> dict[str, float]:
        """Flat metrics, the same on every worker. Collective."""
        share = share_of(self._protocol, self._context)
        tables = gather_objects(self._play(policy, share), self._context)
        return summarize(EvaluationTable.concat(tables))

    def _play(self, policy: Policy, share: EvaluationProtocol | None) -> EvaluationTable:
        if share is None:
            return EvaluationTable.empty()
        # Nothing learns while this plays.
        with policy.remembering() if isinstance(policy, TorchPolicy) else contextlib.nullcontext():
            return evaluate_inline(
                policy,
                share,
                roles=share.roles,
                seed=self._config.seed,
                num_envs=self._config.evaluation.num_envs,
                temperature=self._config.evaluation.temperature,
                train_seed=self._config.seed,
            )


def named_averaged(metrics: Mapping[str, float]) -> dict[str, float]:
    """Metrics of the policy of averaged weights: ``eval/<split>/averaged_<statistic>``."""
    return {f"{Path(name).parent}/averaged_{Path(name).name}": value for name, value in metrics.items()}


def share_of(protocol: EvaluationProtocol, context: WorkerContext) -> EvaluationProtocol | None:
    """All splits but the test with every ``world_size``-th level; None if this worker has none to play."""
    splits = []
    for split in (protocol.split(role) for role in protocol.open_roles):
        levels = split.levels.levels[context.rank :: context.world_size]
        if levels:
            splits.append(dataclasses.replace(split, levels=LevelSet(split.env, levels)))
    return dataclasses.replace(protocol, splits=tuple(splits)) if splits else None


def evaluation_for(
    config: ExperimentConfig,
    spec: EnvSpec,
    train_levels: LevelSet,
    context: WorkerContext,
    other_levels: Mapping[str, LevelSet] | None = None,
) -> Callable[[Policy, int], dict[str, float]]:
    """What judges the policy: the protocol's train and validation levels, or nothing if the config says so.

    Args:
        config: The experiment.
        spec: The environment that is trained in.
        train_levels: Its levels in the realised mixture.
        context: This worker among all of them.
        other_levels: Of other environments that are learned from; played where the config says so.
    """
    if config.evaluation.protocol == NO_PROTOCOL:
        return lambda policy, learner_step: {}
    own = InlineEvaluation(config, spec, train_levels, context)
    if not config.evaluation.each_env or not other_levels:
        return own
    others = {env: InlineEvaluation(config, make_spec(env), levels, context) for env, levels in other_levels.items()}
    return EveryEnvEvaluation(spec.name, {spec.name: own, **others})


def check_playable(config: ExperimentConfig, spec: EnvSpec, train_levels: LevelSet) -> None:
    """Refuse before the first step what could not be evaluated after it.

    Raises:
        UsageError: If the environment is not registered or the protocol does not fit it.
    """
    if config.evaluation.protocol == NO_PROTOCOL:
        return
    if spec.name not in env_names():
        raise UsageError(
            f"{spec.name!r} is an environment that cannot be played here, so no policy can be judged in it. Set "
            f"evaluation.protocol={NO_PROTOCOL} to train without, or register the environment with --plugin MODULE."
        )
    training_protocol_of(config, spec, train_levels)
