"""An experiment as frozen dataclasses. A run is a recipe (a function) that returns one of these, complete."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from envs.errors import UsageError
from envs.spec import LevelSet

Precision = Literal["auto", "float32", "bfloat16"]
ActionMode = Literal["sampled", "greedy"]


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """Which network turns observations into action logits."""

    encoder: str = "small"
    """Name in `trainers.networks.ENCODERS`: "small", "impala" (images), "bytes" (texts)."""
    hidden_size: int = 256
    """Width of the feature vector that the encoder returns."""


@dataclass(frozen=True, kw_only=True)
class AlgorithmConfig:
    """Which algorithm learns, with the settings that every algorithm shares."""

    name: str = "bc"
    """Name in `trainers.algorithms.ALGORITHMS`."""
    options: dict[str, float | int | str | bool] = field(default_factory=dict)
    """Fields of the algorithm's own config; a key that it does not read is an error."""


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Which recorded data is learned from."""

    datasets: tuple[str, ...] = ()
    """Dataset directories, one per source name given in `sources` (or named by their folder)."""
    num_levels: int | None = None
    """How many of the recorded levels to use, in level order; None uses all."""
    max_transitions: int | None = None
    """Realised transitions, exactly; None uses all."""
    episode_order: Literal["random", "stratified", "best_first"] = "stratified"
    """Which episodes fill the budget."""
    weights: tuple[float, ...] = ()
    """Sampling weight per dataset; empty means by size."""


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How long and how to optimize. Lengths are learner steps."""

    learner_steps: int = 1000
    batch_size: int = 256
    """Transitions per learner step, over all workers."""
    learning_rate: float = 5e-4
    warmup_steps: int = 0
    """Linear warm-up, in learner steps."""
    final_learning_rate_fraction: float = 1.0
    """Cosine decay to this fraction of `learning_rate` at the last step; 1 keeps it constant."""
    weight_decay: float = 0.0
    max_grad_norm: float | None = None
    precision: Precision = "auto"
    """"auto": bfloat16 autocast where the hardware gains from it."""
    num_workers: int = 1
    """1 runs in the calling process; more run under Ray Train."""
    threads_per_worker: int = 1
    use_gpu: bool = False
    evaluate_every: int = 0
    """Learner steps between evaluations; 0 evaluates only at the end."""
    checkpoint_every: int = 0
    """Learner steps between checkpoints; 0 saves only with evaluations and at the end."""
    log_every: int = 20
    """Learner steps between rows of step metrics."""

    def __post_init__(self) -> None:
        for name in ("learner_steps", "batch_size", "num_workers", "threads_per_worker", "log_every"):
            if getattr(self, name) < 1:
                raise UsageError(f"train.{name} is {getattr(self, name)}; it must be at least 1.")
        if self.learning_rate <= 0:
            raise UsageError(f"train.learning_rate is {self.learning_rate}; it must be positive.")
        if self.batch_size % self.num_workers:
            raise UsageError(
                f"train.batch_size {self.batch_size} cannot be split evenly over {self.num_workers} workers; "
                "choose a multiple."
            )


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """What is played to judge a policy."""

    protocol: str = "strict"
    """Name in `metrics.protocol.PROTOCOLS`."""
    num_train_levels: int = 100
    """At most this many of the realised training levels are played, evenly spaced."""
    num_validation_levels: int = 100
    num_test_levels: int = 500
    episodes_per_level: int = 1
    """For sampled actions; greedy always plays one."""
    modes: tuple[ActionMode, ...] = ("sampled",)
    """Action modes during training; the final evaluation plays both."""
    num_envs: int = 64
    num_actors: int = 2
    """Evaluator actors of the final evaluation."""


@dataclass(frozen=True, kw_only=True)
class TrackingConfig:
    """Where metrics go beside the JSON lines on disk."""

    wandb: Literal["auto", "online", "offline", "disabled"] = "auto"
    """"auto": online with an API key, offline without."""
    project: str = "gengap"
    tensorboard: bool = False
    finish_timeout_s: float = 15.0


@dataclass(frozen=True, kw_only=True)
class ExperimentConfig:
    """Everything one training run needs. Its JSON is the W&B run config."""

    name: str
    env: str
    seed: int = 0
    data: DataConfig = field(default_factory=DataConfig)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    algorithm: AlgorithmConfig = field(default_factory=AlgorithmConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)


@dataclass(frozen=True, kw_only=True)
class CollectConfig:
    """Which episodes to record. Read by `actors.collect.collect`, which takes plain arguments."""

    env: str
    source: str
    """Name in `actors.experts.SOURCES`, for example "maze-search"."""
    levels: LevelSet
    min_transitions: int
    """Rounds over all levels are played until this many transitions are reached."""
    options: dict[str, float | int | str | bool] = field(default_factory=dict)
    """Options of the source, for example `noise`."""
    seed: int = 0
    num_actors: int = 2


@dataclass(frozen=True, kw_only=True)
class SweepConfig:
    """A study: data diversity x hyperparameters x seeds, at a fixed number of transitions."""

    name: str
    experiment: ExperimentConfig
    collect_source: str
    collect_options: dict[str, float | int | str | bool] = field(default_factory=dict)
    level_counts: tuple[int, ...] = (10, 100, 1000)
    num_transitions: int = 20_000
    """Realised transitions of every level count, exactly."""
    learning_rates: tuple[float, ...] = (5e-4, 1e-3)
    seeds: tuple[int, ...] = (0, 1)
    scheduler: Literal["none", "asha"] = "asha"
    selection_rule: str = "validation"
    """Name in `search.selection.RULES`."""
    retrain_workers: int = 2
    max_concurrent_trials: int = 0
    """0: as many as the cluster has CPUs for."""
    num_actors: int = 2
    """Collector and evaluator actors."""

    def __post_init__(self) -> None:
        if len(self.level_counts) < 2 or sorted(set(self.level_counts)) != list(self.level_counts):
            raise UsageError(
                f"level_counts is {self.level_counts}; give at least two different counts in increasing order."
            )
        if len(self.seeds) < 2:
            raise UsageError(f"seeds is {self.seeds}; an interval needs at least two seeds, for example (0, 1).")
