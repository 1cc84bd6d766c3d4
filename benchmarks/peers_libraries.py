"""d3rlpy and TorchRL as `benchmarks.peers` runs them; imported in the environment that has them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import d3rlpy
import numpy as np
import numpy.typing as npt
import torch
from d3rlpy.models.encoders import EncoderFactory, register_encoder_factory
from d3rlpy.models.torch.encoders import Encoder
from tensordict import TensorDict
from torch import Tensor, nn
from torchrl.data import LazyTensorStorage, TensorDictReplayBuffer
from torchrl.modules import QValueActor
from torchrl.objectives import DiscreteCQLLoss, HardUpdate

from benchmarks.peers_networks import FEATURES, plain_encoder

ACTIONS = 15
Columns = Mapping[str, npt.NDArray[Any]]


class SameEncoder(Encoder):
    """The benchmark's network as an encoder of d3rlpy."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.layers = plain_encoder(name)

    def forward(self, x: Any) -> Tensor:
        """Features [B, 256]."""
        features: Tensor = self.layers(x)
        return features


@dataclasses.dataclass()
class SameEncoderFactory(EncoderFactory):
    """Makes it."""

    name: str = "small"

    def create(self, observation_shape: Any) -> Encoder:
        """The network, whatever the shape."""
        return SameEncoder(self.name)

    @staticmethod
    def get_type() -> str:
        """Its name in saved configs."""
        return "same"


register_encoder_factory(SameEncoderFactory)


def d3rlpy_run(
    algorithm: str, columns: Columns, encoder: str, batch_size: int, window: int, turn: Callable[[], None]
) -> None:
    """`fitter` with epochs of one window, nothing logged, saved or evaluated."""
    dataset = d3rlpy.dataset.MDPDataset(
        observations=columns["image"],
        actions=columns["action"].reshape(-1, 1),
        rewards=columns["reward"].reshape(-1, 1),
        terminals=columns["terminated"].astype(np.float32),
        action_space=d3rlpy.ActionSpace.DISCRETE,
        action_size=ACTIONS,
    )
    settings: dict[str, Any] = {
        "batch_size": batch_size,
        "learning_rate": 5e-4,
        "encoder_factory": SameEncoderFactory(encoder),
        "observation_scaler": d3rlpy.preprocessing.PixelObservationScaler(),
    }
    if algorithm == "bc":
        learner: Any = d3rlpy.algos.DiscreteBCConfig(**settings).create(device="cpu:0")
    else:
        learner = d3rlpy.algos.DiscreteCQLConfig(**settings, target_update_interval=1000).create(device="cpu:0")
    epochs = learner.fitter(
        dataset,
        n_steps=window * 10**6,
        n_steps_per_epoch=window,
        logger_adapter=d3rlpy.logging.NoopAdapterFactory(),
        show_progress=False,
        save_interval=10**9,
    )
    turn()
    for _ in epochs:
        turn()


class PixelValues(nn.Module):
    """Action values of bytes."""

    def __init__(self, encoder: str) -> None:
        super().__init__()
        self.layers = nn.Sequential(plain_encoder(encoder), nn.Linear(FEATURES, ACTIONS))

    def forward(self, pixels: Tensor) -> Tensor:
        """Values [B, A]."""
        values: Tensor = self.layers(pixels.float() / 255)
        return values


def torchrl_cql(columns: Columns, encoder: str, batch_size: int, window: int, turn: Callable[[], None]) -> None:
    """A replay buffer in memory, its sampler, the loss and Adam."""
    size = len(columns["action"])
    ended = torch.from_numpy(columns["terminated"]).unsqueeze(1)
    storage = LazyTensorStorage(size)
    buffer = TensorDictReplayBuffer(storage=storage, batch_size=batch_size)
    following = {
        "observation": torch.from_numpy(columns["next"]),
        "reward": torch.from_numpy(columns["reward"]).unsqueeze(1),
        "done": ended,
        "terminated": ended,
    }
    actions = torch.from_numpy(columns["action"])
    buffer.extend(
        TensorDict(
            {
                "observation": torch.from_numpy(columns["image"]),
                "action": actions,
                "next": TensorDict(following, [size]),
            },
            [size],
        )
    )
    actor = QValueActor(PixelValues(encoder), in_keys=["observation"], action_space="categorical")
    loss_module = DiscreteCQLLoss(actor, action_space="categorical")
    loss_module.make_value_estimator(gamma=0.99)
    updater = HardUpdate(loss_module, value_network_update_interval=1000)
    optimizer = torch.optim.Adam(loss_module.parameters(), lr=5e-4)
    count = 0
    while True:
        if count % window == 0:
            turn()
        losses = loss_module(buffer.sample())
        (losses["loss_qvalue"] + losses["loss_cql"]).backward()
        optimizer.step()
        optimizer.zero_grad()
        updater.step()
        count += 1
