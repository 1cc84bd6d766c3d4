"""A policy as a module: an encoder and a head that scores the actions."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from envs.errors import UsageError
from envs.spec import EnvSpec
from trainers.networks.inputs import TensorObservations
from trainers.networks.rows import apply_to_rows
from trainers.networks.texts import CandidateEncoder, CandidateHead


class PolicyNetwork(nn.Module):
    """Observations to action logits [B, A].

    With a fixed action space A is the number of actions. Where the environment lists candidates, A is the largest
    number of candidates in the batch and the logits beyond a row's candidates are -inf.
    """

    def __init__(self, spec: EnvSpec, encoder: nn.Module, hidden_size: int) -> None:
        super().__init__()
        if spec.candidate_column is not None and not isinstance(encoder, CandidateEncoder):
            raise UsageError(
                f"{spec.name!r} has candidate texts, which {type(encoder).__name__} cannot score; use the encoder "
                "'cross', 'bytes' or 'hf'."
            )
        self.candidate_column = spec.candidate_column
        self.encoder = encoder
        self.head = CandidateHead(hidden_size) if spec.candidate_column else nn.Linear(hidden_size, spec.num_actions)
        if isinstance(self.head, nn.Linear):
            # Near-uniform at first: with a larger gain the first updates chase the accident of the initialization.
            nn.init.orthogonal_(self.head.weight, gain=0.01)
            nn.init.zeros_(self.head.bias)

    def features(self, observations: TensorObservations) -> Tensor:
        """What the encoder makes of the observations, [B, H]."""
        features: Tensor = self.encoder(observations)
        return features

    def score(self, observations: TensorObservations) -> tuple[Tensor, Tensor]:
        """`features` [B, H] and float32 logits [B, A], with the observations encoded once."""
        if self.candidate_column is not None and isinstance(self.encoder, CandidateEncoder):
            state, candidates, counts = self.encoder.encode(observations)
            return state, self.head(state, candidates, counts)
        features = self.features(observations)
        # bfloat16 logits would be wrong by 1 %, which is also the size of one PPO update.
        with torch.autocast(features.device.type, enabled=False):
            return features, apply_to_rows(self.head, features.float())

    def forward(self, observations: TensorObservations) -> Tensor:
        """Float32 logits [B, A]."""
        return self.score(observations)[1]


def entropy(logits: Tensor) -> Tensor:
    """Entropy in nats [B] of logits [B, A]; impossible actions (-inf) count nothing."""
    log_probs = torch.log_softmax(logits, dim=1)
    return -(log_probs.exp() * log_probs.masked_fill(log_probs == -torch.inf, 0.0)).sum(1)
