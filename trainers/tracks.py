"""Two named tracks for every algorithm: "paper", the published settings, and "best", ours.

Each function takes an experiment that says where it happens and how long, and returns it with the algorithm's settings.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

from trainers.config import AlgorithmConfig, ExperimentConfig

Track = Literal["best", "paper"]

IMAGE_ALGORITHMS = ("bc", "percent-bc", "bcq", "bct", "cql", "dt", "iql")
TEXT_ALGORITHMS = ("bc", "percent-bc", "bcq", "cql", "iql")

_COPY: dict[str, Any] = {"target_update": "copy", "target_period": 1000, "acting": "epsilon"}
_GPT: dict[str, Any] = {"layers": 6, "heads": 8, "width": 128, "dropout": 0.1, "timesteps": True}

PAPER_OPTIONS: dict[str, dict[str, Any]] = {
    "bc": {},
    "bcq": {**_COPY, "threshold": 0.5, "sharing": "maps"},
    "bct": {**_GPT, "context": 30},
    "cql": {**_COPY, "alpha": 4.0},
    "dt": {**_GPT, "context": 10, "target_multiple": 5.0, "scaled_returns": False},
    "iql": {"target_update": "copy", "target_period": 100, "beta": 3.0, "expectile": 0.8, "sharing": "nothing"},
}
"""On images (Mediratta et al. 2024). Discount 0.99, Huber, logit penalty and clipping of weights are the defaults."""

PAPER_TEXT_OPTIONS: dict[str, dict[str, Any]] = {
    "bc": {},
    "bcq": {**_COPY, "threshold": 0.9, "target_period": 1000, "reward_scale": 10.0, "epsilon": 0.0},
    "cql": {**_COPY, "alpha": 4.0, "target_period": 100, "reward_scale": 10.0, "epsilon": 0.0},
}
"""On texts, for data of an imitating agent; IQL was not tried there."""

_PAPER_BATCH = {"bc": 256, "bcq": 512, "bct": 512, "cql": 256, "dt": 512, "iql": 512}
_PAPER_EPOCHS = {"bc": 100, "bcq": 500, "bct": 50, "cql": 1000, "dt": 50, "iql": 100}
_TRANSITIONS = 1_000_000

BEST_OPTIONS: dict[str, dict[str, Any]] = {
    "bc": {},
    "bcq": {"threshold": 0.3, "temperature": 0.1},
    "bct": {"context": 10},
    "cql": {"alpha": 0.1, "temperature": 0.05},
    "dt": {"context": 10},
    "iql": {"beta": 10.0, "expectile": 0.9},
}
"""For returns of about 1; temperatures and beta are in units of the reward."""


def best(experiment: ExperimentConfig, name: str) -> ExperimentConfig:
    """Our settings: polyak targets, one encoder for all values, centered pixels, and averaged weights beside the last.

    Args:
        experiment: Where, on what network and how long.
        name: An algorithm, or "percent-bc".
    """
    items = experiment.train.batch_size
    train = dataclasses.replace(
        experiment.train,
        # A window holds several transitions.
        batch_size=max(1, items // 4) if name in ("bct", "dt") else items,
        final_learning_rate_fraction=0.1,
        max_grad_norm=10.0,
        average="ema",
        average_decay=0.995,
    )
    return dataclasses.replace(_cloned_of_best(experiment, name, 0.25, "level", BEST_OPTIONS), train=train)


def paper_images(experiment: ExperimentConfig, name: str) -> ExperimentConfig:
    """The published settings on Procgen: pixels 0 .. 255 (sequence models: 0 .. 1), hard copies, no schedule.

    The length is the published limit of epochs over 1M transitions, evaluated after each; the best checkpoint is kept
    beside the last, where the original stops after 10 epochs without an improvement of 0.1 and keeps the last. Sequence
    models decay the learning rate once, where the original's rises again every 12 epochs, and look up the age at the
    start of a window also when acting.
    """
    kind = "bc" if name == "percent-bc" else name
    sequence = kind in ("bct", "dt")
    batch = _PAPER_BATCH[kind]
    epoch = _TRANSITIONS // batch + 1
    network = dataclasses.replace(
        experiment.network,
        encoder="nature" if sequence else "impala",
        hidden_size=256,
        pixels="unit" if sequence else "raw",
    )
    train = dataclasses.replace(
        experiment.train,
        learner_steps=epoch * _PAPER_EPOCHS[kind],
        batch_size=batch,
        learning_rate=5e-4,
        evaluate_every=epoch,
    )
    if sequence:
        train = dataclasses.replace(
            train,
            weight_decay=0.1,
            second_moment_decay=0.95,
            max_grad_norm=1.0,
            warmup_steps=2,
            final_learning_rate_fraction=0.1,
        )
    changed = dataclasses.replace(experiment, network=network, train=train)
    return _cloned_of_best(changed, name, 0.1, "all", PAPER_OPTIONS)


def paper_texts(experiment: ExperimentConfig, name: str) -> ExperimentConfig:
    """The published settings in the shop: a pretrained encoder for page and candidates, 32 rows one by one per step."""
    network = dataclasses.replace(experiment.network, encoder="hf", hidden_size=768)
    train = dataclasses.replace(
        experiment.train,
        batch_size=32,
        accumulation_steps=32,
        learning_rate=2e-5,
        final_learning_rate_fraction=0.0,
        decay="linear",
    )
    changed = dataclasses.replace(experiment, network=network, train=train)
    return _cloned_of_best(changed, name, 0.1, "all", PAPER_TEXT_OPTIONS)


def _cloned_of_best(
    experiment: ExperimentConfig,
    name: str,
    fraction: float,
    best_of: Literal["all", "level"],
    options: dict[str, dict[str, Any]],
) -> ExperimentConfig:
    """The experiment with an algorithm; "percent-bc" is cloning of the best share of the episodes."""
    if name != "percent-bc":
        return dataclasses.replace(experiment, algorithm=AlgorithmConfig(name=name, options=options[name]))
    data = dataclasses.replace(experiment.data, best_fraction=fraction, best_of=best_of)
    return dataclasses.replace(experiment, algorithm=AlgorithmConfig(name="bc", options=options["bc"]), data=data)
