"""Streams hosted by Ray actors. A stream that dies is replaced; the fragment it owed is discarded whole."""

from __future__ import annotations

import logging
import time
from typing import Any

import numpy as np
import numpy.typing as npt
import ray
import torch
from ray.exceptions import RayActorError

from actors.placement import ClusterRole, actor_options, bundle_of, bundle_words, read_cluster
from envs.errors import RunError, UsageError
from envs.registry import make_vec
from envs.spec import EnvSpec, LevelSet
from trainers.actor_critic import ActorCritic, build_actor_critic
from trainers.config import NetworkConfig, Precision
from trainers.fragment import Fragment
from trainers.playing import ActorCriticPlayer
from trainers.streams import EnvStream

_log = logging.getLogger(__name__)
Weights = dict[str, npt.NDArray[np.float32]]


class StreamHost:
    """One stream and its own copy of the network, in its own process."""

    def __init__(
        self,
        spec: EnvSpec,
        network: NetworkConfig,
        levels: LevelSet,
        *,
        num_envs: int,
        num_steps: int,
        seed: int,
        precision: Precision,
        stream: int,
        incarnation: int,
    ) -> None:
        torch.set_num_threads(1)
        self._player = ActorCriticPlayer(build_actor_critic(spec, network, seed), "cpu", precision)
        env = make_vec(spec.name, num_envs)
        self._stream = EnvStream(env, levels, seed=seed, stream=stream, incarnation=incarnation)
        self._num_steps = num_steps

    def collect(self, weights: Weights, number: int) -> Fragment:
        """The stream's next fragment, played with these parameters."""
        # Copied, because what Ray hands out is read-only shared memory.
        self._player.module.load_state_dict({name: torch.tensor(value) for name, value in weights.items()})
        return self._stream.collect(self._player, self._num_steps, number)


class RayStreams:
    """Several streams that play at the same time, each on its own core.

    Attributes:
        num_lost: Fragments lost so far.
        incarnations: The current incarnation of each stream.

    Raises:
        UsageError: If the cluster has fewer CPUs than streams are asked for.
    """

    def __init__(
        self,
        spec: EnvSpec,
        network: NetworkConfig,
        levels: LevelSet,
        module: ActorCritic,
        *,
        num_streams: int,
        num_envs: int,
        num_steps: int,
        seed: int,
        precision: Precision = "auto",
        timeout_s: float = 600.0,
    ) -> None:
        cluster = read_cluster(ray)
        bundle = bundle_of(ClusterRole.ENV_ACTOR, cluster)
        if num_streams > cluster.fit(bundle):
            raise UsageError(
                f"num_streams is {num_streams} but the cluster has {cluster.describe()}; each stream needs "
                f"{bundle_words(bundle)}."
            )
        self._module = module
        self._timeout_s = timeout_s
        self._arguments: dict[str, Any] = {
            "num_envs": num_envs,
            "num_steps": num_steps,
            "seed": seed,
            "precision": precision,
        }
        self._contract = (spec, network, levels)
        self._actor_class = ray.remote(max_restarts=0, max_task_retries=0, **actor_options(bundle))(StreamHost)
        self._number = 0
        self._weights: Any = None
        self._pending: dict[Any, int] = {}
        self._deadline = 0.0
        self.num_lost = 0
        self.incarnations = [0] * num_streams
        self.actors = [self._spawn(stream) for stream in range(num_streams)]

    def begin(self, number: int) -> None:
        """Let every stream play fragment ``number`` with the learner's present parameters."""
        self._number = number
        self._weights = ray.put(
            {name: tensor.detach().cpu().contiguous().numpy() for name, tensor in self._module.state_dict().items()}
        )
        self._request()

    def finish(self) -> list[Fragment]:
        """The fragments of every stream that delivers, in order of streams.

        Raises:
            RunError: If every stream was lost three times in a row.
        """
        for attempt in range(3):
            if attempt:
                self._request()
            if fragments := self._receive():
                return fragments
        raise RunError(
            f"All {len(self.actors)} streams were lost three times while playing fragment {self._number}; "
            "see the logs of the Ray actors for the reason (often memory)."
        )

    def close(self) -> None:
        """Stop the actors."""
        for actor in self.actors:
            ray.kill(actor)

    def _request(self) -> None:
        self._deadline = time.monotonic() + self._timeout_s
        self._pending = {
            actor.collect.remote(self._weights, self._number): stream for stream, actor in enumerate(self.actors)
        }

    def _receive(self) -> list[Fragment]:
        pending, received = self._pending, dict[int, Fragment]()
        while pending:
            timeout_s = max(0.0, self._deadline - time.monotonic())
            ready, _ = ray.wait(list(pending), num_returns=1, timeout=timeout_s)
            if not ready:
                break
            stream = pending.pop(ready[0])
            try:
                received[stream] = ray.get(ready[0])
            except RayActorError as error:
                self._replace(stream, type(error).__name__)
        for stream in pending.values():
            self._replace(stream, f"no fragment within {self._timeout_s:g} s")
        return [received[stream] for stream in sorted(received)]

    def _replace(self, stream: int, reason: str) -> None:
        _log.warning("Stream %d is lost (%s); its fragment is discarded and a new one starts.", stream, reason)
        self.num_lost += 1
        self.incarnations[stream] += 1
        ray.kill(self.actors[stream])
        self.actors[stream] = self._spawn(stream)

    def _spawn(self, stream: int) -> Any:
        return self._actor_class.remote(
            *self._contract, **self._arguments, stream=stream, incarnation=self.incarnations[stream]
        )
