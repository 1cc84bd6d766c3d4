"""An online run as a frozen dataclass, and named functions that return complete ones."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from envs.errors import UsageError
from envs.overrides import build_recipe
from envs.spec import LevelSet
from trainers.config import NetworkConfig, Precision, TrackingConfig
from trainers.ppo import PPOConfig


@dataclass(frozen=True, kw_only=True)
class OnlineConfig:
    """Everything one online run needs. Lengths are environment steps, over all environments."""

    name: str
    env: str
    seed: int = 0
    num_levels: int = 200
    """Training levels are 0 .. num_levels - 1, drawn uniformly with replacement."""
    env_steps: int = 25_000_000
    num_envs: int = 64
    """Environments per stream; all of them where there are no Ray streams."""
    fragment_steps: int = 256
    """Steps of each environment between two updates."""
    num_streams: int = 0
    """Ray actors that play, each with its own copy of the network; 0 plays here."""
    num_env_processes: int = 0
    """Processes that step the environments while this one infers for all of them at once, without Ray; 0 steps here.
    `num_envs` must be a multiple of twice as many. What is learned differs by rounding only."""
    overlap: bool = False
    """Play the next fragment while learning from this one: what plays is then one update behind what learns."""
    network: NetworkConfig = field(default_factory=lambda: NetworkConfig(encoder="impala"))
    ppo: PPOConfig = field(default_factory=PPOConfig)
    precision: Precision = "auto"
    threads: int = 1
    """Threads of the learner; each stream has one."""
    use_gpu: bool = False
    """Whether the learner computes on a GPU, and infers there for streams of this machine; Ray streams use the CPU."""
    compile: bool = False
    """Compile the network: a minute at the start, and faster on a GPU."""
    checkpoint_every_s: float = 180.0
    keep_every_env_steps: int | None = None
    """Keep the policy in `kept/` as small float16 weights each time so many environment steps are done, and at the end,
    for choosing later."""
    max_time_s: float | None = None
    """Stop after this long, over all resumptions; None trains all `env_steps`."""
    lease_s: float | None = None
    """Save and stop in time to end this long after the start, on a machine that is lent; `--resume` goes on."""
    fragment_timeout_s: float = 600.0
    """A stream that needs longer for one fragment counts as lost."""
    record_episodes: bool = False
    """Keep level, actions and return of every episode played to its end, about 3 bytes a step, in
    `episodes.record`; `gengap collect ppo-suboptimal` makes a dataset of it."""

    tracking: TrackingConfig = field(default_factory=TrackingConfig)

    def __post_init__(self) -> None:
        for name in ("num_levels", "env_steps", "num_envs", "fragment_steps", "threads"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} is {getattr(self, name)}; it must be at least 1.")
        if self.num_streams < 0 or self.num_env_processes < 0 or min(self.num_streams, self.num_env_processes) > 0:
            raise UsageError(
                f"num_streams is {self.num_streams} and num_env_processes {self.num_env_processes}. Streams are Ray "
                "actors, the others local processes; one of the two must be 0 and both may be, to play in this one."
            )
        if self.keep_every_env_steps is not None and self.keep_every_env_steps < 1:
            raise UsageError(f"keep_every_env_steps is {self.keep_every_env_steps}; it must be at least 1, or none.")
        if self.num_env_processes and self.num_envs % (2 * self.num_env_processes):
            raise UsageError(
                f"num_envs is {self.num_envs}; with num_env_processes={self.num_env_processes} it must be a multiple "
                f"of {2 * self.num_env_processes}, because each process has two groups of environments."
            )

    @property
    def levels(self) -> LevelSet:
        """The training levels."""
        return LevelSet.range(self.env, 0, self.num_levels)

    @property
    def steps_per_update(self) -> int:
        """Environment steps between two updates, when no fragment is lost."""
        return self.num_envs * self.fragment_steps * max(1, self.num_streams)


def procgen_ppo() -> OnlineConfig:
    """PPO as in the benchmark's behavior policies: IMPALA, 200 easy levels, 25 million steps."""
    return OnlineConfig(name="procgen-ppo", env="procgen/starpilot")


def procgen_ppo_cpu() -> OnlineConfig:
    """PPO for one CPU core: the small network, shorter fragments, fewer passes, and a rate that decays."""
    return dataclasses.replace(
        procgen_ppo(),
        name="procgen-ppo-cpu",
        env_steps=8_000_000,
        fragment_steps=128,
        network=NetworkConfig(encoder="small"),
        ppo=PPOConfig(epochs=2, final_learning_rate_fraction=0.2),
    )


def grid_ppo() -> OnlineConfig:
    """PPO on the toy grid: a minute on a laptop."""
    return OnlineConfig(
        name="grid-ppo",
        env="grid/default",
        env_steps=100_000,
        num_envs=32,
        fragment_steps=64,
        network=NetworkConfig(encoder="small", hidden_size=128),
        ppo=PPOConfig(discount=0.95, learning_rate=1e-3, minibatches=4),
    )


ONLINE_RECIPES: dict[str, Callable[[], OnlineConfig]] = {
    "procgen-ppo": procgen_ppo,
    "procgen-ppo-cpu": procgen_ppo_cpu,
    "grid-ppo": grid_ppo,
}
"""Complete online runs by name; `gengap train` accepts them beside the offline recipes."""


def build_online(recipe: str, overrides: Sequence[str] = ()) -> OnlineConfig:
    """The recipe's run with ``FIELD=VALUE`` overrides applied.

    Raises:
        UsageError: For an unknown recipe or field, answered with the closest match.
    """
    return build_recipe("online", ONLINE_RECIPES, recipe, overrides)
