"""A causal transformer over windows of (return to go,) observation and action (Chen et al. 2021)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from envs.errors import UsageError
from envs.spec import EnvSpec
from trainers.networks.encoders import ImageEncoder
from trainers.networks.inputs import TensorObservations

_STD = 0.02  # of initial weights, as in GPT-2


@dataclass(frozen=True, kw_only=True)
class SequenceConfig:
    """Shape of the transformer."""

    context: int = 10
    """K, transitions that it sees."""
    layers: int = 3
    heads: int = 4
    width: int = 128
    dropout: float = 0.0
    timesteps: bool = False
    """Whether it is told how old the episode was at the start of the window."""

    def __post_init__(self) -> None:
        if self.context < 2 or min(self.layers, self.heads) < 1 or self.width % self.heads:
            raise UsageError(
                f"context is {self.context}, layers {self.layers}, heads {self.heads} and width {self.width}; allowed: "
                "a context of 2 or more, 1 layer and head or more, and a width that is a multiple of heads."
            )
        if not 0 <= self.dropout < 1:
            raise UsageError(f"dropout is {self.dropout}; it must be from 0 to below 1.")


class Block(nn.Module):
    """Attention to the past and a layer over each token, both after normalization and added to what came in."""

    def __init__(self, config: SequenceConfig) -> None:
        super().__init__()
        width = config.width
        self.heads, self.dropout = config.heads, config.dropout
        self.before = nn.LayerNorm(width)
        self.attention = nn.Linear(width, 3 * width)
        self.mixed = nn.Linear(width, width)
        self.between = nn.LayerNorm(width)
        self.inner = nn.Linear(width, 4 * width)
        self.outer = nn.Linear(4 * width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens [B, T, W]; none sees a later one."""
        size, length, width = tokens.shape
        parts = self.attention(self.before(tokens)).view(size, length, 3, self.heads, width // self.heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4)  # each [B, heads, T, W / heads]
        dropout = self.dropout if self.training else 0.0
        found = F.scaled_dot_product_attention(query, key, value, is_causal=True, dropout_p=dropout)
        tokens = tokens + self._dropped(self.mixed(found.transpose(1, 2).reshape(size, length, width)))
        return tokens + self._dropped(self.outer(F.gelu(self.inner(self.between(tokens)))))

    def _dropped(self, values: Tensor) -> Tensor:
        return F.dropout(values, self.dropout, self.training)


class SequenceModel(nn.Module):
    """Logits of the next action at each observation of a window.

    Args:
        spec: An environment with one image and a fixed action space.
        encoder: Its pooled maps are read; its linear layers are taken away.
        config: Shape of the transformer.
        conditioned: Whether a token with the return to go stands before each observation.

    Raises:
        UsageError: If the environment has candidates or no image.
    """

    return_scale: Tensor  # float32; what returns are divided by
    target_return: Tensor  # float32; what is asked for when acting

    def __init__(self, spec: EnvSpec, encoder: nn.Module, config: SequenceConfig, conditioned: bool) -> None:
        super().__init__()
        if spec.candidate_column is not None or not isinstance(encoder, ImageEncoder):
            raise UsageError(
                f"Sequence models read images and choose among fixed actions; {spec.name!r} with "
                f"{type(encoder).__name__} has not both. Use bc, bcq, cql or iql for texts."
            )
        self.config, self.conditioned, self.num_actions = config, conditioned, spec.num_actions
        self.encoder, width = encoder, config.width
        self.state = nn.Linear(encoder.drop_projection(), width)
        self.action = nn.Embedding(spec.num_actions, width)
        self.place = nn.Parameter(torch.zeros(config.context * self.tokens_per_step, width))
        self.age = nn.Embedding(spec.max_episode_steps, width) if config.timesteps else None
        self.blocks = nn.ModuleList([Block(config) for _ in range(config.layers)])
        self.last = nn.LayerNorm(width)
        self.head = nn.Linear(width, spec.num_actions, bias=False)
        self.return_to_go = nn.Linear(1, width) if conditioned else None
        self.apply(_initialize)
        nn.init.normal_(self.place, std=_STD)
        # Both are read from the data.
        self.register_buffer("return_scale", torch.ones(()))
        self.register_buffer("target_return", torch.ones(()))

    @property
    def tokens_per_step(self) -> int:
        """Tokens per transition."""
        return 3 if self.conditioned else 2

    def embed(self, observations: TensorObservations) -> Tensor:
        """Observations as tokens [N, W]."""
        return torch.tanh(self.state(self.encoder(observations))).float()

    def forward(self, states: Tensor, actions: Tensor, returns_to_go: Tensor, first_timesteps: Tensor) -> Tensor:
        """Float32 logits [B, K, A]; those at step k see the window up to observation k, and the actions before it.

        Args:
            states: Of `embed`, [B, K, W].
            actions: int64 [B, K]; the last one, and those of padding, have no effect.
            returns_to_go: [B, K] in the environment's units; read only if conditioned.
            first_timesteps: Age of the episode at the first step of the window, int64 [B].
        """
        parts = [states, torch.tanh(self.action(actions))]
        if self.return_to_go is not None:
            scaled = returns_to_go.float() / self.return_scale
            parts.insert(0, torch.tanh(self.return_to_go(scaled[:, :, None])).float())
        tokens = torch.stack(parts, dim=2).flatten(1, 2) + self.place[: states.shape[1] * len(parts)]
        if self.age is not None:
            tokens = tokens + self.age(first_timesteps.clamp(max=self.age.num_embeddings - 1))[:, None]
        tokens = F.dropout(tokens, self.config.dropout, self.training)
        for block in self.blocks:
            tokens = block(tokens)
        at_states = self.last(tokens)[:, len(parts) - 2 :: len(parts)]
        with torch.autocast(tokens.device.type, enabled=False):
            logits: Tensor = self.head(at_states.float())
        return logits


def _initialize(module: nn.Module) -> None:
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=_STD)
    if isinstance(module, nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)
