"""Policy + protocol -> `EvaluationTable`: in process while training, by Ray actors otherwise, with the same numbers."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, Unpack

from actors.env_actor import PlayTask, new_task_key
from actors.policy import Policy
from actors.rollout import Job, play
from actors.sources import SourceSpec, load_policy
from data.episode import EpisodeResult
from envs.registry import make_spec, make_vec
from metrics.ledger import Permit, check_permit
from metrics.protocol import ActionMode, EvaluationProtocol, Role
from metrics.table import EvaluationTable

if TYPE_CHECKING:
    from actors.pool import ActorPool

PolicyName = Path | str | None
"""A checkpoint, or the name of a source such as ``"maze-search"``; None is the random policy."""


class EvaluationOptions(TypedDict, total=False):
    """What all evaluations have in common; every one may be left out."""

    roles: Sequence[Role] | None
    """Which roles; None plays every role of the protocol but the test."""
    seed: int
    """Experiment seed of the sampled actions, default 0."""
    permit: Permit | None
    """Needed for the test; issued for the name that stands in the table."""
    num_envs: int
    """Slots per process, default 64."""
    policy_name: str | None
    """Name in the table; None takes the policy's id, or "random"."""
    train_seed: int
    """Recorded in the table, default 0."""
    extra: Mapping[str, float | int | str] | None
    """Further constant columns."""
    progress: Callable[[float, float], None] | None
    """Called with episodes played and episodes in all."""


PlayAll = Callable[[ActionMode, Sequence[Job]], Iterable[EpisodeResult]]


def evaluate(
    policy: Policy | PolicyName,
    protocol: EvaluationProtocol,
    *,
    num_actors: int = 0,
    **options: Unpack[EvaluationOptions],
) -> EvaluationTable:
    """Play a policy on the levels of each role.

    Args:
        policy: A policy, a checkpoint, the name of a source, or None for the random policy.
        protocol: Levels, episodes per level and action modes.
        num_actors: Ray actors that share the work; 0 plays in this process.
        options: See `EvaluationOptions`.

    Raises:
        SealedTestError: If the test is asked for without a valid permit.
        UsageError: For a role that the protocol does not have, or a policy that does not exist.
    """
    if num_actors == 0:
        loaded = _load(policy, protocol) if policy is None or isinstance(policy, str | Path) else policy
        return evaluate_inline(loaded, protocol, **options)
    from actors.cluster import ray_session
    from actors.pool import ActorPool

    with ray_session(), ActorPool(num_actors) as pool:
        return evaluate_on_pool(pool, policy, protocol, **options)


def evaluate_inline(
    policy: Policy, protocol: EvaluationProtocol, **options: Unpack[EvaluationOptions]
) -> EvaluationTable:
    """Play in this process; see `evaluate`."""
    with contextlib.closing(make_vec(protocol.env, options.get("num_envs", 64))) as env:

        def play_all(mode: ActionMode, jobs: Sequence[Job]) -> Iterable[EpisodeResult]:
            return play(env, policy, jobs, seed=options.get("seed", 0), mode=mode)

        return _evaluate(play_all, policy.policy_id, protocol, options)


def evaluate_on_pool(
    pool: ActorPool,
    policy: Policy | PolicyName,
    protocol: EvaluationProtocol,
    **options: Unpack[EvaluationOptions],
) -> EvaluationTable:
    """Play on the actors of a pool, next to the environments; only results travel. See `evaluate`.

    Args:
        pool: Evaluator actors. A checkpoint's path must be readable where they run.
        policy: A checkpoint or the name of a source; a policy object is sent once per actor and action mode.
        protocol: Levels, episodes per level and action modes.
        options: See `EvaluationOptions`.
    """
    named = policy is None or isinstance(policy, str | Path)
    source = SourceSpec(env=protocol.env, name=str(policy or "random") if named else "random")

    def play_all(mode: ActionMode, jobs: Sequence[Job]) -> Iterable[EpisodeResult]:
        task = PlayTask(
            key=new_task_key(),
            source=source,
            seed=options.get("seed", 0),
            num_envs=options.get("num_envs", 64),
            mode=mode,
            policy=None if policy is None or isinstance(policy, str | Path) else policy,
        )
        return pool.play_results(task, jobs)

    default_name = source.name if policy is None or isinstance(policy, str | Path) else policy.policy_id
    return _evaluate(play_all, default_name, protocol, options)


def _evaluate(
    play_all: PlayAll, default_name: str, protocol: EvaluationProtocol, options: EvaluationOptions
) -> EvaluationTable:
    roles = options.get("roles") or [role for role in protocol.roles if role != Role.TEST]
    name = options.get("policy_name") or default_name
    splits = [protocol.split(role) for role in roles]
    spec = make_spec(protocol.env)
    for split in splits:  # before anything is played
        check_permit(split.role, options.get("permit"), name)
        spec.check_levels(split.levels)
    wanted = {mode: list(dict.fromkeys(job for split in splits for job in split.jobs(mode))) for mode in protocol.modes}
    total, done, tables = sum(map(len, wanted.values())), 0, []
    progress = options.get("progress")
    for mode, jobs in wanted.items():
        results: dict[Job, EpisodeResult] = {}
        for result in play_all(mode, jobs):
            results[result.level, result.episode] = result
            done += 1
            if progress is not None:
                progress(done, total)
        for split in splits:
            table = EvaluationTable.from_results(
                [results[job] for job in split.jobs(mode)],
                spec=spec,
                protocol=protocol,
                role=split.role,
                mode=mode,
                policy=name,
                train_seed=options.get("train_seed", 0),
                extra=options.get("extra"),
            )
            tables.append(table)
    return EvaluationTable.concat(tables)


def _load(name: PolicyName, protocol: EvaluationProtocol) -> Policy:
    return load_policy(SourceSpec(env=protocol.env, name=str(name or "random")))
