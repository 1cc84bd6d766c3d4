"""The catalogue gives back what went in, is read-only, opens only when whole, and is shared by Ray's workers."""

from __future__ import annotations

import dataclasses
import json
import os
import pickle
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from envs.errors import RunError, UsageError
from envs.shop.catalogue import Catalogue, ProductNumbers
from envs.shop.product import Product, product_from_record
from tests.envs.shop.shop_files import record


def products(count: int) -> list[Product]:
    return [product_from_record(record(number), {"attributes": ["easy care"]}) for number in range(count)]


TEXT = st.text(max_size=12)
PRODUCT = st.builds(
    Product,
    asin=st.just(""),
    title=TEXT,
    query=TEXT,
    department=TEXT,
    breadcrumb=TEXT,
    description=TEXT,
    features=st.lists(TEXT, max_size=3).map(tuple),
    shown_prices=st.lists(st.floats(0, 1e7), max_size=2).map(tuple),
    price_tag=TEXT,
    options=st.dictionaries(TEXT, st.lists(TEXT, max_size=3).map(tuple), max_size=3),
    attributes=st.lists(TEXT, max_size=3).map(tuple),
    image=TEXT,
    option_images=st.dictionaries(TEXT, st.none() | TEXT, max_size=3),
    title_nouns=st.none() | st.lists(TEXT, max_size=2).map(tuple),
)


@given(st.lists(PRODUCT, min_size=1, max_size=6))
def test_every_field_of_every_product_comes_back(made: list[Product]) -> None:
    given_ = [dataclasses.replace(product, asin=f"é{number}") for number, product in enumerate(made)]
    catalogue = Catalogue.build(given_)
    assert list(catalogue) == given_
    assert [catalogue[row] for row in range(len(given_))] == given_
    assert [list(product.options) for product in catalogue] == [list(product.options) for product in given_]
    assert pickle.loads(pickle.dumps(catalogue))[0] == given_[0]


def test_half_a_surrogate_pair_survives() -> None:
    odd = dataclasses.replace(products(1)[0], title="broken \ud83d emoji")
    assert Catalogue.build([odd])[0].title == "broken \ud83d emoji"


def test_rows_are_found_by_identifier_with_case() -> None:
    made = [
        dataclasses.replace(product, asin=asin)
        for product, asin in zip(products(5), ["zB", "Bz", "A", "é", "0"], strict=True)
    ]
    catalogue = Catalogue.build(made)
    assert [catalogue.index(product.asin) for product in made] == [0, 1, 2, 3, 4]
    for absent in ("zb", "", "Z", "éé", "A\0", "a" * 50):
        assert catalogue.find(absent) is None
        assert absent not in catalogue
        with pytest.raises(KeyError):
            catalogue.index(absent)


def test_cheap_fields_need_no_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    made = products(3)
    catalogue = Catalogue.build(made)
    monkeypatch.setattr(Catalogue, "_decode", None)
    found = [(catalogue.asin(row), catalogue.title(row), catalogue.price_tag(row)) for row in range(3)]
    assert found == [(product.asin, product.title, product.price_tag) for product in made]


def test_a_product_is_decoded_once_while_it_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("envs.shop.catalogue.DECODED_PRODUCTS", 2)
    catalogue = Catalogue.build(products(4))
    first = catalogue[0]
    assert catalogue[0] is first
    list(catalogue)
    assert catalogue[0] is first, "a full pass must not empty the kept products"
    catalogue[1], catalogue[2]
    assert catalogue[0] is not first, "the least recently used product is forgotten"


@pytest.mark.parametrize("row", [-1, 3])
def test_rows_outside_are_refused(row: int) -> None:
    with pytest.raises(IndexError, match="3 products"):
        Catalogue.build(products(3))[row]


def test_no_products_and_equal_identifiers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="at least one"):
        Catalogue.build([])
    with pytest.raises(UsageError, match="B000000001"):
        Catalogue.write(tmp_path / "c", [*products(3), products(2)[1]])
    assert list(tmp_path.iterdir()) == []


