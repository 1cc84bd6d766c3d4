"""Networks: encoders by name, and the policy network built from a spec and a config."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import nn

from envs.errors import unknown_name
from envs.spec import EnvSpec
from trainers.config import NetworkConfig
from trainers.networks.cross import CrossEncoder
from trainers.networks.encoders import BytesEncoder, ImpalaEncoder, LargeImpalaEncoder, NatureEncoder, SmallEncoder
from trainers.networks.hf import HuggingFaceEncoder
from trainers.networks.inputs import RaggedTensor, TensorObservations, collate
from trainers.networks.policy_network import PolicyNetwork, entropy
from trainers.networks.sequence import SequenceConfig, SequenceModel
from trainers.networks.value_network import HeadSpec, Sharing, ValueNetwork

ENCODERS: dict[str, Callable[[EnvSpec, NetworkConfig], nn.Module]] = {
    "small": SmallEncoder,
    "impala": ImpalaEncoder,
    "impala-large": LargeImpalaEncoder,
    "nature": NatureEncoder,
    "bytes": lambda spec, config: BytesEncoder(spec, config.hidden_size),
    "cross": lambda spec, config: CrossEncoder(spec, config.hidden_size),
    "hf": lambda spec, config: HuggingFaceEncoder(spec, config.hidden_size, config.pretrained),
}
"""Each makes a module that maps observations to features [B, hidden_size]. Where the environment lists candidates it is
also a `texts.CandidateEncoder`."""

__all__ = [
    "ENCODERS",
    "HeadSpec",
    "PolicyNetwork",
    "RaggedTensor",
    "SequenceConfig",
    "SequenceModel",
    "Sharing",
    "TensorObservations",
    "ValueNetwork",
    "build_encoder",
    "build_policy_network",
    "build_value_network",
    "collate",
    "entropy",
]


def build_encoder(spec: EnvSpec, config: NetworkConfig) -> nn.Module:
    """The encoder that the config names, for this environment's columns.

    Raises:
        UsageError: If no encoder has that name, the environment lacks the columns it reads, or a package is missing.
    """
    if config.encoder not in ENCODERS:
        raise unknown_name("encoder", config.encoder, ENCODERS)
    return ENCODERS[config.encoder](spec, config)


def build_policy_network(spec: EnvSpec, config: NetworkConfig) -> PolicyNetwork:
    """A freshly initialized policy network; the caller seeds torch.

    Raises:
        UsageError: If the encoder is unknown or does not fit the environment.
    """
    return PolicyNetwork(spec, build_encoder(spec, config), config.hidden_size)


def build_value_network(
    spec: EnvSpec, config: NetworkConfig, heads: Mapping[str, HeadSpec], sharing: Sharing
) -> ValueNetwork:
    """A freshly initialized network of named values; the caller seeds torch.

    Raises:
        UsageError: If the encoder is unknown or does not fit the environment or the sharing.
    """
    return ValueNetwork(spec, config, heads, sharing, build_encoder)
