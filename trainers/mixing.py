"""What moves the weights of a run's mixture: when, by which measurements, and how that is saved and shown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from data.schedule import MixtureController, Weights
from trainers.config import ExperimentConfig
from trainers.learner import Learner
from trainers.mixing_data import open_target
from trainers.mixing_probe import Probe
from trainers.mixtures import NO_CONTROLLER, build_controller
from trainers.training_data import TrainingData


class Mixing:
    """The controller of one run, on every rank alike.

    Between two updates the weights are known, so batches are prepared ahead within a segment and never across its end.

    Args:
        config: The experiment.
        data: Its training data; with a controller its sampler follows `TrainingData.schedule`.
        learner: Whose losses and gradients are measured.
    """

    def __init__(self, config: ExperimentConfig, data: TrainingData, learner: Learner) -> None:
        self._data = data
        self._name = config.mixing.controller
        self._next = 0
        self._controller = open_controller(config, data)
        if self._controller is not None:
            self._probe = Probe(config, data, open_target(config, data), learner, self._controller.needs)
            self._next = self._controller.interval

    def segments(self, first: int, last: int) -> Iterator[tuple[int, int]]:
        """Learner steps ``first`` to ``last`` in ranges [start, stop) that end where the weights may change."""
        while first <= last:
            stop = min(last, self._next) if self._next >= first else last
            yield first, stop + 1
            first = stop + 1

    def update(self, learner_step: int) -> None:
        """Measure and move the weights, if it is time to. Collective."""
        if self._controller is None or learner_step != self._next:
            return
        schedule = self._data.schedule
        assert schedule is not None
        # The sampler counts steps from 0, so its step `learner_step` is the next one.
        statistics = self._probe.measure(learner_step, schedule.weights(learner_step - 1))
        schedule.set(learner_step, self._controller.update(statistics))
        self._next = learner_step + self._controller.interval

    def metrics(self, learner_step: int) -> dict[str, float]:
        """The weights of the next step and their average so far, where they move."""
        schedule = self._data.schedule
        if schedule is None:
            return {}
        return named(self._data, "weight", schedule.weights(learner_step)) | named(
            self._data, "average_weight", schedule.average(learner_step)
        )

    def report(self, learner_step: int) -> dict[str, Any]:
        """What became of the weights, as JSON: the average is what group-DRO and gradient alignment answer."""
        schedule = self._data.schedule
        if schedule is None:
            return {}
        names = self._data.groups
        return {
            "mixing": {
                "controller": self._name,
                "weights": dict(zip(names, schedule.weights(learner_step).tolist(), strict=True)),
                "average_weights": dict(zip(names, schedule.average(learner_step).tolist(), strict=True)),
                "history": schedule.to_json(),
            }
        }

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps, as JSON."""
        if self._controller is None or self._data.schedule is None:
            return {}
        return {"next": self._next, "schedule": self._data.schedule.to_json(), "controller": self._controller.state()}

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from a checkpoint."""
        if self._controller is None or self._data.schedule is None or not state:
            return
        self._next = int(state["next"])
        self._data.schedule.load(state["schedule"])
        self._controller.load(state["controller"])


def open_controller(config: ExperimentConfig, data: TrainingData) -> MixtureController | None:
    """The controller that the config names, or None.

    Raises:
        UsageError: For an unknown controller or option.
    """
    if config.mixing.controller == NO_CONTROLLER or data.schedule is None:
        return None
    return build_controller(config.mixing.controller, data.schedule.weights(0), config.mixing.options)


def named(data: TrainingData, what: str, values: Weights) -> dict[str, float]:
    """One number per group [S] under its metric name."""
    return {f"data/mixture/{what}/{name}": float(value) for name, value in zip(data.groups, values, strict=True)}
