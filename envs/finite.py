"""Numbers of an environment that are not finite end the run: in silence they would spoil data and policies."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from envs.errors import RunError
from envs.spec import EnvSpec

Rows = npt.NDArray[np.generic] | tuple[npt.NDArray[np.generic], ...]


def float_columns(task: EnvSpec) -> tuple[str, ...]:
    """The observation columns that can hold numbers which are not finite."""
    return tuple(name for name, column in task.observation_columns.items() if np.dtype(column.dtype).kind == "f")


def check_finite(
    task: EnvSpec, what: str, rows: Rows, active: npt.NDArray[np.bool_], levels: Rows, steps: Rows
) -> None:
    """Refuse a number that is not finite.

    Args:
        task: The environment.
        what: What the rows are, for example ``"the reward"``.
        rows: [B, ...], or B arrays.
        active: [B] slots to look at.
        levels: [B] what they play.
        steps: [B] steps of their episodes so far.

    Raises:
        RunError: Naming the level and the step of the first slot with such a number.
    """
    if isinstance(rows, np.ndarray) and np.isfinite(rows).all():
        return
    for slot in np.flatnonzero(active).tolist():
        values = np.asarray(rows[slot])
        if not np.isfinite(values).all():
            wrong = values[~np.isfinite(values)].flat[0]
            raise RunError(
                f"{task.name!r} gave {what} {wrong} on level {levels[slot]} at step {steps[slot]} of the episode; "
                "rewards and observations must be finite numbers. Mend the environment, or leave out this level."
            )
