from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from data.files import atomic_write_json, atomic_write_text, check_disk_space, format_bytes, free_bytes
from envs.errors import RunError


def test_an_atomic_write_replaces_the_file(tmp_path: Path) -> None:
    atomic_write_json(tmp_path / "a.json", {"x": [1, 2]})
    atomic_write_json(tmp_path / "a.json", {"x": 3})
    assert json.loads((tmp_path / "a.json").read_text()) == {"x": 3}
    assert os.listdir(tmp_path) == ["a.json"]


def test_a_failed_write_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    atomic_write_text(tmp_path / "a.txt", "old")

    def full(_: int) -> Any:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RunError, match=r"No space left while writing .*a\.txt"):
        atomic_write_text(tmp_path / "a.txt", "new")
    assert (tmp_path / "a.txt").read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_value_that_is_no_json_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        atomic_write_json(tmp_path / "a.json", {"x": float("nan")})
    assert os.listdir(tmp_path) == []


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="Cannot write"):
        atomic_write_text(tmp_path / "file" / "below", "x")


def test_missing_space_is_refused_with_both_numbers(tmp_path: Path) -> None:
    check_disk_space(tmp_path / "not" / "there", 1)
    with pytest.raises(RunError, match=r"needs about .* TB, but only .* free"):
        check_disk_space(tmp_path / "not" / "there", free_bytes(tmp_path) + 10**15)


def test_bytes_are_shown_in_powers_of_1000() -> None:
    assert [format_bytes(n) for n in (0, 999, 1500, 12_300_000_000)] == ["0 B", "999 B", "1.5 kB", "12.3 GB"]
