"""Unpickling dictionaries of plain NumPy arrays, and nothing else.

What a pickle may name is replaced by stand-ins that only take notes. Arrays are made afterwards, from raw bytes whose
number fits the shape, so that neither Python nor NumPy does anything that a file asks for.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from envs.errors import RunError

_KINDS = "biuf"
_MAX_ITEM_BYTES = 8
_ERRORS = (
    pickle.UnpicklingError, EOFError, ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError,
    MemoryError, RecursionError, ImportError, UnicodeError,
)  # fmt: skip
"""What damaged or made-up pickles raise."""


def load_pickled_dict(content: bytes, place: str) -> dict[str, npt.NDArray[Any]]:
    """The dictionary of arrays in a pickle, or in a pickled array without dimensions that holds it.

    Args:
        content: The pickle.
        place: Where it comes from, for errors.

    Raises:
        RunError: If it names anything but arrays of numbers, or is damaged.
    """
    try:
        value = _Unpickler(io.BytesIO(content)).load()
        return _dictionary(value)
    except _RefusedError as error:
        raise RunError(f"{place} is refused: {error}.") from None
    except _ERRORS as error:
        raise RunError(f"{place} cannot be read ({type(error).__name__}: {error}).") from error


class _RefusedError(Exception):
    """The pickle asks for something that is not allowed."""


class _DType:
    """What is known of a dtype while a pickle is read."""

    def __init__(self, text: str, *_: Any) -> None:
        self._text, self._order = str(text), "|"

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self._order = str(state[1])

    @property
    def is_object(self) -> bool:
        return self._text in ("O", "O8")

    def numeric(self) -> np.dtype[Any]:
        found = np.dtype(self._text)
        if found.kind not in _KINDS or found.itemsize > _MAX_ITEM_BYTES or found.names or found.subdtype:
            raise _RefusedError(f"it holds values of type {self._text!r}; numbers are allowed")
        return found.newbyteorder(">") if self._order == ">" else found


class _Array:
    """What is known of an array while a pickle is read."""

    def __init__(self) -> None:
        self.state: tuple[Any, ...] = ()

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.state = state

    def held(self) -> Any:
        """The one thing in an object array without dimensions, otherwise the array of numbers."""
        _, shape, dtype, is_fortran, content = self.state
        if not isinstance(dtype, _DType) or not isinstance(shape, tuple):
            raise _RefusedError("it holds an array without a type")
        if dtype.is_object:
            if shape != () or not isinstance(content, list) or len(content) != 1:
                raise _RefusedError(f"it holds an object array of shape {shape}; one dictionary is allowed")
            return content[0]
        if isinstance(content, str):  # as protocol 2 writes bytes
            content = content.encode("latin-1")
        return _from_bytes(content, dtype, shape, bool(is_fortran))


def _from_bytes(content: Any, dtype: _DType, shape: tuple[Any, ...], is_fortran: bool) -> npt.NDArray[Any]:
    numeric, sizes = dtype.numeric(), [int(size) for size in shape]
    count = 1
    for size in sizes:
        count *= size
    if min([0, *sizes]) < 0 or len(memoryview(content).cast("B")) != count * numeric.itemsize:
        raise _RefusedError(f"it holds an array whose bytes do not fit its shape {shape}")
    flat = np.frombuffer(content, dtype=numeric)
    return flat.reshape(sizes, order="F" if is_fortran else "C")


class _Rebuilt:
    """An array as protocol 5 writes it: its bytes, type and shape at once."""

    def __init__(self, content: Any, dtype: Any, shape: Any, order: str) -> None:
        if not isinstance(dtype, _DType):
            raise _RefusedError("it holds an array without a type")
        self.array = _from_bytes(content, dtype, tuple(shape), order == "F")


class _Scalar:
    """A number as NumPy pickles it."""

    def __init__(self, dtype: Any, content: Any) -> None:
        if isinstance(content, str):
            content = content.encode("latin-1")
        if not isinstance(dtype, _DType):
            raise _RefusedError("it holds a number without a type")
        self.array = _from_bytes(content, dtype, (), False)


def _latin_1(text: Any, encoding: Any = "latin1") -> bytes:
    if not isinstance(text, str) or str(encoding).replace("-", "").replace("_", "") != "latin1":
        raise _RefusedError(f"it asks to encode something as {encoding!r}")
    return text.encode("latin-1")


def _no_bytes(*arguments: Any) -> bytes:
    if arguments:
        raise _RefusedError("it makes bytes of something")
    return b""  # as protocol 2 writes those of an empty array


class _StandIn:
    """What a pickle gets where it names something: it can be called, and not be changed."""

    __slots__ = ("_make",)

    def __init__(self, make: Callable[..., Any]) -> None:
        self._make = make

    def __call__(self, *arguments: Any) -> Any:
        return self._make(*arguments)

    def __setstate__(self, state: Any) -> None:
        raise _RefusedError("it changes what it names")


def _never(*_: Any) -> Any:
    raise _RefusedError("it makes an array without saying how")


_STAND_INS = {
    ("numpy", "ndarray"): _StandIn(_never),
    ("numpy", "dtype"): _StandIn(_DType),
    ("_codecs", "encode"): _StandIn(_latin_1),
    **{(module, "bytes"): _StandIn(_no_bytes) for module in ("__builtin__", "builtins")},
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _StandIn(lambda *_: _Array()) for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): _StandIn(_Scalar) for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _StandIn(_Rebuilt) for core in ("core", "_core")},
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _STAND_INS:
            raise _RefusedError(f"it names {module}.{name}, and a file of arrays has no use for that")
        return _STAND_INS[module, name]

    def persistent_load(self, pid: Any) -> Any:
        raise _RefusedError("it refers to something outside")


def _dictionary(value: Any) -> dict[str, npt.NDArray[Any]]:
    held = value.held() if isinstance(value, _Array) else value
    if not isinstance(held, dict):
        raise _RefusedError(f"it holds a {type(held).__name__}; a dictionary of arrays is allowed")
    return {str(name): _as_array(entry, str(name)) for name, entry in held.items()}


def _as_array(entry: Any, name: str) -> npt.NDArray[Any]:
    if isinstance(entry, _Array):
        entry = entry.held()
    if isinstance(entry, _Rebuilt | _Scalar):
        entry = entry.array
    if isinstance(entry, list) and all(isinstance(part, bool | int | float) for part in entry):
        entry = np.array(entry)
    if isinstance(entry, bool | int | float):
        entry = np.array(entry)
    if not isinstance(entry, np.ndarray):
        raise _RefusedError(f"{name!r} is a {type(entry).__name__}; arrays of numbers are allowed")
    return entry
