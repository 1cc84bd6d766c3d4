"""Both tracks of every algorithm: complete, buildable, of the published sizes, and with rates that only fall."""

from __future__ import annotations

import dataclasses
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from envs.errors import UsageError
from envs.registry import make_spec
from envs.spec import ColumnSpec, EnvSpec
from tests.trainers.helpers import grid_experiment
from trainers.algorithms import ALGORITHMS, build_algorithm
from trainers.config import ExperimentConfig, NetworkConfig
from trainers.feed import build_for_data
from trainers.launch import run_inline
from trainers.networks import build_policy_network
from trainers.optim import learning_rate_at
from trainers.recipes import RECIPES, build_experiment
from trainers.tracks import IMAGE_ALGORITHMS, TEXT_ALGORITHMS
from trainers.training_data import open_training_data

PROCGEN = EnvSpec("procgen/coinrun", {"image": ColumnSpec("uint8", (64, 64, 3))}, 15, 1000, 2**31 - 1)


def spec_of(config: ExperimentConfig) -> EnvSpec:
    return PROCGEN if config.env.startswith("procgen") else make_spec(config.env)


def test_every_algorithm_has_both_tracks_on_its_worlds() -> None:
    assert set(ALGORITHMS) | {"percent-bc"} == set(IMAGE_ALGORITHMS)
    for world in ("grid", "procgen"):
        for name in IMAGE_ALGORITHMS:
            assert {f"{world}-{name}", f"{world}-{name}-paper"} <= RECIPES.keys()
    assert {f"shop-{name}" for name in TEXT_ALGORITHMS} <= RECIPES.keys()
    assert {"shop-bc-paper", "shop-bcq-paper", "shop-cql-paper"} <= RECIPES.keys()


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_every_recipe_is_read_to_its_last_option(name: str) -> None:
    config = build_experiment(name)
    assert config.name == name
    if config.network.encoder == "hf":  # its weights are downloaded
        config = dataclasses.replace(config, network=NetworkConfig(encoder="bytes", hidden_size=16))
    algorithm = build_algorithm(spec_of(config), config.algorithm, config.network, seed=0)
    more = dataclasses.replace(config.algorithm, options={**config.algorithm.options, "unread": 1})
    with pytest.raises(UsageError, match="unread"):
        build_algorithm(spec_of(config), more, config.network, seed=0)
    assert sum(parameter.numel() for parameter in algorithm.parameters()) > 0


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_learning_rates_rise_only_in_the_warm_up(name: str) -> None:
    train = build_experiment(name).train
    steps = range(train.warmup_steps + 1, train.learner_steps + 1, max(1, train.learner_steps // 500))
    rates = [learning_rate_at(train, step) for step in steps]
    assert all(later <= earlier for earlier, later in pairwise(rates))
    assert all(learning_rate_at(train, s) < learning_rate_at(train, s + 1) for s in range(1, train.warmup_steps))


@pytest.mark.parametrize(
    ("name", "trainable", "held"),
    [
        ("procgen-bc-paper", 625_999, 625_999),
        ("procgen-bcq-paper", 1_154_398, 2 * 1_154_398),
        ("procgen-cql-paper", 625_999, 2 * 625_999),
        ("procgen-iql-paper", 3 * 625_999 + 622_144 + 257, None),
    ],
)
def test_networks_have_the_published_sizes(name: str, trainable: int, held: int | None) -> None:
    config = build_experiment(name)
    algorithm = build_algorithm(PROCGEN, config.algorithm, config.network, seed=0)
    counts = [parameter.numel() for parameter in algorithm.parameters()]
    assert sum(p.numel() for p in algorithm.parameters() if p.requires_grad) == trainable
    assert held is None or sum(counts) == held


@pytest.mark.parametrize("name", ["procgen-dt-paper", "procgen-bct-paper"])
def test_transformers_have_about_the_published_size(name: str) -> None:
    config = build_experiment(name)
    algorithm = build_algorithm(PROCGEN, config.algorithm, config.network, seed=0)
    assert sum(parameter.numel() for parameter in algorithm.parameters()) == pytest.approx(1.54e6, rel=0.01)


def test_the_largest_network_has_the_published_size() -> None:
    network = build_policy_network(PROCGEN, NetworkConfig(encoder="impala-large"))
    assert sum(parameter.numel() for parameter in network.parameters()) == pytest.approx(33.5e6, rel=0.01)
    assert network({"image": torch.zeros(1, 64, 64, 3, dtype=torch.uint8)}).shape == (1, 15)


def test_published_image_settings_are_the_published_ones() -> None:
    lengths = {"bc": 390_700, "bcq": 977_000, "bct": 97_700, "cql": 3_907_000, "dt": 97_700, "iql": 195_400}
    for name, steps in lengths.items():
        config = build_experiment(f"procgen-{name}-paper")
        assert config.train.learner_steps == steps
        assert config.train.learning_rate == 5e-4
        assert config.train.batch_size == (256 if name in ("bc", "cql") else 512)
        assert config.network.pixels == ("unit" if name in ("bct", "dt") else "raw")
        assert config.algorithm.options.get("target_update", "copy") == "copy"
        assert config.evaluation.protocol == "paper"
    assert build_experiment("procgen-percent-bc-paper").data.best_fraction == 0.1


@pytest.mark.parametrize("name", [name for name in sorted(RECIPES) if name.startswith("grid-")])
def test_grid_recipes_learn_something(name: str, grid_data: Path, tmp_path: Path) -> None:
    config = build_experiment(name)
    few = grid_experiment(grid_data)
    train = dataclasses.replace(config.train, learner_steps=6, batch_size=16, evaluate_every=0, log_every=3)
    config = dataclasses.replace(
        config, data=dataclasses.replace(config.data, datasets=few.data.datasets), train=train, tracking=few.tracking
    )
    data = open_training_data(config)
    algorithm = build_for_data(config, data.spec, data.view)
    before = {label: tensor.clone() for label, tensor in algorithm.named_parameters()}
    result = run_inline(config, tmp_path, evaluate=lambda policy, step: {})
    from tests.trainers.helpers import final_parameters

    after = final_parameters(result.last)
    assert any(not torch.equal(before[label], after[label]) for label in before)


def test_maps_may_be_averaged_before_the_linear_layer() -> None:
    flat, pooled = (
        build_policy_network(PROCGEN, NetworkConfig(encoder="impala", pooling=pooling))
        for pooling in ("flatten", "average")
    )
    assert sum(p.numel() for p in flat.parameters()) - sum(p.numel() for p in pooled.parameters()) == 256 * (2048 - 32)
    image = torch.randint(0, 256, (1, 64, 64, 3), dtype=torch.uint8)
    encoder = pooled.encoder
    maps = encoder.maps((image.permute(0, 3, 1, 2).float() - 128) / 64)
    expected = torch.relu(encoder.linear(maps.mean((2, 3))))
    torch.testing.assert_close(encoder({"image": image}), expected)


@pytest.mark.parametrize(("pixels", "low", "high"), [("raw", 0, 255), ("unit", 0, 1), ("centered", -2, 127 / 64)])
def test_pixels_are_read_as_configured(pixels: str, low: float, high: float) -> None:
    from trainers.networks.encoders import scaled_pixels

    image = torch.tensor([0, 255], dtype=torch.uint8).reshape(1, 1, 2, 1)
    found = scaled_pixels(image, torch.zeros(1), pixels).flatten().tolist()
    assert found == pytest.approx([low, high])


@pytest.mark.parametrize("name", ["bc", "bcq", "cql", "dt", "iql"])
def test_a_step_can_be_timed_without_data(name: str) -> None:
    from tests.trainers.algorithms_helpers import GRID, SMALL, algorithm_config
    from trainers.batches import made_up_batch

    options = {"distillation": 1.0} if name == "bc" else {}
    algorithm = build_algorithm(GRID, algorithm_config(name, **options), SMALL, seed=0)
    losses = algorithm(made_up_batch(GRID, 4, window=algorithm.window))
    assert torch.isfinite(losses["total"])
