from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from actors.policy import PolicyInput
from envs.registry import make_spec
from tests.trainers.test_networks import ROWS, image_spec, images, text_spec, texts
from trainers.config import NetworkConfig
from trainers.networks import build_policy_network, collate
from trainers.networks.encoders import HalvingMaxPool
from trainers.part_sizes import PART_ROWS, PartSizes, exact_sizes
from trainers.torch_policy import TorchPolicy


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


class Linear(nn.Module):
    """One layer, behind which a subclass may compute more."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, make_spec("grid/default").num_actions)
        self.calls: list[int] = []

    def forward(self, observations: Any) -> torch.Tensor:
        image = observations["image"].float()
        self.calls.append(len(image))
        outputs: torch.Tensor = self.linear(image.mean(dim=(1, 2)) / 255)
        return outputs


class Product(Linear):
    """Sums over products beside its layers."""

    def forward(self, observations: Any) -> torch.Tensor:
        logits = super().forward(observations)
        return logits @ torch.eye(logits.shape[1])


class Scaled(Linear):
    """Has a parameter that is no layer's."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, observations: Any) -> torch.Tensor:
        return super().forward(observations) * self.scale


def grid_inputs(rows: np.ndarray, running: np.ndarray | None = None) -> PolicyInput:
    spec = make_spec("grid/default")
    frames = np.random.default_rng(0).integers(0, 256, (40, *spec.observation_columns["image"].shape), dtype=np.uint8)
    zeros = np.zeros(len(rows), dtype=np.float32)
    return PolicyInput({"image": frames[rows]}, zeros > 1, zeros.astype(np.int32), zeros, running=running)


@pytest.mark.parametrize("kind", [Product, Scaled])
def test_only_running_rows_are_computed_and_each_as_in_a_part_of_its_own(kind: type[Linear]) -> None:
    torch.manual_seed(0)
    network = kind()
    policy = TorchPolicy(network, make_spec("grid/default"), "x", precision="float32")
    everything = policy.act(grid_inputs(np.arange(40)))
    assert network.calls[:2] == [PART_ROWS] * 2
    assert network.calls[-1] == PART_ROWS  # what it computes is not known well enough for less
    running = np.zeros(40, dtype=np.bool_)
    running[[3, 17, 39]] = True
    few = policy.act(grid_inputs(np.arange(40), running))
    network.calls.clear()
    assert (policy.act(grid_inputs(np.arange(40), running)) == few).all()
    assert network.calls == [PART_ROWS]
    np.testing.assert_array_equal(few[running], everything[running])
    np.testing.assert_allclose(np.exp(few).sum(axis=1), 1, rtol=1e-5)
    assert np.isfinite(policy.act(grid_inputs(np.arange(40), np.zeros(40, dtype=np.bool_)))).all()
    np.testing.assert_array_equal(policy.act(grid_inputs(np.arange(PART_ROWS))), everything[:PART_ROWS])
    assert policy.max_slots == PART_ROWS
    assert TorchPolicy(Linear(), make_spec("quiz/default"), "x").max_slots is None


