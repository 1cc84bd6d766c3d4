"""Datasets, checkpoints and packs in buckets: against an S3 server on this machine, and fsspec's own memory."""

from __future__ import annotations

import argparse
import json
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest

from actors.pack import pack
from actors.sources import checkpoint_of
from actors.unpack import unpack
from data import remote
from data.commands import add_arguments, run
from data.dataset import Dataset
from data.push import push
from data.remote import local_checkpoint, local_dataset, local_file, remote_url
from data.schema import MANIFEST, manifest_checksum
from data.verify import verify
from data.writer import DatasetWriter
from envs.errors import RunError, UsageError
from tests.data.helpers import PIXELS, TEXT, make_episode, write

EPISODES = [make_episode(TEXT, level=level, metrics={"score": 0.5}) for level in range(5)]


@pytest.fixture(scope="module")
def s3_server() -> Iterator[str]:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3(s3_server: str, monkeypatch: pytest.MonkeyPatch) -> str:
    for name, value in {
        "AWS_ENDPOINT_URL": s3_server,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    files = fsspec.filesystem("s3", skip_instance_cache=True)
    if not files.exists("bucket"):
        files.mkdir("bucket")
    return "s3://bucket"


@pytest.fixture
def memory() -> Iterator[str]:
    yield "memory://place"
    fsspec.filesystem("memory").store.clear()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GENGAP_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.mark.parametrize("kind", ["s3", "memory"])
def test_a_pushed_dataset_opens_where_it_was_pushed_to(
    request: pytest.FixtureRequest, tmp_path: Path, cache: Path, kind: str
) -> None:
    url = f"{request.getfixturevalue(kind)}/sets/text"
    dataset = write(tmp_path / "set", EPISODES, TEXT)
    assert push(tmp_path / "set", url) == sum(file.stat().st_size for file in (tmp_path / "set").iterdir())
    opened = Dataset.open(url)
    assert opened.fingerprint == dataset.fingerprint
    assert opened.info.path == cache / "datasets" / dataset.fingerprint
    index = np.arange(len(dataset))
    assert opened.batch(index).actions.tolist() == dataset.batch(index).actions.tolist()
    assert verify(url) == []
    assert Dataset.open(Path(url)).fingerprint == dataset.fingerprint, "a Path loses a slash"
    assert push(tmp_path / "set", url) == 0, "what is there is not sent again"


def test_the_copy_in_the_cache_is_used_again_and_travels_as_the_address(
    memory: str, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = write(tmp_path / "set", EPISODES, TEXT)
    push(tmp_path / "set", f"{memory}/set")
    opened = Dataset.open(f"{memory}/set")
    monkeypatch.setattr(remote, "_download", None)
    assert Dataset.open(f"{memory}/set").fingerprint == dataset.fingerprint
    monkeypatch.undo()
    monkeypatch.setenv("GENGAP_CACHE", str(tmp_path / "another machine"))
    travelled = pickle.loads(pickle.dumps(opened))
    assert travelled.info.path.is_relative_to(tmp_path / "another machine")
    assert travelled.fingerprint == dataset.fingerprint


def test_an_interrupted_push_leaves_nothing_that_opens(memory: str, tmp_path: Path) -> None:
    write(tmp_path / "set", EPISODES, TEXT)
    files = fsspec.filesystem("memory")
    put = files.put_file
    sent: list[str] = []

    def fail_at_the_third(source: str, target: str, **options: Any) -> None:
        if len(sent) == 2:
            raise OSError("the line is dead")
        sent.append(target)
        put(source, target, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "put_file", fail_at_the_third)
        with pytest.raises(RunError, match="the line is dead"):
            push(tmp_path / "set", f"{memory}/set")
    with pytest.raises(UsageError, match="no dataset at"):
        Dataset.open(f"{memory}/set")
    push(tmp_path / "set", f"{memory}/set")
    assert verify(f"{memory}/set") == []


def test_what_is_there_is_never_overwritten(memory: str, tmp_path: Path) -> None:
    write(tmp_path / "a", EPISODES, TEXT)
    write(tmp_path / "b", EPISODES[:2], TEXT)
    push(tmp_path / "a", f"{memory}/set")
    with pytest.raises(UsageError, match="not overwritten"):
        push(tmp_path / "b", f"{memory}/set")
    (tmp_path / "file").write_bytes(b"one")
    push(tmp_path / "file", f"{memory}/file")
    (tmp_path / "file").write_bytes(b"two")
    with pytest.raises(UsageError, match="not overwritten"):
        push(tmp_path / "file", f"{memory}/file")


@pytest.mark.parametrize("name", ["actions.bin", "observation.page.values.bin", "episodes.bin"])
@pytest.mark.parametrize("damage", ["flip", "cut", "grow", "missing"])
def test_damage_on_the_way_is_noticed_and_leaves_nothing(
    memory: str, tmp_path: Path, cache: Path, name: str, damage: str
) -> None:
    write(tmp_path / "set", EPISODES, TEXT)
    push(tmp_path / "set", f"{memory}/set")
    files = fsspec.filesystem("memory")
    content = bytearray(files.cat_file(f"{memory}/set/{name}"))
    content[3] ^= 4
    changed = {"flip": content, "cut": content[:-1], "grow": content + b"x", "missing": b""}[damage]
    files.pipe_file(f"{memory}/set/{name}", bytes(changed))
    if damage == "missing":
        files.rm_file(f"{memory}/set/{name}")
    with pytest.raises(RunError, match=name.replace(".", r"\.")) as caught:
        Dataset.open(f"{memory}/set")
    assert "\n" not in str(caught.value)
    assert [path for path in (cache / "datasets").iterdir() if not path.name.endswith(".lock")] == []


def test_a_manifest_that_names_files_elsewhere_is_refused(memory: str, tmp_path: Path, cache: Path) -> None:
    write(tmp_path / "set", EPISODES, TEXT)
    push(tmp_path / "set", f"{memory}/set")
    files = fsspec.filesystem("memory")
    for changes in ({"fingerprint": "../../x"}, {"files": [{"name": "../evil", "bytes": 1, "crc32": "0"}]}):
        manifest = {**json.loads((tmp_path / "set" / MANIFEST).read_text()), **changes}
        manifest["checksum"] = manifest_checksum(manifest)
        files.pipe_file(f"{memory}/set/{MANIFEST}", json.dumps(manifest).encode())
        with pytest.raises(RunError, match="outside its directory"):
            Dataset.open(f"{memory}/set")
    assert not cache.exists()


def test_a_manifest_with_another_fingerprint_is_refused(memory: str, tmp_path: Path) -> None:
    write(tmp_path / "set", EPISODES, TEXT)
    push(tmp_path / "set", f"{memory}/set")
    manifest = {**json.loads((tmp_path / "set" / MANIFEST).read_text()), "fingerprint": "0" * 32}
    manifest["checksum"] = manifest_checksum(manifest)
    fsspec.filesystem("memory").pipe_file(f"{memory}/set/{MANIFEST}", json.dumps(manifest).encode())
    with pytest.raises(RunError, match="but its manifest says 0000"):
        Dataset.open(f"{memory}/set")


@pytest.mark.parametrize("kind", ["s3", "memory"])
def test_checkpoints_and_runs_are_found(request: pytest.FixtureRequest, tmp_path: Path, kind: str) -> None:
    url = f"{request.getfixturevalue(kind)}/{kind}-run"
    for name, content in {"policy.json": "{}", "model.safetensors": "weights"}.items():
        (tmp_path / "checkpoint").mkdir(exist_ok=True)
        (tmp_path / "checkpoint" / name).write_text(content)
    push(tmp_path / "checkpoint", f"{url}/checkpoints/best")
    for place in (url, f"{url}/checkpoints/best"):
        found = checkpoint_of(Path(place))
        assert (found / "model.safetensors").read_text() == "weights"
        assert (found.name, found.parent.name) == ("best", "checkpoints")
        assert found.parent.parent.parent == (tmp_path / "cache" / "runs")
    fsspec.filesystem(kind).pipe_file(f"{url}/checkpoints/best/model.safetensors", b"retrained")
    assert (checkpoint_of(Path(url)) / "model.safetensors").read_text() == "retrained"
    with pytest.raises(UsageError, match="no checkpoint at"):
        local_checkpoint(f"{url}/elsewhere")


def test_a_pack_is_unpacked_from_a_bucket(memory: str, tmp_path: Path) -> None:
    dataset = write(tmp_path / "set", EPISODES, TEXT)
    pack(tmp_path / "set", tmp_path / "file", frames=True)
    push(tmp_path / "file", f"{memory}/packs/text.pack")
    again = unpack(Path(f"{memory}/packs/text.pack"), tmp_path / "again")
    assert again.fingerprint == dataset.fingerprint
    with pytest.raises(UsageError, match="no file at"):
        local_file(f"{memory}/packs/other.pack")


def test_training_reads_from_a_bucket(memory: str, tmp_path: Path) -> None:
    from trainers.training_data import open_datasets

    dataset = write(tmp_path / "set", EPISODES, TEXT)
    push(tmp_path / "set", f"{memory}/set")
    opened = open_datasets((f"{memory}/set",))
    assert {name: found.fingerprint for name, found in opened.items()} == {"set": dataset.fingerprint}


def test_local_paths_stay_what_they_are(tmp_path: Path) -> None:
    assert local_dataset(tmp_path / "x") == tmp_path / "x"
    assert local_checkpoint("runs/a") == Path("runs/a")
    assert local_file("a.pack") == Path("a.pack")
    for text in ("runs/s3", "./s3:x", "C:/x", "a:b"):
        assert remote_url(text) is None
    assert remote_url(Path("s3://bucket/a")) == remote_url("s3://bucket/a/") == "s3://bucket/a"


def test_wrong_use_is_answered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, s3: str) -> None:
    write(tmp_path / "set", EPISODES, TEXT)
    with pytest.raises(UsageError, match="no remote address"):
        push(tmp_path / "set", str(tmp_path / "copy"))
    with pytest.raises(UsageError, match="neither a dataset nor"):
        push(tmp_path, f"{s3}/x")
    with pytest.raises(UsageError, match="gengap data push"):
        DatasetWriter(f"{s3}/x", PIXELS, {})
    with pytest.raises(UsageError, match="no address that fsspec knows"):
        Dataset.open("nonsense://x/y")
    with pytest.raises(RunError, match="cannot be reached or used"):
        push(tmp_path / "set", "s3://no-such-bucket-here/x")


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr(remote.importlib, "import_module", missing)
    with pytest.raises(UsageError, match=r"pip install 'gengap\[s3\]'"):
        Dataset.open("s3://bucket/x")
    with pytest.raises(UsageError, match=r"pip install 'gengap\[gs\]'"):
        Dataset.open("gs://bucket/x")


def test_the_command(memory: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "set", EPISODES, TEXT)
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    values = run(parser.parse_args(["push", str(tmp_path / "set"), f"{memory}/set"]))
    assert values["sent_bytes"] > 0
    assert f"is at {memory}/set" in capsys.readouterr().out
    assert run(parser.parse_args(["info", f"{memory}/set"]))["num_episodes"] == 5
    assert run(parser.parse_args(["verify", f"{memory}/set"]))["sound"]
