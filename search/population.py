"""Population-based training of mixtures: policies learn side by side, and the worse go on from the better ones.

Ray's own bridge between Tune and Train hands Tune metrics without checkpoints; its scheduler then finds nothing to copy
and silently runs as random search. Here every report carries the whole checkpoint, so that a member goes on with
another's parameters, optimizer and learner step, under weights and fields that are a step away from that one's.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import ray
from ray.tune.schedulers import PopulationBasedTraining

from actors.placement import read_cluster
from envs.errors import UsageError
from envs.seeding import rng_for
from search.dimensions import Dimension, Value, apply_values, draw, parse_dimensions
from search.keys import withhold_keys
from search.placing import trial_bundles
from search.scheduler import METRIC, TIME_ATTRIBUTE
from search.simplex import Simplex
from search.space import trial_path
from trainers.config import ExperimentConfig
from trainers.launch import run
from trainers.reporter import CompleteMetrics

LINEAGE = "lineage.jsonl"
"""In a member's folder: where each of its generations came from."""
_REDRAWN = 0.25


@dataclass(frozen=True, kw_only=True)
class PopulationConfig:
    """Members that learn side by side."""

    name: str
    experiment: ExperimentConfig
    """With the datasets of the mixture; `train.evaluate_every` is how often members are compared."""
    simplex: Simplex
    """Over the datasets, in their order."""
    dimensions: dict[str, str]
    members: int = 4
    jitter: float = 0.5
    """Standard deviation of a step in log-ratio coordinates."""
    seed: int = 0
    max_concurrent_trials: int = 0

    def __post_init__(self) -> None:
        train = self.experiment.train
        if self.members < 2:
            raise UsageError(f"A population of {self.members} has nobody to learn from; give at least 2 members.")
        if not 0 < train.evaluate_every < train.learner_steps:
            raise UsageError(
                f"train.evaluate_every is {train.evaluate_every} of {train.learner_steps} learner steps; a population "
                "is compared at evaluations, so there must be some before the end."
            )
        if len(self.simplex.names) != len(self.experiment.data.datasets):
            raise UsageError(
                f"The mixture is over {len(self.simplex.names)} sources and {len(self.experiment.data.datasets)} "
                "datasets; give one dataset for each."
            )


class WholeReporter:
    """Reports evaluations to Tune with the checkpoint itself: a pointer would follow its run to later steps."""

    def __init__(self) -> None:
        self._metrics = CompleteMetrics()

    def log(self, learner_step: int, values: Mapping[str, float]) -> None:
        """Nothing: step metrics never pass through Tune."""

    def report(self, learner_step: int, metrics: Mapping[str, float], checkpoint: Path) -> None:
        """One Tune result."""
        from ray import tune

        values: dict[str, Any] = {**self._metrics.complete(learner_step, metrics), TIME_ATTRIBUTE: learner_step}
        with tempfile.TemporaryDirectory() as folder:
            shutil.copytree(checkpoint, folder, dirs_exist_ok=True)
            tune.report(values, checkpoint=tune.Checkpoint.from_directory(folder))

    def close(self) -> None:
        """Nothing to release."""


def train_population(config: PopulationConfig, out: Path) -> list[dict[str, Any]]:
    """Train a population; Ray must be initialized.

    Every evaluation is a comparison: a member of the worse quarter goes on from one of the better quarter (Jaderberg
    et al. 2017, "Population Based Training", arXiv 1711.09846).

    Args:
        config: The members.
        out: Written to.

    Returns:
        One record per member: its last metrics, weights, values and lineage.
    """
    from ray import tune

    withhold_keys()
    members = [dataclasses.asdict(member) for member in first_members(config)]
    trainable = tune.with_parameters(train_member, config=config, out=out.resolve())
    tuner = tune.Tuner(
        tune.with_resources(trainable, tune.PlacementGroupFactory(trial_bundles(config, read_cluster(ray)))),
        param_space={"member": tune.grid_search(members)},
        tune_config=tune.TuneConfig(
            scheduler=population_scheduler(config),
            max_concurrent_trials=config.max_concurrent_trials or None,
            trial_name_creator=_member_name,
            trial_dirname_creator=_member_name,
        ),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=str(out.resolve()),
            verbose=0,
            checkpoint_config=tune.CheckpointConfig(num_to_keep=4),  # a donor's must outlive the copying
        ),
    )
    results = tuner.fit()
    return [_record(result, out) for result in results if result.error is None]


@dataclass(frozen=True, kw_only=True)
class Member:
    """What one member learns with at the moment."""

    name: str
    weights: tuple[float, ...]
    values: dict[str, Value]
    moves: int = 0
    """How many steps in weights and values its ancestors took; they name the randomness of the next."""


def first_members(config: PopulationConfig) -> list[Member]:
    """Random mixtures and values."""
    dimensions = parse_dimensions(config.dimensions)
    return [
        Member(
            name=f"member-{index}",
            weights=tuple(config.simplex.sample(rng_for("member", config.seed, index)).tolist()),
            values=draw(dimensions, config.seed, "member", index),
        )
        for index in range(config.members)
    ]


