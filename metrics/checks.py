"""Refuses results that mean nothing."""

from __future__ import annotations

import numpy as np
import pandas as pd

from envs.errors import RunError


def check_finite(frame: pd.DataFrame, policy: str) -> None:
    """Refuse episodes whose return is not finite.

    Args:
        frame: With the columns ``env``, ``level``, ``episode`` and ``episode_return``.
        policy: Who played.

    Raises:
        RunError: Naming the first such episode.
    """
    returns = frame["episode_return"].to_numpy(np.float64)
    wrong = np.flatnonzero(~np.isfinite(returns))
    if len(wrong):
        first = frame.iloc[int(wrong[0])]
        raise RunError(
            f"{len(wrong)} of {len(returns)} episodes of {policy!r} have a return that is not finite, the first on "
            f"level {first['level']} of {first['env']!r} (episode {first['episode']}, return "
            f"{first['episode_return']}). The environment gives rewards that are not finite there; a mean over them "
            "would mean nothing."
        )
