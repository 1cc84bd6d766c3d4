"""Encoders: observations to a feature vector [B, H]. `trainers.networks.ENCODERS` names them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from envs.errors import UsageError
from envs.spec import EnvSpec
from trainers.networks.inputs import RaggedTensor, TensorObservations
from trainers.networks.texts import BytesEmbedding, Encoded, ragged, split_candidates, text_columns


def image_column(spec: EnvSpec) -> str:
    """The name of the one image column (fixed ``uint8`` [height, width, channels]).

    Raises:
        UsageError: If the environment has no image, or several.
    """
    names = [
        name
        for name, column in spec.observation_columns.items()
        if not column.ragged and column.dtype == "uint8" and len(column.shape) == 3
    ]
    if len(names) != 1:
        columns = ", ".join(spec.observation_columns)
        raise UsageError(
            f"An image encoder needs exactly one uint8 image column; {spec.name!r} has {len(names)} among its columns "
            f"({columns}). Use the encoder 'bytes' for texts."
        )
    return names[0]


def scaled_pixels(image: Tensor, like: Tensor) -> Tensor:
    """Pixels as (x - 128) / 64, between -2 and 2, in the dtype that the next layer computes in.

    Centered pixels let behavioral cloning fit a small sprite on a large background; in [0, 1] the loss of 20,000 maze
    transitions stays near that of guessing for the first thousand steps. Both operations are exact in bfloat16.

    Args:
        image: ``uint8`` [B, H, W, C].
        like: A parameter; its dtype is used outside autocast.

    Returns:
        [B, C, H, W]; the bytes keep their order, which makes it channels-last in memory.
    """
    kind = image.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else like.dtype
    return (image.permute(0, 3, 1, 2).to(dtype) - 128) / 64


class SmallEncoder(nn.Module):
    """Patches, two 3x3 convolutions and a linear layer: made for training on a CPU.

    The first layer brings any image to about 16 x 16 places with patches that overlap by half (64 x 64: kernel 8,
    stride 4), so a cell of Procgen's maze (4.3 pixels) keeps a place of its own. On one CPU core in bfloat16 it trains
    three times as many frames a second as a stack of 4 x 4 convolutions of stride 2.
    """

    def __init__(self, spec: EnvSpec, hidden_size: int) -> None:
        super().__init__()
        self.column = image_column(spec)
        height, width, channels = spec.observation_columns[self.column].shape
        stride = max(1, min(height, width) // 16)
        kernel = 2 * stride if stride > 1 else 3
        self.patches = nn.Conv2d(channels, 32, kernel, stride, padding=(kernel - stride + 1) // 2)
        self.mix = nn.Conv2d(32, 32, 3, padding=1)
        self.reduce = nn.Conv2d(32, 32, 3, stride=2, padding=1)
        self.linear = nn.Linear(_flat_size(self._maps, (channels, height, width)), hidden_size)
        initialize(self)

    def _maps(self, pixels: Tensor) -> Tensor:
        maps = F.relu(self.mix(F.relu(self.patches(pixels))))
        return F.relu(self.reduce(maps)).flatten(1)

    def forward(self, observations: TensorObservations) -> Tensor:
        """Features [B, H]."""
        image = _fixed(observations, self.column)
        return F.relu(self.linear(self._maps(scaled_pixels(image, self.linear.weight))))


class ResidualBlock(nn.Module):
    """x + conv(relu(conv(relu(x))))."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, maps: Tensor) -> Tensor:
        """Same shape as ``maps`` [B, C, H, W]."""
        return maps + self.second(F.relu(self.first(F.relu(maps)), inplace=True))


class ImpalaEncoder(nn.Module):
    """The residual network of IMPALA (Espeholt et al. 2018, figure 3), channels 16, 32, 32, without normalization.

    On 64 x 64 x 3 with 256 features it has 622,144 parameters; with a head of 15 actions 625,999, as in the benchmark.
    """

    CHANNELS = (16, 32, 32)

    def __init__(self, spec: EnvSpec, hidden_size: int) -> None:
        super().__init__()
        self.column = image_column(spec)
        height, width, channels = spec.observation_columns[self.column].shape
        stages: list[nn.Module] = []
        incoming = channels
        for outgoing in self.CHANNELS:
            stages += [
                nn.Conv2d(incoming, outgoing, 3, padding=1),
                nn.MaxPool2d(3, stride=2, padding=1),
                ResidualBlock(outgoing),
                ResidualBlock(outgoing),
            ]
            incoming = outgoing
        self.stages = nn.Sequential(*stages)
        self.linear = nn.Linear(_flat_size(self._maps, (channels, height, width)), hidden_size)
        initialize(self)

    def _maps(self, pixels: Tensor) -> Tensor:
        return F.relu(self.stages(pixels)).flatten(1)

    def forward(self, observations: TensorObservations) -> Tensor:
        """Features [B, H]."""
        image = _fixed(observations, self.column)
        return F.relu(self.linear(self._maps(scaled_pixels(image, self.linear.weight))))


class BytesEncoder(nn.Module):
    """Every text column but the candidates as a bag of byte trigrams, plus a linear layer over all of them.

    The sum keeps the words of the texts in the space of the candidates' words, so that equal words find each other.
    """

    def __init__(self, spec: EnvSpec, hidden_size: int) -> None:
        super().__init__()
        self.columns = text_columns(spec, "bytes")
        self.candidate_column = spec.candidate_column
        self.embedding = BytesEmbedding(hidden_size)
        self.linear = nn.Linear(len(self.columns) * hidden_size, hidden_size)
        initialize(self.linear)

    def forward(self, observations: TensorObservations) -> Tensor:
        """Features [B, H]."""
        texts = [self._embed(ragged(observations, name)) for name in self.columns]
        return torch.stack(texts).mean(0) + F.relu(self.linear(torch.cat(texts, dim=1)))

    def encode(self, observations: TensorObservations) -> Encoded:
        """Features of the rows and of their candidates, which share the embedding."""
        assert self.candidate_column is not None
        texts, counts = split_candidates(ragged(observations, self.candidate_column))
        return Encoded(self(observations), self._embed(texts), counts)

    def _embed(self, texts: RaggedTensor) -> Tensor:
        features: Tensor = self.embedding(texts)
        return features


def initialize(module: nn.Module) -> None:
    """Convolutions Xavier-uniform, linear layers orthogonal with gain sqrt(2), biases zero."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.xavier_uniform_(layer.weight)
        elif isinstance(layer, nn.Linear):
            nn.init.orthogonal_(layer.weight, gain=2**0.5)
        if isinstance(layer, nn.Conv2d | nn.Linear) and layer.bias is not None:
            nn.init.zeros_(layer.bias)


def _fixed(observations: TensorObservations, column: str) -> Tensor:
    image = observations[column]
    assert isinstance(image, Tensor)
    return image


def _flat_size(maps: object, shape: tuple[int, int, int]) -> int:
    with torch.no_grad():
        flat: Tensor = maps(torch.zeros(1, *shape))  # type: ignore[operator]
    return flat.shape[1]