def test_memory_disk_and_copy_agree(tmp_path: Path) -> None:
    made = products(300)  # more than one chunk
    built = Catalogue.build(made)
    written = Catalogue.write(tmp_path / "a", iter(made), lambda: {"records": 300})
    built.save(tmp_path / "b")
    saved = Catalogue.open(tmp_path / "b")
    assert built.fingerprint == written.fingerprint == saved.fingerprint
    assert list(written) == list(saved) == made
    assert written.facts["records"] == 300
    assert Catalogue.build(made[::-1]).fingerprint != built.fingerprint
    assert Catalogue.build([*made[:-1], dataclasses.replace(made[-1], title="x")]).fingerprint != built.fingerprint


def test_arrays_are_read_only_and_mapped(tmp_path: Path) -> None:
    for catalogue in (Catalogue.write(tmp_path / "c", products(3)), Catalogue.build(products(3))):
        for array in (*catalogue.arrays.values(), *pickle.loads(pickle.dumps(catalogue)).arrays.values()):
            with pytest.raises(ValueError, match="read-only"):
                array[:] = array
    mapped = Catalogue.open(tmp_path / "c").arrays["title.text"]
    assert isinstance(mapped.base, np.memmap)


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    Catalogue.write(tmp_path / "c", products(3))
    with pytest.raises(UsageError, match="exists already"):
        Catalogue.write(tmp_path / "c", products(4))
    assert len(Catalogue.open(tmp_path / "c")) == 3


def test_a_failing_source_leaves_nothing(tmp_path: Path) -> None:
    def source() -> Iterator[Product]:
        yield from products(300)
        raise OSError("the network is gone")

    with pytest.raises(OSError, match="network"):
        Catalogue.write(tmp_path / "c", source())
    assert list(tmp_path.iterdir()) == []


