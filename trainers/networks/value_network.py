"""Named values of states and actions, over one encoder or over one for each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from envs.errors import UsageError
from envs.spec import EnvSpec
from trainers.config import NetworkConfig
from trainers.networks.encoders import ImageEncoder
from trainers.networks.heads import ActionHead, Features, StateHead, encode
from trainers.networks.inputs import TensorObservations

Sharing = Literal["features", "maps", "nothing"]
EncoderBuilder = Callable[[EnvSpec, NetworkConfig], nn.Module]


@dataclass(frozen=True, kw_only=True)
class HeadSpec:
    """What one head returns."""

    of: Literal["actions", "state"]
    outputs: int = 1
    """Numbers per action or state."""
    gain: float = 1.0
    """Of the orthogonal weights of the last layer."""


class ValueNetwork(nn.Module):
    """Observations to named values: of actions [B, A] (or [B, A, N]), of states [B, N].

    Args:
        spec: The environment.
        config: The encoder.
        heads: What is asked for, by name.
        sharing: "features" encodes once for all heads; "maps" shares the convolutions and gives every head linear
            layers of its own (images only); "nothing" gives every head an encoder.
        build: Makes an encoder.

    Raises:
        UsageError: If only maps are to be shared and the encoder has none.
    """

    def __init__(
        self,
        spec: EnvSpec,
        config: NetworkConfig,
        heads: Mapping[str, HeadSpec],
        sharing: Sharing,
        build: EncoderBuilder,
    ) -> None:
        super().__init__()
        self.spec = spec
        groups = {name: name for name in heads} if sharing == "nothing" else dict.fromkeys(heads, "shared")
        self.groups = groups
        self.encoders = nn.ModuleDict({group: build(spec, config) for group in dict.fromkeys(groups.values())})
        width, hidden = config.hidden_size, None
        if sharing == "maps":
            (encoder,) = self.encoders.values()
            width, hidden = _without_projection(encoder, spec), config.hidden_size
        kinds = {"actions": ActionHead, "state": StateHead}
        self.heads = nn.ModuleDict(
            {name: kinds[head.of](spec, width, hidden, head.outputs, head.gain) for name, head in heads.items()}
        )

    def forward(self, observations: TensorObservations, names: Sequence[str] | None = None) -> dict[str, Tensor]:
        """Float32 values of the named heads (None: all); each encoder in use runs once."""
        wanted = list(self.heads) if names is None else names
        features: dict[str, Features] = {}
        values = {}
        for name in wanted:
            group = self.groups[name]
            if group not in features:
                features[group] = encode(self.encoders[group], self.spec, observations)
            values[name] = self.heads[name](features[group])
        return values


def _without_projection(encoder: nn.Module, spec: EnvSpec) -> int:
    """Take the linear layers away; returns how many numbers the pooled maps have."""
    if not isinstance(encoder, ImageEncoder):
        raise UsageError(
            f"Sharing only maps needs an image encoder; {spec.name!r} is read by {type(encoder).__name__}. "
            'Set algorithm.options.sharing to "features" or "nothing".'
        )
    return encoder.drop_projection()
