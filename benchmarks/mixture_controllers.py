"""Controllers of mixture weights: regret of their answer against learner steps where the best mixture is known.

The problem is `search.mixtures.synthetic.LinearSources`: a linear learner takes stochastic gradient steps on batches
drawn by the weights that the controller gives, and the best mixture is the only one that teaches it the target. It is
also the best for the worst group, so that group-DRO, which sees no target, has the same right answer. Controllers have
their own options as they are by default, and see losses and gradients on as many rows as `mixing.probe_size` has.
Regret is that of the average weights so far, as a share of the regret of equal weights. Bar: at the end every
controller's answer has less regret than equal weights. Writes the figure of docs/mixtures.md with --figure.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import report
from data.schedule import ControlledSchedule, GroupStatistics, MixtureController, Weights
from envs.seeding import rng_for
from metrics import plots
from metrics.figure import save
from search.mixtures.synthetic import LinearSources
from trainers.mixtures import CONTROLLERS, build_controller

LEARNING_RATE, BATCH_SIZE, PROBE_SIZE = 0.05, 64, 256
BAR = 1.0


def follow(controller: MixtureController, sources: LinearSources, steps: int, seed: int) -> ControlledSchedule:
    """Train a linear learner by the controller's weights; returns every weight it gave."""
    rng, num_sources = rng_for("controllers", seed), len(sources.goals)
    schedule = ControlledSchedule([1 / num_sources] * num_sources)
    learned, following = np.zeros(sources.goals.shape[1]), controller.interval
    for step in range(1, steps + 1):
        weights = schedule.weights(step - 1)
        groups = rng.choice(num_sources, BATCH_SIZE, p=weights / weights.sum())
        inputs, wanted = sources.rows(rng, sources.goals[groups])
        learned = learned - LEARNING_RATE * inputs.T @ (inputs @ learned - wanted) / BATCH_SIZE
        if step == following:
            schedule.set(step, controller.update(measured(sources, learned, weights, rng, step)))
            following = step + controller.interval
    return schedule


def measured(
    sources: LinearSources, learned: Weights, weights: Weights, rng: np.random.Generator, step: int
) -> GroupStatistics:
    """Losses and gradients of every group and of the target, on fresh rows of each."""
    losses, gradients = [], []
    for goal in (*sources.goals, sources.target):
        inputs, wanted = sources.rows(rng, np.tile(goal, (PROBE_SIZE, 1)))
        errors = inputs @ learned - wanted
        losses.append(float((errors**2).mean() / 2))
        gradients.append(inputs.T @ errors / PROBE_SIZE)
    groups = np.array(gradients[:-1])  # [S, d]
    return GroupStatistics(
        learner_step=step,
        weights=weights,
        losses=np.array(losses[:-1]),
        target_losses=np.array(losses[-1:]),
        alignments=groups @ gradients[-1],
        gradient_norms=np.linalg.norm(groups, axis=1),
    )


def regrets(name: str, counts: list[int], seed: int, num_sources: int) -> list[float]:
    """Of the average weights after so many learner steps, as a share of equal weights'."""
    sources = LinearSources.made(num_sources, seed)
    equal = np.full(num_sources, 1 / num_sources)
    schedule = follow(build_controller(name, equal, {}), sources, max(counts), seed)
    return [sources.regret(schedule.average(count)) / sources.regret(equal) for count in counts]


def curve(table: np.ndarray[Any, Any], counts: list[int]) -> dict[str, list[float]]:
    """Mean over problems [P, C] with the standard error either way."""
    mean, error = table.mean(axis=0), table.std(axis=0, ddof=1) / np.sqrt(len(table))
    ends = {"low": (mean - error).tolist(), "high": (mean + error).tolist()}
    return {"x": [float(count) for count in counts], "mean": mean.tolist(), **ends}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sources", type=int, default=8)
    parser.add_argument("--seeds", type=int, default=12, help="problems per point")
    parser.add_argument(
        "--first-seed", type=int, default=200, help="of the problems; 0 to 3 and 100 to 111 were looked at before"
    )
    parser.add_argument("--counts", type=int, nargs="+", default=[400, 800, 1600, 3200, 6400, 12_800])
    parser.add_argument("--figure", type=Path, help="write the curves to FIGURE.png and FIGURE.svg")
    args = parser.parse_args()
    started_s = time.perf_counter()
    seeds = range(args.first_seed, args.first_seed + args.seeds)
    tables = {
        name: np.array([regrets(name, args.counts, seed, args.sources) for seed in seeds]) for name in CONTROLLERS
    }
    curves = {name: curve(table, args.counts) for name, table in tables.items()}
    if args.figure is not None:
        ends = [float(args.counts[0]), float(args.counts[-1])]
        figure = plots.curves(
            {**curves, "equal weights": {"x": ends, "mean": [1.0, 1.0]}},
            title=f"Regret of controllers on {args.sources} sources against learner steps",
            ylabel="regret, as a share of equal weights'",
            xlabel="learner steps",
            log_y=True,
        )
        save(figure, args.figure)
    worst = max(line["mean"][-1] for line in curves.values())
    report(
        "mixture controllers",
        worst,
        f"of equal weights' regret after {args.counts[-1]} learner steps, the worst controller",
        BAR,
        worst < BAR,
        learner_steps=args.counts,
        regret={name: [round(value, 3) for value in line["mean"]] for name, line in curves.items()},
        problems=args.seeds,
        num_sources=args.sources,
        wall_s=round(time.perf_counter() - started_s, 1),
    )


if __name__ == "__main__":
    main()
