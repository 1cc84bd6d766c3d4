"""Own environments, algorithms and optimizers: modules loaded by name, here and in every Ray worker."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import sys
from pathlib import Path
from typing import Any

from envs.errors import UsageError

VARIABLE = "GENGAP_PLUGINS"
"""Environment variable that carries ``module=folder`` pairs, joined by the path separator, to workers."""


def load_plugins(modules: list[str], folder: Path | None = None) -> None:
    """Import plugin modules by name; each registers what it brings when imported.

    Our own packages are imported first and `folder` goes to the end of the path, so a project that has folders called
    ``data`` or ``envs`` itself does not replace ours.

    Args:
        modules: Dotted module names.
        folder: Where to look for them after everything installed; default: the working directory.

    Raises:
        UsageError: If a module cannot be found, or a folder shadows one of our packages.
    """
    check_not_shadowed()
    place = str((folder or Path.cwd()).resolve())
    pairs = [pair for pair in os.environ.get(VARIABLE, "").split(os.pathsep) if pair]
    for module in modules:
        _import(module, place)
        if (pair := f"{module}={place}") not in pairs:
            pairs.append(pair)
    if pairs:
        os.environ[VARIABLE] = os.pathsep.join(pairs)


def load_entry_points() -> None:
    """Import every installed plugin that announces itself under the entry point group ``gengap.plugins``."""
    for entry in importlib.metadata.entry_points(group="gengap.plugins"):
        entry.load()


def load_in_worker() -> None:
    """Load what the driver loaded. Ray calls this when a worker process starts."""
    check_not_shadowed()
    load_entry_points()
    for pair in os.environ.get(VARIABLE, "").split(os.pathsep):
        module, _, folder = pair.partition("=")
        if module:
            _import(module, folder)


def runtime_env() -> dict[str, Any]:
    """The Ray runtime environment that makes workers find our packages first, and load the same plugins."""
    variables = {VARIABLE: os.environ[VARIABLE]} if os.environ.get(VARIABLE) else {}
    return {"env_vars": variables, "worker_process_setup_hook": "gengap.prepare_worker"}


def check_not_shadowed() -> None:
    """Import our packages and refuse a folder of the same name that was found instead.

    Raises:
        UsageError: Naming the folder and what to do.
    """
    home = Path(__file__).resolve().parent.parent
    for name in ("envs", "data", "metrics", "actors", "trainers", "search"):
        package = importlib.import_module(name)
        found = Path(next(iter(package.__path__))).resolve()
        if found != home / name:
            raise UsageError(
                f"The folder {found} hides the package {name!r} of gengap. Write `import gengap` before any other, "
                "remove that folder from PYTHONPATH, or rename it."
            )


def _import(module: str, folder: str) -> None:
    if folder not in sys.path:
        sys.path.append(folder)
    try:
        importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is not None and not module.startswith(error.name):
            raise
        raise UsageError(
            f"The plugin module {module!r} was not found. Looked in everything installed and in {folder}; "
            "start the command in the folder that holds it, or install it."
        ) from None
