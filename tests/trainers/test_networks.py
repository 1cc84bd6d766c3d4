from __future__ import annotations

import numpy as np
import pytest
import torch

from envs.errors import UsageError
from envs.spec import ColumnSpec, EnvSpec
from envs.text import encode_text, encode_texts
from trainers.config import NetworkConfig
from trainers.networks import ENCODERS, PolicyNetwork, build_policy_network, collate, entropy
from trainers.networks.encoders import ImpalaEncoder, scaled_pixels
from trainers.networks.inputs import RaggedTensor
from trainers.networks.texts import NUM_BUCKETS, split_candidates, trigram_buckets
from trainers.precision import autocast, has_fast_bfloat16, place


def image_spec(side: int = 64, num_actions: int = 15) -> EnvSpec:
    columns = {"image": ColumnSpec("uint8", (side, side, 3))}
    return EnvSpec("toy/image", columns, num_actions, max_episode_steps=10, level_universe=10)


def text_spec() -> EnvSpec:
    columns = {"page": ColumnSpec("uint8", ragged=True), "candidates": ColumnSpec("uint8", ragged=True)}
    return EnvSpec("toy/text", columns, 4, max_episode_steps=10, level_universe=10, candidate_column="candidates")


def fixed_text_spec() -> EnvSpec:
    return EnvSpec("toy/fixed", {"page": ColumnSpec("uint8", ragged=True)}, 4, max_episode_steps=10, level_universe=10)


def images(batch: int, side: int = 64) -> dict[str, np.ndarray]:
    pixels = np.random.default_rng(0).integers(0, 256, (batch, side, side, 3), dtype=np.uint8)
    return {"image": pixels}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_centered_pixels_are_exact_and_leave_the_bytes_alone(dtype: torch.dtype) -> None:
    image = torch.arange(256, dtype=torch.uint8).reshape(1, 16, 16, 1)
    values = scaled_pixels(image, torch.zeros(1, dtype=dtype))
    exact = (torch.arange(256, dtype=torch.float64) - 128) / 64
    assert values.dtype == dtype
    assert torch.equal(values.flatten().double(), exact)
    assert torch.equal(image.flatten(), torch.arange(256, dtype=torch.uint8))


def count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_impala_has_the_parameters_of_the_benchmark() -> None:
    network = build_policy_network(image_spec(), NetworkConfig(encoder="impala", hidden_size=256))
    assert count(network.encoder) == 622_144
    assert count(network) == 625_999


@pytest.mark.parametrize("encoder", ["small", "impala"])
@pytest.mark.parametrize("side", [9, 16, 32, 64])
def test_image_encoders_take_any_side(encoder: str, side: int) -> None:
    network = build_policy_network(image_spec(side, num_actions=5), NetworkConfig(encoder=encoder, hidden_size=32))
    logits = network(collate(images(3, side)))
    assert logits.shape == (3, 5)
    assert logits.dtype == torch.float32


@pytest.mark.parametrize("encoder", ["small", "impala"])
def test_rows_do_not_depend_on_each_other_and_pixels_matter(encoder: str) -> None:
    torch.manual_seed(0)
    network = build_policy_network(image_spec(), NetworkConfig(encoder=encoder))
    batch = images(4)
    whole = network(collate(batch))
    single = network(collate({"image": batch["image"][2:3]}))
    torch.testing.assert_close(whole[2:3], single, rtol=1e-4, atol=1e-6)
    assert not torch.allclose(whole[0], whole[1], rtol=1e-3)


def test_the_small_encoder_keeps_a_place_for_each_maze_cell() -> None:
    network = build_policy_network(image_spec(), NetworkConfig(encoder="small"))
    maps = network.encoder.patches(torch.zeros(1, 3, 64, 64))  # type: ignore[union-attr, operator]
    assert maps.shape[-2:] == (16, 16)  # 15 x 15 cells on 64 pixels


def test_bfloat16_stays_near_float32() -> None:
    torch.manual_seed(0)
    network = place(build_policy_network(image_spec(), NetworkConfig(encoder="impala")), "cpu")
    observations = collate(images(8))
    exact = network.features(observations)
    with autocast("cpu", "bfloat16"):
        rounded = network.features(observations)
        assert network(observations).dtype == torch.float32
    assert rounded.dtype == torch.bfloat16
    assert ((exact - rounded.float()).norm() / exact.norm()).item() < 0.05


def test_auto_precision_follows_the_hardware() -> None:
    with autocast("cpu", "auto"):
        assert torch.is_autocast_enabled("cpu") == has_fast_bfloat16("cpu")
    with autocast("cpu", "float32"):
        assert not torch.is_autocast_enabled("cpu")


