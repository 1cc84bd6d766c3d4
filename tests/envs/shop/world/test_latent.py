"""Catalogues: pure functions of the configuration, with near misses that miss nearly."""

from __future__ import annotations

import pickle
from collections import Counter
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest

from envs.errors import UsageError
from envs.shop.search import search_document
from envs.shop.world.config import WORLDS, WorldConfig
from envs.shop.world.draws import Draws
from envs.shop.world.goals import World, world
from envs.shop.world.latent import LatentProduct, Latents
from envs.shop.world.layout import SMALLEST_CATEGORY, make_layout, stocked
from envs.shop.world.roles import ROLES
from envs.shop.world.vocabulary import BREADCRUMB

SMALL = WorldConfig(name="shop/small", seed=77, products=600)


def test_equal_configurations_make_equal_catalogues_in_any_order() -> None:
    first, second = World(SMALL), World(SMALL)
    backwards = {index: second.product(index) for index in reversed(range(600))}
    assert list(first.products()) == [backwards[index] for index in range(600)]


def test_another_seed_makes_another_catalogue_of_the_same_sub_categories() -> None:
    first, second = World(SMALL), World(replace(SMALL, seed=78))
    titles = {product.title for product in first.products()}
    assert sum(product.title in titles for product in second.products()) < 5
    assert np.array_equal(np.sort(first.latents.layout.category), np.sort(second.latents.layout.category))


def test_a_world_survives_pickling_as_its_configuration() -> None:
    data = pickle.dumps(world("shop/default"))
    assert len(data) < 4000
    assert pickle.loads(data).goal(5) == world("shop/default").goal(5)


def test_identifiers_are_unique_valid_and_disjoint_between_catalogues() -> None:
    seen: set[str] = set()
    for name in ("shop/default", "shop/catalogue-b", "shop/catalogue-c", "shop/3k", "shop/10k"):
        latents = Latents(WORLDS[name])
        asins = [latents.asin(index) for index in range(len(latents))]
        assert all(len(asin) == 10 and asin.isalnum() and asin == asin.upper() for asin in asins)
        assert all(latents.index(asin.lower()) == index for index, asin in enumerate(asins))
        assert len(set(asins)) == len(asins)
        assert seen.isdisjoint(asins)
        seen.update(asins)


@pytest.mark.parametrize("asin", ["B", "B000ZZZZZZ", "A001000000", "b0!0000000", "B00000000000"])
def test_foreign_identifiers_are_refused(asin: str) -> None:
    with pytest.raises(UsageError, match="no product"):
        Latents(replace(SMALL, seed=0)).index(asin)


def test_every_sub_category_has_products_for_the_goals_of_every_role() -> None:
    layout = make_layout(WORLDS["shop/default"])
    assert sorted(np.concatenate(list(layout.targets.values()))) == list(range(1000))
    for role in ROLES:
        kinds = set(layout.category[layout.targets[role]].tolist())
        assert kinds == {kind.index for kind in stocked(WORLDS["shop/default"])}
    assert min(Counter(layout.category.tolist()).values()) >= SMALLEST_CATEGORY


def changes(base: LatentProduct, other: LatentProduct) -> set[str]:
    found = set()
    if base.attributes != other.attributes:
        found.add("attributes")
    if base.options != other.options:
        found.add("options")
    return found


def test_near_misses_share_the_head_noun_and_change_one_thing() -> None:
    config = replace(SMALL, near_misses=(0.5, 0.5, 0, 0))
    families: dict[int, list[LatentProduct]] = {}
    for latent in Latents(config):
        families.setdefault(latent.family, []).append(latent)
    kinds: Counter[str] = Counter()
    for members in families.values():
        base = next(item for item in members if item.member == 0)
        for other in members:
            assert other.category == base.category
            assert len(changes(base, other)) <= 1
            assert len(set(base.attributes) - set(other.attributes)) <= 1
            kinds.update(changes(base, other))
    assert min(kinds["attributes"], kinds["options"]) > 50


def test_a_near_miss_in_the_attributes_misses_exactly_one() -> None:
    latents = list(Latents(replace(SMALL, near_misses=(1, 0, 0, 0))))
    bases = {item.family: item for item in latents if item.member == 0}
    for item in latents:
        missing = set(bases[item.family].attributes) - set(item.attributes)
        assert len(missing) == (item.member > 0)


def test_a_dearer_near_miss_is_dearer() -> None:
    latents = list(Latents(replace(SMALL, near_misses=(0, 0, 1, 0))))
    bases = {item.family: item for item in latents if item.member == 0}
    others = [item for item in latents if item.member]
    assert all(item.low > 1.2 * bases[item.family].low - 1 for item in others)


def test_the_allowed_pairs_shrink_with_their_density() -> None:
    def pairs(density: float) -> set[frozenset[str]]:
        return {
            frozenset((a.name, b.name))
            for latent in Latents(replace(SMALL, pair_density=density, near_misses=(0, 0, 0, 1)))
            for a in latent.attributes
            for b in latent.attributes
            if a != b
        }

    everything, some = pairs(1.0), pairs(0.3)
    assert 0.05 < len(some) / len(everything) < 0.45


def test_products_have_as_many_attributes_options_and_values_as_told() -> None:
    config = replace(SMALL, attributes=(3, 4), axes=(1, 2), axis_values=(2, 3), option_noise=0.0)
    for latent in Latents(config):
        assert 3 <= len(latent.attributes) <= 4
        assert len(set(latent.attributes)) == len(latent.attributes)
        assert 1 <= len(latent.options) <= 2
        assert all(2 <= len(values) <= 3 for values in latent.options.values())
        assert latent.low <= latent.high


def test_pages_say_what_is_true_and_know_the_nouns_of_their_titles() -> None:
    shop = World(replace(SMALL, mentions=(1, 1, 1, 0)))
    for latent, product in zip(shop.latents, shop.products(), strict=True):
        text = " ".join((product.title, product.description, *product.features)).lower()
        for attribute, surface in zip(latent.attributes, latent.surfaces, strict=True):
            assert attribute.surfaces[surface] in text
        assert product.attributes == tuple(attribute.name for attribute in latent.attributes)
        assert latent.category.nouns[latent.noun].text.lower() in product.title.lower()
        assert product.title_nouns
        assert set(product.title_nouns) <= set(product.title.replace(",", "").split())
        assert len(product.breadcrumb.split(BREADCRUMB)) == 3
        assert len(search_document(product).split()) > 20


def test_pages_hold_no_character_that_compat_clicks_cannot_handle() -> None:
    for product in islice(World(SMALL).products(), 300):
        for name, values in product.options.items():
            assert name == name.lower()
            assert len(set(values)) == len(values)
            assert not any(character in value for value in values for character in "[]/\"'\n")


def test_draws_are_uniform_and_depend_on_every_number() -> None:
    draws = Draws(7, 1)
    values = [draws.uniform() for _ in range(20_000)]
    assert abs(float(np.mean(values)) - 0.5) < 0.01
    assert abs(float(np.var(values)) - 1 / 12) < 0.005
    starts = [Draws(7, 1).bits(), Draws(7, 2).bits(), Draws(8, 1).bits(), Draws(7, 1, 0).bits()]
    assert len(set(starts)) == 4
    picks = Counter(Draws(3, i).weighted_sample("abc", (8.0, 1.0, 1.0), 1)[0] for i in range(2000))
    assert 1450 < picks["a"] < 1750
    assert sorted(Draws(1).sample(range(9), 20)) == list(range(9))