def explored(config: PopulationConfig, donor: Member) -> Member:
    """A step away from the donor: jittered log-ratios, numbers times 0.8 or 1.25, a quarter of all drawn anew."""
    rng = rng_for("explore", config.seed, donor.name, donor.moves)
    coordinates = config.simplex.encode(donor.weights)
    weights = config.simplex.decode(coordinates + config.jitter * rng.standard_normal(len(coordinates)))
    dimensions = parse_dimensions(config.dimensions)
    values = _explored_values(dimensions, donor, rng)
    return Member(name=donor.name, weights=tuple(weights.tolist()), values=values, moves=donor.moves + 1)


class Population(PopulationBasedTraining):
    """Ray's scheduler, which leaves members alone that have reached their last step: they would never end.

    Args:
        last_step: Of every member.
        settings: As of Ray's.
    """

    def __init__(self, last_step: int, **settings: Any) -> None:
        super().__init__(**settings)
        self._last_step = last_step

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Go on, or pause to be compared."""
        if result[TIME_ATTRIBUTE] >= self._last_step:
            return str(self.CONTINUE)
        return str(super().on_trial_result(tune_controller, trial, result))


def population_scheduler(config: PopulationConfig) -> Population:
    """Explores on the simplex."""

    def explore(params: dict[str, Any]) -> dict[str, Any]:
        return {**params, "member": dataclasses.asdict(explored(config, read_member(params["member"])))}

    return Population(
        config.experiment.train.learner_steps,
        time_attr=TIME_ATTRIBUTE,
        metric=METRIC,
        mode="max",
        perturbation_interval=config.experiment.train.evaluate_every,
        quantile_fraction=0.25 if config.members >= 4 else 0.5,
        custom_explore_fn=explore,
        synch=True,
    )


def train_member(params: dict[str, Any], config: PopulationConfig, out: Path) -> None:
    """One generation of a member: from the beginning, or from the checkpoint that the scheduler chose."""
    from ray import tune

    member, own = read_member(params["member"]), tune.get_context().get_trial_name()
    folder = trial_path(out, str(own))
    folder.mkdir(parents=True, exist_ok=True)
    generation = folder / f"generation-{len(list(folder.glob('generation-???'))):03d}"
    donor = _donor(tune.get_checkpoint(), generation)
    entry = {"generation": generation.name, **dataclasses.asdict(member), **_origin(donor)}
    with (folder / LINEAGE).open("a") as stream:
        stream.write(json.dumps(entry) + "\n")
    experiment = apply_values(config.experiment, member.values)
    data = dataclasses.replace(experiment.data, weights=member.weights)
    experiment = dataclasses.replace(experiment, name=str(own), data=data)
    run(experiment, generation, reporter=WholeReporter(), group=f"{config.name}/{own}", init_from=donor)


def read_member(value: Mapping[str, Any]) -> Member:
    """The inverse of ``dataclasses.asdict``."""
    return Member(**{**value, "weights": tuple(value["weights"])})


def _explored_values(dimensions: Sequence[Dimension], donor: Member, rng: np.random.Generator) -> dict[str, Value]:
    fresh, values = draw(dimensions, donor.name, "explore", donor.moves), dict[str, Value]()
    for dimension in dimensions:
        if not dimension.active(values):
            continue
        old, redrawn, up = donor.values.get(dimension.name), rng.random() < _REDRAWN, rng.random() < 0.5
        if old is None or redrawn or isinstance(old, str):
            kept = old is not None and not redrawn
            # A choice that became possible only now may be missing among the fresh draws.
            values[dimension.name] = old if kept and old is not None else fresh.get(dimension.name, dimension.at(0.5))
            continue
        moved = min(max(old * (1.25 if up else 0.8), dimension.low), dimension.high)
        values[dimension.name] = round(moved) if dimension.kind == "int" else moved
    return values


def _donor(checkpoint: Any, generation: Path) -> Path | None:
    if checkpoint is None:
        return None
    folder = generation.with_name(f"{generation.name}-donor")
    checkpoint.to_directory(str(folder))
    return folder


def _origin(donor: Path | None) -> dict[str, Any]:
    """Whose checkpoint a generation goes on from, and its learner step."""
    if donor is None:
        return {"from": None, "from_step": 0}
    step = json.loads((donor / "state.json").read_text())["learner_step"]
    return {"from": json.loads((donor / "config.json").read_text())["name"], "from_step": step}


def _member_name(trial: Any) -> str:
    return f"place-{trial.config['member']['name'].removeprefix('member-')}"


def _record(result: Any, out: Path) -> dict[str, Any]:
    place = Path(result.path).name
    lines = (trial_path(out, place) / LINEAGE).read_text().splitlines()
    lineage = [json.loads(line) for line in lines]
    return {"place": place, "metrics": dict(result.metrics), "lineage": lineage, **result.config["member"]}
