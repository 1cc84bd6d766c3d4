"""How close a world is to real instructions and to the scores that simple agents had on the original.

``python -m envs.shop.world.calibration [--human FILE] [--queries FILE] [--world NAME] [--goals N]`` prints the table.
"""

from __future__ import annotations

import argparse
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np

from envs.shop.goals import Goal
from envs.shop.prices import strict_price
from envs.shop.product import Product
from envs.shop.reward import compat_reward, strict_success
from envs.shop.search import Bm25Search, search_document
from envs.shop.world.draws import Draws
from envs.shop.world.goals import World, world
from envs.shop.world.latent import LatentProduct
from envs.shop.world.roles import level_range

Search = Callable[[str], Sequence[int]]
"""A query -> catalogue positions, best first."""

TARGETS: dict[str, str] = {
    "rule agent: score": "about 45",
    "rule agent: success %": "about 10",
    "target in top 10 %": "about 33",
    "target in top 50 %": "44",
    "choice oracle: success %": "55 to 85",
    "choice oracle: strict success %": "55 to 85",
    "random product: score": "below 10",
}
"""Published figures of the original (WebShop, 2022) and the ranges that this project aims at."""

_WORDS = {
    '"size" %': r"\bsize\b",
    '"color" %': r"\bcolou?r\b",
    '"pack" %': r"\bpack\b",
    '"with" %': r"\bwith\b",
    '"that is/are" %': r"\bthat (is|are)\b|\bthats\b",
    '"and" %': r"\band\b",
    "a digit %": r"\d",
    "a comma %": r",",
    "two sentences %": r"[.;?] ",
}
_OPENINGS = ("i am looking", "im looking for", "i would like", "i need a", "i want a", "i want to")


def text_statistics(instructions: Sequence[str]) -> dict[str, float]:
    """Lengths in words, openings and frequent words of instructions without price clause; shares in percent."""
    lengths = [len(text.split()) for text in instructions]
    low, median, high = np.percentile(lengths, [5, 50, 95])
    found: dict[str, float] = {
        "words: 5 %": float(low),
        "words: median": float(median),
        "words: 95 %": float(high),
        "words: mean": float(np.mean(lengths)),
    }
    starts = Counter(" ".join(text.split()[:3]) for text in instructions)
    found |= {f'opening "{start}" %': 100 * starts[start] / len(instructions) for start in _OPENINGS}
    found["distinct 3-word openings per 1,000"] = 1000 * _distinct_openings(instructions)
    return found | {name: _share(instructions, pattern) for name, pattern in _WORDS.items()}


def query_statistics(pairs: Iterable[tuple[str, str]]) -> dict[str, float]:
    """For (instruction, query): median words of a query, and the share of its words that the instruction holds."""
    rows = [(set(_tokens(instruction)), _tokens(query)) for instruction, query in pairs]
    words = [len(query) for _, query in rows]
    inside = [word in instruction for instruction, query in rows for word in query]
    return {
        "query: median words": float(np.median(words)),
        "query words from the instruction %": 100 * float(np.mean(inside)),
    }


