"""Which levels, products and texts belong to which role, so that nothing can leak from one to another."""

from __future__ import annotations

from hashlib import blake2b

from envs.errors import UsageError, unknown_name
from envs.shifts import LEVEL_UNIVERSE, ROLE_RANGES

ROLES = tuple(ROLE_RANGES)
"""As `metrics.protocol.Role` names them."""

RANGES = ROLE_RANGES
"""Role -> first level and one past the last, in line with the "strict" protocol."""

_TEXT_BUCKETS = ("train",) * 10 + ("train_heldout",) * 3 + ("validation",) * 3 + ("test",) * 4
_PRODUCT_PATTERN = (0, 3, 2, 0, 1, 0, 3, 0, 2, 0)


def role_of_level(level: int) -> str:
    """The role whose range holds a level.

    Raises:
        UsageError: If no such level exists.
    """
    for role, (start, stop) in RANGES.items():
        if start <= level < stop:
            return role
    raise UsageError(f"Level {level} does not exist in the shop; allowed: 0 to {LEVEL_UNIVERSE - 1}.")


def level_range(role: str) -> tuple[int, int]:
    """First level of a role and one past the last.

    Raises:
        UsageError: For an unknown role, with the closest match.
    """
    if role not in RANGES:
        raise unknown_name("role", role, ROLES)
    return RANGES[role]


def role_of_text(text: str) -> str:
    """The only role in which an instruction (without its price clause) may occur, in any world.

    Case and blanks do not count.
    """
    plain = " ".join(text.lower().split())
    digest = blake2b(plain.encode(), digest_size=8, person=b"shop-text").digest()
    return _TEXT_BUCKETS[int.from_bytes(digest, "little") % len(_TEXT_BUCKETS)]


def role_of_place(place: int) -> str:
    """The role whose goals may want the product at this place within its sub-category.

    Five products of a sub-category are enough for every role to have one.
    """
    return ROLES[_PRODUCT_PATTERN[place % len(_PRODUCT_PATTERN)]]
