"""Catalogues and search indices that a machine makes once and every process maps."""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from envs.errors import RunError, UsageError
from envs.files import disk_errors, only_builder, remove_folder
from envs.shop.arrays import Array, ArrayFolder, open_arrays, save_arrays
from envs.shop.catalogue import SCHEMA_VERSION, Catalogue
from envs.shop.checks import check_file
from envs.shop.index import index_arrays
from envs.shop.product import Product
from envs.shop.search import INDEX_VERSION, Bm25Search, search_document

Opened = TypeVar("Opened")


def cache_directory() -> Path:
    """Where derived data of a machine lies: ``$GENGAP_CACHE``, else ``gengap`` in the user's cache directory."""
    chosen = os.environ.get("GENGAP_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "gengap"


def can_cache(directory: Path | None = None) -> bool:
    """Whether the cache can be written to; its directory is made where it is missing.

    Args:
        directory: Where caches lie; None for `cache_directory`.
    """
    place = (directory or cache_directory()) / "shop"
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(place, os.W_OK)


def content_key(value: Any) -> str:
    """A name for a JSON value: 16 hexadecimal digits of its hash."""
    return hashlib.blake2b(json.dumps(value, sort_keys=True).encode(), digest_size=8).hexdigest()


def files_key(files: Sequence[Path | str | None], settings: Mapping[str, Any]) -> str:
    """A name for files as they are now, by place, size and time of change, and for what is made of them.

    Raises:
        UsageError: If a file does not exist.
    """
    found: list[Any] = []
    for file in files:
        if file is not None:
            check_file(Path(file))
        stat = None if file is None else Path(file).stat()
        found.append(stat and [str(Path(file or "").resolve()), stat.st_size, stat.st_mtime_ns])
    return content_key([found, dict(settings)])


def cached_catalogue(
    key: str,
    products: Callable[[], Iterable[Product]],
    *,
    facts: Callable[[], Mapping[str, Any]] = dict,
    directory: Path | None = None,
    rebuild: bool = False,
) -> Catalogue:
    """The catalogue of a key, streamed to disk on first use and memory-mapped from then on.

    Args:
        key: Whatever the products follow from, hashed: `content_key` of a configuration, or `files_key`.
        products: Makes them, in order.
        facts: JSON values to keep beside them; called after the last product.
        directory: Where caches lie; None for `cache_directory`.
        rebuild: Make it again even if it is there.

    Raises:
        RunError: If the disk is full or not writable.
    """
    path = _place(directory, "catalogue", SCHEMA_VERSION, key)
    return open_or_build(path, Catalogue.open, lambda: Catalogue.write(path, products(), facts), rebuild=rebuild)


def cached_arrays(
    key: str,
    kind: str,
    version: int,
    make: Callable[[], Mapping[str, Array]],
    *,
    facts: Mapping[str, Any] | None = None,
    directory: Path | None = None,
    rebuild: bool = False,
) -> ArrayFolder:
    """The arrays of a key, for example a search index, made on first use and memory-mapped from then on.

    Args:
        key: Whatever the arrays follow from, hashed; for an index the fingerprint of its catalogue.
        kind: What they are, for example ``"bm25"``.
        version: Schema version of that kind; another version is another place.
        make: Name -> one-dimensional array.
        facts: JSON values to keep beside them.
        directory: Where caches lie; None for `cache_directory`.
        rebuild: Make them again even if they are there.

    Raises:
        RunError: If the disk is full or not writable.
    """
    path = _place(directory, kind, version, key)
    return open_or_build(
        path,
        lambda place: open_arrays(place, kind, version),
        lambda: save_arrays(path, kind, version, make(), facts or {}),
        rebuild=rebuild,
    )


def cached_search(catalogue: Catalogue, *, directory: Path | None = None, rebuild: bool = False) -> Bm25Search:
    """The search of a catalogue, by position; its index is made on first use and memory-mapped from then on.

    Args:
        catalogue: The products; its fingerprint names the index.
        directory: Where caches lie; None for `cache_directory`.
        rebuild: Make the index again even if it is there.

    Raises:
        RunError: If the disk is full or not writable.
    """
    place = directory or cache_directory()

    def make() -> Mapping[str, Array]:
        return index_arrays((search_document(product) for product in catalogue), place)

    folder = cached_arrays(catalogue.fingerprint, "bm25", INDEX_VERSION, make, directory=directory, rebuild=rebuild)
    return Bm25Search(folder.arrays)


def open_or_build(
    path: Path, open_it: Callable[[Path], Opened], build: Callable[[], object], *, rebuild: bool = False
) -> Opened:
    """Open derived data at `path`; make it first where it is missing, damaged, or of another schema version.

    Of several processes that find nothing, one builds and the others wait for it.

    Args:
        path: A folder inside a cache; what lies there may be removed.
        open_it: Opens the folder; raises `RunError` or `UsageError` if it cannot.
        build: Writes the folder.
        rebuild: Build even if the folder opens.

    Raises:
        RunError: If it cannot be written.
    """
    if not rebuild:
        with suppress(RunError, UsageError):
            return open_it(path)
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    with only_builder(path):
        if path.exists():
            try:
                if not rebuild:
                    return open_it(path)  # another process built it while this one waited
            except (RunError, UsageError) as error:
                warnings.warn(f"{error} It is derived data and is built again now.", RuntimeWarning, stacklevel=2)
            remove_folder(path)
        try:
            build()
        except RunError as error:
            # Without working locks two processes may build; the first to finish gives the name.
            if not isinstance(error.__cause__, FileExistsError):
                raise
        return open_it(path)


def _place(directory: Path | None, kind: str, version: int, key: str) -> Path:
    return (directory or cache_directory()) / "shop" / f"{kind}-v{version}-{key}"
