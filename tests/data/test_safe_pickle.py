"""A pickle of arrays is read; any other is refused, and nothing that it names is ever called."""

from __future__ import annotations

import contextlib
import io
import pickle
import pickletools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from data.interop import safe_pickle
from data.interop.safe_pickle import load_pickled_dict
from envs.errors import RunError

NUMBERS = st.sampled_from(["u1", "<f4", ">f4", "<i8", "?", "<f2", "<f8"])
ARRAYS = hnp.arrays(NUMBERS, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))


def boxed(content: dict[str, Any]) -> np.ndarray:
    """What `numpy.save` makes of a dictionary."""
    return np.array(content, dtype=object)


@settings(max_examples=60, deadline=None)
@given(content=st.dictionaries(st.sampled_from("abc"), ARRAYS), protocol=st.integers(2, 5), box=st.booleans())
def test_arrays_of_every_protocol_are_read(content: dict[str, np.ndarray], protocol: int, box: bool) -> None:
    pickled = pickle.dumps(boxed(content) if box else content, protocol=protocol)
    read = load_pickled_dict(pickled, "here")
    assert read.keys() == content.keys()
    for name, values in content.items():
        assert read[name].shape == values.shape
        assert read[name].dtype == values.dtype
        assert read[name].tobytes() == values.tobytes()


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_fortran_order_scalars_lists_and_names_of_numpy_2(protocol: int) -> None:
    content = {"f": np.asfortranarray(np.arange(6.0).reshape(2, 3)), "s": np.float32(1.5), "l": [1, 0], "n": 3}
    pickled = pickle.dumps(content, protocol=protocol)
    for renamed in (pickled, pickled.replace(b"numpy.core.multiarray", b"numpy._core.multiarray")):
        if len(renamed) != len(pickled) and protocol >= 4:
            continue  # these protocols state the length of names
        read = load_pickled_dict(renamed, "here")
        assert read["f"].tolist() == [[0, 1, 2], [3, 4, 5]]
        assert (read["s"].tolist(), read["l"].tolist(), read["n"].tolist()) == (1.5, [1, 0], 3)


class Evil:
    """Unpickled by `pickle`, it creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return open, (str(self.path), "w")


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_a_poisoned_pickle_creates_no_file(tmp_path: Path, protocol: int) -> None:
    pickled = pickle.dumps({"actions": np.arange(3), "evil": Evil(tmp_path / "made")}, protocol=protocol)
    with pytest.raises(RunError, match=r"refused: it names _?io\.open"):
        load_pickled_dict(pickled, "archive")
    assert not (tmp_path / "made").exists()
    pickle.loads(pickled)["evil"].close()
    assert (tmp_path / "made").exists(), "the same pickle does it where it is believed"


NAMES = [
    (b"posix", b"system"), (b"builtins", b"eval"), (b"builtins", b"getattr"), (b"numpy", b"load"),
    (b"numpy.core.multiarray", b"fromfile"), (b"numpy.core", b"multiarray"), (b"numpy", b"dtype.type"),
    (b"numpy.lib.npyio", b"save"), (b"_codecs", b"decode"), (b"codecs", b"encode"), (b"torch._utils", b"_rebuild"),
]  # fmt: skip


@pytest.mark.parametrize(("module", "name"), NAMES)
def test_other_names_are_refused(module: bytes, name: bytes) -> None:
    with pytest.raises(RunError, match="refused"):
        load_pickled_dict(b"c" + module + b"\n" + name + b"\n(tR.", "here")


HOSTILE = {
    "an array that claims more bytes than it has": {"a": np.arange(3)},
    "text": {"a": "text"},
    "nested objects": {"a": np.array([{}, {}], dtype=object)},
    "structures": {"a": np.zeros(2, dtype=[("x", "f4")])},
    "strings": {"a": np.array(["x"])},
    "dates": {"a": np.array(["2020-01-01"], dtype="M8[D]")},
    "no dictionary": [1, 2],
    "a box of two": np.array([{"a": 1}, {"b": 1}], dtype=object),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_no_dictionary_of_numbers_is_refused(name: str) -> None:
    pickled = pickle.dumps(HOSTILE[name], protocol=3)
    if name.startswith("an array that claims"):
        pickled = pickled.replace(b"K\x03\x85", b"J\x00\x00\x00\x7f\x85")
    with pytest.raises(RunError, match=r"refused|cannot be read"):
        load_pickled_dict(pickled, "here")


def test_bytes_are_not_made_of_numbers() -> None:
    with pytest.raises(RunError, match="makes bytes"):
        load_pickled_dict(b"c__builtin__\nbytes\n(I1000000000000\ntR.", "here")


@pytest.mark.parametrize("target", [b"c_codecs\nencode\n", b"cnumpy\ndtype\n", b"cnumpy\nndarray\n"])
def test_a_pickle_cannot_change_what_it_names(target: bytes) -> None:
    build = target + b"N}X\x01\x00\x00\x00xK\x01s\x86b."  # BUILD with slot state {"x": 1}
    pickletools.dis(build, out=io.StringIO())
    with pytest.raises(RunError, match="refused: it changes"):
        load_pickled_dict(build, "here")
    assert not any(hasattr(stand_in, "x") for stand_in in safe_pickle._STAND_INS.values())


def test_damaged_and_foreign_bytes_are_one_clear_line() -> None:
    pickled = pickle.dumps(boxed({"a": np.arange(100), "b": np.float32(1)}), protocol=4)
    for size in range(len(pickled)):
        with pytest.raises(RunError):
            load_pickled_dict(pickled[:size], "here")
    rng = np.random.default_rng(0)
    for _ in range(300):
        changed = bytearray(pickled)
        changed[rng.integers(len(changed))] = rng.integers(256)
        with contextlib.suppress(RunError):
            load_pickled_dict(bytes(changed), "here")
