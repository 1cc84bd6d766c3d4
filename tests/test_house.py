"""The rules of the house: import order, budgets, and what must stay out of light imports."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ORDER = ("envs", "data", "metrics", "actors", "trainers", "search")
FILES = [*sorted(path for package in ORDER for path in (ROOT / package).rglob("*.py")), ROOT / "gengap.py"]


def imported_names(path: Path) -> list[str]:
    names = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.append(node.module)
    return names


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_imports_follow_the_order(path: Path) -> None:
    package = path.relative_to(ROOT).parts[0]
    if package not in ORDER:
        return
    later = ORDER[ORDER.index(package) + 1 :]
    assert [name for name in imported_names(path) if name.split(".")[0] in later] == []


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_light_packages_import_neither_torch_nor_ray(path: Path) -> None:
    package = path.relative_to(ROOT).parts[0]
    heavy = {"envs": {"torch", "ray"}, "data": {"torch", "ray"}, "metrics": {"torch", "ray"}, "actors": {"torch"}}
    found = {name.split(".")[0] for name in imported_names(path)}
    assert found & heavy.get(package, set()) == set()
    if path.name not in ("loggers.py", "wandb_logger.py"):
        assert "wandb" not in found


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_files_and_functions_stay_small(path: Path) -> None:
    text = path.read_text()
    assert text.count("\n") <= 300, "split the file"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            assert node.end_lineno - node.lineno < 60, f"{node.name} is too long"


def test_modules_have_no_import_cycle() -> None:
    graph = {}
    for path in FILES:
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        graph[module] = module_level_imports(path)
    modules = set(graph)
    edges = {
        module: {name for name in names if name in modules and name != module and not module.startswith(name + ".")}
        for module, names in graph.items()
    }
    assert find_cycle(edges) == []


def module_level_imports(path: Path) -> list[str]:
    names = []
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [node.module] + [f"{node.module}.{alias.name}" for alias in node.names]
    return names


def find_cycle(edges: dict[str, set[str]]) -> list[str]:
    state: dict[str, int] = {}
    stack: list[str] = []

    def visit(node: str) -> list[str]:
        state[node] = 1
        stack.append(node)
        for target in sorted(edges[node]):
            if state.get(target) == 1:
                return [*stack[stack.index(target) :], target]
            if target not in state and (cycle := visit(target)):
                return cycle
        stack.pop()
        state[node] = 2
        return []

    for node in edges:
        if node not in state and (cycle := visit(node)):
            return cycle
    return []


def test_find_cycle_finds_one() -> None:
    assert find_cycle({"a": {"b"}, "b": {"c"}, "c": {"a"}}) == ["a", "b", "c", "a"]


def test_the_public_api_imports_neither_torch_nor_ray() -> None:
    code = "import sys, gengap; gengap.LevelSet; assert not {'torch', 'ray'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_everything_that_is_used_can_be_imported() -> None:
    modules = "ray.train, ray.tune, ray.data, torch, pyarrow.parquet, wandb, gymnasium, safetensors, pandas, matplotlib"
    subprocess.run([sys.executable, "-c", f"import {modules}"], check=True)


def test_no_machine_paths_or_leftovers_in_the_sources() -> None:
    for path in FILES:
        text = path.read_text()
        for word in ("TODO", "FIXME", "/home/", "placeholder"):
            assert word not in text, f"{relative(path)} holds {word!r}"
