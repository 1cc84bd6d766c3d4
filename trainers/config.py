"""An experiment as frozen dataclasses. A run is a recipe (a function) that returns one of these, complete."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from envs.errors import UsageError

Precision = Literal["auto", "float32", "bfloat16"]
ActionMode = Literal["sampled", "greedy"]
Pixels = Literal["centered", "unit", "raw"]
Pooling = Literal["flatten", "average"]
Resident = Literal["auto", "never", "always"]
Together = Literal["auto", "vectorized", "in_turns"]


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """Which network turns observations into action logits."""

    encoder: str = "small"
    """Name in `trainers.networks.ENCODERS`: "small", "impala", "impala-large", "nature" (images), "bytes",
    "cross", "hf" (texts)."""
    hidden_size: int = 256
    """Width of the feature vector that the encoder returns; "cross" is of this width throughout."""
    pretrained: str = "bert-base-uncased"
    """Only "hf": the model on the Hugging Face hub, or a folder with one and its tokenizer."""
    pixels: Pixels = "centered"
    """How image encoders read bytes: "centered" (p - 128) / 64, "unit" p / 255, "raw" p as it is."""
    pooling: Pooling = "flatten"
    """What image encoders hand to their linear layer: every place of every map, or the "average" of each map."""


@dataclass(frozen=True, kw_only=True)
class AlgorithmConfig:
    """Which algorithm learns, with the settings that every algorithm shares."""

    name: str = "bc"
    """Name in `trainers.algorithms.ALGORITHMS`."""
    options: dict[str, float | int | str | bool] = field(default_factory=dict)
    """Fields of the algorithm's own config; a key that it does not read is an error."""
    members: int = 1
    """More than 1 trains so many independent copies on the same batches; they act by the mean of their
    probabilities."""

    def __post_init__(self) -> None:
        if self.members < 1:
            raise UsageError(f"algorithm.members is {self.members}; it must be at least 1.")


@dataclass(frozen=True, kw_only=True)
class AugmentationConfig:
    """Random changes of image columns, drawn anew for every row from (seed, learner step); 0 leaves one out."""

    shift: int = 0
    """Moves the image by up to so many pixels along both axes; the border is repeated."""
    color: float = 0.0
    """Scales and shifts each color channel by up to this share of its range, below 1."""
    cutout: int = 0
    """Paints a square of so many pixels a side in one random color."""
    consistency: float = 0.0
    """0 trains on changed images. Above 0 trains on the images as they are and adds so many times the divergence of
    policy and values on the changed ones (DrAC, Raileanu et al. 2021)."""

    @property
    def active(self) -> bool:
        """Whether anything is changed."""
        return self.shift > 0 or self.color > 0 or self.cutout > 0

    def __post_init__(self) -> None:
        bounds = (math.inf, 1, math.inf, math.inf)
        amounts = (self.shift, self.color, self.cutout, self.consistency)
        if not all(0 <= amount < bound for amount, bound in zip(amounts, bounds, strict=True)):
            raise UsageError(f"{self} must hold numbers from 0 on, color below 1.")
        if self.consistency and not self.active:
            raise UsageError("augmentation.consistency needs a change to compare with; set shift, color or cutout.")


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Which recorded data is learned from."""

    datasets: tuple[str, ...] = ()
    """Dataset directories, one per source name given in `sources` (or named by their folder)."""
    other_envs: tuple[str, ...] = ()
    """Environments besides `env` whose datasets are learned from, too: games that show and take the same. The policy is
    judged in `env`, whose data must be among it."""
    num_levels: int | None = None
    """How many of the recorded levels to use, in level order; None uses all."""
    levels_per_source: dict[str, int] = field(default_factory=dict)
    """Dataset (or value of `strata`) -> how many of its levels to use; one that is not named uses all."""
    max_transitions: int | None = None
    """Realised transitions, exactly; None uses all."""
    on_shortage: Literal["fill", "refuse"] = "fill"
    """What a source lacks of its share of the transitions is taken from the others, or is an error."""
    source_fraction: float = 1.0
    """Use only this share of each source's transitions: a shorter run then repeats scarce data as often as a longer
    one."""
    repetition_cap: float | None = None
    """At most so many draws per transition of a source for each draw of an average one."""
    episode_order: Literal["random", "stratified", "best_first"] = "stratified"
    """Which episodes fill the budget."""
    weights: tuple[float, ...] = ()
    """Sampling weight per dataset; empty means by size."""
    strata: str = ""
    """Tag of the levels, for example "department" in the shop, or "source" (who played), "bucket:4" (ranges of level
    numbers), "difficulty:4" (by recorded return): the mixture is then over its values, not over datasets. Empty: no
    strata."""
    strata_weights: dict[str, float] = field(default_factory=dict)
    """Value of the tag -> share of levels, transitions and draws, summing to one; empty means as recorded."""
    best_fraction: float = 1.0
    """Learn only from this share of each dataset's episodes, those with the highest returns (as in %BC)."""
    best_of: Literal["all", "level"] = "all"
    """Whether the best share is taken of a dataset's episodes together, or of those of each level."""


