"""Behavioral cloning with a transformer: the next action from the last observations and actions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from envs.spec import EnvSpec
from trainers.algorithms.base import Algorithm, read_options
from trainers.batches import TensorBatch
from trainers.config import NetworkConfig
from trainers.networks import SequenceConfig, SequenceModel, build_encoder


@dataclass(frozen=True, kw_only=True)
class BCTConfig(SequenceConfig):
    """Options of cloning with a transformer."""

    clamped: bool = True
    """Whether windows are moved back from the end of their episode; otherwise they are padded there."""


class BCT(Algorithm):
    """Cloning from windows of K steps, images and fixed actions.

    With o_1, a_1, ..., o_K, a_K a window of which n steps exist,

        total = mean over windows of  -1/n sum_{k <= n} log pi(a_k | o_1, a_1, ..., o_k).
    """

    conditioned = False
    name = "bct"
    options_of: type[BCTConfig] = BCTConfig

    def __init__(self, spec: EnvSpec, network: NetworkConfig, options: Mapping[str, Any]) -> None:
        super().__init__(spec, network, options)
        self.config = read_options(self.options_of, options, self.name)
        self.window, self.clamped_windows = self.config.context, self.config.clamped
        self.model = SequenceModel(spec, build_encoder(spec, network), self.config, self.conditioned)

    def losses(self, batch: TensorBatch) -> dict[str, Tensor]:
        """Losses ``total`` (nats) and ``negative_log_likelihood``, which is the same."""
        assert batch.valid is not None
        assert batch.returns_to_go is not None
        assert batch.timesteps is not None
        states, actions, valid, returns, ages = (
            column.unflatten(0, (-1, batch.window))
            for column in (
                self.model.embed(batch.observations),
                batch.actions,
                batch.valid,
                batch.returns_to_go,
                batch.timesteps,
            )
        )
        log_probs = torch.log_softmax(self.model(states, actions, returns, ages[:, 0]), dim=2)  # [B, K, A]
        cloned = -log_probs.gather(2, actions[:, :, None]).squeeze(2) * valid
        likelihood = (cloned.sum(1) / valid.sum(1)).mean()
        return {"total": likelihood, "negative_log_likelihood": likelihood}

    def policy(self) -> SequenceModel:
        """The model that acts with a memory."""
        return self.model
