"""A study's copy in a bucket (whatever fsspec reaches), kept while it runs, so that it survives the disk it is on.

Contents lie under their hashes in ``blobs/``, and ``manifest.json`` says which file has which content. A manifest is
written after its contents and before older ones are deleted: whenever the driver dies, what is there is a study as it
stood at one moment, like one whose driver was killed at that moment.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from data.files import atomic_write_json, check_disk_space, format_bytes, new_directory
from data.remote import file_system, remote_errors, remote_url
from envs.console import say
from envs.errors import RunError, UsageError
from search.study import read_json

STORAGE_FILE = "storage.json"
"""In a study that has a copy: where."""
EVERY_S = 60.0
MANIFEST, BLOBS = "manifest.json", "blobs"
_SMALL_BYTES = 2**26
"""Up to here a file is read at once; a larger one that changes while it is sent waits for the next time."""


class StudyStorage:
    """Sends what changed in a study's directory.

    Args:
        study_dir: The study.
        url: Where its copy lies, for example ``s3://bucket/studies/maze``.

    Raises:
        UsageError: If the address is not remote, or nothing knows such an address.
    """

    def __init__(self, study_dir: Path, url: str) -> None:
        self._dir, self._url = study_dir, checked_url(url)
        self._known: dict[str, tuple[tuple[int, int], str]] = {}  # file -> its state and hash when it was sent
        self._manifest = ""  # as it was sent last
        with remote_errors(self._url):
            self._files = file_system(self._url)
            self._sent = {name.rsplit("/", 1)[-1] for name in self._list_blobs()}

    def save(self) -> int:
        """Send what changed since the last time; returns the bytes sent.

        Raises:
            RunError: If the address cannot be written.
        """
        with remote_errors(self._url):
            sent, contents, links = 0, dict[str, str](), dict[str, str]()
            for name, path in study_files(self._dir):
                if path.is_symlink():
                    if not _leads_out(name, target := os.readlink(path)):  # W&B links to logs of its own elsewhere
                        links[name] = target
                    continue
                sent += self._send(name, path)
                if name in self._known:
                    contents[name] = self._known[name][1]
            self._known = {name: self._known[name] for name in contents}
            manifest = json.dumps({"files": contents, "links": links}, sort_keys=True)
            if manifest != self._manifest:
                self._files.pipe_file(f"{self._url}/{MANIFEST}", manifest.encode())
                self._manifest = manifest
            for digest in self._sent - set(contents.values()):
                self._files.rm_file(f"{self._url}/{BLOBS}/{digest}")
            self._sent &= set(contents.values())
        return sent

    def _send(self, name: str, path: Path) -> int:
        try:
            state = _state(path)
            if name in self._known and self._known[name][0] == state:
                return 0
            content = path.read_bytes() if state[0] <= _SMALL_BYTES else None
            digest = hashlib.blake2b(content).hexdigest()[:40] if content is not None else _digest(path)
            fresh = digest not in self._sent
            place = f"{self._url}/{BLOBS}/{digest}"
            if fresh and content is not None:
                self._files.pipe_file(place, content)
            elif fresh:
                self._files.put_file(str(path), place)
                if _state(path) != state:
                    self._files.rm_file(place)
                    return 0
        except FileNotFoundError:  # deleted meanwhile: a checkpoint that was replaced
            return 0
        self._sent.add(digest)
        self._known[name] = (state, digest)
        return state[0] if fresh else 0

    def _list_blobs(self) -> list[str]:
        folder = f"{self._url}/{BLOBS}"
        return [str(name) for name in self._files.ls(folder, detail=False)] if self._files.exists(folder) else []


@contextlib.contextmanager
def stored(study_dir: Path, url: str | None, every_s: float = EVERY_S) -> Iterator[None]:
    """Keep a study's copy up to date while it runs, and send its last state when it ends or fails.

    Args:
        study_dir: The study; one that has a copy already keeps it.
        url: Where to; None keeps the copy that the study has, if it has one.
        every_s: Seconds between two looks at what changed.

    Raises:
        UsageError: If something else is at the address.
        RunError: If the last state could not be sent.
    """
    record = study_dir / STORAGE_FILE
    url = url or (str(read_json(record)["url"]) if record.exists() else None)
    if url is None:
        yield
        return
    storage = StudyStorage(study_dir, url)
    _check_free(study_dir, checked_url(url))
    study_dir.mkdir(parents=True, exist_ok=True)
    atomic_write_json(record, {"url": checked_url(url)})
    ended = threading.Event()
    thread = threading.Thread(target=_keep, args=(storage, ended, every_s), name="study-storage", daemon=True)
    thread.start()
    try:
        yield
    except BaseException:
        _end(thread, ended)
        with contextlib.suppress(RunError, OSError):  # what ended the study is what the user must hear of
            storage.save()
        raise
    _end(thread, ended)
    say(f"Storage: {format_bytes(storage.save())} sent at last; the study is at {url}")


def _end(thread: threading.Thread, ended: threading.Event) -> None:
    ended.set()
    thread.join()


def _keep(storage: StudyStorage, ended: threading.Event, every_s: float) -> None:
    while not ended.wait(every_s):
        try:
            storage.save()
        except (RunError, OSError) as error:
            say(f"Storage: {error} The study goes on here; it is tried again in {every_s:.0f} s.")


def restore_study(url: str, study_dir: Path) -> None:
    """Copy a study from its storage into a directory that does not exist yet.

    Raises:
        UsageError: If there is no study at the address, or the directory exists.
        RunError: If the address cannot be read, or a content is not what the manifest says.
    """
    url = checked_url(url)
    if study_dir.exists():
        raise UsageError(f"{study_dir} exists already; give another --out, or go on with it: --resume {study_dir}.")
    with remote_errors(url):
        files = file_system(url)
        if not files.exists(f"{url}/{MANIFEST}"):
            raise UsageError(f"There is no study at {url} (no {MANIFEST}); `gengap sweep --storage` puts one there.")
        manifest = json.loads(files.cat_file(f"{url}/{MANIFEST}"))
        check_disk_space(study_dir, sum(int(entry["size"]) for entry in files.ls(f"{url}/{BLOBS}", detail=True)))
        with new_directory(study_dir) as partial:
            for name, digest in manifest["files"].items():
                _fetch(files, f"{url}/{BLOBS}/{digest}", inside(partial, name), digest)
            for name, target in manifest["links"].items():
                link = inside(partial, name)
                inside(partial, str(Path(name).parent / target))  # an absolute target stays one, and is refused
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to(target)


def is_stored_at(study_dir: Path, url: str) -> bool:
    """Whether the copy of a study here is at the address."""
    record = study_dir / STORAGE_FILE
    return record.exists() and bool(read_json(record)["url"] == url)


def checked_url(url: str) -> str:
    """The address without a slash at its end.

    Raises:
        UsageError: If it is a local path.
    """
    remote = remote_url(url)
    if remote is None:
        raise UsageError(f"{url} is no remote address; give one such as s3://bucket/studies/maze, or only --out.")
    return remote


def study_files(study_dir: Path) -> Iterator[tuple[str, Path]]:
    """Name and path of every file and link, without what is hidden: locks, and files in the making."""
    for folder, subfolders, names in os.walk(study_dir):
        links = [name for name in subfolders if (Path(folder) / name).is_symlink()]
        subfolders[:] = sorted(name for name in subfolders if not name.startswith(".") and name not in links)
        for name in sorted([*names, *links]):
            path = Path(folder) / name
            if not name.startswith(".") and (path.is_symlink() or path.is_file()):
                yield str(path.relative_to(study_dir)), path


def _leads_out(name: str, target: str) -> bool:
    """Whether a link of this name in a study leads out of its directory."""
    place = os.path.normpath(Path(name).parent / target)
    return Path(place).is_absolute() or Path(place).parts[:1] == ("..",)


def inside(folder: Path, name: str) -> Path:
    """The path of a name below a folder.

    Raises:
        RunError: If it leads out of it.
    """
    path = Path(os.path.normpath(folder / name))
    if not path.is_relative_to(folder):
        raise RunError(f"The stored study names {name!r}, which leads out of its directory; it is refused.")
    return path


def _check_free(study_dir: Path, url: str) -> None:
    """Refuse to write over a study that this one does not continue."""
    files = file_system(url)
    with remote_errors(url):
        taken = files.exists(f"{url}/{MANIFEST}")
    if taken and not is_stored_at(study_dir, url):
        raise UsageError(f"A study is at {url} already. Go on with it: gengap sweep --resume {url} --out DIR.")


def _fetch(files: Any, url: str, path: Path, digest: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    files.get_file(url, str(path))
    if _digest(path) != digest:
        raise RunError(f"{url} is not what the study's manifest says; it is damaged.")


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, hashlib.blake2b).hexdigest()[:40]


def _state(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns
