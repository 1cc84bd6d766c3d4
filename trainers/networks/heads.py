"""Heads: values of actions and of states, from what an encoder made of the observations."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from envs.spec import EnvSpec
from trainers.networks.inputs import TensorObservations
from trainers.networks.rows import apply_to_rows
from trainers.networks.texts import CandidateEncoder, CandidateHead, Encoded

Features = Tensor | Encoded
"""Features [B, F]; with candidates also those of every candidate."""


def encode(encoder: nn.Module, spec: EnvSpec, observations: TensorObservations) -> Features:
    """What the heads read; the observations are encoded once."""
    if spec.candidate_column is not None and isinstance(encoder, CandidateEncoder):
        return encoder.encode(observations)
    features: Tensor = encoder(observations)
    return features


class ActionHead(nn.Module):
    """Values of every action: [B, A], or [B, A, N] with N numbers each; -inf beyond a row's candidates.

    Args:
        spec: Says whether actions are fixed or candidates.
        width: F, numbers per feature vector.
        hidden: Width of a layer of its own before the last; None has none. Candidates have one in any case.
        outputs: N.
        gain: Of the orthogonal weights of the last layer (fixed actions only).
    """

    def __init__(self, spec: EnvSpec, width: int, hidden: int | None, outputs: int = 1, gain: float = 1.0) -> None:
        super().__init__()
        self.outputs = outputs
        self.candidates = CandidateHead(width, outputs) if spec.candidate_column else None
        self.layers = None if spec.candidate_column else _layers(width, hidden, spec.num_actions * outputs, gain)

    def forward(self, features: Features) -> Tensor:
        """Float32 values."""
        if isinstance(features, Encoded):
            assert self.candidates is not None
            scores: Tensor = self.candidates(*features)
            return scores
        assert self.layers is not None
        with torch.autocast(features.device.type, enabled=False):
            values: Tensor = apply_to_rows(self.layers, features.float())
        return values if self.outputs == 1 else values.unflatten(1, (-1, self.outputs))


class StateHead(nn.Module):
    """Values of the state, [B, N]; where there are candidates, what is on offer is read too.

    Args:
        spec: Says whether actions are fixed or candidates.
        width: F, numbers per feature vector.
        hidden: Width of a layer of its own before the last.
        outputs: N.
        gain: Of the orthogonal weights of the last layer.
    """

    def __init__(self, spec: EnvSpec, width: int, hidden: int | None, outputs: int = 1, gain: float = 1.0) -> None:
        super().__init__()
        if spec.candidate_column is not None:
            width, hidden = 3 * width, hidden or width
        self.layers = _layers(width, hidden, outputs, gain)

    def forward(self, features: Features) -> Tensor:
        """Float32 values [B, N]."""
        inputs = _offer(features) if isinstance(features, Encoded) else features
        with torch.autocast(inputs.device.type, enabled=False):
            values: Tensor = apply_to_rows(self.layers, inputs.float())
        return values


def _offer(features: Encoded) -> Tensor:
    """A row's state, and the mean and the greatest features of its candidates (0 without any): [B, 3F]."""
    state, candidates, counts = features
    row = torch.repeat_interleave(counts)
    empty = torch.zeros_like(state)
    mean = empty.index_add(0, row, candidates.to(state.dtype)) / counts.clamp(min=1)[:, None]
    index = row[:, None].expand_as(candidates)
    highest = empty.scatter_reduce(0, index, candidates.to(state.dtype), "amax", include_self=False)
    return torch.cat([state, mean, highest], dim=1)


def _layers(width: int, hidden: int | None, outputs: int, gain: float) -> nn.Sequential:
    last = nn.Linear(width if hidden is None else hidden, outputs)
    nn.init.orthogonal_(last.weight, gain=gain)
    nn.init.zeros_(last.bias)
    if hidden is None:
        return nn.Sequential(last)
    first = nn.Linear(width, hidden)
    nn.init.orthogonal_(first.weight, gain=2**0.5)
    nn.init.zeros_(first.bias)
    return nn.Sequential(first, nn.ReLU(), last)
