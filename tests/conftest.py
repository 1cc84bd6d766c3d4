"""Fixtures shared by all tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What the tests derive and keep lies in a folder of this run, not in the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GENGAP_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[Any]:
    """A local Ray with 4 logical CPUs; the dashboard stays on because Tune's clean-up needs its State API."""
    import ray

    ray.init(num_cpus=4, include_dashboard=True, log_to_driver=False, namespace="gengap-tests")
    yield ray
    ray.shutdown()


@pytest.fixture(autouse=True)
def _single_threaded_torch(request: pytest.FixtureRequest) -> None:
    """Two cores are shared by everything that runs beside the tests."""
    import sys

    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
