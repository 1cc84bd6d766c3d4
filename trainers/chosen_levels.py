"""Splits and levels as they are typed: ``train,validation`` and ``validation=1000000:1000050``."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from envs.errors import UsageError, unknown_name
from envs.level_text import parse_levels
from envs.spec import LevelSet
from metrics.protocol import FIRST_TEST_LEVEL, EvaluationProtocol, Role, Split


def parse_splits(text: str | None, protocol: EvaluationProtocol, *, test: bool) -> list[Role]:
    """The roles to play, in the protocol's order.

    Args:
        text: Names with commas; None takes all, the test only if it is allowed.
        protocol: Has them.
        test: Whether a reason to read the test was given.

    Raises:
        UsageError: For a split that the protocol lacks, or the test without a reason.
    """
    if text is None:
        return [role for role in protocol.roles if role != Role.TEST or test]
    names = [name.strip() for name in text.split(",") if name.strip()]
    known = [role.value for role in protocol.roles]
    for name in names:
        if name not in known:
            raise unknown_name(f"split of the protocol {protocol.name!r}", name, known)
    if not names:
        raise UsageError(f"--splits names no split; allowed: {', '.join(known)}.")
    if Role.TEST.value in names and not test:
        raise UsageError("The test is sealed; to read it, say why: --test 'selected by validation return'.")
    if test and Role.TEST.value not in names:
        raise UsageError(
            f"--test gives a reason to read the test, but --splits {text} leaves it out; drop one of both."
        )
    return [role for role in protocol.roles if role.value in names]


def split_levels(words: Sequence[str]) -> dict[Role, str]:
    """What was typed for each split; `with_levels` reads the levels.

    Raises:
        UsageError: For an unknown split, or one given twice.
    """
    chosen: dict[Role, str] = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not equals:
            raise UsageError(f"--levels is {word!r}; write SPLIT=LEVELS, for example validation=1000000:1000050.")
        if name not in [role.value for role in Role]:
            raise unknown_name("split", name, [role.value for role in Role])
        if Role(name) in chosen:
            raise UsageError(f"--levels names {name} twice; give each split once.")
        chosen[Role(name)] = text
    return chosen


def with_levels(protocol: EvaluationProtocol, chosen: Mapping[Role, str]) -> EvaluationProtocol:
    """The protocol with other levels for some splits; its name then says that it is not as published.

    Training levels are those of the policy already, so they change nothing here.

    Raises:
        UsageError: For no levels, or if levels of the sealed test are to be played for another split.
    """
    other = {role: levels for role, levels in chosen.items() if role != Role.TRAIN}
    if not other:
        return protocol
    sealed = set(protocol.split(Role.TEST).levels) if Role.TEST in protocol.roles else set()
    splits = []
    for split in protocol.splits:
        if split.role not in other:
            splits.append(split)
            continue
        levels = parse_levels(split.env, other[split.role])
        _check_sealed(split, levels, sealed)
        splits.append(dataclasses.replace(split, levels=levels))
    missing = [role.value for role in other if role not in protocol.roles]
    if missing:
        raise unknown_name(f"split of the protocol {protocol.name!r}", missing[0], [r.value for r in protocol.roles])
    return dataclasses.replace(protocol, name=f"{protocol.name}, other levels", splits=tuple(splits))


def _check_sealed(split: Split, levels: LevelSet, sealed: set[int]) -> None:
    if split.role == Role.TEST:
        return
    taken = [level for level in levels if level in sealed or level >= FIRST_TEST_LEVEL]
    if taken:
        raise UsageError(
            f"Level {taken[0]} belongs to the sealed test and cannot be played for {split.role.value!r}; choose levels "
            f"below {FIRST_TEST_LEVEL}, or read the test with --test REASON."
        )
