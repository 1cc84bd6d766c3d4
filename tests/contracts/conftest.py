"""Recorded data for contracts of algorithms."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.trainers.helpers import record_grid


@pytest.fixture(scope="session")
def grid_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "grid"
    record_grid(path)
    return path
