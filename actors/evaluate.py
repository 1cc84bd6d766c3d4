"""Policy and protocol -> evaluation table, in this process or on a pool of actors; the numbers are the same."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from actors.env_actor import EnvHost, PlayOrder, PolicySpec
from actors.policy import Policy
from actors.pool import ActorPool
from actors.rollout import Job, play
from data.episode import EpisodeResult
from envs.registry import make_spec, make_vec
from metrics.ledger import Permit, check_permit
from metrics.protocol import ActionMode, EvaluationProtocol, Role
from metrics.table import EvaluationTable

NUM_ENVS = 64


def evaluate_inline(
    policy: Policy,
    protocol: EvaluationProtocol,
    *,
    roles: Sequence[Role],
    seed: int,
    permit: Permit | None = None,
    num_envs: int = NUM_ENVS,
    policy_name: str | None = None,
    train_seed: int = 0,
    extra: Mapping[str, float | int | str] | None = None,
) -> EvaluationTable:
    """Play a policy in this process.

    Args:
        policy: Acts.
        protocol: Levels, episodes per level and action modes of every role.
        roles: Which roles to play.
        seed: Experiment seed of the sampled actions.
        permit: Needed to play the test.
        num_envs: Size of the inference batch.
        policy_name: Name in the table; default: the policy's id.
        train_seed: Seed the policy was trained with, for the table.
        extra: Further constant columns.

    Raises:
        SealedTestError: If the test is among the roles without a valid permit.
    """
    name = policy_name or policy.policy_id
    env = make_vec(protocol.env, num_envs)

    def play_jobs(jobs: Sequence[Job], mode: ActionMode) -> Iterator[EpisodeResult]:
        return play(env, policy, jobs, seed=seed, mode=mode)

    try:
        return _evaluate(play_jobs, protocol, roles, permit, name, train_seed, extra)
    finally:
        env.close()


def evaluate_on_pool(
    pool: ActorPool,
    policy: PolicySpec,
    protocol: EvaluationProtocol,
    *,
    roles: Sequence[Role],
    seed: int,
    policy_name: str,
    permit: Permit | None = None,
    num_envs: int = NUM_ENVS,
    train_seed: int = 0,
    extra: Mapping[str, float | int | str] | None = None,
) -> EvaluationTable:
    """Play a policy on a pool of actors; see `evaluate_inline`."""

    def play_jobs(jobs: Sequence[Job], mode: ActionMode) -> Iterator[EpisodeResult]:
        size = max(num_envs, math.ceil(len(jobs) / pool.num_actors))
        orders = [
            PlayOrder(
                env=protocol.env,
                policy=policy,
                jobs=tuple(jobs[start : start + size]),
                seed=seed,
                num_envs=num_envs,
                mode=mode,
            )
            for start in range(0, len(jobs), size)
        ]
        for _, results in pool.map("actors.evaluate:play_order", orders):
            yield from results

    return _evaluate(play_jobs, protocol, roles, permit, policy_name, train_seed, extra)


def play_order(host: EnvHost, order: PlayOrder) -> list[Any]:
    """What an evaluator actor does."""
    return host.play(order)


def _evaluate(
    play_jobs: Callable[[Sequence[Job], ActionMode], Iterator[EpisodeResult]],
    protocol: EvaluationProtocol,
    roles: Sequence[Role],
    permit: Permit | None,
    policy_name: str,
    train_seed: int,
    extra: Mapping[str, float | int | str] | None,
) -> EvaluationTable:
    spec = make_spec(protocol.env)
    for role in roles:
        check_permit(role, permit, policy_name)
    tables = [
        EvaluationTable.from_results(
            play_jobs(protocol.split(role).jobs(mode), mode),
            spec=spec,
            protocol=protocol,
            role=role,
            mode=mode,
            policy=policy_name,
            train_seed=train_seed,
            extra=extra,
        )
        for role in roles
        for mode in protocol.modes
    ]
    return EvaluationTable.concat(tables)
