"""Pages of the shop's shape with one right choice: the product that has both attributes the instruction names."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import torch
from torch import nn

from envs.spec import ColumnSpec, EnvSpec
from envs.text import encode_text, encode_texts
from trainers.config import NetworkConfig
from trainers.networks import build_policy_network, collate

ATTRIBUTES = [
    "waterproof",
    "wooden",
    "organic",
    "stretchy",
    "wireless",
    "portable",
    "scented",
    "vintage",
    "ergonomic",
    "foldable",
    "quilted",
    "magnetic",
    "washable",
    "insulated",
    "reusable",
    "adjustable",
    "breathable",
    "handmade",
    "cordless",
    "stackable",
]
THINGS = ["lamp", "chair", "shirt", "kettle", "carpet", "pencil", "radio", "mug"]
FILLERS = [
    "home",
    "office",
    "gift",
    "men",
    "women",
    "pack",
    "large",
    "small",
    "series",
    "original",
    "brand",
    "studio",
    "garden",
    "travel",
    "kids",
    "kitchen",
    "design",
    "new",
    "classic",
    "deluxe",
    "everyday",
    "modern",
    "north",
    "river",
    "maple",
    "atlas",
    "pine",
    "harbor",
    "stone",
    "cloud",
    "bright",
    "summit",
    "meadow",
    "ocean",
]
PAIRS = list(combinations(range(len(ATTRIBUTES)), 2))
NUM_PRODUCTS = 10

Rows = tuple[dict[str, tuple[np.ndarray, ...]], torch.Tensor]


def text_spec() -> EnvSpec:
    columns = {"page": ColumnSpec("uint8", ragged=True), "candidates": ColumnSpec("uint8", ragged=True)}
    return EnvSpec("toy/text", columns, 16, max_episode_steps=10, level_universe=10, candidate_column="candidates")


def split_pairs(share: float = 0.6) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """Pairs of attributes that training asks for, and the others."""
    order = np.random.default_rng(0).permutation(len(PAIRS))
    cut = int(share * len(PAIRS))
    return [PAIRS[i] for i in order[:cut]], [PAIRS[i] for i in order[cut:]]


def make_page(rng: np.random.Generator, pair: tuple[int, int]) -> tuple[str, list[str], int]:
    """A result page whose instruction asks for a pair, its candidates and the right one.

    Every product is of the wanted kind, and most have one of the two wanted attributes.
    """
    thing = str(rng.choice(THINGS))
    offered = {tuple(sorted(pair))}
    while len(offered) < NUM_PRODUCTS:
        first = int(rng.choice(pair)) if rng.random() < 0.7 else int(rng.integers(len(ATTRIBUTES)))
        second = int(rng.integers(len(ATTRIBUTES)))
        if first != second:
            offered.add((min(first, second), max(first, second)))
    products = [list(offered)[i] for i in rng.permutation(NUM_PRODUCTS)]
    right = products.index(tuple(sorted(pair)))
    titles = [_title(rng, thing, product) for product in products]
    wanted = [ATTRIBUTES[i] for i in rng.permutation(list(pair))]
    price = int(rng.integers(2, 12)) * 10
    lines = [
        "Instruction:",
        f"i am looking for a {wanted[0]} {thing} that is {wanted[1]}, and price lower than {price}.00 dollars",
    ]
    lines += ["[button] Back to Search [button_]", "Page 1 (Total results: 50)", "[button] Next > [button_]"]
    for title in titles:
        asin = "B0" + "".join(rng.choice(list("ABCDEFGH0123456789"), size=8))
        lines += ["", f"[button] {asin} [button_]", title, f"${rng.integers(5, 99)}.{rng.integers(10, 99)}"]
    candidates = ["click[back to search]", "click[next >]", *(f"click[{title}]" for title in titles)]
    return "\n".join(lines) + "\n", candidates, right + 2


def _title(rng: np.random.Generator, thing: str, product: tuple[int, int]) -> str:
    words = [ATTRIBUTES[product[0]], ATTRIBUTES[product[1]], thing, *rng.choice(FILLERS, size=5, replace=False)]
    return " ".join(str(word) for word in rng.permutation(words)).title()


def make_rows(rng: np.random.Generator, pairs: list[tuple[int, int]], size: int) -> Rows:
    """Observations and right actions of `size` pages."""
    made = [make_page(rng, pairs[int(rng.integers(len(pairs)))]) for _ in range(size)]
    columns = {
        "page": tuple(encode_text(page) for page, _, _ in made),
        "candidates": tuple(encode_texts(candidates) for _, candidates, _ in made),
    }
    return columns, torch.tensor([right for _, _, right in made])


def accuracy(network: nn.Module, rows: Rows) -> float:
    """Share of pages on which the best-scored candidate is right."""
    with torch.no_grad():
        return float((network(collate(rows[0])).argmax(1) == rows[1]).float().mean())


def learn(config: NetworkConfig, steps: int, *, batch: int = 64, rate: float = 1e-3, seed: int = 0) -> dict[str, float]:
    """Cross-entropy on fresh pages of the training pairs; accuracies on these and on the pairs never asked for."""
    torch.manual_seed(seed)
    network = build_policy_network(text_spec(), config)
    optimizer = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=0.0, fused=True)
    rng, (known, unknown) = np.random.default_rng(seed), split_pairs()
    for _ in range(steps):
        observations, right = make_rows(rng, known, batch)
        loss = nn.functional.cross_entropy(network(collate(observations)), right)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    network.eval()
    return {
        "known": accuracy(network, make_rows(rng, known, 500)),
        "unknown": accuracy(network, make_rows(rng, unknown, 500)),
    }
