from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from envs.errors import UsageError
from trainers.ppo import Moments, PPOConfig, RewardScale, advantages, ppo_losses, running_returns

T, B = 13, 5


def slow_advantages(
    rewards: np.ndarray,
    values: np.ndarray,
    last: np.ndarray,
    terminated: np.ndarray,
    truncated: np.ndarray,
    bootstrap: np.ndarray,
    discount: float,
    trace_decay: float,
) -> np.ndarray:
    """The definition: a sum over all later steps of the same episode."""
    steps, batch = rewards.shape
    result = np.zeros((steps, batch))
    for b in range(batch):
        for start in range(steps):
            weight = 1.0
            for t in range(start, steps):
                following = values[t + 1, b] if t + 1 < steps else last[b]
                if truncated[t, b]:
                    following = bootstrap[t, b]
                if terminated[t, b]:
                    following = 0.0
                result[start, b] += weight * (rewards[t, b] + discount * following - values[t, b])
                if terminated[t, b] or truncated[t, b]:
                    break
                weight *= discount * trace_decay
    return result


def random_fragment(seed: int) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(seed)
    floats = [rng.normal(size=shape).astype(np.float32) for shape in ((T, B), (T, B), (B,), (T, B))]
    terminated = rng.random((T, B)) < 0.15
    truncated = (rng.random((T, B)) < 0.15) & ~terminated
    rewards, values, last, bootstrap = floats
    return rewards, values, last, terminated, truncated, bootstrap


@pytest.mark.parametrize(("discount", "trace_decay"), [(0.999, 0.95), (0.9, 0.0), (1.0, 1.0)])
def test_advantages_equal_their_definition(discount: float, trace_decay: float) -> None:
    for seed in range(5):
        fragment = random_fragment(seed)
        fast = advantages(*fragment, discount=discount, trace_decay=trace_decay)
        slow = slow_advantages(*fragment, discount, trace_decay)
        np.testing.assert_allclose(fast, slow, rtol=1e-4, atol=1e-4)
        assert fast.dtype == np.float32


def test_truncation_bootstraps_and_termination_does_not() -> None:
    one, zero = np.ones((1, 1), dtype=np.float32), np.zeros((1, 1), dtype=np.float32)
    last, yes, no = np.full(1, 100, dtype=np.float32), np.ones((1, 1), dtype=bool), np.zeros((1, 1), dtype=bool)
    bootstrap = np.full((1, 1), 7, dtype=np.float32)
    settings = {"discount": 0.5, "trace_decay": 0.9}
    assert advantages(one, zero, last, yes, no, bootstrap, **settings).item() == 1.0
    assert advantages(one, zero, last, no, yes, bootstrap, **settings).item() == 4.5
    assert advantages(one, zero, last, no, no, bootstrap, **settings).item() == 51.0


def test_running_returns_go_on_over_fragments_and_restart_with_episodes() -> None:
    rng = np.random.default_rng(0)
    rewards, ended = rng.normal(size=(T, B)).astype(np.float32), rng.random((T, B)) < 0.2
    whole, carried = running_returns(rewards, ended, np.zeros(B), 0.9)
    expected = np.zeros((T, B))
    for b in range(B):
        total = 0.0
        for t in range(T):
            total = 0.9 * total + rewards[t, b]
            expected[t, b] = total
            total = 0.0 if ended[t, b] else total
        assert carried[b] == pytest.approx(total)
    np.testing.assert_allclose(whole, expected)
    first, between = running_returns(rewards[:6], ended[:6], np.zeros(B), 0.9)
    second, _ = running_returns(rewards[6:], ended[6:], between, 0.9)
    np.testing.assert_array_equal(np.concatenate([first, second]), whole)


def test_moments_merge_to_the_moments_of_everything() -> None:
    values = np.random.default_rng(0).normal(3, 2, size=1000)
    moments = Moments()
    assert moments.deviation == 1.0
    for chunk in np.split(values, [10, 11, 400]):
        moments.add(chunk)
    assert moments.mean == pytest.approx(values.mean())
    assert moments.deviation == pytest.approx(values.std())


