from __future__ import annotations

import numpy as np
import torch
from torch import nn

from actors.policy import PolicyInput
from envs.registry import make_spec
from tests.trainers.test_networks import ROWS, image_spec, images, text_spec, texts
from trainers.config import NetworkConfig
from trainers.networks import build_policy_network
from trainers.torch_policy import PART_ROWS, TorchPolicy


def inputs(observations: dict[str, object], batch: int) -> PolicyInput:
    return PolicyInput(
        observations=observations,  # type: ignore[arg-type]
        starting=np.ones(batch, dtype=np.bool_),
        previous_actions=np.full(batch, -1, dtype=np.int32),
        previous_rewards=np.zeros(batch, dtype=np.float32),
    )


def test_image_policies_return_log_probabilities() -> None:
    torch.manual_seed(0)
    policy = TorchPolicy(build_policy_network(image_spec(), NetworkConfig()), image_spec(), "toy")
    log_probs = policy.act(inputs(images(6), 6))  # type: ignore[arg-type]
    assert log_probs.shape == (6, 15)
    assert log_probs.dtype == np.float32
    np.testing.assert_allclose(np.exp(log_probs.astype(np.float64)).sum(1), 1, atol=1e-6)


def test_text_policies_leave_missing_candidates_impossible() -> None:
    torch.manual_seed(0)
    network = build_policy_network(text_spec(), NetworkConfig(encoder="bytes", hidden_size=16))
    log_probs = TorchPolicy(network, text_spec(), "toy").act(inputs(texts(ROWS), 3))  # type: ignore[arg-type]
    assert log_probs[1, 0] == 0.0
    assert np.isneginf(log_probs[1, 1:]).all()
    np.testing.assert_allclose(np.exp(log_probs).sum(1), 1, atol=1e-6)


def test_the_policy_follows_its_network() -> None:
    torch.manual_seed(0)
    network = build_policy_network(image_spec(16), NetworkConfig())
    policy = TorchPolicy(network, image_spec(16), "toy", precision="float32")
    before = policy.act(inputs(images(2, 16), 2))  # type: ignore[arg-type]
    again = policy.act(inputs(images(2, 16), 2))  # type: ignore[arg-type]
    np.testing.assert_array_equal(before, again)
    with torch.no_grad():
        network.head.bias[3] = 5.0  # type: ignore[index, union-attr]
    after = policy.act(inputs(images(2, 16), 2))  # type: ignore[arg-type]
    assert (after.argmax(1) == 3).all()
    assert not torch.is_inference(network.head.bias)  # type: ignore[arg-type]


def test_only_running_rows_are_computed_and_each_as_in_a_part_of_its_own() -> None:
    spec = make_spec("grid/default")
    calls: list[int] = []

    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(3, spec.num_actions)

        def forward(self, observations):  # type: ignore[no-untyped-def]
            image = observations["image"].float()
            calls.append(len(image))
            return self.linear(image.mean(dim=(1, 2)) / 255)

    torch.manual_seed(0)
    policy = TorchPolicy(Counting(), spec, "x", precision="float32")
    frames = np.random.default_rng(0).integers(0, 256, (40, *spec.observation_columns["image"].shape), dtype=np.uint8)

    def ask(rows: np.ndarray, running: np.ndarray | None) -> np.ndarray:
        zeros = np.zeros(len(rows), dtype=np.float32)
        return policy.act(
            PolicyInput({"image": frames[rows]}, zeros > 1, zeros.astype(np.int32), zeros, running=running)
        )

    everything = ask(np.arange(40), None)
    assert calls == [PART_ROWS] * 3
    running = np.zeros(40, dtype=np.bool_)
    running[[3, 17, 39]] = True
    calls.clear()
    few = ask(np.arange(40), running)
    assert calls == [PART_ROWS]
    np.testing.assert_array_equal(few[running], everything[running])
    np.testing.assert_allclose(np.exp(few).sum(axis=1), 1, rtol=1e-5)
    calls.clear()
    assert np.isfinite(ask(np.arange(40), np.zeros(40, dtype=np.bool_))).all()
    np.testing.assert_array_equal(ask(np.arange(PART_ROWS), None), everything[:PART_ROWS])
    assert calls == [PART_ROWS] * 2
    assert policy.max_slots == PART_ROWS
    assert TorchPolicy(Counting(), make_spec("quiz/default"), "x").max_slots is None
