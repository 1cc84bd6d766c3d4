"""The measurement of search experts can be stopped and continued, and its table says what was measured."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import search_experts

pytestmark = pytest.mark.procgen


def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    monkeypatch.setattr(sys, "argv", ["search_experts", *arguments])
    search_experts.main()
    result: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])
    return result


def test_a_stopped_run_is_continued_and_gives_the_same_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, parts = tmp_path / "whole.jsonl", tmp_path / "parts.jsonl"
    options = ["--games", "maze", "jumper", "--levels", "4", "7", "--budget", "31000"]
    run(monkeypatch, capsys, *options, "--out", str(whole))
    run(monkeypatch, capsys, *options[:-5], "--levels", "4", "5", "--budget", "31000", "--out", str(parts))
    searched = []
    original = search_experts.search
    monkeypatch.setattr(search_experts, "search", lambda *args: searched.append(args[:2]) or original(*args))
    result = run(monkeypatch, capsys, *options, "--out", str(parts))
    assert searched == [("maze", 5), ("jumper", 5), ("maze", 6), ("jumper", 6)]
    timeless = [[{**row, "cpu_s": 0, "wall_s": 0} for row in search_experts.read_rows(file)] for file in (whole, parts)]
    assert timeless[0] == timeless[1]
    rows = {row["game"]: row for row in result["games"]}
    assert rows["maze"]["levels"] == rows["jumper"]["levels"] == 3
    assert rows["maze"]["return"]["point"] == 10
    assert rows["maze"]["reached"]
    assert rows["jumper"]["solved"] == pytest.approx(2 / 3)  # level 5 kills at once
    assert not rows["jumper"]["reached"]
    assert result["value"] == 1
    assert not result["holds"], "one game is not ten"


def row(game: str, level: int, gained: float, budget: int = 1) -> dict[str, Any]:
    times = {"length": 5, "truncated": False, "steps": 10, "cpu_s": 1.0}
    return {"game": game, "level": level, "budget": budget, "seed": 0, "return": gained, "complete": True, **times}


def test_the_table_reads_every_budget_but_only_the_seed_and_levels_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "rows.jsonl"
    rows = [row("starpilot", level, 30.0 + level) for level in range(4)] + [row("starpilot", 9, 99.0)]
    rows += [row("coinrun", 0, 10.0, budget=2), {**row("coinrun", 1, 0.0), "seed": 1}]
    file.write_text("".join(json.dumps(one) + "\n" for one in rows))
    result = run(monkeypatch, capsys, "--table", "--levels", "0", "5", "--out", str(file))
    coinrun, starpilot = result["games"]
    assert (coinrun["budget"], coinrun["levels"], coinrun["return"]["point"]) == (2, 1, 10)
    assert coinrun["return"]["low"] is None, "one level has no interval"
    assert (starpilot["levels"], starpilot["return"]["point"], starpilot["solved"]) == (4, 31.5, None)
    assert starpilot["return"]["low"] < 31.5 < starpilot["return"]["high"]
    assert result["value"] == 2
