"""A study in a bucket: what comes back is the study as it stood, or nothing."""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest

from envs.errors import RunError, UsageError
from search import storage
from search.storage import StudyStorage, restore_study, stored, study_files


@pytest.fixture
def url() -> Iterator[str]:
    yield "memory://place/study"
    fsspec.filesystem("memory").store.clear()


@pytest.fixture
def study(tmp_path: Path) -> Path:
    folder = tmp_path / "study"
    checkpoints = folder / "trials" / "a" / "checkpoints"
    (checkpoints / "step-10").mkdir(parents=True)
    (checkpoints / "step-10" / "model").write_bytes(os.urandom(100))
    (checkpoints / "last").symlink_to("step-10")
    (folder / "study.json").write_text("{}")
    (folder / "metrics.jsonl").write_text("1\n")
    (folder / ".lock").write_text("")
    (folder / "trials" / ".step-20-made").mkdir()
    return folder


def contents(folder: Path) -> dict[str, Any]:
    return {name: os.readlink(p) if p.is_symlink() else p.read_bytes() for name, p in study_files(folder)}


def test_links_out_of_the_study_stay_behind(study: Path, url: str, tmp_path: Path) -> None:
    expected = contents(study)
    logs = study / "trials" / "a" / "wandb" / "offline-run-1" / "logs"
    logs.mkdir(parents=True)
    (logs / "debug.log").write_text("one")
    (tmp_path / "elsewhere.log").write_text("of somebody else")
    (logs / "debug-core.log").symlink_to(tmp_path / "elsewhere.log")  # as W&B does
    (logs / "up.log").symlink_to("../../../../../../elsewhere.log")
    (logs.parent.parent / "latest-run").symlink_to("offline-run-1")
    (logs / "beside.log").symlink_to("../../latest-run/logs/debug.log")
    StudyStorage(study, url).save()
    restore_study(url, tmp_path / "again")
    found = contents(tmp_path / "again")
    new = {name.removeprefix("trials/a/wandb/") for name in found if name not in expected}
    assert new == {"offline-run-1/logs/debug.log", "offline-run-1/logs/beside.log", "latest-run"}
    assert {name: found[name] for name in expected} == expected


def test_it_comes_back_as_it_was_links_included(study: Path, url: str, tmp_path: Path) -> None:
    StudyStorage(study, url).save()
    restore_study(url, tmp_path / "deep" / "again")
    assert contents(tmp_path / "deep" / "again") == contents(study)
    assert set(contents(study)) == {
        "study.json", "metrics.jsonl", "trials/a/checkpoints/step-10/model", "trials/a/checkpoints/last",
    }  # fmt: skip
    assert (tmp_path / "deep" / "again" / "trials" / "a" / "checkpoints" / "last" / "model").exists()


def test_only_what_changed_is_sent_and_what_is_gone_is_deleted(study: Path, url: str, tmp_path: Path) -> None:
    kept = StudyStorage(study, url)
    assert kept.save() == 100 + 2 + 2
    assert kept.save() == 0
    with (study / "metrics.jsonl").open("a") as stream:
        stream.write("2\n")
    shutil.rmtree(study / "trials" / "a" / "checkpoints" / "step-10")
    (study / "trials" / "a" / "checkpoints" / "last").unlink()
    assert kept.save() == 4
    assert StudyStorage(study, url).save() == 0, "another process sends nothing again"
    restore_study(url, tmp_path / "again")
    assert contents(tmp_path / "again") == contents(study)
    assert len(fsspec.filesystem("memory").ls(f"{url}/blobs")) == len(contents(study))


def test_a_driver_that_dies_while_it_sends_leaves_the_study_before(study: Path, url: str, tmp_path: Path) -> None:
    kept, before = StudyStorage(study, url), contents(study)
    kept.save()
    (study / "study.json").write_text('{"later": 1}')
    (study / "trials" / "a" / "result.json").write_text("[]")
    files, sent = fsspec.filesystem("memory"), list[str]()
    pipe = files.pipe_file

    def die(path: str, value: bytes, **options: Any) -> None:
        if path.endswith("manifest.json"):
            raise OSError("dead")
        sent.append(path)
        pipe(path, value, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "pipe_file", die)
        with pytest.raises(RunError, match="dead"):
            kept.save()
    assert len(sent) == 2
    restore_study(url, tmp_path / "again")
    assert contents(tmp_path / "again") == before


def test_a_large_file_that_changes_while_it_is_sent_waits(
    study: Path, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "_SMALL_BYTES", 50)
    files, model = fsspec.filesystem("memory"), study / "trials" / "a" / "checkpoints" / "step-10" / "model"
    put = files.put_file

    def grow(source: str, target: str, **options: Any) -> None:
        put(source, target, **options)
        with model.open("ab") as stream:
            stream.write(b"more")

    kept = StudyStorage(study, url)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "put_file", grow)
        kept.save()
    restore_study(url, tmp_path / "first")
    assert "trials/a/checkpoints/step-10/model" not in contents(tmp_path / "first")
    kept.save()
    restore_study(url, tmp_path / "second")
    assert contents(tmp_path / "second") == contents(study)


def test_damage_and_names_that_lead_out_are_refused(study: Path, url: str, tmp_path: Path) -> None:
    StudyStorage(study, url).save()
    files = fsspec.filesystem("memory")
    manifest = json.loads(files.cat_file(f"{url}/manifest.json"))
    files.pipe_file(f"{url}/blobs/{manifest['files']['study.json']}", b"[]")
    with pytest.raises(RunError, match="damaged"):
        restore_study(url, tmp_path / "again")
    assert not (tmp_path / "again").exists()
    for part, value in (("files", manifest["files"]["metrics.jsonl"]), ("links", "../../x"), ("links", "/etc")):
        wrong = {"files": {}, "links": {}} | {part: {"../x" if part == "files" else "x": value}}
        files.pipe_file(f"{url}/manifest.json", json.dumps(wrong).encode())
        with pytest.raises(RunError, match="leads out"):
            restore_study(url, tmp_path / "again")
    with pytest.raises(UsageError, match="no study at"):
        restore_study("memory://place/nothing", tmp_path / "again")
    with pytest.raises(UsageError, match="exists already"):
        restore_study(url, study)
    with pytest.raises(UsageError, match="no remote address"):
        StudyStorage(study, str(tmp_path))


def test_a_study_is_kept_while_it_runs_and_when_it_fails(study: Path, url: str, tmp_path: Path) -> None:
    def fail() -> None:
        with stored(study, url, every_s=0.01):
            (study / "result").write_text("1")
            while not _stores(url, "result"):
                threading.Event().wait(0.01)
            (study / "last words").write_text("2")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    restore_study(url, tmp_path / "again")
    assert contents(tmp_path / "again") == contents(study)
    with stored(study, None, every_s=100):  # it keeps its copy without being told
        (study / "more").write_text("3")
    assert _stores(url, "more")
    with pytest.raises(UsageError, match="A study is at"), stored(tmp_path / "other", url):
        pass
    assert not (tmp_path / "other").exists()


def _stores(url: str, name: str) -> bool:
    files = fsspec.filesystem("memory")
    place = f"{url}/manifest.json"
    return files.exists(place) and name in json.loads(files.cat_file(place))["files"]
