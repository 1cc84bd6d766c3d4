"""The two verbs of the shop: ``search[words]`` and ``click[name]``."""

from __future__ import annotations

import re
from typing import NamedTuple

LAST_BRACKET = re.compile(r"(.+)\[(.+)\]")
WHOLE = re.compile(r"([^\[]+)\[(.*)\]", re.DOTALL)


class Action(NamedTuple):
    """An action that was understood.

    Attributes:
        verb: What stands before the bracket, as written; only ``search`` and ``click`` do something.
        argument: What stands inside, in lower case.
    """

    verb: str
    argument: str


def parse_action(text: str, split_at_last_bracket: bool = False) -> Action | None:
    """The verb and the argument of an action; None if it has not the form ``verb[argument]``.

    Args:
        text: What the agent wrote.
        split_at_last_bracket: Read it as the original does, see `ShopRules.split_at_last_bracket`.
    """
    match = LAST_BRACKET.match(text) if split_at_last_bracket else WHOLE.fullmatch(text)
    return None if match is None else Action(match[1], match[2].lower())