@dataclass(frozen=True, kw_only=True)
class MixingConfig:
    """Who moves the weights of the mixture while the policy learns."""

    controller: str = "none"
    """Name in `trainers.mixtures.CONTROLLERS`: "group-dro", "gradient-alignment", "linear-law"; "none" keeps them."""
    options: dict[str, float | int | str | bool] = field(default_factory=dict)
    """Fields of the controller's own config; a key that it does not read is an error."""
    probe_size: int = 256
    """Rows (or windows) of each group on which losses and gradients are measured."""
    target: tuple[str, ...] = ()
    """Datasets of validation levels whose loss is to fall, a group each; empty: the training data's own groups."""
    reference: str = ""
    """"group-dro": a checkpoint whose losses are subtracted, trained with the weights to be improved."""

    def __post_init__(self) -> None:
        if self.probe_size < 1:
            raise UsageError(f"mixing.probe_size is {self.probe_size}; it must be at least 1.")


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How long and how to optimize. Lengths are learner steps."""

    learner_steps: int = 1000
    batch_size: int = 256
    """Transitions per learner step, over all workers; for sequence models, windows."""
    accumulation_steps: int = 1
    """Parts into which each worker's share is cut, one after the other, to save memory; the gradient is the same."""
    learning_rate: float = 5e-4
    warmup_steps: int = 0
    """Linear warm-up, in learner steps."""
    final_learning_rate_fraction: float = 1.0
    """Decay to this fraction of `learning_rate` at the last step; 1 keeps it constant."""
    decay: Literal["cosine", "linear"] = "cosine"
    weight_decay: float = 0.0
    """Of the weights of linear and convolutional layers."""
    second_moment_decay: float = 0.999
    """Adam's beta 2."""
    max_grad_norm: float | None = None
    average: Literal["none", "ema", "uniform"] = "none"
    """Also keep and judge a policy of averaged weights: exponentially, or uniformly over the last steps."""
    average_decay: float = 0.999
    """"ema": what the average keeps of itself per step; less in the first steps."""
    average_after: float = 0.75
    """"uniform": the share of the learner steps after which averaging begins."""
    precision: Precision = "auto"
    """"auto": bfloat16 autocast where the hardware gains from it."""
    num_workers: int = 1
    """1 runs in the calling process; more run under Ray Train."""
    threads_per_worker: int = 1
    use_gpu: bool = False
    resident: Resident = "auto"
    """Keep the whole data as bytes in the device's memory and gather batches there. "auto": on a GPU with room for it;
    "always" is an error where it does not fit."""
    compile: bool = False
    """Compile the forward and backward pass with torch.compile; the first step takes a minute or so."""
    cuda_graphs: bool = False
    """Record forward pass, backward pass and optimizer once and replay them as one CUDA graph; one GPU, images."""
    shard: bool = False
    """Shard parameters and optimizer state over the workers (FSDP); only the encoder "hf", two workers or more."""
    together: Together = "auto"
    """How several models in one process take a step: "vectorized" as one larger model, "in_turns" one after the other;
    "auto" vectorizes on a GPU. Only read where several models are asked for."""
    evaluate_every: int = 0
    """Learner steps between evaluations; 0 evaluates only at the end."""
    checkpoint_every: int = 0
    """Learner steps between checkpoints; 0 saves only with evaluations and at the end."""
    log_every: int = 20
    """Learner steps between rows of step metrics."""

    def __post_init__(self) -> None:
        names = ("learner_steps", "batch_size", "num_workers", "threads_per_worker", "log_every", "accumulation_steps")
        for name in names:
            if getattr(self, name) < 1:
                raise UsageError(f"train.{name} is {getattr(self, name)}; it must be at least 1.")
        if not 0 < self.learning_rate < math.inf:
            raise UsageError(f"train.learning_rate is {self.learning_rate}; it must be positive.")
        for name in ("weight_decay", "final_learning_rate_fraction"):
            if not 0 <= getattr(self, name) < math.inf:
                raise UsageError(f"train.{name} is {getattr(self, name)}; it must be a number from 0 on.")
        if self.batch_size % self.num_workers:
            raise UsageError(
                f"train.batch_size {self.batch_size} cannot be split evenly over {self.num_workers} workers; "
                "choose a multiple."
            )
        if self.batch_size // self.num_workers % self.accumulation_steps:
            raise UsageError(
                f"A worker's share of {self.batch_size // self.num_workers} cannot be cut into "
                f"train.accumulation_steps={self.accumulation_steps} equal parts; choose a divisor."
            )
        for name in ("average_decay", "average_after", "second_moment_decay"):
            if not 0 <= getattr(self, name) < 1:
                raise UsageError(f"train.{name} is {getattr(self, name)}; it must be at least 0 and below 1.")


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """What is played to judge a policy."""

    protocol: str = "strict"
    """Name in `metrics.protocols.PROTOCOLS`, or a shift of `envs.registry.shift_names` such as "shop-I3", or "none":
    nothing is played, and the last policy counts as the best. The only way to learn from imported data whose
    environment is not on this machine."""
    num_train_levels: int | None = None
    """At most this many of the realised training levels are played, evenly spaced. None, here and below: as many as
    the protocol says; 100, 100 and 500 where it is "strict" or a shift."""
    num_validation_levels: int | None = None
    """A shift plays as many unseen levels of the training distribution, too."""
    num_test_levels: int | None = None
    episodes_per_level: int | None = None
    """For sampled actions; greedy always plays one. None: as the protocol says, mostly one."""
    modes: tuple[ActionMode, ...] | None = None
    """Action modes. None: as the protocol says; "paper" plays each algorithm as it was published, others play sampled
    actions during training and both modes in the end."""
    temperature: float = 1.0
    """Divides the log-probabilities of sampled actions; below 1 makes them surer."""
    num_envs: int = 64
    num_actors: int = 2
    """Evaluator actors of the final evaluation; 0 plays it in the calling process."""
    each_env: bool = False
    """Also judge the policy in every one of `data.other_envs` while it learns; `trainers.several_envs` names the
    metrics."""
    num_evaluators: int = 0
    """Ray actors that judge checkpoints beside training while the learner goes on, each with a CPU of its own; they
    change no value. 0: the learner stops and plays itself."""

    def __post_init__(self) -> None:
        if self.num_evaluators < 0:
            raise UsageError(f"evaluation.num_evaluators is {self.num_evaluators}; it must be a number from 0 on.")
        for name in ("num_train_levels", "num_validation_levels", "num_test_levels", "episodes_per_level"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UsageError(
                    f"evaluation.{name} is {value}; it must be at least 1, or None for the protocol's own."
                )
        if not 0 < self.temperature < math.inf:
            raise UsageError(
                f"evaluation.temperature is {self.temperature}; it must be positive (greedy takes the best action)."
            )


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
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    mixing: MixingConfig = field(default_factory=MixingConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
