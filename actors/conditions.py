"""One policy under every change: the same levels seen through visual changes, and the levels of shifts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Unpack

import pandas as pd

from actors.evaluate import EvaluationOptions, PolicyName
from actors.players import Play
from actors.policy import Policy
from envs.console import Progress
from metrics.protocol import EvaluationProtocol
from metrics.robustness import Condition, protocol_for
from metrics.table import EvaluationTable


def play_conditions(
    play: Play,
    policy: Policy | PolicyName,
    protocol: EvaluationProtocol,
    conditions: Sequence[Condition],
    **options: Unpack[EvaluationOptions],
) -> EvaluationTable:
    """Play a policy under each condition; rows say which by the columns ``family``, ``strength`` and ``note``.

    Args:
        play: Plays one protocol, see `actors.players.players`.
        policy: As for `actors.evaluate.evaluate`.
        protocol: Whose action modes and normalization hold.
        conditions: In this order.
        options: See `EvaluationOptions`; the columns of `extra` stand beside those of the condition.
    """
    frames = []
    extra = options.get("extra") or {}
    name = options.get("policy_name") or str(policy)
    with Progress(f"robustness of {name}", len(conditions), "conditions") as progress:
        for number, condition in enumerate(conditions):
            progress.update(number, note=f"{condition.family} {condition.strength}")
            columns: dict[str, float | int | str] = {
                "family": condition.family,
                "strength": condition.strength,
                "note": condition.note,
            }
            chosen: EvaluationOptions = {**options, "roles": [condition.split.role], "extra": {**extra, **columns}}
            frames.append(play(policy, protocol_for(condition, protocol), **chosen).frame)
        progress.update(len(conditions))
    return EvaluationTable(_told_apart(pd.concat(frames, ignore_index=True)))


def _told_apart(frame: pd.DataFrame) -> pd.DataFrame:
    """A shift may play the very levels of the unchanged condition; its rows carry its name as the protocol."""
    shifted = frame["family"] != "none"
    return frame.assign(protocol=frame["protocol"].where(~shifted, frame["protocol"] + " " + frame["family"]))
