"""Instructions name what is wanted, in the way the paraphrase says."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from envs.shop.world.config import WorldConfig
from envs.shop.world.draws import Draws
from envs.shop.world.goals import World, world
from envs.shop.world.language import Wish, write
from envs.shop.world.language_data import FAMILIES, FAMILY_NAMES
from envs.shop.world.vocabulary import vocabulary

WORDS = vocabulary()
PLAIN = WorldConfig(estranged=0, noun_gap=0, attribute_gap=0, option_gap=0, typos=0, polite=0, informal=0)


def a_wish(family: int, paraphrase: int = 0) -> Wish:
    shoes = WORDS.category("running shoes")
    return Wish(
        shoes, 0, tuple((item, 0) for item in shoes.pool[:3]), {"color": "teal", "size": "8.5"}, family, paraphrase
    )


@pytest.mark.parametrize("family", range(len(FAMILIES)), ids=FAMILY_NAMES)
def test_everything_wanted_is_said_in_every_paraphrase(family: int) -> None:
    for paraphrase in range(FAMILIES[family].paraphrases):
        wish = a_wish(family, paraphrase)
        for attempt in range(20):
            text = write(wish, PLAIN, Draws(1, attempt))
            assert "running shoes" in text
            assert "teal" in text
            assert "8.5" in text
            assert all(item.name in text for item, _ in wish.attributes), text
            assert text.startswith(FAMILIES[family].paraphrase(paraphrase)[0][0])
            assert text == " ".join(text.split())
            assert not set("{}") & set(text)


def test_instructions_that_are_estranged_share_no_wording_with_the_page() -> None:
    strange = replace(PLAIN, estranged=1.0)
    for attempt in range(50):
        wish = a_wish(0)
        text = write(wish, strange, Draws(2, attempt))
        assert "running shoes" not in text
        assert not any(item.name in text for item, _ in wish.attributes)
        assert "teal" in text  # has no second wording


def test_a_typo_changes_one_word_and_spares_the_options() -> None:
    typed = replace(PLAIN, typos=1.0)
    wish = replace(a_wish(0), options={"color": "charcoal", "width": "extra narrow"})
    changed = 0
    for attempt in range(100):
        with_typo, without = write(wish, typed, Draws(3, attempt)), write(wish, PLAIN, Draws(3, attempt))
        differing = [(a, b) for a, b in zip(with_typo.split(), without.split(), strict=True) if a != b]
        assert len(differing) <= 1
        assert "charcoal" in with_typo
        assert "extra narrow" in with_typo
        changed += len(differing)
    assert changed > 80


def test_politeness_and_register() -> None:
    texts = [write(a_wish(0), replace(PLAIN, informal=1.0), Draws(4, i)) for i in range(50)]
    assert all(text.startswith("im looking for") for text in texts)
    polite = [write(a_wish(0), replace(PLAIN, polite=1.0), Draws(4, i)) for i in range(50)]
    assert all(
        first != second
        for first, second in zip(polite, (write(a_wish(0), PLAIN, Draws(4, i)) for i in range(50)), strict=True)
    )


def test_families_come_in_their_weights() -> None:
    shop = world("shop/default")
    found = Counter(str(shop.tags(level)["family"]) for level in range(8000))
    total = sum(family.weight for family in FAMILIES)
    for family in FAMILIES:
        assert found[family.name] / 8000 == pytest.approx(family.weight / total, abs=0.02)


def test_few_instructions_need_the_last_resort() -> None:
    shop = World(WorldConfig(products=400))
    greeted = sum("dear shop" in shop.text(shop.latent_goal(level)) for level in range(1_000_000, 1_001_000))
    assert greeted < 20
