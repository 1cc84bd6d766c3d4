"""Networks: encoders by name, and the policy network built from a spec and a config."""

from __future__ import annotations

from torch import nn

from envs.errors import unknown_name
from envs.spec import EnvSpec
from trainers.config import NetworkConfig
from trainers.networks.encoders import BytesEncoder, ImpalaEncoder, SmallEncoder
from trainers.networks.inputs import RaggedTensor, TensorObservations, collate
from trainers.networks.policy_network import PolicyNetwork, entropy

ENCODERS: dict[str, type[nn.Module]] = {
    "small": SmallEncoder,
    "impala": ImpalaEncoder,
    "bytes": BytesEncoder,
}
"""Each is built as ``Encoder(spec, hidden_size)`` and maps observations to features [B, hidden_size]."""

__all__ = [
    "ENCODERS",
    "PolicyNetwork",
    "RaggedTensor",
    "TensorObservations",
    "build_encoder",
    "build_policy_network",
    "collate",
    "entropy",
]


def build_encoder(spec: EnvSpec, config: NetworkConfig) -> nn.Module:
    """The encoder that the config names, for this environment's columns.

    Raises:
        UsageError: If no encoder has that name, or the environment lacks the columns it reads.
    """
    if config.encoder not in ENCODERS:
        raise unknown_name("encoder", config.encoder, ENCODERS)
    return ENCODERS[config.encoder](spec, config.hidden_size)


def build_policy_network(spec: EnvSpec, config: NetworkConfig) -> PolicyNetwork:
    """A freshly initialized policy network; the caller seeds torch.

    Raises:
        UsageError: If the encoder is unknown or does not fit the environment.
    """
    return PolicyNetwork(spec, build_encoder(spec, config), config.hidden_size)
