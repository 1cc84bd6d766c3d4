"""Whatever is read from elsewhere is answered by one clear line: only `UsageError` and `RunError` come out."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.targets import TARGETS, try_one

INPUTS = {"archives": 60, "cluster-files": 40, "overrides": 400}
"""Inputs of a target in each run of the tests, chosen by time; 100 of the others. `python -m tests.fuzz` tries more."""


@pytest.mark.parametrize("name", TARGETS)
def test_only_our_own_errors_come_out(name: str, tmp_path: Path) -> None:
    attempt = TARGETS[name](tmp_path)
    outcomes = []

    @settings(max_examples=INPUTS.get(name, 100), deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(seed=st.integers(0, 2**20))
    def run(seed: int) -> None:
        outcomes.append(try_one(attempt, seed))

    started_s = time.monotonic()
    run()
    # The shop answers every action, whether it understands it or not.
    assert outcomes.count(True) > 0 or name == "shop-actions", "nothing was refused, so nothing was spoiled"
    print(f"{name}: {len(outcomes)} inputs in {time.monotonic() - started_s:.1f} s")
