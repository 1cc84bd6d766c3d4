"""The evaluations that a training loop makes: train and validation levels, played where the policy is."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from actors.evaluate import evaluate_inline
from actors.policy import Policy
from envs.errors import UsageError
from envs.registry import env_names
from envs.spec import EnvSpec, LevelSet
from metrics.protocol import EvaluationProtocol
from metrics.protocols import build_protocol
from metrics.table import EvaluationTable, summarize
from trainers.config import ActionMode, EvaluationConfig, ExperimentConfig
from trainers.distributed import WorkerContext, gather_objects

NO_PROTOCOL = "none"
"""Value of `EvaluationConfig.protocol` with which nothing is played."""


def protocol_of(
    settings: EvaluationConfig, spec: EnvSpec, train_levels: LevelSet, modes: tuple[ActionMode, ...] | None = None
) -> EvaluationProtocol:
    """The evaluation protocol that settings name, for these training levels.

    Args:
        settings: Name, numbers of levels and action modes.
        spec: The environment that is trained in.
        train_levels: Levels of the realised mixture.
        modes: Action modes; None takes those of the settings.

    Raises:
        UsageError: For an unknown protocol, or training levels that it does not allow.
    """
    return build_protocol(
        settings.protocol,
        spec,
        train_levels,
        num_train=settings.num_train_levels,
        num_validation=settings.num_validation_levels,
        num_test=settings.num_test_levels,
        episodes_per_level=settings.episodes_per_level,
        modes=modes or settings.modes,
    )


class InlineEvaluation:
    """Plays all levels but the test's in the training processes, every worker its share of the levels."""

    def __init__(self, config: ExperimentConfig, spec: EnvSpec, train_levels: LevelSet, context: WorkerContext) -> None:
        self._config = config
        self._context = context
        self._protocol = protocol_of(config.evaluation, spec, train_levels)

    def __call__(self, policy: Policy, learner_step: int) -> dict[str, float]:
        """Flat metrics, the same on every worker. Collective."""
        share = share_of(self._protocol, self._context)
        tables = gather_objects(self._play(policy, share), self._context)
        return summarize(EvaluationTable.concat(tables))

    def _play(self, policy: Policy, share: EvaluationProtocol | None) -> EvaluationTable:
        if share is None:
            return EvaluationTable.empty()
        return evaluate_inline(
            policy,
            share,
            roles=share.roles,
            seed=self._config.seed,
            num_envs=self._config.evaluation.num_envs,
            temperature=self._config.evaluation.temperature,
            train_seed=self._config.seed,
        )


def share_of(protocol: EvaluationProtocol, context: WorkerContext) -> EvaluationProtocol | None:
    """All splits but the test with every ``world_size``-th level; None if this worker has none to play."""
    splits = []
    for split in (protocol.split(role) for role in protocol.open_roles):
        levels = split.levels.levels[context.rank :: context.world_size]
        if levels:
            splits.append(dataclasses.replace(split, levels=LevelSet(split.env, levels)))
    return dataclasses.replace(protocol, splits=tuple(splits)) if splits else None


def evaluation_for(
    config: ExperimentConfig, spec: EnvSpec, train_levels: LevelSet, context: WorkerContext
) -> Callable[[Policy, int], dict[str, float]]:
    """What judges the policy: the protocol's train and validation levels, or nothing if the config says so."""
    if config.evaluation.protocol == NO_PROTOCOL:
        return lambda policy, learner_step: {}
    return InlineEvaluation(config, spec, train_levels, context)


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
    protocol_of(config.evaluation, spec, train_levels)
