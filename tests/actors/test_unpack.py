"""Unpacking by several processes and actors, some of which are killed."""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from actors import unpack_work
from actors.pack import pack
from actors.replaying import Workers
from actors.unpack import unpack
from data.episode import Episode
from data.pack.packed import Packed
from data.store import Store
from data.verify import verify
from envs.errors import RunError
from tests.actors.test_pack import ENVS, record
from tests.data.helpers import write

ROOT = Path(__file__).resolve().parents[2]


def long_pack(tmp_path: Path) -> Path:
    episode = record(tmp_path / "one", source="grid-expert", num_levels=1, min_transitions=1).episode(0)
    copies: list[Episode] = [dataclasses.replace(episode, episode=number) for number in range(12_000)]
    store = write(tmp_path / "set", copies, Store(tmp_path / "one").info.env)
    assert store.num_transitions > 30_000
    pack(tmp_path / "set", tmp_path / "file", check=False)
    return tmp_path / "file"


@pytest.mark.parametrize(("env", "source", "options"), ENVS)
def test_processes_make_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, env: str, source: str, options: dict[str, Any]
) -> None:
    monkeypatch.setattr("actors.unpack._WORTH_A_PROCESS", 100)
    dataset = record(tmp_path / "set", env, source, options)
    pack(tmp_path / "set", tmp_path / "file", check=False)
    begun, done = [], list[int]()

    def wait_for_the_others(self: Any, stopped: Any) -> None:
        if not begun:  # this process is ready long before they are, and there is little to do
            begun.append(True)
            while self._work.counters[0] < 2:
                time.sleep(0.01)
        run(self, stopped)

    run = unpack_work.Unpacker.run
    monkeypatch.setattr(unpack_work.Unpacker, "run", wait_for_the_others)
    workers = Workers(num_envs=3, num_processes=2)
    again = unpack(tmp_path / "file", tmp_path / "again", workers=workers, advance=done.append)
    assert again.fingerprint == dataset.fingerprint
    assert verify(tmp_path / "again") == []
    assert done == sorted(done)
    assert multiprocessing.active_children() == []


def test_a_killed_process_ends_the_unpacking_with_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("actors.unpack._WORTH_A_PROCESS", 1)
    file = long_pack(tmp_path)

    def kill(self: Any, stopped: Any) -> None:
        (other,) = multiprocessing.active_children()
        assert other.pid is not None
        os.kill(other.pid, signal.SIGKILL)

    monkeypatch.setattr(unpack_work.Unpacker, "run", kill)
    with pytest.raises(RunError, match="ended with exit code -9"):
        unpack(file, tmp_path / "out" / "again", workers=Workers(num_processes=2))
    assert list((tmp_path / "out").iterdir()) == []
    assert multiprocessing.active_children() == []


def test_a_process_whose_first_one_is_gone_ends(tmp_path: Path) -> None:
    record(tmp_path / "set")
    pack(tmp_path / "set", tmp_path / "file", check=False)
    (tmp_path / "columns").mkdir()
    context = multiprocessing.get_context("spawn")
    with Packed(tmp_path / "file") as packed:
        work = unpack_work.Work.share(context, packed, tmp_path / "columns", 2)
        orphaned = dataclasses.replace(work, owner=1)
        with unpack_work.together(context, orphaned, 1) as await_others:
            await_others()
        assert not unpack_work.Notes(packed, work.raw).written.any()
        with unpack_work.together(context, work, 1) as await_others:
            await_others()
        assert not unpack_work.Notes(packed, work.raw).written.all(), "what the orphan had begun stays undone"
        assert unpack_work.Notes(packed, work.raw).written.any()


@pytest.mark.chaos
@pytest.mark.parametrize("kill", [signal.SIGTERM, signal.SIGKILL])
def test_a_killed_unpack_leaves_no_dataset(tmp_path: Path, kill: signal.Signals) -> None:
    file, out = long_pack(tmp_path), tmp_path / "out" / "again"
    command = [sys.executable, "gengap.py", "data", "unpack", str(file), "-o", str(out)]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
    images = f".{out.name}.partial-*/observation.image.bin"
    deadline_s = time.monotonic() + 60
    while not list(out.parent.glob(images)) and process.poll() is None:
        assert time.monotonic() < deadline_s
        time.sleep(0.01)
    os.kill(process.pid, kill)
    errors = process.communicate(timeout=60)[1].decode()
    assert process.returncode == (130 if kill == signal.SIGTERM else -9), errors
    assert not out.exists()
    if kill == signal.SIGTERM:
        assert list(out.parent.iterdir()) == []
    assert unpack(file, out).fingerprint == Store(tmp_path / "set").info.fingerprint
    assert [path.name for path in out.parent.iterdir()] == ["again"]


@pytest.mark.ray
@pytest.mark.chaos
def test_a_killed_actor_changes_nothing_in_what_is_unpacked(ray_cluster: Any, tmp_path: Path) -> None:
    from ray.util.state import list_actors

    file, killed = long_pack(tmp_path), []

    def kill_once(done: int) -> None:
        if not killed and done > 5_000:
            filters = [("class_name", "=", "EnvActor"), ("state", "=", "ALIVE")]
            alive = list_actors(address=ray_cluster.get_runtime_context().gcs_address, filters=filters)
            killed.append(alive[0].pid)
            os.kill(killed[0], signal.SIGKILL)

    again = unpack(file, tmp_path / "again", workers=Workers(num_actors=2, num_envs=4), advance=kill_once)
    assert len(killed) == 1
    assert again.fingerprint == Store(tmp_path / "set").info.fingerprint