def test_every_damaged_byte_is_noticed(tmp_path: Path) -> None:
    Catalogue.write(tmp_path / "c", products(3))
    for file in sorted((tmp_path / "c").iterdir()):
        content = file.read_bytes()
        if not content:
            continue
        changed = bytearray(content)
        changed[len(changed) // 2] ^= 1
        for damaged in (bytes(changed), content[:-1], content + b"\0"):
            file.write_bytes(damaged)
            with pytest.raises(RunError, match="damaged"):
                Catalogue.open(tmp_path / "c")
        file.unlink()
        with pytest.raises((RunError, UsageError), match=r"missing|no manifest"):
            Catalogue.open(tmp_path / "c")
        file.write_bytes(content)
    assert len(Catalogue.open(tmp_path / "c")) == 3


def test_a_changed_manifest_is_noticed(tmp_path: Path) -> None:
    catalogue = Catalogue.write(tmp_path / "c", products(3))
    file = tmp_path / "c" / "manifest.json"
    file.write_text(file.read_text().replace(catalogue.fingerprint, "0" * 32))
    with pytest.raises(RunError, match="does not match its own checksum"):
        Catalogue.open(tmp_path / "c")


def test_large_folders_are_read_in_full_only_when_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("envs.shop.arrays.CHECKED_BYTES", 10)
    Catalogue.write(tmp_path / "c", products(3))
    file = tmp_path / "c" / "title.text.bin"
    file.write_bytes(b"\xff" * file.stat().st_size)
    catalogue = Catalogue.open(tmp_path / "c")
    with pytest.raises(RunError, match="title"):
        catalogue[0]
    with pytest.raises(RunError, match="damaged"):
        Catalogue.open(tmp_path / "c", verify=True)


def test_other_kinds_and_versions_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("envs.shop.catalogue.SCHEMA_VERSION", 99)
    Catalogue.write(tmp_path / "c", products(3))
    monkeypatch.undo()
    with pytest.raises(UsageError, match=r"schema version 99; .* reads 1"):
        Catalogue.open(tmp_path / "c")
    monkeypatch.setattr("envs.shop.catalogue.KIND", "recipe")
    with pytest.raises(UsageError, match="holds a catalogue, not a recipe"):
        Catalogue.open(tmp_path / "c")
    monkeypatch.undo()
    with pytest.raises(UsageError, match="There is no catalogue"):
        Catalogue.open(tmp_path / "nowhere")
    (tmp_path / "c" / "manifest.json").write_text(json.dumps({"format": "other"}))
    with pytest.raises(RunError, match="not a manifest"):
        Catalogue.open(tmp_path / "c")


def test_numbers_by_identifier() -> None:
    catalogue = Catalogue.build(products(3))
    prices = ProductNumbers(catalogue, np.array([1.5, 2.5, 3.5]))
    assert dict(prices) == {"B000000000": 1.5, "B000000001": 2.5, "B000000002": 3.5}
    assert prices.get("absent") is None
    with pytest.raises(UsageError, match="3 products"):
        ProductNumbers(catalogue, np.zeros(4))


OPEN_AND_READ = """
import sys
from envs.shop.catalogue import Catalogue
def private():
    lines = open("/proc/self/smaps_rollup").read().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith(("Private_Dirty", "Swap:"))) * 1000
Catalogue.open(sys.argv[1])[0]
before = private()
catalogues = [Catalogue.open(sys.argv[1]) for _ in range(10)]
texts = [len(catalogue[row].description) for catalogue in catalogues for row in range(20)]
print(private() - before, sum(texts))
"""


def test_opening_costs_no_private_memory(tmp_path: Path) -> None:
    long = [dataclasses.replace(product, description="a long text " * 500) for product in products(2000)]
    size = Catalogue.write(tmp_path / "c", long).num_bytes
    out = subprocess.run(
        [sys.executable, "-c", OPEN_AND_READ, str(tmp_path / "c")], check=True, capture_output=True, text=True
    )
    grown, read = map(int, out.stdout.split())
    assert read == 10 * 20 * len(long[0].description)
    assert size > 12_000_000
    assert grown < 0.25 * size, "ten catalogues must cost less than a quarter of one copy"


def where(array: Any) -> str:
    """What the memory under an array is, by the process's own map: a file, shared memory, or its own heap."""
    address = array.__array_interface__["data"][0]
    for line in Path("/proc/self/maps").read_text().splitlines():
        low, high = (int(part, 16) for part in re.match(r"(\w+)-(\w+)", line).groups())  # type: ignore[union-attr]
        if low <= address < high:
            return f"{line.split()[1]} {' '.join(line.split()[4:])}"
    raise AssertionError("an array outside all memory")


class Looker:
    def look(self, shared: Catalogue) -> dict[str, Any]:
        large = [array for array in shared.arrays.values() if array.nbytes > 1000]
        return {
            "process": os.getpid(),
            "places": {where(array) for array in large},
            "writable": any(array.flags.writeable for array in shared.arrays.values()),
            "owned": any(array.flags.owndata for array in large),
            "fingerprint": shared.fingerprint,
            "last": shared[shared.index("B000003999")],
        }


@pytest.mark.ray
def test_workers_see_one_copy_in_shared_memory(ray_cluster: Any) -> None:
    made = products(4000)
    catalogue = Catalogue.build(made)
    assert catalogue.num_bytes > 1_000_000

    reference = ray_cluster.put(catalogue)
    actors = [ray_cluster.remote(num_cpus=1)(Looker).remote() for _ in range(2)]
    seen = ray_cluster.get([actor.look.remote(reference) for actor in actors])
    assert len({found["process"] for found in seen} - {os.getpid()}) == 2
    assert seen[0]["places"] == seen[1]["places"], "both map the same memory"
    for found in seen:
        (place,) = found["places"]
        assert place.split()[0].endswith("s"), f"not shared: {place}"
        assert "plasma" in place
        assert not found["writable"]
        assert not found["owned"]
        assert found["fingerprint"] == catalogue.fingerprint
        assert found["last"] == made[-1]
    private = {where(array).split()[0][-1] for array in catalogue.arrays.values() if array.nbytes > 1000}
    assert private == {"p"}, "the test can tell a copy from shared memory"
