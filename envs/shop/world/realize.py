"""From the truth behind a product to the text of its page."""

from __future__ import annotations

from collections.abc import Iterator

from envs.seeding import derive_seed
from envs.shop.product import Product
from envs.shop.world import page_data
from envs.shop.world.config import WorldConfig
from envs.shop.world.draws import Draws, cumulate
from envs.shop.world.latent import LatentProduct
from envs.shop.world.layout import stocked
from envs.shop.world.vocabulary import Attribute, vocabulary

Foreign = tuple[str, str, str, str]
"""Two kinds of product, an attribute and some option values that a page names although it does not sell them."""

TITLE, FEATURES, DESCRIPTION, NOWHERE = range(4)
_STOP = frozenset(
    ("a", "an", "and", "at", "by", "for", "in", "is", "no", "not", "of", "on", "the", "to", "with", "without")
)


class Realizer:
    """Writes the pages of one world; each page is a pure function of configuration and product."""

    def __init__(self, config: WorldConfig) -> None:
        self._config = config
        self._key = derive_seed("shop page", config.fingerprint)
        self._mentions = cumulate(config.mentions)
        self._claims = [wording for item in vocabulary().attributes.values() for wording in item.surfaces]
        self._values = sorted(
            {value for kind in vocabulary().categories for axis in kind.axes for value in axis.values}
        )
        self._others = [noun.text for category in stocked(config) for noun in category.nouns[: config.synonyms]]

    def product(self, latent: LatentProduct) -> Product:
        """The page of a product, with the nouns of its title known."""
        draws = Draws(self._key, latent.index)
        noun = latent.category.nouns[latent.noun].text
        told: list[list[tuple[Attribute, str]]] = [[], [], [], []]
        for attribute, surface in zip(latent.attributes, latent.surfaces, strict=True):
            told[draws.index(self._mentions)].append((attribute, attribute.surfaces[surface]))
        # A title holds three attributes at most; the rest is said in the features.
        told[FEATURES] += told[TITLE][3:]
        title, nouns = _title(latent, noun, told[TITLE][:3], draws)
        return Product(
            asin=latent.asin,
            title=title,
            query=latent.category.name,
            department=latent.category.department,
            breadcrumb=latent.category.breadcrumb,
            description=self._description(latent, noun, told[DESCRIPTION], draws),
            features=_features(latent, noun, told[FEATURES], draws),
            shown_prices=(latent.low,) if latent.low == latent.high else (latent.low, latent.high),
            price_tag=f"${latent.low}" if latent.low == latent.high else f"${latent.low} to ${latent.high}",
            options=latent.options,
            attributes=tuple(attribute.name for attribute in latent.attributes),
            title_nouns=nouns,
        )

    def _description(self, latent: LatentProduct, noun: str, told: list[tuple[Attribute, str]], draws: Draws) -> str:
        sentences = [
            _fill(draws.pick(page_data.ATTRIBUTE_SENTENCES[attribute.kind]), latent, noun, draws, attr=surface)
            for attribute, surface in told
        ]
        low, high = self._config.filler_sentences
        for _ in range(low + draws.below(high - low + 1)):
            cross = draws.chance(self._config.cross_mentions)
            pattern = draws.pick(page_data.CROSS_SENTENCES if cross else page_data.SENTENCES)
            values = ", ".join(draws.pick(self._values) for _ in range(3)) if "{values}" in pattern else ""
            foreign = (draws.pick(self._others), draws.pick(self._others), draws.pick(self._claims), values)
            sentence = _fill(pattern, latent, noun, draws, foreign=foreign)
            sentences.insert(draws.below(len(sentences) + 1), sentence)
        return " ".join(sentences)


def realize(config: WorldConfig, latents: Iterator[LatentProduct]) -> Iterator[Product]:
    """The pages of some products, one after the other."""
    realizer = Realizer(config)
    return (realizer.product(latent) for latent in latents)


def _title(
    latent: LatentProduct, noun: str, told: list[tuple[Attribute, str]], draws: Draws
) -> tuple[str, tuple[str, ...]]:
    """A title, and the nouns in it: the brand, the head noun and what stands last after "with" or "for"."""
    before = [surface for attribute, surface in told if attribute.kind == "a"]
    after = [
        f"{'with' if attribute.kind == 'w' else 'for'} {surface}"
        for attribute, surface in told
        if attribute.kind != "a"
    ]
    if len(before) > 1 and draws.chance(0.4):
        after.append(before.pop())
    parts = [latent.brand, *before, noun, *after]
    extra = draws.pick(page_data.TITLE_EXTRAS)
    shown = draws.pick(next(iter(latent.options.values()))) if latent.options and draws.chance(0.3) else ""
    title = " ".join(_title_case(part) for part in parts)
    title += "".join(f", {_title_case(part)}" for part in (extra, shown) if part)
    nouns = [*latent.brand.split(), *_title_case(noun).split()]
    nouns += [_title_case(text).split()[-1] for text in after if text.startswith(("with ", "for "))]
    return title, tuple(nouns)


def _features(latent: LatentProduct, noun: str, told: list[tuple[Attribute, str]], draws: Draws) -> tuple[str, ...]:
    features = [
        _fill(draws.pick(page_data.ATTRIBUTE_FEATURES[attribute.kind]), latent, noun, draws, attr=surface)
        for attribute, surface in told
    ]
    for pattern in draws.sample(page_data.FEATURES, 2 + draws.below(3)):
        features.insert(draws.below(len(features) + 1), _fill(pattern, latent, noun, draws))
    return tuple(feature[0].upper() + feature[1:] for feature in features)


def _fill(
    pattern: str, latent: LatentProduct, noun: str, draws: Draws, *, attr: str = "", foreign: Foreign = ("", "", "", "")
) -> str:
    while "{word}" in pattern:
        pattern = pattern.replace("{word}", draws.pick(page_data.WORDS), 1)
    other, third, claim, values = foreign
    return pattern.format(
        noun=noun, brand=latent.brand, attr=attr, other=other, third=third, claim=claim, values=values
    )


def _title_case(text: str) -> str:
    return " ".join(word if word in _STOP else word[:1].upper() + word[1:] for word in text.split())
