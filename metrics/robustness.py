"""Robustness curves: which changes a policy is played under, and its return at each strength with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from envs.registry import find_shift, make_spec, shift_names
from envs.seeding import rng_for
from envs.spec import EnvSpec, LevelSet
from envs.visual import CHANGES, STRENGTHS, image_columns, visual_name
from metrics import statistics
from metrics.protocol import EvaluationProtocol, Role, Split, check_interfaces
from metrics.table import EvaluationTable

ROBUSTNESS = "robustness"
"""Name of the protocol, in every row."""
PICTURED = ("color", "blur", "cutout", "resolution")
"""The visual changes of the curve unless others are asked for."""


@dataclass(frozen=True)
class Condition:
    """One way in which a policy is played."""

    family: str
    """Of a visual change, or the name of a shift."""
    strength: int
    """0: unchanged."""
    split: Split
    note: str = ""


def visual_conditions(split: Split, families: Sequence[str] = PICTURED) -> list[Condition]:
    """Every strength of each family on the levels of a split, the unchanged one first.

    Raises:
        UsageError: If the environment shows no image, or for an unknown family.
    """
    image_columns(make_spec(split.env))
    levels = split.levels
    conditions = [Condition("none", 0, split)]
    for family in families:
        for strength in STRENGTHS:
            env = visual_name(split.env, family, strength)
            make_spec(env)
            changed = Split(split.role, LevelSet(env, levels.levels), split.episodes_per_level)
            conditions.append(Condition(family, strength, changed))
    return conditions


def shift_conditions(spec: EnvSpec, train_levels: LevelSet, role: Role, num_levels: int) -> list[Condition]:
    """The held-out levels of every shift that begins in an environment, in the order of the shifts' names.

    Args:
        spec: The environment that was trained in.
        train_levels: What was trained on. Where it holds levels that a shift holds out, the note says so: the policy
            may have seen there what the shift means to be new.
        role: Whose levels.
        num_levels: Of each shift.
    """
    conditions = []
    for name in shift_names():
        shift = find_shift(name)
        if shift.env(Role.TRAIN.value) != spec.name:
            continue
        levels = shift.levels(role.value, num_levels)
        check_interfaces([spec, make_spec(levels.env)])
        foreign = sum(not shift.holds(Role.TRAIN.value, level) for level in train_levels)
        note = f"{foreign} of {len(train_levels)} training levels are of the kind that is held out" if foreign else ""
        conditions.append(Condition(name, 1, Split(role, levels), ". ".join(filter(None, (shift.measures, note)))))
    return conditions


def all_conditions(
    spec: EnvSpec, split: Split, train_levels: LevelSet, families: Sequence[str] | None = None
) -> list[Condition]:
    """Visual changes where there are images, and the shifts that begin in this environment.

    Args:
        spec: The environment that was trained in.
        split: Its levels are seen through the changes; as many are played of each shift.
        train_levels: What was trained on.
        families: Of visual changes; None takes `PICTURED` where there are images.
    """
    has_images = any(
        not column.ragged and column.dtype == "uint8" and len(column.shape) == 3
        for column in spec.observation_columns.values()
    )
    visual = visual_conditions(split, families or PICTURED) if has_images or families else [Condition("none", 0, split)]
    return [*visual, *shift_conditions(spec, train_levels, split.role, len(split.levels))]


def protocol_for(condition: Condition, like: EvaluationProtocol) -> EvaluationProtocol:
    """The protocol that plays one condition, in the action modes and with the normalization of another one."""
    normalization = like.normalization
    if normalization is not None and normalization not in make_spec(condition.split.env).return_bounds:
        normalization = None
    return EvaluationProtocol(ROBUSTNESS, (condition.split,), like.modes, normalization, epsilon=like.epsilon)


def robustness_curve(
    table: EvaluationTable, *, confidence: float = 0.95, num_resamples: int = 1000
) -> list[dict[str, Any]]:
    """Return under every condition with intervals, and what is lost against the unchanged environment, level by level.

    Args:
        table: Rows with the columns ``family`` and ``strength``, of one policy (its train seeds included).
        confidence: Coverage.
        num_resamples: Bootstrap resamples.

    Returns:
        Entries ``{"family", "strength", "env", "role", "mode", "num_levels", "note", "normalized_return": interval,
        "loss": interval or None}``; a shift plays other levels, so nothing pairs up there and `loss` is None.
    """
    options: dict[str, Any] = {"confidence": confidence, "num_resamples": num_resamples}
    entries = []
    frame = table.frame
    keys = ["role", "mode", "family", "strength"]
    for (role, mode, family, strength), rows in frame.groupby(keys, sort=False):
        part = EvaluationTable(rows)
        scores = part.scores(role, mode)
        names = ("robustness", role, mode, family, int(strength))
        interval = statistics.level_bootstrap(scores, statistics.mean, rng_for(*names), **options)
        plain = frame[(frame["role"] == role) & (frame["mode"] == mode) & (frame["family"] == "none")]
        loss = None
        if family in CHANGES and len(plain):
            unchanged = EvaluationTable(plain).scores(role, mode)
            loss = statistics.paired_difference(unchanged, scores, rng_for(*names, "loss"), **options).to_json()
        entries.append(
            {
                "family": family,
                "strength": int(strength),
                "env": str(rows["env"].iloc[0]),
                "role": role,
                "mode": mode,
                "num_levels": scores.shape[1],
                "note": str(rows["note"].iloc[0]),
                "normalized_return": interval.to_json(),
                "loss": loss,
            }
        )
    return entries
