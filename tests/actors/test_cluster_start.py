"""A local Ray on a machine that is too busy to start it in time."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest

from actors import cluster
from envs.errors import RunError
from tests.conftest import REPOSITORY

SLOW = "The current node timed out during startup. This could happen because the GCS has become overloaded."


class Starts:
    """Stands for `ray`; the first starts fail."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.calls: list[str] = []

    def init(self, **_: Any) -> None:
        self.calls.append("init")
        if self.errors:
            raise self.errors.pop(0)

    def shutdown(self) -> None:
        self.calls.append("shutdown")


def test_what_was_only_too_slow_is_started_again(capsys: pytest.CaptureFixture[str]) -> None:
    ray = Starts(Exception(SLOW), Exception("The last 20 lines of /tmp/ray/logs/dashboard.log: "))
    cluster._begin(ray, None, 2)
    assert ray.calls == ["init", "shutdown", "init", "shutdown", "init"]
    assert capsys.readouterr().err.count("trying again") == 2


@pytest.mark.parametrize(
    ("errors", "address", "inits"),
    [([SLOW] * 9, None, cluster.STARTS), (["something else"], None, 1), ([SLOW], "10.0.0.1:6379", 1)],
)
def test_anything_else_ends_the_command_with_one_line(errors: list[str], address: str | None, inits: int) -> None:
    ray = Starts(*map(Exception, errors))
    with pytest.raises(RunError, match="Ray could not be started"):
        cluster._begin(ray, address, 2)
    assert ray.calls.count("init") == inits


REALLY = """
import time
from ray._private import services
from actors.cluster import ray_session
found, begun_s = services.get_node, time.monotonic()
def get_node(*arguments):
    if time.monotonic() - begun_s < 31:
        raise RuntimeError("not yet")
    return found(*arguments)
services.get_node = get_node
with ray_session(num_cpus=1) as ray:
    print(ray.get(ray.remote(lambda: 6 * 7).remote()))
"""


@pytest.mark.ray
@pytest.mark.slow
def test_the_second_start_works_in_the_same_process() -> None:
    done = subprocess.run(
        [sys.executable, "-c", REALLY],
        cwd=REPOSITORY,
        env=dict(os.environ),
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.stdout.split() == ["42"], done.stderr[-2000:]
    assert "trying again" in done.stderr
