"""A network as an `actors.policy.Policy`."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from actors.policy import PolicyInput
from envs.spec import EnvSpec
from trainers.config import Precision
from trainers.networks.inputs import collate
from trainers.precision import autocast, place


class TorchPolicy:
    """Acts with a network; the network's parameters are used as they are at the time of the call.

    Args:
        network: Observations to logits [B, A]. Moved to ``device``; its training mode is left alone.
        spec: The environment it acts in.
        policy_id: Identifies parameters and settings; recorded with every episode.
        device: Where it computes.
        precision: "auto" is bfloat16 autocast where that is native.
    """

    def __init__(
        self,
        network: nn.Module,
        spec: EnvSpec,
        policy_id: str,
        device: torch.device | str = "cpu",
        precision: Precision = "auto",
    ) -> None:
        self.network = place(network, device)
        self.spec = spec
        self.policy_id = policy_id
        self.device = torch.device(device)
        self.precision: Precision = precision

    def act(self, inputs: PolicyInput) -> npt.NDArray[np.float32]:
        """Log-probabilities [B, A]; -inf beyond a row's candidates."""
        with torch.inference_mode(), autocast(self.device, self.precision):
            logits = self.network(collate(inputs.observations, self.device))
        log_probs: npt.NDArray[np.float32] = torch.log_softmax(logits.float(), dim=1).cpu().numpy()
        return log_probs
