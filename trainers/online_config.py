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
    """Environments per stream."""
    fragment_steps: int = 256
    """Steps of each environment between two updates."""
    num_streams: int = 0
    """Ray actors that play; 0 plays in the calling process."""
    network: NetworkConfig = field(default_factory=lambda: NetworkConfig(encoder="impala"))
    ppo: PPOConfig = field(default_factory=PPOConfig)
    precision: Precision = "auto"
    threads: int = 1
    """Threads of the learner; each stream has one."""
    use_gpu: bool = False
    """Whether the learner computes on a GPU; streams always use the CPU."""
    checkpoint_every_s: float = 180.0
    max_time_s: float | None = None
    """Stop after this long, over all resumptions; None trains all `env_steps`."""
    fragment_timeout_s: float = 600.0
    """A stream that needs longer for one fragment counts as lost."""

    tracking: TrackingConfig = field(default_factory=TrackingConfig)

    def __post_init__(self) -> None:
        for name in ("num_levels", "env_steps", "num_envs", "fragment_steps", "threads"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} is {getattr(self, name)}; it must be at least 1.")
        if self.num_streams < 0:
            raise UsageError(f"num_streams is {self.num_streams}; 0 plays in this process, more are Ray actors.")

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
