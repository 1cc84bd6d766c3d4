"""Test rows of earlier evaluations: a later one without the test must not make a recorded read unreadable."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from envs.console import say
from envs.errors import RunError
from envs.files import disk_errors
from metrics.protocol import Role
from metrics.table import KEY_COLUMNS, METRIC_COLUMNS, EvaluationTable


def write_keeping_test(table: EvaluationTable, path: Path) -> EvaluationTable:
    """Write a table where an earlier one may lie whose test rows were read with a permit.

    Test rows of the same policy, protocol and settings join the new table, unless both played an episode and it went
    differently: then, and for test rows of something else, the earlier file is kept under another name.

    Args:
        table: What was played now.
        path: Where it goes.

    Returns:
        The table as written.

    Raises:
        RunError: If the disk is full.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        earlier = EvaluationTable.read(path) if path.exists() else EvaluationTable.empty()
    except RunError:
        _set_aside(path, "it cannot be read")
        earlier = EvaluationTable.empty()
    read = earlier.where(role=Role.TEST.value)
    if len(read) and _same_play(earlier, table):
        read = _unplayed(read, table)
        if len(read):
            say(f"{len(read)} rows of the test that were read before stay in {path}.")
        table = table.append(read)
    elif len(read):
        _set_aside(path, "it holds test rows of another policy, of other settings or with other outcomes")
    with disk_errors(path):
        table.write(path)
    return table


def _same_play(earlier: EvaluationTable, table: EvaluationTable) -> bool:
    """Whether both tables are of the same policy under the same settings, as far as they show it."""
    if _settings(earlier) != _settings(table):
        return False
    keys, outcome = list(KEY_COLUMNS), list(METRIC_COLUMNS)
    both = earlier.frame[keys + outcome].merge(table.frame[keys + outcome], on=keys, suffixes=("", "_now"))
    return all(both[name].equals(both[f"{name}_now"].rename(name)) for name in outcome)


def _settings(table: EvaluationTable) -> dict[str, set[Any]]:
    """The values of every column that is the same for a whole evaluation."""
    measured = {*KEY_COLUMNS, *METRIC_COLUMNS, *table.episode_metrics} - {"protocol", "policy", "train_seed"}
    names = [name for name in table.frame.columns if name not in measured]
    return {name: set(table.frame[name].unique()) for name in names}


def _unplayed(read: EvaluationTable, table: EvaluationTable) -> EvaluationTable:
    keys = list(KEY_COLUMNS)
    played = pd.MultiIndex.from_frame(table.frame[keys])
    return EvaluationTable(read.frame[~pd.MultiIndex.from_frame(read.frame[keys]).isin(played)], read.episode_metrics)


def _set_aside(path: Path, reason: str) -> None:
    number = 1
    while (kept := path.with_stem(f"{path.stem}-{number}")).exists():
        number += 1
    with disk_errors(kept):
        path.rename(kept)
    say(f"The earlier table is kept as {kept}: {reason}.")
