"""Where the original shop is odd: one switch for each oddity, and the two presets."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from envs.errors import unknown_name


@dataclass(frozen=True, slots=True, kw_only=True)
class ShopRules:
    """The fidelity switches; the defaults are the `strict` preset, `COMPAT` sets all of them as the original has them.

    Attributes:
        search_anywhere: The original accepts ``search[...]`` on every page, although only the first shows a search bar.
        endless_pages: The original offers ``next >`` on every page of results and shows empty pages beyond the last.
        act_after_end: The original takes a search even after the purchase; the episode then goes on and a second
            purchase is rewarded again. Without it every action after the purchase is refused and the turn stays
            terminated.
        marks_by_address: The original calls an option clicked if its value stands in double quotes anywhere in the
            address of the page: values that JSON escapes are never marked, a value equal to a chosen group's name or
            to a quoted word of the query always is. Without it exactly the chosen options are marked.
        routes_by_address: The original finds out on which page it is by looking for ``search_results``, ``item_page``
            and ``item_sub_page``, in this order, in the address. A query or option that holds such a word sends
            ``< prev`` and ``next >`` elsewhere. Without it the page decides.
        labels_win: In the original an option value that reads like any button label acts as that button, on pages
            without that button too: ``attributes`` opens the hidden page; ``search`` does nothing. Without it only
            the buttons of the page come first.
        split_at_last_bracket: The original's pattern splits an action at its last ``[``, ignores what follows the last
            ``]`` and does not cross line breaks, so that options holding ``[``, a line break or nothing cannot be
            clicked. Without it the argument is everything between the first ``[`` and a final ``]``.
        hidden_prefixes: In the original a query whose first word is ``<r>``, ``<c>`` or ``<q>`` lists 50 random
            products, a department or the products of a scraping query. Without it they are ordinary words.
        negative_goals: The original takes goal -1 for the last one. Without it negative numbers are refused.
        show_attributes: The original can show the hidden attributes on a page of their own (off by default there too).
        released_reward: The original's released reward: fuzzy option match, options matched by value only. Without it
            an option counts if name and value are the wanted ones.
        sampled_prices: The original draws one hidden price within a shown range from a seeded generator. Without it
            the price follows from the content of the product.
        off_by_one_goals: The original's random draw gives goal i the weight of goal i-1 and never draws goal 0.
    """

    search_anywhere: bool = False
    endless_pages: bool = False
    act_after_end: bool = False
    marks_by_address: bool = False
    routes_by_address: bool = False
    labels_win: bool = False
    split_at_last_bracket: bool = False
    hidden_prefixes: bool = False
    negative_goals: bool = False
    show_attributes: bool = False
    released_reward: bool = False
    sampled_prices: bool = False
    off_by_one_goals: bool = False


STRICT = ShopRules()
COMPAT = ShopRules(
    **{field.name: True for field in dataclasses.fields(ShopRules) if field.name != "show_attributes"},
)
PRESETS = {"compat": COMPAT, "strict": STRICT}


def preset(name: str) -> ShopRules:
    """The rules called `name`.

    Raises:
        UsageError: If there is no such preset.
    """
    if name not in PRESETS:
        raise unknown_name("preset of the shop", name, PRESETS)
    return PRESETS[name]
