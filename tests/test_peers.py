"""The peers' benchmark compares the same network on the same frames."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.data_batches import ENV, write_frames
from benchmarks.peers import compare
from benchmarks.peers_networks import plain_encoder
from benchmarks.peers_worker import EpisodeList, Task, arrays
from data.dataset import Dataset
from trainers.config import NetworkConfig
from trainers.networks import build_encoder, collate


@pytest.mark.parametrize("name", ["small", "impala"])
def test_other_libraries_are_given_the_same_network(name: str) -> None:
    ours = build_encoder(ENV, NetworkConfig(encoder=name, pixels="raw"))
    plain = plain_encoder(name)
    given = [parameter.data for parameter in ours.parameters()]
    assert [p.shape for p in plain.parameters()] == [values.shape for values in given]
    for parameter, values in zip(plain.parameters(), given, strict=True):
        parameter.data.copy_(values)
    image = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)
    pixels = torch.from_numpy(image).permute(0, 3, 1, 2).float()
    torch.testing.assert_close(plain(pixels), ours(collate({"image": image})), rtol=1e-4, atol=1e-3)


def test_the_plain_loader_reads_the_frames_that_ours_does(tmp_path: Path) -> None:
    write_frames(tmp_path / "data", 600)
    columns = arrays(Task(tmp_path / "data", "small", 4, 1))
    items, dataset = EpisodeList(columns), Dataset.open(tmp_path / "data")
    assert len(items) == len(dataset) == 600
    for index in (0, 299, 300, 599):
        image, following, action, _, terminated = items[index]
        batch = dataset.batch([index], successors=True)
        assert batch.next_observations is not None
        assert torch.equal(image.permute(1, 2, 0), torch.from_numpy(np.array(batch.observations["image"][0])))
        assert torch.equal(following.permute(1, 2, 0), torch.from_numpy(np.array(batch.next_observations["image"][0])))
        assert (action, terminated) == (batch.actions[0], index % 300 == 299)


def test_ratios_pair_the_turns() -> None:
    seconds = {"ours-bc": [1.0, 2.0, 1.0], "plain-bc": [3.0, 6.0, 5.0], "torchrl-cql": [1.0, 1.0, 1.0]}
    assert compare(seconds) == {"ours-bc/plain-bc": 3.0}
