"""Record golden losses anew, after a change that is meant to move them: ``python -m tests.golden.record [NAME]``."""

from __future__ import annotations

import dataclasses
import json
import sys
import tempfile
from pathlib import Path

import torch

from metrics.history import read_history, series
from tests.trainers.algorithms_helpers import algorithm_config
from tests.trainers.helpers import grid_experiment, record_grid
from trainers.algorithms import ALGORITHMS
from trainers.config import ExperimentConfig
from trainers.launch import run_inline


def golden_file(name: str) -> Path:
    return Path(__file__).parent / f"grid_{name}.json"


def golden_experiment(name: str, dataset: Path) -> ExperimentConfig:
    return dataclasses.replace(grid_experiment(dataset, learner_steps=50), algorithm=algorithm_config(name))


def golden_losses(name: str, dataset: Path, run_dir: Path) -> dict[str, list[float]]:
    """Every loss by its metric name, at every fifth step."""
    run_inline(golden_experiment(name, dataset), run_dir, evaluate=lambda policy, learner_step: {})
    rows = read_history(run_dir / "metrics.jsonl")
    terms = [term for term in rows[-1] if term.startswith("train/loss/")]
    return {term: [round(value, 6) for value in series(rows, term)[1]] for term in sorted(terms)}


if __name__ == "__main__":
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        record_grid(Path(folder) / "grid")
        for chosen in sys.argv[1:] or sorted(ALGORITHMS):
            losses = golden_losses(chosen, Path(folder) / "grid", Path(folder) / chosen)
            golden_file(chosen).write_text(json.dumps(losses, indent=1) + "\n")
