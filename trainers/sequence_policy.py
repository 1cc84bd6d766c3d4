"""A sequence model as a policy: every slot remembers the window that the model sees."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from actors.policy import PolicyInput
from envs.errors import RunError
from envs.spec import EnvSpec
from trainers.config import Precision
from trainers.networks import SequenceModel, collate
from trainers.precision import autocast
from trainers.torch_policy import TorchPolicy


class SequencePolicy(TorchPolicy):
    """Acts from the last K observations and actions of each slot, and from the return that is still asked for.

    A slot's memory is its own and begins anew where an episode starts, so an episode does not depend on its neighbors.
    Observations are embedded once, when they come. Parameters must not change within an episode.
    """

    network: SequenceModel

    def __init__(
        self,
        network: SequenceModel,
        spec: EnvSpec,
        policy_id: str,
        device: torch.device | str = "cpu",
        precision: Precision = "auto",
    ) -> None:
        super().__init__(network, spec, policy_id, device, precision)
        self._memory: _Memory | None = None

    @property
    def memoryless(self) -> bool:
        """It remembers what each slot has seen."""
        return False

    @property
    def max_slots(self) -> int | None:
        """As many as are asked for: its windows are computed together."""
        return None

    def act(self, inputs: PolicyInput) -> npt.NDArray[np.float32]:
        """Log-probabilities [B, A].

        Raises:
            RunError: If a slot goes on with an episode whose start this policy has not seen.
        """
        memory = self._memory
        if memory is None or len(memory.counts) != len(inputs):
            memory = self._memory = _Memory(len(inputs), self.network, self.device)
        if ((memory.counts == 0) & ~inputs.starting).any():
            raise RunError(
                f"The policy {self.policy_id!r} remembers its episodes, and was asked to go on with one that it has "
                "not seen from the start; begin every slot with a starting row."
            )
        with torch.inference_mode(), autocast(self.device, self.precision):
            states = self.network.embed(collate(inputs.observations, self.device))
            places = memory.add(states, inputs)
            logits = self.network(memory.states, memory.actions, memory.returns, memory.first_timesteps())
            latest = logits[torch.arange(len(places)), torch.from_numpy(places)]
        log_probs: npt.NDArray[np.float32] = torch.log_softmax(latest, dim=1).cpu().numpy()
        return log_probs


class _Memory:
    """The windows of B slots, filled from the left."""

    def __init__(self, size: int, model: SequenceModel, device: torch.device) -> None:
        context, width = model.config.context, model.config.width
        self.states = torch.zeros(size, context, width, device=device)
        self.actions = torch.zeros(size, context, dtype=torch.int64, device=device)
        self.returns = torch.zeros(size, context, device=device)
        self.counts = np.zeros(size, dtype=np.int64)  # steps in the window
        self.timesteps = np.zeros(size, dtype=np.int64)  # age of the episode
        self._to_go = np.zeros(size)
        self._target = float(model.target_return)
        self._device = device

    def add(self, states: Tensor, inputs: PolicyInput) -> npt.NDArray[np.int64]:
        """Take in what was done and what is seen now; returns the place of the new step in each window [B]."""
        going = np.flatnonzero(~inputs.starting)
        self._recall(going, inputs)
        self._to_go = np.where(inputs.starting, self._target, self._to_go - inputs.previous_rewards)
        self.timesteps = np.where(inputs.starting, 0, self.timesteps + 1)
        self.counts[inputs.starting] = 0
        self._shift(np.flatnonzero(self.counts == self.states.shape[1]))
        places, rows = self.counts.copy(), torch.arange(len(states), device=self._device)
        at = torch.from_numpy(places).to(self._device)
        self.states[rows, at] = states
        self.actions[rows, at] = 0
        self.returns[rows, at] = torch.from_numpy(self._to_go.astype(np.float32)).to(self._device)
        self.counts += 1
        return places

    def first_timesteps(self) -> Tensor:
        """Age of the episode at the first step of each window [B]."""
        return torch.from_numpy(self.timesteps - (self.counts - 1)).to(self._device)

    def _recall(self, going: npt.NDArray[np.intp], inputs: PolicyInput) -> None:
        rows, at = torch.from_numpy(going).to(self._device), torch.from_numpy(self.counts[going] - 1).to(self._device)
        # What ended slots did last is nobody's action and has no effect.
        actions = np.clip(inputs.previous_actions[going], 0, None).astype(np.int64)
        self.actions[rows, at] = torch.from_numpy(actions).to(self._device)

    def _shift(self, full: npt.NDArray[np.intp]) -> None:
        rows = torch.from_numpy(full).to(self._device)
        for column in (self.states, self.actions, self.returns):
            column[rows, :-1] = column[rows, 1:].clone()
        self.counts[full] -= 1


def build_policy(
    network: nn.Module,
    spec: EnvSpec,
    policy_id: str,
    device: torch.device | str = "cpu",
    precision: Precision = "auto",
) -> TorchPolicy:
    """The policy that acts with what `Algorithm.policy` returned."""
    if isinstance(network, SequenceModel):
        return SequencePolicy(network, spec, policy_id, device, precision)
    return TorchPolicy(network, spec, policy_id, device, precision)
