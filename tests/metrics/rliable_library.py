"""`rliable.library` for point values, where the package `arch` that it imports cannot be.

rliable pins arch below 8, and arch 7 fails at import with pandas 3. Its bootstrap classes are needed for intervals
only, so stand-ins let the rest be imported. Intervals of ours are compared with obvious loops instead: rliable's depend
on a global random state.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any


def load() -> Any:
    """The module `rliable.library`."""
    try:
        return importlib.import_module("rliable.library")
    except TypeError:
        pass
    names = ("arch", "arch.bootstrap", "arch.typing")
    saved = {name: sys.modules.get(name) for name in names}
    for name in names:
        sys.modules[name] = ModuleType(name)
    sys.modules["arch"].__dict__["bootstrap"] = sys.modules["arch.bootstrap"]
    sys.modules["arch.bootstrap"].__dict__["IIDBootstrap"] = object
    sys.modules["arch.bootstrap"].__dict__["IndependentSamplesBootstrap"] = object
    for name in ("AnyPandas", "ArrayLike", "NDArray"):
        sys.modules["arch.typing"].__dict__[name] = Any
    try:
        return importlib.import_module("rliable.library")
    finally:
        for name, module in saved.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module
