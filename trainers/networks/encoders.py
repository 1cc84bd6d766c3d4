"""Encoders: observations to a feature vector [B, H]. `trainers.networks.ENCODERS` names them."""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from envs.errors import UsageError
from envs.spec import EnvSpec
from trainers.config import NetworkConfig, Pixels
from trainers.networks.inputs import RaggedTensor, TensorObservations
from trainers.networks.rows import apply_to_rows
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


def scaled_pixels(image: Tensor, like: Tensor, pixels: Pixels = "centered") -> Tensor:
    """Pixels as numbers: "centered" (x - 128) / 64, between -2 and 2; "unit" x / 255; "raw" x as it is.

    Centered pixels let behavioral cloning fit a small sprite on a large background; in [0, 1] the loss of 20,000 maze
    transitions stays near that of guessing for the first thousand steps. Its operations are exact in bfloat16.

    Args:
        image: ``uint8`` [B, H, W, C].
        like: A parameter; its dtype is used outside autocast.
        pixels: Which of them.

    Returns:
        [B, C, H, W] in the dtype that the next layer computes in; the bytes keep their order, which makes it
        channels-last in memory.
    """
    kind = image.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else like.dtype
    values = image.permute(0, 3, 1, 2).to(dtype)
    if pixels == "raw":
        return values
    # A copy of the bytes, so it may be changed in place; a product with 1/64 is the exact quotient, at half the time.
    return values / 255 if pixels == "unit" else values.sub_(128).mul_(1 / 64)


class ImageEncoder(nn.Module):
    """Maps of an image, flattened or averaged, and linear layers with rectifiers over them.

    Args:
        spec: An environment with one image.
        config: Says how bytes are read and maps are pooled, and the width of the features.
    """

    hidden: tuple[int, ...] = ()
    """Widths of linear layers before the last one."""

    def __init__(self, spec: EnvSpec, config: NetworkConfig) -> None:
        super().__init__()
        self.column = image_column(spec)
        self.pixels, self.pooling = config.pixels, config.pooling
        height, width, channels = spec.observation_columns[self.column].shape
        self.build(height, width, channels)
        with torch.no_grad():
            num_features = self._pooled(torch.zeros(1, channels, height, width)).shape[1]
        widths = (num_features, *self.hidden, config.hidden_size)
        layers = [nn.Linear(before, after) for before, after in pairwise(widths)]
        self.inner = nn.ModuleList(layers[:-1])
        self.linear: nn.Linear | None = layers[-1]
        initialize(self)

    def build(self, height: int, width: int, channels: int) -> None:
        """Make the layers that `maps` uses."""
        raise NotImplementedError

    def maps(self, pixels: Tensor) -> Tensor:
        """Non-negative maps [B, C', H', W'] of scaled pixels [B, C, H, W]."""
        raise NotImplementedError

    def forward(self, observations: TensorObservations) -> Tensor:
        """Features [B, H]."""
        image = _fixed(observations, self.column)
        features = self._pooled(scaled_pixels(image, next(self.parameters()), self.pixels))
        for layer in [*self.inner, *([] if self.linear is None else [self.linear])]:
            features = F.relu(apply_to_rows(layer, features))
        return features

    def drop_projection(self) -> int:
        """Take the linear layers away, so that the features are the pooled maps; returns how many they are."""
        assert self.linear is not None
        first = self.inner[0] if len(self.inner) else self.linear
        assert isinstance(first, nn.Linear)
        self.inner, self.linear = nn.ModuleList(), None
        return first.in_features

    def _pooled(self, pixels: Tensor) -> Tensor:
        maps = self.maps(pixels)
        return maps.mean(dim=(2, 3)) if self.pooling == "average" else maps.flatten(1)


