"""An environment that crashes, hangs, leaves or dawdles inside an env actor changes nothing in what comes out."""

from __future__ import annotations

import dataclasses
import re
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from actors.collect import CollectConfig, collect
from actors.env_actor import PlayTask, RecordTask
from actors.evaluate import evaluate_inline, evaluate_on_pool
from actors.policy import RandomPolicy
from actors.pool import ActorPool
from data.verify import verify
from envs.errors import RunError
from envs.registry import make_spec
from envs.spec import LevelSet
from metrics.protocol import strict
from tests.chaos.faults import LEVEL, faulty

pytestmark = [pytest.mark.ray, pytest.mark.chaos]

GRID = "grid/default"
CONFIG = CollectConfig(
    env=GRID, source="grid-expert", options={"noise": 0.2}, num_levels=40, min_transitions=2_000, num_envs=4
)
ON_ACTORS = dataclasses.replace(CONFIG, num_actors=2)
FAULTS = {
    "segfaults": "Env actor [01] died",
    "leaves": "Env actor [01] died",
    "hangs": "Env actor [01] failed and is replaced .silent for",
    "straggles": "Env actor [01] is slow; its last \\d+ jobs are played twice",
}


@pytest.fixture
def fault(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Its name; nobody waits long for it. What hangs would be taken for late if it were not left alone."""
    monkeypatch.setattr("actors.pool.ActorPool", partial(ActorPool, deadline_s=4))
    monkeypatch.setattr("actors.chunks.LATE_S", 1000.0 if request.param == "hangs" else 0.5)
    return str(request.param)


def cases(quick: str) -> list[Any]:
    """All faults, of which one is tried by the quick tests too."""
    return [pytest.param(name, marks=() if name == quick else pytest.mark.slow) for name in FAULTS]


@pytest.mark.parametrize("fault", cases("segfaults"), indirect=True)
@pytest.mark.usefixtures("ray_cluster")
def test_a_dataset_has_the_fingerprint_of_an_undisturbed_one(
    fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    undisturbed = collect(dataclasses.replace(CONFIG, num_actors=0), tmp_path / "undisturbed")
    monkeypatch.setattr("actors.collect.RecordTask", faulty(RecordTask, fault, tmp_path))
    disturbed = collect(ON_ACTORS, tmp_path / "disturbed")
    assert disturbed.fingerprint == undisturbed.fingerprint
    assert verify(tmp_path / "disturbed") == []
    assert re.search(FAULTS[fault], capsys.readouterr().err), "the fault never struck"


@pytest.mark.parametrize("fault", cases("straggles"), indirect=True)
@pytest.mark.usefixtures("ray_cluster")
def test_an_evaluation_has_the_table_of_an_undisturbed_one(
    fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    protocol = strict(make_spec(GRID), LevelSet.range(GRID, 0, 20), num_validation=20, episodes_per_level=2)
    undisturbed = evaluate_inline(RandomPolicy(make_spec(GRID)), protocol, num_envs=8)
    monkeypatch.setattr("actors.evaluate.PlayTask", faulty(PlayTask, fault, tmp_path))
    with ActorPool(2, deadline_s=4) as pool:
        disturbed = evaluate_on_pool(pool, None, protocol, num_envs=3)
    assert disturbed.frame.equals(undisturbed.frame)
    assert re.search(FAULTS[fault], capsys.readouterr().err), "the fault never struck"


@pytest.mark.usefixtures("ray_cluster")
def test_nan_in_an_actor_ends_the_collection_with_its_level_and_goes_on_once_it_is_mended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed = collect(dataclasses.replace(CONFIG, num_actors=0), tmp_path / "undisturbed")
    with monkeypatch.context() as patch:
        patch.setattr("actors.collect.RecordTask", faulty(RecordTask, "gives NaN", tmp_path))
        with pytest.raises(RunError, match=rf"^'{GRID}' gave the reward nan on level {LEVEL} at step 3 of the episode"):
            collect(ON_ACTORS, tmp_path / "data")
    assert not (tmp_path / "data").exists()
    assert collect(ON_ACTORS, tmp_path / "data").fingerprint == undisturbed.fingerprint