def test_a_library_that_sums_otherwise_for_few_rows_gets_full_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = F.linear

    def moody(rows: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
        if len(rows) >= 8:
            return plain(rows, weight, bias)
        return plain(rows.flip(1), weight.flip(1), bias)

    torch.manual_seed(0)
    policy = TorchPolicy(Linear(), make_spec("grid/default"), "x", precision="float32")
    exact_sizes.cache_clear()
    monkeypatch.setattr(F, "linear", moody)
    frames = {"image": np.zeros((PART_ROWS, 11, 11, 3), dtype=np.uint8)}

    def forward(size: int) -> None:
        policy.network(collate({name: rows[:size] for name, rows in frames.items()}))

    sizes = [PartSizes(policy.network).smallest(rows, forward) for rows in (1, 7, 8)]
    exact_sizes.cache_clear()
    assert sizes == [8, 8, 8]


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("encoder", ["impala", "small", "nature"])
def test_a_frame_gets_the_same_answer_among_any_number_of_others(encoder: str, precision: Any) -> None:
    spec = make_spec("procgen/maze")
    torch.manual_seed(0)
    network = build_policy_network(spec, NetworkConfig(encoder=encoder)).eval()
    nn.init.normal_(network.head.weight)  # type: ignore[arg-type]
    policy = TorchPolicy(network, spec, "x", precision=precision)
    frames = np.random.default_rng(1).integers(0, 256, (PART_ROWS, 64, 64, 3), dtype=np.uint8)
    frames[:, :32] //= 16

    def ask(rows: list[int]) -> np.ndarray:
        zeros = np.zeros(len(rows), dtype=np.float32)
        return policy.act(PolicyInput({"image": frames[rows]}, zeros > 1, zeros.astype(np.int32), zeros))

    everything = ask(list(range(PART_ROWS)))
    for count in (1, 2, 3, 5, 8, 13, 15):
        rows = np.random.default_rng(count).permutation(PART_ROWS)[:count].tolist()
        np.testing.assert_array_equal(ask(rows), everything[rows])
    assert len(np.unique(everything)) > PART_ROWS


def test_frozen_weights_act_alike() -> None:
    spec = make_spec("procgen/maze")
    frames = {"image": np.random.default_rng(1).integers(0, 256, (5, 64, 64, 3), dtype=np.uint8)}
    answers = []
    for freeze in (False, True):
        torch.manual_seed(0)
        policy = TorchPolicy(
            build_policy_network(spec, NetworkConfig(encoder="impala")).eval(), spec, "x", precision="bfloat16"
        )
        if freeze:
            policy.freeze()
            assert next(policy.network.parameters()).dtype == torch.bfloat16
        answers.append(policy.act(inputs(frames, 5)))
    np.testing.assert_array_equal(*answers)


def test_a_frozen_network_computes_what_it_sees_once() -> None:
    torch.manual_seed(0)
    network = Linear()
    policy = TorchPolicy(network, make_spec("grid/default"), "x", precision="float32")
    expected = policy.act(grid_inputs(np.arange(40)))
    policy.freeze()
    np.testing.assert_array_equal(policy.act(grid_inputs(np.arange(40))), expected)
    network.calls.clear()
    order = np.array([7, 39, 7, 0])
    np.testing.assert_array_equal(policy.act(grid_inputs(order)), expected[order])
    assert network.calls == []


def test_a_learning_network_remembers_only_while_it_is_judged() -> None:
    torch.manual_seed(0)
    network = Linear()
    policy = TorchPolicy(network, make_spec("grid/default"), "x", precision="float32")
    with policy.remembering():
        before = policy.act(grid_inputs(np.arange(16)))
        network.calls.clear()
        np.testing.assert_array_equal(policy.act(grid_inputs(np.arange(16))), before)
        assert network.calls == []
    with torch.no_grad():
        network.linear.weight.mul_(2)
    with policy.remembering():
        after = policy.act(grid_inputs(np.arange(16)))
    assert network.calls
    assert not np.array_equal(before, after)
    np.testing.assert_array_equal(policy.act(grid_inputs(np.arange(16))), after)


def test_maxima_by_rows_and_columns_are_those_of_the_pool() -> None:
    for size in (2, 8, 7):
        maps = torch.randn(3, 5, size, size).to(memory_format=torch.channels_last)
        expected = F.max_pool2d(maps, 3, stride=2, padding=1)
        with torch.inference_mode():
            assert torch.equal(HalvingMaxPool()(maps), expected)
        maps.requires_grad_()
        (found,) = torch.autograd.grad(HalvingMaxPool()(maps).sum(), maps)
        (wanted,) = torch.autograd.grad(F.max_pool2d(maps, 3, stride=2, padding=1).sum(), maps)
        assert torch.equal(found, wanted)
