"""Record golden losses anew, after a change that is meant to move them: ``python -m tests.golden.record``."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import torch

from metrics.history import read_history, series
from tests.trainers.helpers import grid_experiment, record_grid
from trainers.config import ExperimentConfig
from trainers.launch import run_inline

GRID_BC = Path(__file__).parent / "grid_bc.json"
NAMES = ("train/loss/total", "train/loss/entropy")


def golden_experiment(dataset: Path) -> ExperimentConfig:
    return grid_experiment(dataset, learner_steps=50)


def golden_losses(dataset: Path, run_dir: Path) -> dict[str, list[float]]:
    run_inline(golden_experiment(dataset), run_dir, evaluate=lambda policy, learner_step: {})
    rows = read_history(run_dir / "metrics.jsonl")
    return {name: [round(value, 6) for value in series(rows, name)[1]] for name in NAMES}


if __name__ == "__main__":
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        record_grid(Path(folder) / "grid")
        GRID_BC.write_text(json.dumps(golden_losses(Path(folder) / "grid", Path(folder) / "run"), indent=1) + "\n")
