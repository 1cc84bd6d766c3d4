"""Ordinary and conditional dimensions of a search, beside mixture weights: fields of the experiment.

A dimension is written as a text, so that a recipe, the command line and a study on disk say the same:

    train.learning_rate      log 1e-4 1e-2
    network.hidden_size      int 32 128
    algorithm.name           choice bc iql
    algorithm.options.beta   uniform 1 10 if algorithm.name=iql
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from envs.errors import UsageError, unknown_name
from envs.overrides import apply_overrides
from envs.seeding import rng_for
from trainers.config import ExperimentConfig

Value = float | int | str
Kind = Literal["uniform", "log", "int", "choice"]
_NUMBERS = re.compile(r"(uniform|log|int) (\S+) (\S+)")
_EXAMPLE = "for example 'log 1e-4 1e-2', 'uniform 0 1', 'int 1 8', 'choice bc iql', each with ' if FIELD=VALUE'"


@dataclass(frozen=True)
class Dimension:
    """One field of the experiment that is searched."""

    name: str
    kind: Kind
    low: float = 0.0
    high: float = 1.0
    choices: tuple[str, ...] = ()
    when: tuple[str, str] | None = None
    """Only where another dimension, a choice, has this value."""

    def active(self, values: Mapping[str, Value]) -> bool:
        """Whether it counts beside these values."""
        return self.when is None or values.get(self.when[0]) == self.when[1]

    def at(self, share: float) -> Value:
        """The value at a share in [0, 1] of the range."""
        if self.kind == "choice":
            return self.choices[min(int(share * len(self.choices)), len(self.choices) - 1)]
        if self.kind == "int":
            return min(int(self.low + share * (self.high - self.low + 1)), int(self.high))
        if self.kind == "log":
            return math.exp(math.log(self.low) + share * (math.log(self.high) - math.log(self.low)))
        return self.low + share * (self.high - self.low)

    def suggest(self, trial: Any) -> Value:
        """The value that an Optuna trial chooses."""
        if self.kind == "choice":
            return str(trial.suggest_categorical(self.name, self.choices))
        if self.kind == "int":
            return int(trial.suggest_int(self.name, int(self.low), int(self.high)))
        return float(trial.suggest_float(self.name, self.low, self.high, log=self.kind == "log"))


def parse_dimensions(texts: Mapping[str, str]) -> tuple[Dimension, ...]:
    """Every dimension, those that others depend on before them.

    Raises:
        UsageError: For a text that cannot be read, an empty range, or a condition on what is no choice.
    """
    parsed = {name: _parse(name, text) for name, text in texts.items()}
    for dimension in parsed.values():
        _check_condition(dimension, parsed)
    return tuple(sorted(parsed.values(), key=lambda d: _depth(d, parsed)))


def draw(dimensions: Sequence[Dimension], *seed: int | str) -> dict[str, Value]:
    """A random value of every dimension that counts; each from a generator of its own name."""
    values: dict[str, Value] = {}
    for dimension in dimensions:
        if dimension.active(values):
            values[dimension.name] = dimension.at(float(rng_for("dimension", *seed, dimension.name).random()))
    return values


def features(dimensions: Sequence[Dimension], values: Mapping[str, Value]) -> npt.NDArray[np.float64]:
    """Values as numbers in [0, 1] for a regression; a choice takes one number each, what does not count is 0.5."""
    parts: list[float] = []
    for dimension in dimensions:
        value = values.get(dimension.name)
        if dimension.kind == "choice":
            parts += [float(value == choice) for choice in dimension.choices]
        elif value is None:
            parts.append(0.5)
        else:
            parts.append(_share(dimension, float(value)))
    return np.array(parts)


def apply_values(experiment: ExperimentConfig, values: Mapping[str, Value]) -> ExperimentConfig:
    """The experiment with these fields set.

    Raises:
        UsageError: For an unknown field, answered with the closest, or a value of the wrong type.
    """
    texts = {name: value if isinstance(value, str) else repr(value) for name, value in values.items()}
    return apply_overrides(experiment, texts)


def _parse(name: str, text: str) -> Dimension:
    body, _, condition = text.strip().partition(" if ")
    when: tuple[str, str] | None = None
    if condition:
        other, equals, value = condition.partition("=")
        if not equals:
            raise UsageError(f"The condition of dimension {name!r} is {condition!r}; write FIELD=VALUE.")
        when = (other.strip(), value.strip())
    words = body.split()
    if words and words[0] == "choice" and len(set(words[1:])) == len(words[1:]) >= 2:
        return Dimension(name, "choice", choices=tuple(words[1:]), when=when)
    match = _NUMBERS.fullmatch(" ".join(words))
    if match is None:
        raise UsageError(f"The dimension {name!r} is {text!r}; {_EXAMPLE}.")
    kind: Any = match[1]
    low, high = _number(match[2], name), _number(match[3], name)
    if not low < high or (kind == "log" and low <= 0) or (kind == "int" and (low % 1 or high % 1)):
        raise UsageError(f"The dimension {name!r} is {text!r}; the range must rise (above 0 for log, whole for int).")
    return Dimension(name, kind, low, high, when=when)


def _check_condition(dimension: Dimension, others: Mapping[str, Dimension]) -> None:
    if dimension.when is None:
        return
    name, value = dimension.when
    if name not in others or others[name].kind != "choice" or name == dimension.name:
        choices = [other.name for other in others.values() if other.kind == "choice" and other is not dimension]
        raise unknown_name(f"choice that the dimension {dimension.name!r} depends on", name, choices)
    if value not in others[name].choices:
        raise unknown_name(
            f"value of {name!r} that the dimension {dimension.name!r} needs", value, others[name].choices
        )


def _depth(dimension: Dimension, others: Mapping[str, Dimension]) -> int:
    depth = 0
    while dimension.when is not None:
        dimension, depth = others[dimension.when[0]], depth + 1
        if depth > len(others):
            raise UsageError(f"The dimensions {list(others)} depend on each other in a circle.")
    return depth


def _share(dimension: Dimension, value: float) -> float:
    low, high = dimension.low, dimension.high
    if dimension.kind == "log":
        return (math.log(value) - math.log(low)) / (math.log(high) - math.log(low))
    return (value - low) / (high - low)


def _number(text: str, name: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise UsageError(f"The dimension {name!r} has the bound {text!r}; it must be a finite number.")
    return number
