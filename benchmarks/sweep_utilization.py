"""How much of the machine's time a search spends inside trials: 8 short trials, as many at a time as there are cores.

A trial counts from when its function begins to when it returns, on one core. The rest is what the search itself costs:
starting workers, asking proposers, handing over results. Bar: 90 % of (cores x time from the first trial's begin to
the last one's end).
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import tempfile
import time
from pathlib import Path
from typing import Any

from actors.cluster import ray_session
from benchmarks.common import report
from search import mixture_tuning
from search.mixture_arms import Arms
from search.mixture_config import MixtureSearchConfig
from search.mixture_recipes import grid_mixtures
from search.mixture_sweep import record_sources

BAR = 0.9


def timed_trial(params: dict[str, Any], config: MixtureSearchConfig, study_dir: Path) -> None:
    """A trial that writes down when it began and ended."""
    began = time.time()
    run_trial(params, config, study_dir)
    (study_dir / f"{time.time_ns()}.span.json").write_text(json.dumps([began, time.time()]))


run_trial = mixture_tuning.run_mixture_trial


def study(learner_steps: int) -> MixtureSearchConfig:
    """8 trials of the toy grid: two arms, two configurations, two seeds."""
    base = grid_mixtures()
    train = dataclasses.replace(base.experiment.train, learner_steps=learner_steps)
    tracking = dataclasses.replace(base.experiment.tracking, wandb="disabled")
    experiment = dataclasses.replace(base.experiment, train=train, tracking=tracking)
    return dataclasses.replace(base, experiment=experiment, proxy_steps=0, num_proposals=2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--learner-steps", type=int, default=450)
    args = parser.parse_args()
    config = study(args.learner_steps)
    mixture_tuning.run_mixture_trial = timed_trial
    with tempfile.TemporaryDirectory() as folder, ray_session() as ray:
        out, cores = Path(folder), int(ray.cluster_resources()["CPU"])
        sources = record_sources(config, out)
        arms = Arms(config, out, {name: record["transitions"] for name, record in sources.items()})
        started_s = time.time()
        mixture_tuning.search_mixtures(config, arms, out)
        spans = [json.loads(path.read_text()) for path in out.glob("*.span.json")]
    inside = sum(end - begin for begin, end in spans)
    first, last = min(begin for begin, _ in spans), max(end for _, end in spans)
    share = inside / (cores * (last - first))
    report(
        "sweep utilization",
        round(share, 3),
        "share of cores x time inside trials",
        BAR,
        share >= BAR,
        trials=len(spans),
        trial_s=round(inside / len(spans), 2),
        wall_s=round(last - first, 2),
        before_first_trial_s=round(first - started_s, 2),
        cores=cores,
    )


if __name__ == "__main__":
    main()
