from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from envs.errors import UsageError
from tests.trainers.helpers import random_batch
from tests.trainers.match_task import text_spec
from tests.trainers.test_networks import ROWS, image_spec, texts
from tests.trainers.tiny_bert import MAX_TOKENS, tiny_bert
from trainers.algorithms import build_algorithm
from trainers.config import AlgorithmConfig, NetworkConfig
from trainers.networks import RaggedTensor, build_policy_network, collate
from trainers.networks.hf import MARKS, decoded


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tiny_bert(tmp_path_factory.mktemp("model"))


def config(model: str) -> NetworkConfig:
    return NetworkConfig(encoder="hf", hidden_size=16, pretrained=model)


def test_rows_and_candidates_are_scored_alone(model: str) -> None:
    torch.manual_seed(0)
    network = build_policy_network(text_spec(), config(model)).eval()
    whole = network(collate(texts(ROWS)))
    assert torch.isfinite(whole).tolist() == [[True, True, False, False], [True, False, False, False], [True] * 4]
    for number, (_, candidates) in enumerate(ROWS):
        alone = network(collate(texts(ROWS[number : number + 1])))
        torch.testing.assert_close(alone, whole[number : number + 1, : len(candidates)], rtol=0, atol=1e-5)
    page, candidates = ROWS[2]
    turned = network(collate(texts([(page, candidates[::-1])])))
    torch.testing.assert_close(turned, whole[2:].flip(1), rtol=0, atol=1e-5)


def test_marks_are_one_token_and_long_texts_lose_their_beginning(model: str) -> None:
    network = build_policy_network(text_spec(), config(model)).eval()
    tokenizer = network.encoder.tokenizer  # type: ignore[union-attr]
    assert tokenizer.tokenize(" ".join(MARKS)) == list(MARKS)
    with torch.no_grad():
        rows = [(start + "z" * MAX_TOKENS, ["a"]) for start in ("a", "b c d")]
        first, second = network(collate(texts(rows)))
        quoted, plain = network(collate(texts([('it\'s a "lamp"', ["a"]), ("its a lamp", ["a"])])))
    assert first == second
    assert quoted == plain


def test_behavioral_cloning_trains_every_parameter(model: str) -> None:
    spec, algorithm = text_spec(), AlgorithmConfig(name="bc")
    bc, again, other = (build_algorithm(spec, algorithm, config(model), seed=seed) for seed in (0, 0, 1))
    assert all(torch.equal(a, b) for a, b in zip(bc.parameters(), again.parameters(), strict=True))
    assert any(not torch.equal(a, b) for a, b in zip(bc.parameters(), other.parameters(), strict=True))
    bc(random_batch(spec, 6))["total"].backward()
    for name, parameter in bc.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name


def test_an_unknown_model_is_a_usage_error(model: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"network\.pretrained"):
        build_policy_network(text_spec(), config(str(tmp_path / "nothing")))


def test_without_transformers_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(UsageError, match=r"pip install 'gengap\[hf\]'"):
        build_policy_network(text_spec(), NetworkConfig(encoder="hf"))
    with pytest.raises(UsageError, match="text column"):
        build_policy_network(image_spec(), NetworkConfig(encoder="hf"))


def test_decoded_drops_separators_and_survives_broken_bytes() -> None:
    values = torch.tensor([97, 0x1E, 0xC3, 98], dtype=torch.uint8)
    assert decoded(RaggedTensor(values, torch.tensor([0, 2, 2, 4]))) == ["a", "", "�b"]
