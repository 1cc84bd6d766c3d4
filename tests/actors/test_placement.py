"""Placement: what each role holds, how much fits on machines, and that waiting is never silent."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.placement import (
    BOOT_S,
    CAN_START,
    DRIVER_SLOT,
    ENV_SLOT,
    Bundle,
    Cluster,
    ClusterRole,
    Machine,
    Waiting,
    actor_options,
    bundle_of,
    read_cluster,
    start_timeout,
)
from envs.errors import UsageError

ROOT = Path(__file__).resolve().parents[2]
HEAD = {"CPU": 0.0, DRIVER_SLOT: 8.0, "memory": 8e9}
CPU = {"CPU": 16.0, ENV_SLOT: 16.0, "memory": 3e10}
GPU = {"CPU": 8.0, "GPU": 1.0, "memory": 3e10}
CLOUD = Cluster((Machine(HEAD), Machine(CPU, 6, running=False), Machine(GPU, 4, running=False)))
"""What cluster.yaml describes, before anything but the head runs."""


def test_every_role_lands_on_its_own_machines_and_on_no_other() -> None:
    places = {
        role: [
            name for name, machine in (("head", HEAD), ("cpu", CPU), ("gpu", GPU)) if Cluster.of(machine).fit(bundle)
        ]
        for role in ClusterRole
        for bundle in [bundle_of(role, CLOUD, threads=4, gpu=True)]
    }
    assert places == {
        ClusterRole.ENV_ACTOR: ["cpu"],
        ClusterRole.EVALUATOR: ["cpu"],
        ClusterRole.LEARNER: ["gpu"],
        ClusterRole.DRIVER: ["head"],
    }
    counts = {role: CLOUD.fit(bundle_of(role, CLOUD, threads=4, gpu=True)) for role in ClusterRole}
    assert counts == {"env actor": 96, "evaluator": 192, "learner": 4, "driver": 8}


def test_nothing_is_asked_for_that_one_machine_alone_does_not_have() -> None:
    alone = Cluster.of({"CPU": 2.0, "memory": 1e9})
    bundles = {role: bundle_of(role, alone, threads=2) for role in ClusterRole}
    assert bundles == {
        ClusterRole.ENV_ACTOR: {"CPU": 1.0},
        ClusterRole.EVALUATOR: {"CPU": 0.5},
        ClusterRole.LEARNER: {"CPU": 2.0},
        ClusterRole.DRIVER: {"CPU": 0.0, "memory": 1e6},
    }
    assert [alone.fit(bundle) for bundle in bundles.values()] == [2, 4, 1, 1000]


def test_a_bundle_never_spans_two_machines() -> None:
    cluster = Cluster.of({"CPU": 2.0}, {"CPU": 2.0}, {"CPU": 2.0})
    assert [cluster.fit({"CPU": float(threads)}) for threads in (1, 2, 3)] == [6, 3, 0]


def pack_by_trying(machines: list[dict[str, float]], bundle: Bundle, most: int) -> int:
    """The largest number of copies for which some assignment to machines holds; tries them all."""
    for count in range(most, 0, -1):
        for places in itertools.combinations_with_replacement(range(len(machines)), count):
            used = [{name: places.count(i) * amount for name, amount in bundle.items()} for i in range(len(machines))]
            fits = zip(machines, used, strict=True)
            if all(m.get(name, 0) + 1e-9 >= amount for m, need in fits for name, amount in need.items()):
                return count
    return 0


AMOUNTS = st.integers(0, 6).map(lambda halves: halves / 2)


@settings(max_examples=80, deadline=None)
@given(
    machines=st.lists(st.fixed_dictionaries({"CPU": AMOUNTS, "GPU": AMOUNTS}), min_size=1, max_size=3),
    bundle=st.fixed_dictionaries({"CPU": st.sampled_from([0.5, 1.0, 1.5]), "GPU": st.sampled_from([0.0, 0.5, 1.0])}),
)
def test_fit_counts_as_trying_every_assignment_does(machines: list[dict[str, float]], bundle: Bundle) -> None:
    found = Cluster.of(*machines).fit(bundle)
    assert min(found, 7) == pack_by_trying(machines, bundle, 7)


def fake_ray(nodes: list[dict[str, float]]) -> Any:
    return SimpleNamespace(
        nodes=lambda: [{"Alive": True, "Resources": node} for node in nodes] + [{"Alive": False, "Resources": CPU}],
        available_resources=lambda: {"CPU": 0.0},
    )


DECLARED = [{"count": 6, "resources": {"CPU": 16, ENV_SLOT: 16}}, {"count": 4, "resources": {"CPU": 8, "GPU": 1}}]


@pytest.fixture(autouse=True)
def declared(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """What the autoscaler may start; a home without the file of `ray up`."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv(CAN_START, json.dumps(DECLARED))
    return tmp_path / "ray_bootstrap_config.yaml"


