"""What a machine makes once: whole or absent, built by one process, and made again only where that is safe."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from envs.errors import RunError, UsageError
from envs.shop.arrays import FolderWriter, open_arrays, save_arrays
from envs.shop.cache import (
    cache_directory,
    cached_arrays,
    cached_catalogue,
    cached_search,
    content_key,
    files_key,
    open_or_build,
)
from envs.shop.catalogue import Catalogue
from envs.shop.product import Product
from tests.envs.shop.test_catalogue import products


class Source:
    """Products, and how often they were asked for."""

    def __init__(self, count: int = 3) -> None:
        self.calls = 0
        self._products = products(count)

    def __call__(self) -> Iterator[Product]:
        self.calls += 1
        return iter(self._products)


def entries(directory: Path) -> list[Path]:
    return [path for path in (directory / "shop").iterdir() if not path.name.endswith(".lock")]


def test_the_second_time_is_opened_not_made(tmp_path: Path) -> None:
    source = Source()
    first = cached_catalogue("k", source, directory=tmp_path)
    second = cached_catalogue("k", source, directory=tmp_path)
    assert source.calls == 1
    assert first.fingerprint == second.fingerprint
    assert isinstance(second.arrays["title.text"].base, np.memmap)
    assert cached_catalogue("other", Source(4), directory=tmp_path).fingerprint != first.fingerprint
    cached_catalogue("k", source, directory=tmp_path, rebuild=True)
    assert source.calls == 2
    assert len(entries(tmp_path)) == 2


def test_damaged_derived_data_is_made_again_and_said(tmp_path: Path) -> None:
    source = Source()
    cached_catalogue("k", source, directory=tmp_path)
    (folder,) = entries(tmp_path)
    file = folder / "title.text.bin"
    file.write_bytes(b"?" + file.read_bytes()[1:])
    with pytest.warns(RuntimeWarning, match=r"title.text.bin does not match .* built again"):
        again = cached_catalogue("k", source, directory=tmp_path)
    assert source.calls == 2
    assert again[0] == products(1)[0]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cached_catalogue("k", source, directory=tmp_path)


def test_another_schema_version_lies_elsewhere(tmp_path: Path) -> None:
    numbers = {"a": np.arange(3)}
    cached_arrays("k", "index", 1, lambda: numbers, directory=tmp_path)
    cached_arrays("k", "index", 2, lambda: {"a": np.arange(4)}, directory=tmp_path)
    assert len(cached_arrays("k", "index", 1, dict, directory=tmp_path).arrays["a"]) == 3
    old, new = sorted(entries(tmp_path))
    with pytest.raises(UsageError, match="schema version 1"):
        open_arrays(old, "index", 2)
    assert len(open_arrays(new, "index", 2).arrays["a"]) == 4


def test_a_builder_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def failing() -> Iterator[Product]:
        yield products(1)[0]
        raise RunError("no more")

    with pytest.raises(RunError, match="no more"):
        cached_catalogue("k", failing, directory=tmp_path)
    assert entries(tmp_path) == []
    assert len(cached_catalogue("k", Source(), directory=tmp_path)) == 3


BUILD = """
import os, sys, time
from pathlib import Path
from envs.shop.cache import cached_catalogue
from tests.envs.shop.test_catalogue import products
def source():
    with open(sys.argv[2], "a") as log:
        log.write(f"{os.getpid()} ")
    yield from products(300)
    print("half", flush=True)
    time.sleep(float(sys.argv[3]))
    yield from products(600)[300:]
