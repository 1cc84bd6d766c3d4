"""Writes the constraints that cluster files install with: `python -m tests.constraints > deploy/constraints.txt`.

The exact versions, in this environment, of everything that the project needs at run time, directly or not, with the
extras for buckets.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
FILE = ROOT / "deploy" / "constraints.txt"
EXTRAS = ("optuna",)


def direct_requirements() -> list[Requirement]:
    """What `pyproject.toml` asks for."""
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    words = [*project["dependencies"], *(word for extra in EXTRAS for word in project["optional-dependencies"][extra])]
    return [Requirement(word) for word in words]


def closure(requirements: list[Requirement]) -> dict[str, str]:
    """Name -> installed version of the requirements and of all that they need in turn."""
    found: dict[str, str] = {}
    seen: set[tuple[str, str]] = set()
    waiting = [(requirement, "") for requirement in requirements]
    while waiting:
        requirement, extra = waiting.pop()
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": extra}):
            continue
        distribution = importlib.metadata.distribution(requirement.name)
        name = requirement.name.lower().replace("_", "-").replace(".", "-")
        found[name] = distribution.version.partition("+")[0]
        for wanted in ("", *requirement.extras):
            if (name, wanted) not in seen:
                seen.add((name, wanted))
                waiting += [(Requirement(word), wanted) for word in distribution.requires or ()]
    return found


def read_pins(text: str) -> dict[str, str]:
    """Name -> version of a constraints file."""
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return dict(line.split("==") for line in lines)


def lines() -> Iterator[str]:
    """The file."""
    yield "# What every machine of a cluster installs, to the digit; made by `python -m tests.constraints`."
    for name, version in sorted(closure(direct_requirements()).items()):
        yield f"{name}=={version}"


if __name__ == "__main__":
    print("\n".join(lines()))