class SmallEncoder(ImageEncoder):
    """Patches, two 3x3 convolutions and a linear layer: made for training on a CPU.

    The first layer brings any image to about 16 x 16 places with patches that overlap by half (64 x 64: kernel 8,
    stride 4), so a cell of Procgen's maze (4.3 pixels) keeps a place of its own. On one CPU core in bfloat16 it trains
    three times as many frames a second as a stack of 4 x 4 convolutions of stride 2.
    """

    def build(self, height: int, width: int, channels: int) -> None:
        """Make the layers."""
        stride = max(1, min(height, width) // 16)
        kernel = 2 * stride if stride > 1 else 3
        self.patches = nn.Conv2d(channels, 32, kernel, stride, padding=(kernel - stride + 1) // 2)
        self.mix = nn.Conv2d(32, 32, 3, padding=1)
        self.reduce = nn.Conv2d(32, 32, 3, stride=2, padding=1)

    def maps(self, pixels: Tensor) -> Tensor:
        """Maps [B, 32, H', W']."""
        return F.relu(self.reduce(F.relu(self.mix(F.relu(self.patches(pixels))))))


class ResidualBlock(nn.Module):
    """x + conv(relu(conv(relu(x))))."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, maps: Tensor) -> Tensor:
        """Same shape as ``maps`` [B, C, H, W]."""
        return maps + self.second(F.relu(self.first(F.relu(maps)), inplace=True))


class HalvingMaxPool(nn.Module):
    """The maximum over 3 x 3 places, every second one in both directions."""

    def forward(self, maps: Tensor) -> Tensor:
        """Maps [B, C, H / 2, W / 2] of maps [B, C, H, W].

        In inference mode rows and columns come one after the other: the same values in a third of the time on a CPU.
        Gradients of equal values would be shared out otherwise, so learning does without.
        """
        even = maps.shape[2] % 2 == maps.shape[3] % 2 == 0
        if not torch.is_inference_mode_enabled() or not even or maps.device.type != "cpu":
            return F.max_pool2d(maps, 3, stride=2, padding=1)
        rows = maps.permute(0, 2, 3, 1)  # [B, H, W, C], which is their order in memory
        highest = _halved(_halved(rows).transpose(1, 2)).transpose(1, 2)
        return highest.permute(0, 3, 1, 2)


def _halved(lines: Tensor) -> Tensor:
    """The maximum of each even line of [B, L, ...] and its two neighbors, [B, L / 2, ...]."""
    highest = torch.maximum(lines[:, 0::2], lines[:, 1::2])
    later = highest[:, 1:]
    torch.maximum(later, lines[:, 1:-1:2], out=later)
    return highest


class ImpalaEncoder(ImageEncoder):
    """The residual network of IMPALA (Espeholt et al. 2018, figure 3), channels 16, 32, 32, without normalization.

    On 64 x 64 x 3 with 256 features it has 622,144 parameters; with a head of 15 actions 625,999, as in the benchmark.
    """

    channels: tuple[int, ...] = (16, 32, 32)

    def build(self, height: int, width: int, channels: int) -> None:
        """Make the stages."""
        stages: list[nn.Module] = []
        for incoming, outgoing in pairwise((channels, *self.channels)):
            stages += [
                nn.Conv2d(incoming, outgoing, 3, padding=1),
                HalvingMaxPool(),
                ResidualBlock(outgoing),
                ResidualBlock(outgoing),
            ]
        self.stages = nn.Sequential(*stages)

    def maps(self, pixels: Tensor) -> Tensor:
        """Maps [B, C', H', W']."""
        return F.relu(self.stages(pixels))


class LargeImpalaEncoder(ImpalaEncoder):
    """The same with four stages of 64, 256, 256 and 512 channels and a further layer of 2048.

    On 64 x 64 x 3 with 256 features and 15 actions 33.5 million parameters, the benchmark's largest.
    """

    channels = (64, 256, 256, 512)
    hidden = (2048,)


class NatureEncoder(ImageEncoder):
    """The three convolutions of DQN (Mnih et al. 2015), for images of at least 36 x 36."""

    def build(self, height: int, width: int, channels: int) -> None:
        """Make the convolutions."""
        if min(height, width) < 36:
            raise UsageError(
                f"The encoder 'nature' needs images of 36 x 36 or more, not {height} x {width}; use 'small'."
            )
        self.stages = nn.Sequential(
            nn.Conv2d(channels, 32, 8, 4), nn.ReLU(), nn.Conv2d(32, 64, 4, 2), nn.ReLU(), nn.Conv2d(64, 64, 3)
        )

    def maps(self, pixels: Tensor) -> Tensor:
        """Maps [B, 64, H', W']."""
        return F.relu(self.stages(pixels))


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