def test_a_new_incarnation_starts_its_running_returns_from_zero() -> None:
    rewards, never = np.ones((4, 2), dtype=np.float32), np.zeros((4, 2), dtype=bool)
    continued, restarted = RewardScale(1.0), RewardScale(1.0)
    for scale in (continued, restarted):
        scale.scale(rewards, never, (0, 0))
    continued.scale(rewards, never, (0, 0))
    restarted.scale(rewards, never, (0, 1))
    assert continued.moments.mean == pytest.approx(4.5)  # 1 .. 8
    assert restarted.moments.mean == pytest.approx(2.5)  # 1 .. 4 twice


def test_scaled_rewards_have_returns_of_unit_deviation() -> None:
    rng = np.random.default_rng(0)
    scale = RewardScale(0.9)
    never = np.zeros((200, 8), dtype=bool)
    for _ in range(20):
        scaled = scale.scale(rng.normal(size=(200, 8)).astype(np.float32) * 50, never, (0, 0))
    assert running_returns(scaled, never, np.zeros(8), 0.9)[0].std() == pytest.approx(1.0, abs=0.1)
    assert scaled.dtype == np.float32


def losses(config: PPOConfig, logits: torch.Tensor, old: torch.Tensor, advantage: float) -> dict[str, torch.Tensor]:
    zeros = torch.zeros(1)
    return ppo_losses(
        logits[None], zeros, torch.tensor([0]), old, zeros, torch.tensor([advantage]), torch.ones(1), config
    )


@pytest.mark.parametrize(("old_probability", "advantage", "learns"), [
    (0.5, 1.0, True),
    (0.5, -1.0, True),
    (0.3, 1.0, False),  # already more likely than the clip rewards
    (0.3, -1.0, True),
    (0.8, -1.0, False),  # already less likely than the clip rewards
    (0.8, 1.0, True),
])  # fmt: skip
def test_the_clip_stops_only_steps_in_the_rewarded_direction(
    old_probability: float, advantage: float, learns: bool
) -> None:
    logits = torch.zeros(2, requires_grad=True)
    losses(PPOConfig(), logits, torch.tensor([np.log(old_probability)]), advantage)["policy"].backward()
    assert logits.grad is not None
    assert bool(logits.grad.abs().max() > 1e-6) == learns


def test_the_total_weighs_its_terms() -> None:
    config = PPOConfig(value_weight=0.25, entropy_weight=0.1)
    result = losses(config, torch.zeros(2), torch.tensor([np.log(0.5)]), 2.0)
    assert result["policy"].item() == pytest.approx(-2.0)
    assert result["value"].item() == pytest.approx(0.5)
    assert result["entropy"].item() == pytest.approx(np.log(2))
    assert result["total"].item() == pytest.approx(-2.0 + 0.25 * 0.5 - 0.1 * np.log(2))
    assert result["kl"].item() == pytest.approx(0.0, abs=1e-6)


def test_values_are_clipped_like_probabilities() -> None:
    arguments = [torch.zeros(1, 2), torch.tensor([0.9]), torch.tensor([0]), torch.tensor([np.log(0.5)])]
    result = ppo_losses(*arguments, torch.zeros(1), torch.zeros(1), torch.ones(1), PPOConfig(clip=0.2))
    assert result["value"].item() == pytest.approx(0.5 * 0.8**2)  # the pessimistic of 0.1 and 0.8 away from 1


def test_impossible_settings_are_refused() -> None:
    with pytest.raises(UsageError, match=r"ppo\.epochs"):
        dataclasses.replace(PPOConfig(), epochs=0)
    with pytest.raises(UsageError, match="between 0 and 1"):
        dataclasses.replace(PPOConfig(), discount=1.5)
