from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from envs.text import decode_texts, encode_text, encode_texts
from tests.trainers.match_task import learn, make_rows, split_pairs, text_spec
from trainers.actor_critic import build_actor_critic
from trainers.config import NetworkConfig
from trainers.networks import PolicyNetwork, build_policy_network, collate
from trainers.networks.cross import MAX_CANDIDATE_WORDS, MAX_PAGE_WORDS, number_scale
from trainers.precision import autocast

CONFIG = NetworkConfig(encoder="cross", hidden_size=32)
PAGES = [
    (
        "Instruction:\na waterproof lamp under 30.00 dollars\n\n[button] B0X [button_]\nLamp\n$12.50\n",
        ["click[Lamp]", "x"],
    ),
    ("", ["go"]),
    ("größer 日本", ["a", "", "größer", "click[日本 , größer größer]", " .-"]),
    (" \n\n.", ["", ""]),
    ("words " * 700, ["blue " * 90, "red"]),
]


def observations(rows: list[tuple[str, list[str]]]) -> dict[str, tuple[np.ndarray, ...]]:
    return {
        "page": tuple(encode_text(page) for page, _ in rows),
        "candidates": tuple(encode_texts(candidates) for _, candidates in rows),
    }


def scores(network: PolicyNetwork, rows: list[tuple[str, list[str]]]) -> torch.Tensor:
    with torch.no_grad():
        return network(collate(observations(rows)))


@pytest.fixture(scope="module")
def network() -> PolicyNetwork:
    torch.manual_seed(0)
    return build_policy_network(text_spec(), CONFIG)


def test_scores_permute_with_the_candidates(network: PolicyNetwork) -> None:
    rows, _ = make_rows(np.random.default_rng(0), split_pairs()[0], 6)
    order = np.random.default_rng(1).permutation(12)
    permuted = tuple(encode_texts([decode_texts(row)[i] for i in order]) for row in rows["candidates"])
    with torch.no_grad():
        before, after = network(collate(rows)), network(collate({**rows, "candidates": permuted}))
    torch.testing.assert_close(after, before[:, order], rtol=0, atol=1e-5)
    assert float(before.std(1).min()) > 1e-3


@pytest.mark.parametrize("number", range(len(PAGES)))
def test_a_row_does_not_depend_on_the_others(network: PolicyNetwork, number: int) -> None:
    together, alone = scores(network, PAGES), scores(network, PAGES[number : number + 1])
    count = len(PAGES[number][1])
    torch.testing.assert_close(together[number : number + 1, :count], alone, rtol=0, atol=1e-5)
    assert torch.isfinite(alone).all()
    assert (together[number, count:] == -torch.inf).all()


def test_gradients_stay_finite_on_pages_without_words(network: PolicyNetwork) -> None:
    for rows in (PAGES, PAGES[3:4], PAGES[1:2]):
        module = copy.deepcopy(network)
        torch.logsumexp(module(collate(observations(rows))), 1).sum().backward()
        assert all(parameter.grad is not None for parameter in module.parameters())
        assert all(
            torch.isfinite(parameter.grad).all() for parameter in module.parameters() if parameter.grad is not None
        )


def test_equal_candidates_score_alike_and_the_page_matters(network: PolicyNetwork) -> None:
    page, other = "i want a red lamp", "i want a green chair"
    first, second = scores(network, [(page, ["red lamp", "Red LAMP!", "green chair"]), (other, ["red lamp"])])
    assert first[0] == first[1]
    assert abs(float(first[0] - first[2])) > 1e-4
    assert abs(float(first[0] - second[0])) > 1e-4


def test_the_line_of_a_word_and_the_line_before_matter(network: PolicyNetwork) -> None:
    pages = [
        "chosen: red\nother blue",
        "chosen: blue\nother red",
        "chosen:\nred\nother\nblue",
        "chosen:\nblue\nother\nred",
    ]
    table = scores(network, [(page, ["red"]) for page in pages])[:, 0]
    assert len({round(float(score), 6) for score in table}) == 4


def test_what_is_not_read_does_not_count(network: PolicyNetwork) -> None:
    start = "word " * MAX_PAGE_WORDS
    assert torch.equal(scores(network, [(start, ["a", "b"])]), scores(network, [(start + "a a a", ["a", "b"])]))
    inside = "word " * (MAX_PAGE_WORDS - 1)
    assert not torch.equal(scores(network, [(inside, ["a", "b"])]), scores(network, [(inside + "a", ["a", "b"])]))
    long = "word " * MAX_CANDIDATE_WORDS
    read = scores(network, [("a page", [long, long + "page", long[5:] + "page"])])[0]
    assert read[0] == read[1] != read[2]


def test_numbers_have_codes_near_those_of_like_size() -> None:
    codes = number_scale(torch.tensor([20.0, 21.0, 80.0, torch.nan]))
    assert (codes[0] - codes[1]).norm() < (codes[0] - codes[2]).norm() / 5
    assert codes[3].tolist() == [0.0] * (codes.shape[1] - 1) + [1.0]


def test_bfloat16_stays_near_float32(network: PolicyNetwork) -> None:
    exact = scores(network, PAGES)
    with autocast("cpu", "bfloat16"):
        rounded = scores(network, PAGES)
    assert rounded.dtype == torch.float32
    finite = torch.isfinite(exact)
    assert torch.equal(finite, torch.isfinite(rounded))
    torch.testing.assert_close(rounded[finite], exact[finite], rtol=0.02, atol=0.02)


def test_an_actor_critic_values_the_state_whatever_the_candidates() -> None:
    module = build_actor_critic(text_spec(), CONFIG, seed=0)
    logits, values = module(collate(observations(PAGES)))
    assert logits.shape == (5, 5)
    _, other = module(collate(observations([(page, ["x"]) for page, _ in PAGES])))
    torch.testing.assert_close(values, other, rtol=0, atol=1e-5)


def test_it_matches_words_that_it_was_never_trained_on() -> None:
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    network = build_policy_network(text_spec(), CONFIG)
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)

    def batch(words: list[str], size: int) -> tuple[dict[str, tuple[np.ndarray, ...]], torch.Tensor]:
        right = rng.integers(4, size=size)
        options = [[str(word) for word in rng.choice(words, 4, replace=False)] for _ in range(size)]
        rows = [(f"please take the {some[i]} one", some) for some, i in zip(options, right, strict=True)]
        return observations(rows), torch.from_numpy(right)

    known, unknown = (
        [f"{a}{b}" for a in starts for b in "aeiou"] for starts in (("kal", "ron", "mip"), ("tus", "vew"))
    )
    for _ in range(60):
        columns, right = batch(known, 64)
        loss = torch.nn.functional.cross_entropy(network(collate(columns)), right)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    columns, right = batch(unknown, 200)
    assert float((network(collate(columns)).argmax(1) == right).float().mean()) > 0.9


@pytest.mark.slow
def test_it_generalizes_to_combinations_where_bytes_does_not() -> None:
    cross = learn(NetworkConfig(encoder="cross", hidden_size=64), 100)
    plain = learn(NetworkConfig(encoder="bytes", hidden_size=256), 100)
    assert cross["unknown"] > 0.95
    assert plain["unknown"] < 0.7