def test_unknown_or_unfit_encoders_are_refused() -> None:
    with pytest.raises(UsageError, match="Did you mean 'impala'"):
        build_policy_network(image_spec(), NetworkConfig(encoder="imapla"))
    with pytest.raises(UsageError, match="uint8 image column"):
        build_policy_network(text_spec(), NetworkConfig(encoder="small"))
    with pytest.raises(UsageError, match="text column"):
        build_policy_network(image_spec(), NetworkConfig(encoder="bytes"))
    with pytest.raises(UsageError, match="cannot score"):
        PolicyNetwork(text_spec(), ImpalaEncoder(image_spec(), NetworkConfig(hidden_size=16)), 16)
    with pytest.raises(UsageError, match="fixed action space"):
        build_policy_network(fixed_text_spec(), NetworkConfig(encoder="cross"))
    assert set(ENCODERS) == {"small", "impala", "impala-large", "nature", "bytes", "cross", "hf"}


def test_bytes_reads_texts_of_a_fixed_action_space() -> None:
    network = build_policy_network(fixed_text_spec(), NetworkConfig(encoder="bytes", hidden_size=16))
    assert network(collate({"page": texts(ROWS)["page"]})).shape == (3, 4)


def texts(rows: list[tuple[str, list[str]]]) -> dict[str, tuple[np.ndarray, ...]]:
    return {
        "page": tuple(encode_text(page) for page, _ in rows),
        "candidates": tuple(encode_texts(candidates) for _, candidates in rows),
    }


ROWS = [
    ("the red door", ["red", "blue"]),
    ("", ["go"]),
    ("größer", ["a", "", "größer", "blue"]),
]


def test_collate_keeps_rows_apart() -> None:
    batch = collate(texts(ROWS))
    page = batch["page"]
    assert isinstance(page, RaggedTensor)
    assert page.values.dtype == torch.uint8
    assert [
        bytes(page.values[a:b].tolist()).decode() for a, b in zip(page.offsets, page.offsets[1:], strict=False)
    ] == [page for page, _ in ROWS]


def test_collate_copies_read_only_memory() -> None:
    array = np.zeros((2, 4, 4, 3), dtype=np.uint8)
    array.flags.writeable = False
    tensor = collate({"image": array})["image"]
    assert isinstance(tensor, torch.Tensor)
    tensor += 1
    assert array.sum() == 0


def test_split_candidates_agrees_with_decoding() -> None:
    rows = [*ROWS, ("x", [])]
    candidates = collate(texts(rows))["candidates"]
    assert isinstance(candidates, RaggedTensor)
    split, counts = split_candidates(candidates)
    assert counts.tolist() == [2, 1, 4, 0]
    spans = zip(split.offsets, split.offsets[1:], strict=False)
    decoded = [bytes(split.values[a:b].tolist()).decode().strip("\x1e") for a, b in spans]
    assert decoded == [text for _, options in rows for text in options]


def slow_buckets(rows: list[bytes]) -> list[int]:
    buckets = []
    for row in rows:
        padded = [byte + 1 for byte in row] + [0, 0]
        for a, b, c in zip(padded, padded[1:], padded[2:], strict=False):
            buckets.append((a + b * 31_337 + c * 52_711) % NUM_BUCKETS)
    return buckets


def test_trigrams_end_with_their_text() -> None:
    rows = [b"red", b"", b"b", b"blue door"]
    column = collate({"page": tuple(np.frombuffer(row, dtype=np.uint8) for row in rows)})["page"]
    assert isinstance(column, RaggedTensor)
    assert trigram_buckets(column.values, column.offsets).tolist() == slow_buckets(rows)


@pytest.mark.parametrize("encoder", ["bytes", "cross"])
def test_candidates_are_scored_and_the_rest_is_impossible(encoder: str) -> None:
    torch.manual_seed(0)
    network = build_policy_network(text_spec(), NetworkConfig(encoder=encoder, hidden_size=16))
    logits = network(collate(texts(ROWS)))
    assert logits.shape == (3, 4)
    possible = torch.tensor([[1, 1, 0, 0], [1, 0, 0, 0], [1, 1, 1, 1]], dtype=torch.bool)
    assert torch.equal(torch.isfinite(logits), possible)
    alone = network(collate(texts(ROWS[:1])))
    torch.testing.assert_close(alone, logits[:1, :2])


def test_entropy_ignores_impossible_actions() -> None:
    logits = torch.tensor([[0.0, 0.0, -torch.inf], [0.0, -torch.inf, -torch.inf]], requires_grad=True)
    values = entropy(logits)
    torch.testing.assert_close(values, torch.tensor([np.log(2.0), 0.0], dtype=torch.float32))
    values.sum().backward()
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


def test_the_bytes_network_learns_to_match_words() -> None:
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    words = ["red", "blue", "green", "yellow", "black"]
    network = build_policy_network(text_spec(), NetworkConfig(encoder="bytes", hidden_size=32))
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)

    def batch(size: int) -> tuple[dict[str, tuple[np.ndarray, ...]], torch.Tensor]:
        rows, labels = [], []
        for _ in range(size):
            options = list(rng.permutation(words))[: rng.integers(2, 5)]
            label = int(rng.integers(len(options)))
            rows.append((f"please take the {options[label]} one", options))
            labels.append(label)
        return texts(rows), torch.tensor(labels)

    for _ in range(80):
        observations, labels = batch(64)
        loss = torch.nn.functional.cross_entropy(network(collate(observations)), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    observations, labels = batch(200)
    assert float((network(collate(observations)).argmax(1) == labels).float().mean()) > 0.95
