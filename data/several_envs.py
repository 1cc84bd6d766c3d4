"""Views of episodes of several environments that show and take the same, such as games of one engine."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from data.schema import Table, content_fingerprint, joint_fingerprint
from data.store import DatasetInfo
from envs.errors import UsageError
from envs.spec import EnvSpec

Numbers = npt.NDArray[np.int64]


def env_names(infos: Sequence[DatasetInfo], view: Table) -> npt.NDArray[np.str_]:
    """The environment of each episode [E]; `infos` are of the stores."""
    names: npt.NDArray[np.str_] = np.array([info.env.name for info in infos])[view["store"]]
    return names


def level_index(infos: Sequence[DatasetInfo], view: Table) -> Numbers:
    """A number for each episode [E]: the same for episodes of the same level of the same environment."""
    names, numbers = np.unique(env_names(infos, view), return_inverse=True)
    pairs = np.stack([numbers, view["level"]], axis=1) if len(names) else np.zeros((0, 2), dtype=np.int64)
    index: Numbers = np.unique(pairs, axis=0, return_inverse=True)[1].reshape(-1)
    return index


def view_fingerprint(infos: Sequence[DatasetInfo], view: Table) -> str:
    """Of the content; with several environments of the contents of each, whatever their order."""
    names = env_names(infos, view)
    by_name = {info.env.name: info.env for info in reversed(infos)}
    parts = [content_fingerprint(by_name[name], view[names == name]) for name in np.unique(names).tolist()]
    return parts[0] if len(parts) == 1 else joint_fingerprint(parts)


def check_together(first: EnvSpec, other: EnvSpec, path: Path, *, several_envs: bool) -> None:
    """Refuse an environment that cannot be in one view with the first.

    Raises:
        UsageError: If it shows or takes something else, or is another one and that is not allowed.
    """
    ours, theirs = (
        (env.observation_columns, env.num_actions, env.candidate_column if several_envs else None)
        for env in (first, other)
    )
    if ours == theirs and (several_envs or first.name == other.name):
        return
    why = (
        "they show or take something else, so no policy can learn from both"
        if several_envs
        else "one view holds one environment with the same columns"
    )
    raise UsageError(f"A dataset of {other.name!r} ({path}) was given together with {first.name!r}; {why}.")
