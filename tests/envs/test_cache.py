"""The bounded cache."""

from __future__ import annotations

from envs.cache import LeastRecentlyUsed


def test_the_least_recently_used_value_goes_first() -> None:
    made: list[int] = []

    def make(level: int) -> bytes:
        made.append(level)
        return bytes(level)

    cache = LeastRecentlyUsed(make, 10, len)
    for level in (3, 4, 3, 5):
        assert cache.get(level) == bytes(level)
    assert (4 in cache, 3 in cache, 5 in cache, cache.used, made) == (False, True, True, 8, [3, 4, 5])
    assert cache.get(50) == bytes(50)
    assert (len(cache), cache.used) == (1, 50)
