"""The hidden price of a product and the highest price of a goal.

The original draws hidden prices and caps from one unseeded generator, so they differ from process to process. Here
the generator is given (compat, the original's order of draws) or a hash of the content decides (strict).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable

from envs.seeding import derive_seed
from envs.shop.product import DEFAULT_PRICE, Product

NO_CAP = 1_000_000.0
CAP_STEPS = tuple(10.0 * step for step in range(1, 100))
CAP_CHOICES = 4

CapRule = Callable[[str, float], float]
"""(key of the goal, hidden price in dollars) -> highest price in dollars, `NO_CAP` for none."""


def draw_price(shown_prices: tuple[float, ...], rng: random.Random) -> float:
    """The hidden price as the original draws it: uniform between two shown prices, one draw; no draw otherwise."""
    if len(shown_prices) == 2:
        return rng.uniform(*shown_prices)
    return shown_prices[0] if shown_prices else DEFAULT_PRICE


def compat_prices(shown_prices: Iterable[tuple[float, ...]], rng: random.Random) -> list[float]:
    """Hidden prices in dollars, drawn in catalogue order; goals then go on with the same generator.

    Args:
        shown_prices: Those of every product, in catalogue order.
        rng: ``random.Random(load_seed)``, not used before.
    """
    return [draw_price(shown, rng) for shown in shown_prices]


def strict_price(product: Product) -> float:
    """The hidden price as a pure function of identifier and shown prices: in the shown range, in whole cents."""
    if len(product.shown_prices) != 2:
        return product.shown_prices[0] if product.shown_prices else DEFAULT_PRICE
    low, high = sorted(product.shown_prices)
    price = low + (high - low) * _fraction("price", product.asin, repr(low), repr(high))
    return min(max(round(price, 2), low), high)


def compat_caps(rng: random.Random) -> CapRule:
    """The original's cap: the larger of two distinct draws among the next four multiples of ten below 1,000.

    Fewer than two multiples left (prices from 980 dollars): no cap and no draw.
    """

    def cap(key: str, price: float) -> float:
        choices = _cap_choices(price)
        return max(rng.sample(choices, 2)) if len(choices) > 1 else NO_CAP

    return cap


def strict_cap(key: str, price: float) -> float:
    """The same distribution as `compat_caps`, decided by a hash of the goal's key and the price."""
    choices = _cap_choices(price)
    if len(choices) < 2:
        return NO_CAP
    return max(random.Random(derive_seed("shop cap", key, repr(price))).sample(choices, 2))


def price_clause(cap: float) -> str:
    """The words of an instruction that name its cap; nothing where there is none."""
    return "" if cap == NO_CAP else f", and price lower than {cap:.2f} dollars"


def _cap_choices(price: float) -> list[float]:
    return [step for step in CAP_STEPS if step > price][:CAP_CHOICES]


def _fraction(*parts: str) -> float:
    return derive_seed("shop", *parts) / 2**63
