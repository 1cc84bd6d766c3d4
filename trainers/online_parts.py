"""The parts of an online run, built from its configuration."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch

from envs.errors import UsageError
from envs.spec import EnvSpec
from trainers.actor_critic import PPOLearner, build_actor_critic
from trainers.device import DeviceFrames, pin
from trainers.fragment import HostFrames, MakeFrames
from trainers.online_config import OnlineConfig
from trainers.playing import ActorCriticPlayer, PlayedHere
from trainers.process_streams import ProcessStreams
from trainers.streams import LocalStreams, Source, Streams


def build_learner(config: OnlineConfig, spec: EnvSpec) -> PPOLearner:
    """A learner with fresh parameters, determined by the configuration.

    Raises:
        UsageError: If a GPU is asked for and there is none.
    """
    if config.use_gpu and not torch.cuda.is_available():
        raise UsageError("use_gpu is true but no CUDA device is visible; leave it out, or run where there is one.")
    device = "cuda" if config.use_gpu else "cpu"
    module = build_actor_critic(spec, config.network, config.seed)
    return PPOLearner(
        module, config.ppo, seed=config.seed, device=device, precision=config.precision, compile=config.compile
    )


def build_streams(config: OnlineConfig, spec: EnvSpec, learner: PPOLearner) -> Streams:
    """Streams that play what the learner's parameters are whenever a fragment begins."""
    if config.num_streams == 0:
        own = build_actor_critic(spec, config.network, config.seed)
        player = ActorCriticPlayer(own, learner.device, config.precision, compile=config.compile)
        return PlayedHere(_source(config, spec, player), player, learner.module, ahead=config.overlap)
    from trainers.ray_streams import RayStreams  # the other kinds run where Ray is not installed

    return RayStreams(
        spec,
        config.network,
        config.levels,
        learner.module,
        num_streams=config.num_streams,
        num_envs=config.num_envs,
        num_steps=config.fragment_steps,
        seed=config.seed,
        precision=config.precision,
        timeout_s=config.fragment_timeout_s,
    )


def _source(config: OnlineConfig, spec: EnvSpec, player: ActorCriticPlayer) -> Source:
    common: dict[str, Any] = {
        "num_steps": config.fragment_steps,
        "seed": config.seed,
        "make_frames": _frames(spec, player.device),
    }
    if config.num_env_processes == 0:
        return LocalStreams(config.env, config.num_envs, config.levels, player, **common)
    streams = ProcessStreams(
        spec,
        config.levels,
        player,
        num_processes=config.num_env_processes,
        num_envs=config.num_envs,
        timeout_s=config.fragment_timeout_s,
        **common,
    )
    if player.device.type == "cuda":
        pin(list(streams.shared.views().values()))
    return streams


def _frames(spec: EnvSpec, device: torch.device) -> MakeFrames:
    """On the device where its memory holds them; ragged columns stay with the host."""
    if device.type == "cpu" or any(column.ragged for column in spec.observation_columns.values()):
        return HostFrames
    return partial(DeviceFrames, device)
