"""What PPO reaches at the published scale, to stand beside what our experts reach."""

from __future__ import annotations

from typing import Any

_SOURCE = (
    "computed from the raw logs of train-procgen: 3 runs, IMPALA, 200 easy levels, mean over the last 1M of 25M steps; "
    "raw return with the standard deviation over runs"
)
_RETURNS = {  # game: (train, deviation, test, deviation)
    "bigfish": (12.09, 0.38, 4.78, 0.57),
    "bossfight": (8.30, 0.35, 7.63, 0.35),
    "caveflyer": (7.22, 0.64, 5.27, 0.38),
    "chaser": (6.61, 0.33, 5.87, 0.11),
    "climber": (8.63, 0.09, 5.86, 0.10),
    "coinrun": (9.55, 0.04, 8.67, 0.15),
    "dodgeball": (5.05, 0.63, 1.91, 0.28),
    "fruitbot": (29.68, 0.47, 26.53, 0.50),
    "heist": (7.93, 0.31, 2.75, 0.09),
    "jumper": (8.60, 0.02, 5.74, 0.05),
    "leaper": (6.18, 1.18, 5.82, 1.15),
    "maze": (9.35, 0.05, 5.53, 0.14),
    "miner": (12.81, 0.03, 9.39, 0.03),
    "ninja": (7.68, 0.20, 5.79, 0.23),
    "plunder": (5.27, 0.26, 4.63, 0.43),
    "starpilot": (29.98, 2.14, 23.79, 2.60),
}

REFERENCE: dict[str, dict[str, Any]] = {
    game: {
        "source": _SOURCE,
        "env_steps": 25_000_000,
        "train": {"mean": train, "deviation": train_deviation},
        "test": {"mean": test, "deviation": test_deviation},
    }
    for game, (train, train_deviation, test, test_deviation) in _RETURNS.items()
}
"""Game -> published-scale returns on easy levels."""
