"""Policy + protocol -> `EvaluationTable`: in process while training, by Ray actors otherwise, with the same numbers."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, Unpack

from actors.env_actor import PlayTask, new_task_key
from actors.policy import Policy
from actors.rollout import Job, Stage, is_privileged, make_stage, play_on
from actors.sources import SourceSpec, load_policy
from data.episode import EpisodeResult
from envs.errors import UsageError
from envs.registry import make_spec
from metrics.ledger import Permit, check_permit
from metrics.protocol import ActionMode, EvaluationProtocol, Role, Split, check_interfaces
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
    """Slots per environment, default 64; a policy may be played in fewer, which changes no episode."""
    overlap: bool | None
    """Whether environments step on a thread of their own while the policy acts in others; None, the default: where the
    policy says that it gains, as on a GPU. No result depends on it. Actors always ask the policy."""
    temperature: float
    """Divides the log-probabilities of sampled actions, default 1."""
    policy_name: str | None
    """Name in the table; None takes the policy's id, or "random"."""
    train_seed: int
    """Recorded in the table, default 0."""
    extra: Mapping[str, float | int | str] | None
    """Further constant columns."""
    expected_lengths: Mapping[tuple[str, str, int, int], int] | None
    """(environment, action mode, level, episode) -> steps, as far as they are known from an earlier policy: episodes
    that are expected to be long begin first, so that few slots stand idle at the end. No result depends on it."""
    progress: Callable[[float, float], None] | None
    """Called with episodes played and episodes in all."""


PlayAll = Callable[[str, ActionMode, Sequence[Job]], Iterable[EpisodeResult]]
"""(environment, action mode, jobs) -> the result of every job."""


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
        if policy is None or isinstance(policy, str | Path):
            name = str(policy or "random")
            policies = {env: load_policy(SourceSpec(env=env, name=name)) for env in _envs(protocol, options)}
            return _evaluate_here(policies, protocol, options)
        return evaluate_inline(policy, protocol, **options)
    from actors.cluster import ray_session
    from actors.placement import ClusterRole
    from actors.pool import ActorPool

    with ray_session(), ActorPool(num_actors, role=ClusterRole.EVALUATOR) as pool:
        return evaluate_on_pool(pool, policy, protocol, **options)


def evaluate_inline(
    policy: Policy, protocol: EvaluationProtocol, **options: Unpack[EvaluationOptions]
) -> EvaluationTable:
    """Play in this process; see `evaluate`.

    Raises:
        UsageError: If a policy that is told the level (it is made for one environment) is to play several.
    """
    envs = _envs(protocol, options)
    _check_plays_all(policy, envs)
    return _evaluate_here(dict.fromkeys(envs, policy), protocol, options)


def _evaluate_here(
    policies: Mapping[str, Policy], protocol: EvaluationProtocol, options: EvaluationOptions
) -> EvaluationTable:
    """Play in this process, in each environment with its policy."""
    made: dict[str, Stage] = {}
    with contextlib.ExitStack() as stack:

        def play_all(env: str, mode: ActionMode, jobs: Sequence[Job]) -> Iterable[EpisodeResult]:
            if env not in made:
                made[env] = make_stage(env, policies[env], options.get("num_envs", 64), options.get("overlap"))
                for each in made[env]:
                    stack.enter_context(contextlib.closing(each))
            seed, temperature = options.get("seed", 0), options.get("temperature", 1.0)
            epsilon = protocol.epsilon
            return play_on(
                made[env], policies[env], jobs, seed=seed, mode=mode, temperature=temperature, epsilon=epsilon
            )

        return _evaluate(play_all, next(iter(policies.values())).policy_id, protocol, options)


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
    given = None if policy is None or isinstance(policy, str | Path) else policy
    name = str(policy or "random") if given is None else "random"
    if given is not None:
        _check_plays_all(given, _envs(protocol, options))

    def play_all(env: str, mode: ActionMode, jobs: Sequence[Job]) -> Iterable[EpisodeResult]:
        task = PlayTask(
            key=new_task_key(),
            source=SourceSpec(env=env, name=name),
            seed=options.get("seed", 0),
            num_envs=options.get("num_envs", 64),
            mode=mode,
            temperature=options.get("temperature", 1.0),
            epsilon=protocol.epsilon,
            policy=given,
        )
        return pool.play_results(task, jobs)

    return _evaluate(play_all, name if given is None else given.policy_id, protocol, options)


def _evaluate(
    play_all: PlayAll, default_name: str, protocol: EvaluationProtocol, options: EvaluationOptions
) -> EvaluationTable:
    name = options.get("policy_name") or default_name
    splits = _splits(protocol, options)
    specs = {split.env: make_spec(split.env) for split in splits}
    check_interfaces(list(specs.values()))
    for split in splits:  # before anything is played
        check_permit(split.role, options.get("permit"), name)
        specs[split.env].check_levels(split.levels)
    jobs = {(split.role, mode): split.jobs(mode, protocol.epsilon) for split in splits for mode in protocol.modes}
    wanted = {
        (env, mode): list(dict.fromkeys(job for split in splits if split.env == env for job in jobs[split.role, mode]))
        for env in specs
        for mode in protocol.modes
    }
    total, done = sum(map(len, wanted.values())), 0
    progress = options.get("progress")
    results: dict[tuple[str, ActionMode, Job], EpisodeResult] = {}
    expected = _Lengths(options.get("expected_lengths") or {})
    for (env, mode), needed in wanted.items():
        for result in play_all(env, mode, expected.longest_first(env, mode, needed)):
            results[env, mode, (result.level, result.episode)] = result
            expected.note(result)
            done += 1
            if progress is not None:
                progress(done, total)
    tables = [
        EvaluationTable.from_results(
            [results[split.env, mode, job] for job in jobs[split.role, mode]],
            spec=specs[split.env],
            protocol=protocol,
            role=split.role,
            mode=mode,
            policy=name,
            train_seed=options.get("train_seed", 0),
            extra=options.get("extra"),
        )
        for mode in protocol.modes
        for split in splits
    ]
    return EvaluationTable.concat(tables)


class _Lengths:
    """Which episodes are probably long: as known from before, else as the level was in another action mode."""

    def __init__(self, known: Mapping[tuple[str, str, int, int], int]) -> None:
        self._known = known
        self._found: dict[tuple[str, int], int] = {}

    def note(self, result: EpisodeResult) -> None:
        """An episode was this long."""
        key = result.env, result.level
        self._found[key] = max(result.length, self._found.get(key, 0))

    def longest_first(self, env: str, mode: ActionMode, jobs: Sequence[Job]) -> list[Job]:
        """The jobs, those that are expected to be long first; otherwise as they come."""

        def length(job: Job) -> int:
            return self._known.get((env, mode, *job), self._found.get((env, job[0]), 0))

        return sorted(jobs, key=length, reverse=True)


def _check_plays_all(policy: Policy, envs: Sequence[str]) -> None:
    if is_privileged(policy) and len(envs) > 1:
        raise UsageError(
            f"The policy {policy.policy_id!r} knows the levels of one environment, but {list(envs)} are to be played. "
            "Give its name instead of the policy: it is then made for each of them."
        )


def _splits(protocol: EvaluationProtocol, options: EvaluationOptions) -> list[Split]:
    return [protocol.split(role) for role in options.get("roles") or protocol.open_roles]


def _envs(protocol: EvaluationProtocol, options: EvaluationOptions) -> tuple[str, ...]:
    return tuple(dict.fromkeys(split.env for split in _splits(protocol, options)))
