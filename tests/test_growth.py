"""What the soak says of figures that grow and of figures that do not; the model of scale."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import psutil
import pytest

from benchmarks.growth import growth, line, thread_names
from benchmarks.scaling_model import Fleet, Measured, limits, predict, saturating_actors, writers_needed

MEASURED = Measured(
    actor_per_s=1_000.0,
    bytes_per_transition=1_000.0,
    writer_per_s=20_000.0,
    receive_bytes_per_s=1e9,
    reply_s=0.0,
    wait_s_per_actor=0.0,
)


def test_a_line_and_its_error_are_those_of_least_squares() -> None:
    rng = np.random.default_rng(0)
    x = np.linspace(0, 3, 40)
    y = 2.0 * x + rng.normal(size=40)
    (slope, _), covariance = np.polyfit(x, y, 1, cov=True)
    assert line(x, y) == pytest.approx((slope, np.sqrt(covariance[0, 0])))
    assert line(x[:2], y[:2]) == (0.0, float("inf"))


def test_a_leak_is_told_from_noise_and_from_a_warm_up() -> None:
    rng = np.random.default_rng(1)
    noise = rng.normal(scale=5.0, size=80)
    warm = np.minimum(np.arange(80), 15) * 10.0
    samples = [
        {
            "hours": n / 60,
            "leaks": 2.0 * n + noise[n],
            "noise": 100 + noise[n],
            "warms up": warm[n],
            "described": 9.0 * n,
        }
        for n in range(80)
    ]
    grown = growth(samples, {"leaks": 30.0, "noise": 30.0, "warms up": 30.0})
    assert {name: figure["flat"] for name, figure in grown.items()} == {
        "leaks": False, "noise": True, "warms up": True, "described": True,
    }  # fmt: skip
    assert grown["leaks"]["slope"] == pytest.approx(200.0, abs=3 * grown["leaks"]["plus_minus"])


def test_the_slowest_part_sets_the_pace_and_writers_share_the_work() -> None:
    few = predict(MEASURED, Fleet(num_actors=10), 1e6)
    assert (few["bottleneck"], few["transitions_per_s"], few["actors_busy"]) == ("env actors", 10_000.0, 1.0)
    many = Fleet(num_actors=1_000)
    one = predict(MEASURED, many, 1e10)
    # 1 / 20,000 s to write and 1,000 / 1e9 s to fetch a transition.
    assert one["bottleneck"] == "writer process"
    assert one["transitions_per_s"] == pytest.approx(1 / (1 / 20_000 + 1e-6))
    assert one["hours"] == pytest.approx(1e10 / float(one["transitions_per_s"]) / 3600)
    assert (one["terabytes"], one["nodes"]) == (pytest.approx(10.0), 32.0)
    assert saturating_actors(MEASURED, many) == 19
    needed = writers_needed(MEASURED, many)
    assert predict(MEASURED, dataclasses.replace(many, num_writers=needed), 1e10)["bottleneck"] == "env actors"
    assert predict(MEASURED, dataclasses.replace(many, num_writers=needed - 1), 1e10)["bottleneck"] == "writer process"


def test_a_thin_network_and_many_small_replies_cost() -> None:
    fleet = Fleet(num_actors=1_000)
    thin = dataclasses.replace(fleet, link_bytes_per_s=1e6)
    assert predict(MEASURED, thin, 1)["bottleneck"] == "network into the writer's node"
    chatty = dataclasses.replace(MEASURED, reply_s=1e-3, wait_s_per_actor=1e-6)
    # One reply a second from each actor carries its thousand transitions.
    expected = 1 / (1 / 20_000 + 1e-6 + (1e-3 + 1e-6 * 1_000) / 1_000)
    assert limits(chatty, fleet)["writer process"] == pytest.approx(expected)


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="threads have such names on Linux only")
def test_every_thread_has_a_name() -> None:
    assert abs(sum(thread_names().values()) - psutil.Process().num_threads()) <= 1, "one may begin or end meanwhile"
