"""An experiment as frozen dataclasses. A run is a recipe (a function) that returns one of these, complete."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from envs.errors import UsageError

Precision = Literal["auto", "float32", "bfloat16"]
ActionMode = Literal["sampled", "greedy"]


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """Which network turns observations into action logits."""

    encoder: str = "small"
    """Name in `trainers.networks.ENCODERS`: "small", "impala" (images), "bytes", "cross", "hf" (texts)."""
    hidden_size: int = 256
    """Width of the feature vector that the encoder returns; "cross" is of this width throughout."""
    pretrained: str = "bert-base-uncased"
    """Only "hf": the model on the Hugging Face hub, or a folder with one and its tokenizer."""


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
    strata: str = ""
    """Tag of the levels, for example "department" in the shop: the mixture is then over its values, not over
    datasets. Empty: no strata."""
    strata_weights: dict[str, float] = field(default_factory=dict)
    """Value of the tag -> share of levels, transitions and draws, summing to one; empty means as recorded."""


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
    """Name in `metrics.protocols.PROTOCOLS`, or a shift of `envs.registry.shift_names` such as "shop-I3", or "none":
    nothing is played, and the last policy counts as the best. The only way to learn from imported data whose
    environment is not on this machine."""
    num_train_levels: int = 100
    """At most this many of the realised training levels are played, evenly spaced."""
    num_validation_levels: int = 100
    """A shift plays as many unseen levels of the training distribution, too."""
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
