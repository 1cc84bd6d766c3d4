from __future__ import annotations

import threading
import time

import pytest

from data.prefetch import Prefetcher


def test_items_come_in_order_from_the_start_step() -> None:
    with Prefetcher(lambda step: step * step, start_step=3) as items:
        assert [next(items) for _ in range(5)] == [9, 16, 25, 36, 49]


def test_it_ends_at_the_stop_step() -> None:
    with Prefetcher(lambda step: step, start_step=2, stop_step=5) as items:
        assert list(items) == [2, 3, 4]
        assert list(items) == []


def test_fetching_runs_ahead_by_no_more_than_the_depth() -> None:
    fetched: list[int] = []

    def fetch(step: int) -> int:
        fetched.append(step)
        return step

    with Prefetcher(fetch, start_step=0, depth=2) as items:
        next(items)
        deadline = time.monotonic() + 5
        while len(fetched) < 4 and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.05)
        assert fetched == [0, 1, 2, 3]  # one taken, two ready, one waiting to be put


def test_an_exception_reaches_the_caller_in_its_place_and_stays() -> None:
    def fetch(step: int) -> int:
        if step == 2:
            raise KeyError("broken")
        return step

    with Prefetcher(fetch, start_step=0) as items:
        assert [next(items), next(items)] == [0, 1]
        for _ in range(2):
            with pytest.raises(KeyError, match="broken"):
                next(items)


def test_closing_ends_the_thread_even_when_it_waits_to_put() -> None:
    items = Prefetcher(lambda step: step, start_step=0, depth=1)
    time.sleep(0.02)
    items.close()
    items.close()
    assert "prefetch" not in {thread.name for thread in threading.enumerate()}
    with pytest.raises(RuntimeError, match="closed"):
        next(items)
