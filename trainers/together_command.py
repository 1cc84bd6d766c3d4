"""`gengap train RECIPE --seeds 0,1,2`: several models of one network in this process."""

from __future__ import annotations

import argparse
import dataclasses
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from envs.console import say
from envs.errors import UsageError
from envs.overrides import apply_overrides
from trainers.config import ExperimentConfig
from trainers.launch_together import run_together
from trainers.loop import DivergedError


def train_several(args: argparse.Namespace, config: ExperimentConfig) -> dict[str, Any]:
    """Train one model for each seed and each of the varied values; the result has an entry ``runs`` for each.

    Raises:
        UsageError: If two models are the same, or they cannot train together.
        DivergedError: If one of them diverged, once the others are finished.
    """
    configs = several(config, args.seeds, args.vary, args.out)
    results = run_together(configs, resume=args.resume, console=True)
    runs, diverged = [], []
    for run_dir, result in zip(configs, results, strict=True):
        if isinstance(result, DivergedError):
            diverged.append(f"{run_dir}: {result}")
            continue
        say(f"Trained {result.learner_step} learner steps; best policy (step {result.best_step}): {result.best}")
        runs.append({"run": str(run_dir), **result.to_json()})
    if diverged:
        raise DivergedError(
            f"{len(diverged)} of {len(configs)} models diverged, the others are finished. {diverged[0]}"
        )
    return {"runs": runs}


def several(
    base: ExperimentConfig, seeds: str | None, vary: Sequence[str], out: Path | None
) -> dict[Path, ExperimentConfig]:
    """The experiments by their run directories: all seeds, each with all combinations of the varied values.

    Args:
        base: What they have in common.
        seeds: As typed, ``"0,1,2"``; None keeps the recipe's.
        vary: Words ``"FIELD=VALUE,VALUE"``.
        out: Folder of the run directories; None names each as `gengap train` does.

    Raises:
        UsageError: For a list that does not parse or names a value twice.
    """
    choices = [_choices("seed", seeds)] if seeds is not None else []
    choices = [*(_choices(*_split(word)) for word in vary), *choices]
    configs = {}
    for chosen in itertools.product(*choices):
        config = apply_overrides(base, dict(chosen))
        words = [f"{name.rpartition('.')[2]}-{text}" for name, text in chosen if name != "seed"]
        name = "-".join([base.name, *words])
        folder = Path("runs") / "train" / f"{name}-s{config.seed}"
        if out is not None:
            folder = out / "-".join([*words, f"s{config.seed}"])
        configs[folder] = dataclasses.replace(config, name=name)
    return configs


def _split(word: str) -> tuple[str, str]:
    name, equals, values = word.partition("=")
    if not equals or not name:
        raise UsageError(
            f"--vary {word!r} is no list; write FIELD=VALUE,VALUE, for example train.learning_rate=1e-3,3e-4."
        )
    return name.strip(), values


def _choices(name: str, values: str) -> list[tuple[str, str]]:
    texts = [text.strip() for text in values.split(",")]
    if not all(texts) or len(set(texts)) < len(texts):
        raise UsageError(f"{name} is varied over {values!r}; give one or more different values, separated by commas.")
    return [(name, text) for text in texts]
