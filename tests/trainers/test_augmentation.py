"""Random changes of images: what they do, and that neither ranks nor the order of steps matter."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from envs.errors import UsageError
from envs.registry import make_spec
from tests.trainers.algorithms_helpers import GRID, SMALL, algorithm_config
from tests.trainers.helpers import grid_experiment
from trainers.algorithms import ALGORITHMS, build_algorithm
from trainers.algorithms.base import divergence
from trainers.augmentation import augment, cut_out, draw, recolored, shifted
from trainers.config import AugmentationConfig, ExperimentConfig
from trainers.distributed import WorkerContext
from trainers.feed import Feed, build_for_data
from trainers.training_data import open_training_data

ALL = AugmentationConfig(shift=3, color=0.3, cutout=4)


def images(count: int = 5, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, (count, 9, 11, 3)).astype(np.uint8))


def test_a_shift_moves_the_image_and_repeats_its_border() -> None:
    image = images()
    by = torch.tensor([[0, 0], [2, 0], [-1, 3], [0, -11], [9, 9]])
    found = shifted(image, by)
    for b, (down, right) in enumerate(by.tolist()):
        for row in range(9):
            for column in range(11):
                source = image[b, min(max(row - down, 0), 8), min(max(column - right, 0), 10)]
                assert torch.equal(found[b, row, column], source)


def test_colors_are_scaled_and_moved_and_stay_bytes() -> None:
    image = images()
    by = torch.from_numpy(np.random.default_rng(1).uniform(-0.3, 0.3, (5, 2, 3)).astype(np.float32))
    expected = np.clip(
        np.round(image.numpy() * (1 + by[:, 0, None, None].numpy()) + 255 * by[:, 1, None, None].numpy()), 0, 255
    )
    assert np.abs(recolored(image, by).numpy().astype(int) - expected).max() <= 1
    assert torch.equal(recolored(image, torch.zeros(5, 2, 3)), image)


def test_a_square_is_painted_and_nothing_else() -> None:
    image = images(2)
    found = cut_out(image, torch.tensor([[0, 2], [5, 7]]), 4, torch.tensor([[1, 2, 3], [9, 8, 7]], dtype=torch.uint8))
    assert (found[0, 0:4, 2:6] == torch.tensor([1, 2, 3])).all()
    assert (found[1, 5:9, 7:11] == torch.tensor([9, 8, 7])).all()
    found[0, 0:4, 2:6] = image[0, 0:4, 2:6]
    found[1, 5:9, 7:11] = image[1, 5:9, 7:11]
    assert torch.equal(found, image)


def test_every_amount_comes_up_and_none_beyond() -> None:
    draws = draw(0, 1, "observations", 4000, slice(0, 4000), 1)
    image = torch.zeros(4000, 7, 7, 3, dtype=torch.uint8)
    image[:, 3, 3] = 255
    moved = augment({"image": image}, ["image"], draws, AugmentationConfig(shift=3))["image"]
    rows, columns = moved[..., 0].flatten(1).argmax(1) // 7, moved[..., 0].flatten(1).argmax(1) % 7
    counts = torch.bincount(rows * 7 + columns, minlength=49)
    assert (counts > 40).all(), "about 82 of each of 49 shifts"
    squares = augment({"image": image * 0}, ["image"], draws, AugmentationConfig(cutout=6))["image"]
    corners = (squares.sum(3) > 0).flatten(1).float().argmax(1)
    assert set(corners.tolist()) == {0, 1, 7, 8}


def experiment(dataset: Path, augmentation: AugmentationConfig, name: str = "cql") -> ExperimentConfig:
    config = grid_experiment(dataset, batch_size=8)
    return dataclasses.replace(config, augmentation=augmentation, algorithm=algorithm_config(name), network=SMALL)


def feed(config: ExperimentConfig, rank: int = 0, world_size: int = 1) -> Feed:
    data = open_training_data(config)
    context = WorkerContext(rank=rank, world_size=world_size)
    return Feed(data, build_for_data(config, data.spec, data.view), config, context)


@pytest.mark.parametrize("name", ["cql", "dt"])
def test_ranks_draw_their_part_of_what_one_would(grid_data: Path, name: str) -> None:
    config = experiment(grid_data, ALL, name)
    whole, parts = feed(config).batch(7), [feed(config, rank, 2).batch(7) for rank in (0, 1)]
    plain = feed(experiment(grid_data, AugmentationConfig(), name)).batch(7)
    joined = torch.cat([part.observations["image"] for part in parts])
    assert torch.equal(joined, whole.observations["image"])
    assert not torch.equal(whole.observations["image"], plain.observations["image"])
    assert whole.observations["image"].dtype == torch.uint8
    assert not torch.equal(feed(config).batch(8).observations["image"], whole.observations["image"])
    if name == "cql":
        assert not torch.equal(whole.next_observations["image"], plain.next_observations["image"])


def test_frames_of_a_window_are_changed_alike(grid_data: Path) -> None:
    changed, plain = (
        feed(experiment(grid_data, augmentation, "dt")).batch(1).observations["image"].unflatten(0, (8, -1)).int()
        for augmentation in (AugmentationConfig(cutout=6), AugmentationConfig())
    )
    painted = ((changed - plain).abs().sum(-1) > 0).any(dim=1)  # [items, H, W] over all frames of a window
    assert (painted.flatten(1).sum(1) <= 36).all(), "one square, at the same place in each frame"


@pytest.mark.parametrize("name", sorted(set(ALGORITHMS) - {"bct", "dt"}))
def test_consistency_is_the_divergence_from_the_plain_observation(grid_data: Path, name: str) -> None:
    config = experiment(grid_data, dataclasses.replace(ALL, consistency=0.5), name)
    data = open_training_data(config)
    algorithm = build_for_data(config, data.spec, data.view)
    with torch.no_grad():  # far from the near-uniform start
        for parameter in algorithm.parameters():
            parameter.mul_(1.5)
    batch = feed(config).batch(1)
    plain = algorithm(dataclasses.replace(batch, changed=None))
    losses = algorithm(batch)
    assert losses["total"].item() == pytest.approx(plain["total"].item() + 0.5 * losses["consistency"].item(), rel=1e-5)
    policy = algorithm.policy()
    p, q = (torch.log_softmax(policy(o).detach().double(), 1) for o in (batch.observations, batch.changed))
    expected = (p.exp() * (p - q)).sum(1).mean()
    before, after = algorithm.judged(batch.observations), algorithm.judged(batch.changed)
    expected += sum(((before[v] - after[v]).double() ** 2).mean() / 2 for v in before)
    assert losses["consistency"].item() == pytest.approx(expected.item(), rel=1e-2)
    assert losses["consistency"].item() > 0
    same = algorithm(dataclasses.replace(batch, changed=batch.observations))
    assert same["consistency"].item() == pytest.approx(0, abs=1e-6)


def test_impossible_actions_add_nothing_to_a_divergence() -> None:
    p = torch.log_softmax(torch.tensor([[0.0, 1.0, -torch.inf]]), 1)
    q = torch.log_softmax(torch.tensor([[1.0, 0.0, -torch.inf]]), 1)
    assert torch.isfinite(divergence(p, q)).all()


def test_what_cannot_be_changed_is_refused(grid_data: Path) -> None:
    with pytest.raises(UsageError, match="needs a change to compare with"):
        AugmentationConfig(consistency=1.0)
    with pytest.raises(UsageError, match="below 1"):
        AugmentationConfig(color=1.0)
    with pytest.raises(UsageError, match="reads windows"):
        feed(experiment(grid_data, dataclasses.replace(ALL, consistency=1.0), "dt"))
    config = experiment(grid_data, ALL)
    data = dataclasses.replace(open_training_data(config), spec=make_spec("quiz/default"))
    with pytest.raises(UsageError, match="has none"):
        Feed(data, build_algorithm(GRID, config.algorithm, SMALL, 0), config, WorkerContext())


def test_members_of_an_ensemble_are_held_to_consistency_too(grid_data: Path) -> None:
    config = experiment(grid_data, dataclasses.replace(ALL, consistency=0.5), "bc")
    config = dataclasses.replace(config, algorithm=algorithm_config("bc", members=2))
    data = open_training_data(config)
    algorithm = build_for_data(config, data.spec, data.view)
    batch = feed(config).batch(1)
    alone = [member(batch)["total"].item() for member in algorithm.members]
    assert algorithm(batch)["total"].item() == pytest.approx(sum(alone), rel=1e-6)
    assert algorithm(batch)["consistency"].item() > 0
