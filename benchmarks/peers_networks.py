"""The benchmark's two image networks in plain torch, as other libraries are given them: fp32, channels first."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

FEATURES = 256


class PlainBlock(nn.Module):
    """x + conv(relu(conv(relu(x))))."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        convolutions = [nn.Conv2d(channels, channels, 3, padding=1) for _ in range(2)]
        self.path = nn.Sequential(nn.ReLU(), convolutions[0], nn.ReLU(), convolutions[1])

    def forward(self, maps: Tensor) -> Tensor:
        """Same shape as ``maps`` [B, C, H, W]."""
        mapped: Tensor = maps + self.path(maps)
        return mapped


def plain_encoder(name: str) -> nn.Sequential:
    """Pixels [B, 3, 64, 64] as floats -> features [B, 256]; as many parameters as `trainers.networks` has.

    Args:
        name: "small" or "impala".
    """
    layers = _small() if name == "small" else _impala()
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(2048, FEATURES), nn.ReLU())


def _small() -> list[nn.Module]:
    return [
        nn.Conv2d(3, 32, 8, 4, padding=2),
        nn.ReLU(),
        nn.Conv2d(32, 32, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(32, 32, 3, stride=2, padding=1),
        nn.ReLU(),
    ]


def _impala() -> list[nn.Module]:
    stages: list[nn.Module] = []
    for incoming, outgoing in pairwise((3, 16, 32, 32)):
        stages += [
            nn.Conv2d(incoming, outgoing, 3, padding=1),
            nn.MaxPool2d(3, stride=2, padding=1),
            PlainBlock(outgoing),
            PlainBlock(outgoing),
        ]
    return [*stages, nn.ReLU()]
