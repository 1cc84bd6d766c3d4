"""Datasets and checkpoints that lie in a bucket (``s3://``, ``gs://``, whatever fsspec reaches).

Arrays are mapped into memory, which needs local files. So a remote directory is copied into the cache when it is first
used, checked, and found there afterwards. `data.push` sends what is finished here.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from data.files import check_disk_space, disk_errors, new_directory
from data.schema import EPISODES, FILE_NAME, MANIFEST, content_fingerprint, episode_dtype, manifest_checksum
from envs.errors import RunError, UsageError
from envs.files import only_builder
from envs.spec import EnvSpec

CHECKPOINT_MARK = "policy.json"
"""The file by which a directory is a checkpoint."""
_URL = re.compile(r"(?P<protocol>[a-z][a-z0-9]+):/+(?P<place>.+)")
_MAX_MANIFEST_BYTES = 2**28
_CHUNK_BYTES = 2**23
_EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gs", "gcs": "gs"}


def remote_url(path: Path | str) -> str | None:
    """The address that a path means, None where it is local. A `Path` has lost a slash of it, which is put back."""
    match = _URL.fullmatch(str(path))
    return f"{match['protocol']}://{match['place']}".rstrip("/") if match else None


def new_place(path: Path | str) -> Path:
    """The absolute path of something to write.

    Raises:
        UsageError: If it is remote.
    """
    if remote_url(path):
        raise UsageError(f"{path} is remote; write a local directory and send it with `gengap data push`.")
    return Path(path).absolute()


def local_dataset(path: Path | str) -> Path:
    """The dataset directory on this machine: the path itself, or a checked copy of a remote one.

    Raises:
        UsageError: If a remote one does not exist, or its kind of address needs a package that is missing.
        RunError: If it cannot be read, or is not what its fingerprint says.
    """
    url = remote_url(path)
    if url is None:
        return Path(path).absolute()
    with remote_errors(url):
        files = file_system(url)
        if not files.exists(f"{url}/{MANIFEST}"):
            raise UsageError(f"There is no dataset at {url} (no {MANIFEST}). `gengap data push` puts one there.")
        manifest = _read_manifest(files, url)
    place = _cache("datasets") / str(manifest["fingerprint"])
    with only_builder(place):
        if not place.exists():
            sizes = {entry["name"]: int(entry["bytes"]) for entry in manifest["files"]}
            _download(files, url, place, sizes, manifest)
    return place


def local_checkpoint(path: Path | str) -> Path:
    """The checkpoint or run directory on this machine: the path itself, or a copy of a remote checkpoint.

    Raises:
        UsageError: If there is no remote checkpoint.
        RunError: If it cannot be read.
    """
    url = remote_url(path)
    if url is None:
        return Path(path)
    with remote_errors(url):
        files = file_system(url)
        tried = (url, f"{url}/checkpoints/best", f"{url}/checkpoints/last")
        found = next((place for place in tried if files.exists(f"{place}/{CHECKPOINT_MARK}")), None)
        if found is None:
            raise UsageError(f"There is no checkpoint at {url} (no {CHECKPOINT_MARK}, nor in checkpoints/best).")
        listed = [entry for entry in files.ls(found, detail=True) if entry["type"] == "file"]
    sizes = {str(entry["name"]).rsplit("/", 1)[-1]: int(entry["size"]) for entry in listed}
    marks = sorted([name, size] for name, size in sizes.items()), _state(listed)
    key = hashlib.blake2b(json.dumps([found, marks]).encode(), digest_size=16).hexdigest()
    # As in a run directory, because what is made of a checkpoint goes beside it.
    place = _cache(f"runs/{key}/checkpoints") / _plain(found.rsplit("/", 1)[-1], found)
    with only_builder(place):
        if not place.exists():
            _download(files, found, place, sizes, None)
    return place


def local_file(path: Path | str) -> Path:
    """A packed dataset on this machine: the path itself, or a fresh copy of a remote one in the cache.

    Raises:
        UsageError: If a remote one does not exist.
        RunError: If it cannot be read.
    """
    url = remote_url(path)
    if url is None:
        return Path(path)
    with remote_errors(url):
        files = file_system(url)
        if not files.isfile(url):
            raise UsageError(f"There is no file at {url}.")
        entry = files.info(url)
    key = hashlib.blake2b(json.dumps([url, entry["size"], _state([entry])]).encode(), digest_size=16).hexdigest()
    place = _cache("files") / key
    parent, _, name = url.rpartition("/")
    with only_builder(place):
        if not place.exists():
            _download(files, parent, place, {name: int(entry["size"])}, None)
    return place / name


def _read_manifest(files: Any, url: str) -> dict[str, Any]:
    """The manifest of a remote dataset, with names that cannot lead out of its directory."""
    place = f"{url}/{MANIFEST}"
    if int(files.info(place)["size"]) > _MAX_MANIFEST_BYTES:
        raise RunError(f"{place} is too large to be a manifest.")
    try:
        manifest = json.loads(files.cat_file(place))
        names = [str(entry["name"]) for entry in manifest["files"]]
        sound = manifest["checksum"] == manifest_checksum(manifest)
        fingerprint = str(manifest["fingerprint"])
    except (ValueError, KeyError, TypeError) as error:
        raise RunError(f"{place} is not a dataset manifest ({error}).") from error
    if not sound or not all(map(FILE_NAME.fullmatch, [*names, fingerprint])):
        raise RunError(f"{place} does not match its own checksum, or names files outside its directory.")
    return dict(manifest)


def _download(files: Any, url: str, place: Path, sizes: Mapping[str, int], manifest: Mapping[str, Any] | None) -> None:
    """Copy files into a new directory, which has its name only when all of them are there and right."""
    check_disk_space(place, sum(sizes.values()))
    with new_directory(place) as partial:
        expected = {entry["name"]: entry["crc32"] for entry in manifest["files"]} if manifest else {}
        for name, size in sizes.items():
            found = _fetch(files, f"{url}/{name}", partial / _plain(name, url), size)
            if expected.get(name, found) != found:
                raise RunError(f"{url}/{name} does not match its checksum. Push the dataset again.")
        if manifest is not None:
            _check_fingerprint(partial, manifest, url)
            with disk_errors(place):
                (partial / MANIFEST).write_text(json.dumps(manifest, indent=2, allow_nan=False) + "\n")


def _fetch(files: Any, url: str, path: Path, size: int) -> str:
    """Copy one file; returns its CRC-32."""
    checksum, written = 0, 0
    with remote_errors(url), files.open(url, "rb") as source, disk_errors(path), path.open("wb") as file:
        for chunk in chunks_of(source):
            checksum, written = zlib.crc32(chunk, checksum), written + len(chunk)
            if written > size:
                break
            file.write(chunk)
        file.flush()
        os.fsync(file.fileno())
    if written != size:
        raise RunError(f"{url} has {'more' if written > size else 'fewer'} than the {size} bytes it should have.")
    return f"{checksum:08x}"


def _check_fingerprint(directory: Path, manifest: Mapping[str, Any], url: str) -> None:
    try:
        table = np.frombuffer((directory / EPISODES).read_bytes(), dtype=episode_dtype(manifest.get("metrics", ())))
        found = content_fingerprint(EnvSpec.from_json(manifest["env"]), table)
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise RunError(f"{url} has a manifest that lacks or misstates {error}.") from error
    if found != manifest["fingerprint"]:
        raise RunError(f"{url} holds {found}, but its manifest says {manifest['fingerprint']}. Push it again.")


def _plain(name: str, url: str) -> str:
    if not FILE_NAME.fullmatch(name):
        raise RunError(f"{url} holds a file named {name!r}, which is refused.")
    return name


def chunks_of(file: Any) -> Iterator[bytes]:
    """The content of an open file, some megabytes at a time."""
    while chunk := file.read(_CHUNK_BYTES):
        yield chunk


def _state(entries: Iterable[Mapping[str, Any]]) -> list[str]:
    """What changes when a remote file is written again."""
    marks = ("ETag", "etag", "LastModified", "mtime", "created", "md5Hash")
    return sorted(f"{entry['name']} {[str(entry[mark]) for mark in marks if mark in entry]}" for entry in entries)


def _cache(kind: str) -> Path:
    from envs.shop.cache import cache_directory

    place = cache_directory() / kind
    with disk_errors(place):
        place.mkdir(parents=True, exist_ok=True)
    return place


def file_system(url: str) -> Any:
    """What fsspec opens an address with.

    Raises:
        UsageError: If a package is missing, or nothing knows such an address.
    """
    protocol = url.partition(":")[0]
    try:
        fsspec = importlib.import_module("fsspec")
        files, _ = fsspec.url_to_fs(url)
    except ImportError as error:
        extra = _EXTRAS.get(protocol)
        advice = f"pip install 'gengap[{extra}]'" if extra else f"install what fsspec needs for {protocol}://"
        raise UsageError(f"{url} needs a package that is missing ({error}): {advice}.") from error
    except ValueError as error:
        raise UsageError(f"{url} is no address that fsspec knows ({error}).") from error
    files.invalidate_cache()
    return files


@contextmanager
def remote_errors(url: str) -> Iterator[None]:
    """One clear line for whatever a client of some storage raises; they share no base class."""
    try:
        yield
    except (RunError, UsageError):
        raise
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise RunError(f"{url} cannot be reached or used ({type(error).__name__}: {reason}).") from error