@pytest.mark.parametrize("place", ["variable", "file"])
def test_machines_that_may_still_start_are_counted_once(
    place: str, declared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if place == "file":
        monkeypatch.delenv(CAN_START)
        declared.write_text((ROOT / "cluster.yaml").read_text())
    empty = read_cluster(fake_ray([HEAD]))
    grown = read_cluster(fake_ray([HEAD, CPU, CPU, GPU]))
    full = read_cluster(fake_ray([HEAD, *[CPU] * 6, *[GPU] * 4]))
    for cluster in (empty, grown, full):
        assert (cluster.fit({"CPU": 1.0, ENV_SLOT: 1.0}), cluster.fit({"CPU": 1.0, "GPU": 1.0})) == (96, 4)
    assert [cluster.fit({ENV_SLOT: 1.0}, running=True) for cluster in (empty, grown, full)] == [0, 32, 96]
    assert all(machine.running for machine in full.machines)


def test_a_cluster_that_none_of_our_files_started_has_what_runs() -> None:
    assert read_cluster(fake_ray([CPU])).machines == (Machine(CPU),)


def test_nothing_may_start_where_nothing_is_declared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(CAN_START)
    assert read_cluster(fake_ray([HEAD])).machines == (Machine(HEAD),)
    monkeypatch.setenv(CAN_START, '{"CPU": 3}')
    with pytest.raises(UsageError, match="no list of counts"):
        read_cluster(fake_ray([HEAD]))


def test_machines_that_must_boot_are_given_the_time() -> None:
    bundle = {"CPU": 1.0, ENV_SLOT: 1.0}
    assert start_timeout(CLOUD, bundle, 4, 120.0) == BOOT_S
    assert start_timeout(Cluster.of(CPU), bundle, 4, 120.0) == 120.0
    assert start_timeout(Cluster.of(GPU), bundle, 4, 120.0) == 120.0, "nothing will come, so nothing is waited for"


@pytest.mark.parametrize(
    ("ray", "said"),
    [
        (fake_ray([HEAD]), "may start 10 more .* Such a machine must start first"),
        (fake_ray([CPU]), r"free: 0 CPU, 0 env_actor\.$"),
        (fake_ray([GPU]), "None of its machines is large enough"),
    ],
)
def test_waiting_says_for_what(ray: Any, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    waiting = Waiting(ray, every_s=0.0)
    waiting.tick("2 of 4 env actors", {"CPU": 1.0, ENV_SLOT: 1.0}, still=lambda: False)
    assert not capsys.readouterr().err
    waiting.tick("2 of 4 env actors", {"CPU": 1.0, ENV_SLOT: 1.0})
    line = capsys.readouterr().err.strip()
    assert line.startswith("Waiting for 2 of 4 env actors: 1 CPU, 1 env_actor each. The cluster has 1 machine")
    assert re.search(said, line), line


def test_waiting_is_silent_at_first(capsys: pytest.CaptureFixture[str]) -> None:
    Waiting(fake_ray([HEAD]), every_s=60.0).tick("everything", {"CPU": 1.0})
    assert not capsys.readouterr().err


def test_bundles_become_arguments_of_ray() -> None:
    assert actor_options({"CPU": 0.5, ENV_SLOT: 0.5}) == {
        "num_cpus": 0.5,
        "num_gpus": 0.0,
        "resources": {ENV_SLOT: 0.5},
    }
