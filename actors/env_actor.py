"""The Ray actor that hosts environments and policies, and the values that tell it what to play."""

from __future__ import annotations

import importlib
import os
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

from actors.policy import Policy
from actors.rollout import Job, RecordOptions, play
from data.episode import Episode, EpisodeResult
from envs.errors import UsageError
from envs.registry import make_spec, make_vec
from envs.vector import LevelVectorEnv
from metrics.protocol import ActionMode

_KEPT_POLICIES = 2
"""Policies a host keeps loaded: the one that is playing and the one before."""


@dataclass(frozen=True)
class PolicySpec:
    """A policy as a value that can be sent anywhere: a function that makes it, and its arguments.

    The function is named, not sent, so that this package needs to know nothing about how policies are made.
    """

    loader: str
    """``"module:function"``; called with the environment's name, then `arguments`."""
    arguments: tuple[Any, ...] = ()

    def load(self, env: str) -> Policy:
        """Make the policy.

        Raises:
            UsageError: If the loader cannot be found.
        """
        module, _, function = self.loader.partition(":")
        try:
            loader = getattr(importlib.import_module(module), function)
        except (ImportError, AttributeError) as error:
            raise UsageError(
                f"The policy loader {self.loader!r} cannot be found ({error}); write MODULE:FUNCTION."
            ) from None
        policy: Policy = loader(env, *self.arguments)
        return policy


RANDOM = PolicySpec("actors.env_actor:random_policy")


def random_policy(env: str) -> Policy:
    """The uniform policy of an environment."""
    from actors.policy import RandomPolicy

    return RandomPolicy(make_spec(env))


def checkpoint_policy(env: str, path: str) -> Policy:
    """The policy of a checkpoint directory; torch is imported only here, where it is needed."""
    policy: Policy = importlib.import_module("trainers.checkpoint").load_policy(path)
    return policy


def policy_of_checkpoint(path: Any) -> PolicySpec:
    """The policy saved in a checkpoint directory, which every node must see."""
    return PolicySpec("actors.env_actor:checkpoint_policy", (str(path),))


@dataclass(frozen=True, kw_only=True)
class PlayOrder:
    """What to play. Carrying it out twice gives the same episodes, so a lost order may be repeated anywhere."""

    env: str
    policy: PolicySpec
    jobs: tuple[Job, ...]
    seed: int
    num_envs: int
    mode: ActionMode = "sampled"
    temperature: float = 1.0
    record: RecordOptions | None = None


class EnvHost:
    """Plays orders; keeps environments and recent policies between them. No Ray in here."""

    def __init__(self) -> None:
        self._envs: dict[tuple[str, int], LevelVectorEnv] = {}
        self._policies: OrderedDict[tuple[str, PolicySpec], Policy] = OrderedDict()

    def play(self, order: PlayOrder) -> list[Episode | EpisodeResult]:
        """Every job of the order, in the order they ended."""
        env = self._env(order.env, order.num_envs)
        policy = self._policy(order.env, order.policy)
        settings: dict[str, Any] = {"seed": order.seed, "mode": order.mode, "temperature": order.temperature}
        return list(play(env, policy, order.jobs, record=order.record, **settings))

    def _env(self, name: str, num_envs: int) -> LevelVectorEnv:
        key = (name, num_envs)
        if key not in self._envs:
            self._envs[key] = make_vec(name, num_envs)
        return self._envs[key]

    def _policy(self, env: str, spec: PolicySpec) -> Policy:
        key = (env, spec)
        if key not in self._policies:
            self._policies[key] = spec.load(env)
            while len(self._policies) > _KEPT_POLICIES:
                self._policies.popitem(last=False)
        self._policies.move_to_end(key)
        return self._policies[key]


class EnvActor(EnvHost):
    """`EnvHost` as a Ray actor."""

    def __init__(self, incarnation: int, num_threads: int = 1) -> None:
        super().__init__()
        self.incarnation = incarnation
        # Ray has set the number of OpenMP threads from the actor's CPUs; policies must not start more.
        os.environ.setdefault("OMP_NUM_THREADS", str(num_threads))

    def call(self, function: str, *arguments: Any) -> Any:
        """Run ``"module:function"`` with this host as its first argument."""
        module, _, name = function.partition(":")
        return getattr(importlib.import_module(module), name)(self, *arguments)

    def identify(self) -> tuple[int, int]:
        """(incarnation, process id)."""
        return self.incarnation, os.getpid()