print(len(cached_catalogue("k", source, directory=Path(sys.argv[1]))), flush=True)
"""


def start(directory: Path, log: Path, pause: float) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", BUILD, str(directory), str(log), str(pause)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


@pytest.mark.chaos
def test_a_killed_builder_leaves_nothing_that_opens(tmp_path: Path) -> None:
    builder = start(tmp_path / "cache", tmp_path / "log", 60)
    assert builder.stdout is not None
    assert builder.stdout.readline() == "half\n"
    (partial,) = entries(tmp_path / "cache")
    assert partial.name.startswith(".")
    os.kill(builder.pid, signal.SIGKILL)
    builder.wait()
    assert entries(tmp_path / "cache") == [partial]
    with pytest.raises(UsageError, match="There is no catalogue"):
        Catalogue.open(partial)
    assert len(cached_catalogue("k", Source(), directory=tmp_path / "cache")) == 3
    assert partial not in entries(tmp_path / "cache"), "the next builder removes what the killed one left"


@pytest.mark.chaos
def test_of_two_builders_one_builds_and_the_other_waits(tmp_path: Path) -> None:
    builders = [start(tmp_path / "cache", tmp_path / "log", 1.5) for _ in range(2)]
    outputs = [builder.communicate(timeout=60)[0] for builder in builders]
    assert [builder.returncode for builder in builders] == [0, 0]
    assert sorted(output.split()[-1] for output in outputs) == ["600", "600"]
    assert len((tmp_path / "log").read_text().split()) == 1, "only one of them read the products"
    assert len(entries(tmp_path / "cache")) == 1


def test_without_locks_the_first_to_finish_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(*_: object) -> None:
        raise OSError("locks are not supported")

    monkeypatch.setattr("fcntl.flock", no_locks)
    path = tmp_path / "shop" / "folder"

    def build() -> None:
        with FolderWriter(path, "index", 1) as writer:
            writer.column("a", "i8").write([1, 2])
            save_arrays(path, "index", 1, {"a": np.arange(5)}, {})  # the other process is faster
            writer.finish({})

    assert len(open_or_build(path, lambda place: open_arrays(place, "index", 1), build).arrays["a"]) == 5
    assert len(entries(tmp_path)) == 1


def test_a_writer_that_is_alive_is_not_cleared_away(tmp_path: Path) -> None:
    with FolderWriter(tmp_path / "a", "index", 1) as slow:
        slow.column("a", "i8").write([1])
        save_arrays(tmp_path / "a", "index", 1, {"a": np.arange(5)}, {})
        with pytest.raises(RunError, match="another process wrote it first"):
            slow.finish({})
    assert len(open_arrays(tmp_path / "a", "index", 1).arrays["a"]) == 5


def test_a_full_disk_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match=r"Cannot write .*Not a directory"):
        cached_catalogue("k", Source(), directory=tmp_path / "file")


def test_search_comes_from_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    catalogue = Catalogue.build(products(30))
    first = cached_search(catalogue, directory=tmp_path)
    monkeypatch.setattr("envs.shop.cache.index_arrays", None)
    again = cached_search(Catalogue.build(products(30)), directory=tmp_path)
    assert [*again.search("chair no 17")] == [*first.search("chair no 17")]
    assert catalogue[first.search("chair no 17")[0]].title == "Café Chair No. 17"


def test_keys_follow_from_content_and_files(tmp_path: Path) -> None:
    assert content_key({"a": 1, "b": 2}) == content_key({"b": 2, "a": 1}) != content_key({"a": 1, "b": 3})
    file = tmp_path / "p.json"
    file.write_text("[]")
    key = files_key([file, None], {"limit": 3})
    assert key == files_key([str(file), None], {"limit": 3})
    assert key != files_key([None, file], {"limit": 3})
    assert key != files_key([file, None], {"limit": 4})
    time.sleep(0.01)
    file.write_text("[1]")
    assert key != files_key([file, None], {"limit": 3})
    with pytest.raises(UsageError, match="There is no file"):
        files_key([tmp_path / "absent"], {})


def test_the_place_of_caches_can_be_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GENGAP_CACHE", "/somewhere")
    assert cache_directory() == Path("/somewhere")
    monkeypatch.delenv("GENGAP_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/caches")
    assert cache_directory() == Path("/caches/gengap")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_directory() == Path.home() / ".cache" / "gengap"
