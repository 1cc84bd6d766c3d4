"""Evaluation protocols by name: "strict", "strict-distinct" and "paper" everywhere, and one for each named shift."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from typing import Any

from envs.audit import distinct_levels, level_hashes
from envs.errors import UsageError, unknown_name
from envs.registry import find_shift, make_spec, shift_names
from envs.shifts import Shift
from envs.spec import EnvSpec, LevelSet
from metrics.paper_protocol import paper, paper_periodic
from metrics.protocol import (
    FIRST_TEST_LEVEL,
    FIRST_VALIDATION_LEVEL,
    MIN_TEST_EPISODES,
    ActionMode,
    EvaluationProtocol,
    Role,
    Split,
    check_interfaces,
    evenly_spaced,
    strict,
)


def strict_distinct(
    spec: EnvSpec,
    train_levels: LevelSet,
    *,
    num_validation: int = 100,
    num_test: int = 500,
    **options: Any,
) -> EvaluationProtocol:
    """`strict`, but no held-out level looks like a training level, or like another held-out one, when it begins.

    Different level numbers can be one and the same level: a quarter of coinrun's easy ones occur among the first
    100,000. Levels that look alike are passed over, so there are as many as in `strict`, and their numbers differ a
    little with the training levels.

    Args:
        spec: The environment; it must run on this machine, because its levels are looked at (about a millisecond each).
        train_levels: Levels of the realised mixture, all of them.
        num_validation: Validation levels, from 1,000,000 up.
        num_test: Sealed test levels, from 2,000,000 up.
        options: As of `strict`.

    Raises:
        UsageError: As `strict` does, or if too few levels look different.
    """
    plain = strict(spec, train_levels, num_validation=num_validation, num_test=num_test, **options)
    validation, test = _distinct_levels(train_levels, num_validation, num_test)
    splits = (
        plain.split(Role.TRAIN),
        replace(plain.split(Role.VALIDATION), levels=validation),
        replace(plain.split(Role.TEST), levels=test),
    )
    return replace(plain, name="strict-distinct", splits=splits)


@lru_cache(maxsize=16)
def _distinct_levels(train_levels: LevelSet, num_validation: int, num_test: int) -> tuple[LevelSet, LevelSet]:
    env, known = train_levels.env, frozenset(level_hashes(train_levels))
    validation, seen = distinct_levels(env, FIRST_VALIDATION_LEVEL, num_validation, known)
    test, _ = distinct_levels(env, FIRST_TEST_LEVEL, num_test, seen)
    return validation, test


def strict_sealed(
    spec: EnvSpec,
    train_levels: LevelSet,
    *,
    num_test: int = MIN_TEST_EPISODES,
    distinct_from: LevelSet | None = None,
    **options: Any,
) -> EvaluationProtocol:
    """`strict`; with `distinct_from`, test levels that look like others when they begin are passed over.

    Args:
        spec: The environment.
        train_levels: Levels of the realised mixture, all of them.
        num_test: Sealed test levels, from 2,000,000 up.
        distinct_from: Training levels that no test level may look like: those of the policy, or of all policies that
            are to be compared on the same levels. None looks at nothing, for whoever will not play the test.
        options: As of `strict`.

    Raises:
        UsageError: As `strict` does, or if too few levels look different.
    """
    plain = strict(spec, train_levels, num_test=num_test, **options)
    if distinct_from is None:
        return plain
    seen = frozenset(_hashes(distinct_from) + _hashes(plain.split(Role.VALIDATION).levels))
    test = replace(plain.split(Role.TEST), levels=_first_distinct(spec.name, num_test, seen))
    return replace(plain, splits=(*plain.splits[:2], test))


@lru_cache(maxsize=16)
def _hashes(levels: LevelSet) -> tuple[str, ...]:
    return tuple(level_hashes(levels))


@lru_cache(maxsize=16)
def _first_distinct(env: str, count: int, seen: frozenset[str]) -> LevelSet:
    return distinct_levels(env, FIRST_TEST_LEVEL, count, seen)[0]


PROTOCOLS: dict[str, Callable[..., EvaluationProtocol]] = {
    "strict": strict_sealed,
    "strict-distinct": strict_distinct,
    "paper": paper,
    "paper-periodic": paper_periodic,
}
"""The protocols that every environment has; every name of `envs.registry.shift_names` is one, too."""


def build_protocol(
    name: str,
    spec: EnvSpec,
    train_levels: LevelSet,
    *,
    distinct_from: LevelSet | None = None,
    algorithm: str = "",
    **options: Any,
) -> EvaluationProtocol:
    """A protocol by name, with the options of its builder.

    Args:
        name: In `PROTOCOLS`, or of a shift.
        spec: The environment that is trained in.
        train_levels: Levels of the realised mixture, all of them.
        distinct_from: See `strict_sealed`; other protocols do without.
        algorithm: See `metrics.paper_protocol.paper`; other protocols treat all algorithms alike.
        options: Of the builder. One that is None is left to the builder.

    Raises:
        UsageError: For an unknown name, answered with the closest match, or data that does not fit the protocol.
    """
    given = {key: value for key, value in options.items() if value is not None}
    if is_shift(name):
        return shifted(name, spec, train_levels, **given)
    if name == "strict":
        given["distinct_from"] = distinct_from
    if PROTOCOLS[name] in (paper, paper_periodic):
        given["algorithm"] = algorithm
    return PROTOCOLS[name](spec, train_levels, **given)


def shortfall(protocol: EvaluationProtocol) -> str:
    """What a reduced strict protocol lacks, as a sentence; empty for one that lacks nothing."""
    if Role.TEST not in protocol.roles or protocol.name.startswith("paper"):
        return ""
    fewest = min(len(protocol.split(Role.TEST).jobs(mode, protocol.epsilon)) for mode in protocol.modes)
    if fewest >= MIN_TEST_EPISODES:
        return ""
    return (
        f"The protocol {protocol.name!r} asks for at least {MIN_TEST_EPISODES} test episodes of each policy and action "
        f"mode, but {fewest} are set: intervals will be wide. Set num_test_levels={MIN_TEST_EPISODES} for a full test."
    )


def is_shift(name: str) -> bool:
    """Whether a protocol is a named shift, which also says what is trained on.

    Raises:
        UsageError: For an unknown name, answered with the closest match.
    """
    if name in PROTOCOLS:
        return False
    if name not in shift_names():
        raise unknown_name("evaluation protocol", name, [*PROTOCOLS, *shift_names()])
    return True


def training_levels(name: str, env: str, count: int) -> LevelSet:
    """The first `count` levels that a protocol trains on: a larger set begins with the smaller one.

    Args:
        name: Of the protocol.
        env: The environment that is trained in.
        count: How many.

    Raises:
        UsageError: For an unknown protocol, one that trains in another environment, or too many levels.
    """
    if not is_shift(name):
        return LevelSet.range(env, 0, count)
    shift = find_shift(name)
    _check_env(name, shift, env)
    return shift.levels(Role.TRAIN.value, count)


def shifted(
    name: str,
    spec: EnvSpec,
    train_levels: LevelSet,
    *,
    num_train: int | None = None,
    num_validation: int = 100,
    num_test: int = 500,
    episodes_per_level: int = 1,
    modes: tuple[ActionMode, ...] = ("sampled",),
) -> EvaluationProtocol:
    """The protocol of a named shift: validation and test differ from training, and from each other, as it says.

    Unseen levels of the training distribution are played, too: what is lost on them is memorized, what is lost beyond
    them is the shift.

    Args:
        name: Of the shift.
        spec: The environment that is trained in.
        train_levels: Levels of the realised mixture, all of them.
        num_train: At most this many training levels are played, evenly spaced; None plays all.
        num_validation: Validation levels, and as many unseen levels of the training distribution.
        num_test: Sealed test levels.
        episodes_per_level: For sampled actions.
        modes: Action modes.

    Raises:
        UsageError: If a training level is not one that the shift trains on, or one policy cannot play all roles.
    """
    shift = find_shift(name)
    _check_env(name, shift, spec.name)
    _check_training_levels(name, shift, train_levels)
    counts = {Role.TRAIN_HELDOUT: num_validation, Role.VALIDATION: num_validation, Role.TEST: num_test}
    levels = {role: shift.levels(role.value, count) for role, count in counts.items()}
    level_sets = {Role.TRAIN: evenly_spaced(train_levels, num_train), **levels}
    specs = [spec, *(make_spec(held_out.env) for held_out in levels.values())]
    check_interfaces(specs)
    for held_out, played in zip(level_sets.values(), specs, strict=True):
        played.check_levels(held_out)
    splits = tuple(Split(role, held_out, episodes_per_level) for role, held_out in level_sets.items())
    return EvaluationProtocol(name, splits, modes)


def _check_env(name: str, shift: Shift, env: str) -> None:
    trained = shift.env(Role.TRAIN.value)
    if env != trained:
        raise UsageError(f"The protocol {name!r} trains in {trained!r}, but {env!r} was given; set env={trained}.")


def _check_training_levels(name: str, shift: Shift, levels: LevelSet) -> None:
    foreign = [level for level in levels if not shift.holds(Role.TRAIN.value, level)]
    if foreign:
        raise UsageError(
            f"The protocol {name!r} ({shift.measures}) does not train on {len(foreign)} of the {len(levels)} training "
            f"levels, the first of them {foreign[0]}. Record data for it with `gengap collect RECIPE protocol={name}`, "
            "or choose the protocol that the data was recorded for."
        )


def training_protocol(name: str) -> str:
    """The protocol by which a policy is judged while it learns, if it is judged by this one in the end."""
    return "paper-periodic" if name == "paper" else name
