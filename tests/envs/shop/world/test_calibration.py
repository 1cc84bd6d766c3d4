"""The default world stays near the figures it was calibrated to."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from envs.shop.world.calibration import (
    build_search,
    main,
    search_statistics,
    table,
    text_statistics,
    visible_levels,
)
from envs.shop.world.config import WorldConfig
from envs.shop.world.goals import World, world

ROOT = Path(__file__).resolve().parents[4]
HUMAN = ROOT.parent / "shared" / "data" / "webshop_human_goals.json"


@pytest.fixture(scope="module")
def measured() -> dict[str, float]:
    shop = world("shop/default")
    return search_statistics(shop, build_search(shop), visible_levels(800))


@pytest.fixture(scope="module")
def texts() -> dict[str, float]:
    shop = world("shop/default")
    return text_statistics([shop.text(shop.latent_goal(level)) for level in range(3000)])


@pytest.mark.parametrize(
    ("row", "low", "high"),
    [
        ("rule agent: score", 33, 50),
        ("rule agent: success %", 6, 14),
        ("target in top 10 %", 27, 55),
        ("choice oracle: success %", 55, 88),
        ("choice oracle: strict success %", 55, 88),
        ("random product: score", 0, 10),
    ],
)
def test_simple_agents_score_as_intended(measured: dict[str, float], row: str, low: float, high: float) -> None:
    assert low <= measured[row] <= high


@pytest.mark.parametrize(
    ("row", "low", "high"),
    [
        ("words: median", 12, 15),
        ("words: 5 %", 7, 9),
        ("words: 95 %", 22, 26),
        ('opening "i am looking" %', 23, 31),
        ('opening "im looking for" %', 12, 18),
        ('"size" %', 8, 18),
        ('"color" %', 9, 17),
        ('"pack" %', 5, 11),
    ],
)
def test_instructions_look_like_real_ones(texts: dict[str, float], row: str, low: float, high: float) -> None:
    assert low <= texts[row] <= high


def test_statistics_of_a_known_list() -> None:
    found = text_statistics(["i am looking for a size 8 shoe", "i need a pack of gum"])
    assert found["words: median"] == 7
    assert found['"size" %'] == found['"pack" %'] == found["a digit %"] == 50
    assert found['opening "i need a" %'] == 50


def test_the_search_finds_what_is_worded_as_on_the_page() -> None:
    shop = World(
        WorldConfig(products=300, estranged=0, noun_gap=0, attribute_gap=0, option_gap=0, mentions=(1, 0, 0, 0))
    )
    easy = search_statistics(shop, build_search(shop), range(100))
    assert easy["target in top 50 %"] > 97
    assert easy["choice oracle: strict success %"] > 97


def test_the_table_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    human = tmp_path / "human.json"
    human.write_text(json.dumps(["i am looking for a red shoe in size 8", "i need gum"]))
    queries = tmp_path / "queries.json"
    queries.write_text(json.dumps({"i need gum": ["gum", "chewing gum"]}))
    main(["--world", "shop/tiny", "--goals", "20", "--human", str(human), "--queries", str(queries)])
    printed = capsys.readouterr().out
    assert "| rule agent: score | about 45 |" in printed
    assert "query words from the instruction % | 66.7" in printed


@pytest.mark.skipif(not HUMAN.exists(), reason="the real instructions are not part of the project")
def test_against_the_real_instructions() -> None:
    printed = table(world("shop/default"), 50, json.loads(HUMAN.read_text()), None)
    assert "| words: median | 13.0 |" in printed
