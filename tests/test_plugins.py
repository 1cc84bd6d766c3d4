"""Folders that have our packages' names do not replace them; a missing plugin is answered."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from envs.errors import UsageError
from envs.plugins import load_plugins

ROOT = Path(__file__).resolve().parents[1]


def run(code: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", f"import sys; sys.path[1:1] = [{str(ROOT)!r}]\n{code}"]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder whose `data` and `envs` come before everything installed."""
    for name in ("data", "envs"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise RuntimeError('the wrong package')\n")
    return tmp_path


def test_importing_gengap_first_keeps_our_packages(project: Path) -> None:
    done = run("import gengap, data.episode; print(data.episode.__file__)", project)
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()) == ROOT / "data" / "episode.py"


def test_without_it_the_other_folder_would_win(project: Path) -> None:
    assert "the wrong package" in run("import data.episode", project).stderr


def test_a_shadowed_package_is_named_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "actors").mkdir()
    (tmp_path / "actors" / "__init__.py").write_text("")
    done = run("import envs.plugins; envs.plugins.check_not_shadowed()", tmp_path)
    assert f"The folder {tmp_path / 'actors'} hides the package 'actors'" in done.stderr
    assert "Write `import gengap` before any other" in done.stderr


def test_a_missing_plugin_is_answered_with_where_it_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"'no_such_plugin' was not found.*" + str(tmp_path)):
        load_plugins(["no_such_plugin"], tmp_path)
    sys.path.remove(str(tmp_path))