def search_statistics(shop: World, search: Search, levels: Sequence[int]) -> dict[str, float]:
    """Scores of agents that need no pages: first hit, best of the hits, a random product.

    Args:
        shop: The world.
        search: Over the documents of its products.
        levels: The goals to judge by.

    Returns:
        The rows of `TARGETS` and some more, from 0 to 100. Success is the released reward, strict success the truth.
    """
    products = list(shop.products())
    position = {product.asin: place for place, product in enumerate(products)}
    shelves: dict[str, list[LatentProduct]] = {}
    for product in shop.latents:
        shelves.setdefault(product.category.name, []).append(product)
    rows: dict[str, list[float]] = {name: [] for name in TARGETS}
    rows |= {"rule agent: r_type": [], "rule agent: strict success %": [], "satisfying products": []}
    for level in levels:
        goal = shop.goal(level)
        hits = list(search(goal.instruction))
        target = position[goal.asin]
        rank = hits.index(target) if target in hits else len(products)
        rows["target in top 10 %"].append(100 * (rank < 10))
        rows["target in top 50 %"].append(100 * (rank < 50))
        wanted = products[target]
        first = _judge(goal, wanted, products[hits[0]], {}) if hits else (0.0, False, 0.0)
        best = [_judge(goal, wanted, products[hit], goal.options) for hit in hits]
        anything = products[Draws(level).below(len(products))]
        rows["rule agent: score"].append(100 * first[0])
        rows["rule agent: success %"].append(100 * (first[0] == 1))
        rows["rule agent: strict success %"].append(100 * first[1])
        rows["rule agent: r_type"].append(first[2])
        rows["choice oracle: success %"].append(100 * any(score == 1 for score, _, _ in best))
        rows["choice oracle: strict success %"].append(100 * any(strict for _, strict, _ in best))
        rows["random product: score"].append(100 * _judge(goal, wanted, anything, {})[0])
        latent = shop.latent_goal(level)
        rows["satisfying products"].append(sum(latent.satisfied_by(product) for product in shelves[goal.query]))
    return {name: float(np.mean(values)) for name, values in rows.items()}


def build_search(shop: World) -> Search:
    """The shop's search over a world's products."""
    return Bm25Search.build(search_document(product) for product in shop.products()).search


def visible_levels(count: int) -> list[int]:
    """Levels to calibrate by: half from training, half from validation, so that many different products are wanted."""
    starts = (level_range("train")[0], level_range("validation")[0])
    return [starts[i % 2] + i // 2 for i in range(count)]


def table(shop: World, goals: int, human: Sequence[str] | None, queries: dict[str, list[str]] | None) -> str:
    """The calibration as a Markdown table: real instructions against ours, published scores against ours."""
    levels = visible_levels(goals)
    ours = text_statistics([shop.text(shop.latent_goal(level)) for level in levels])
    theirs = text_statistics(human) if human else {}
    lines = [f"| {shop.config.name} | target | measured |", "|---|---:|---:|"]
    for name, value in ours.items():
        lines.append(f"| {name} | {_number(theirs.get(name))} | {value:.1f} |")
    if queries:
        for name, value in query_statistics((key, query) for key, group in queries.items() for query in group).items():
            lines.append(f"| human {name} | {value:.1f} | - |")
    for name, value in search_statistics(shop, build_search(shop), levels).items():
        lines.append(f"| {name} | {TARGETS.get(name, '-')} | {value:.1f} |")
    return "\n".join(lines)


def _judge(goal: Goal, wanted: Product, bought: Product, choice: object) -> tuple[float, bool, float]:
    """Released reward, strict success and type factor of buying a product with the wanted options that it has."""
    assert isinstance(choice, dict)
    options = {name: value for name, value in choice.items() if value in bought.options.get(name, ())}
    price = strict_price(bought)
    parts = compat_reward(goal, bought, options, price, wanted.title_nouns or (), bought.title_nouns or ())
    return parts.total, strict_success(goal, bought, options, price), parts.r_type


def _distinct_openings(instructions: Sequence[str]) -> float:
    # Over equally many texts on both sides: the number of distinct openings grows with the sample.
    sample = instructions[:500]
    return len({" ".join(text.split()[:3]) for text in sample}) / len(sample)


def _share(instructions: Sequence[str], pattern: str) -> float:
    return 100 * sum(bool(re.search(pattern, text)) for text in instructions) / len(instructions)


def _tokens(text: str) -> list[str]:
    return re.findall(r"[a-z0-9]+", text.lower())


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table of a world."""
    parser = argparse.ArgumentParser(description="Calibration of the built-in shop.")
    parser.add_argument("--human", type=Path, help="JSON list of real instructions without price clause")
    parser.add_argument("--queries", type=Path, help="JSON object: real instruction -> queries typed for it")
    parser.add_argument("--world", default="shop/default")
    parser.add_argument("--goals", type=int, default=1000)
    options = parser.parse_args(arguments)
    human = json.loads(options.human.read_text()) if options.human else None
    queries = json.loads(options.queries.read_text()) if options.queries else None
    print(table(world(options.world), options.goals, human, queries))


if __name__ == "__main__":
    main()
