"""The command behind the shop's score table: resumable, sealed until a reason is given, and of one size."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.shop_scores import AGENTS, main
from envs.errors import UsageError
from metrics.ledger import Ledger

SMALL = ["--shifts", "shop-I8", "--levels", "3", "--instructions", "6", "--transitions", "30", "--learner-steps", "2"]


@pytest.mark.slow
def test_a_table_is_made_once_and_the_test_read_with_a_permit(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*SMALL, "--out", str(tmp_path)]
    main([*words, "--no-training"])
    partly = capsys.readouterr().out
    assert partly.count("| I8 | `") == len(AGENTS)
    assert "| I8 | BC, greedy | — | — | — | — | — | — |" in partly
    played = {path: path.stat().st_mtime_ns for path in (tmp_path / "evaluations").iterdir()}

    main(words)
    assert {path: path.stat().st_mtime_ns for path in played} == played
    assert not (tmp_path / "ledger.jsonl").exists()
    main([*words, "--test", "a test of the table"])
    table = (tmp_path / "table.md").read_text()
    assert "—" not in table
    permits = Ledger(tmp_path / "ledger.jsonl").permits()
    assert len(permits) == len(AGENTS) + 2
    assert not any(permit.repeated for permit in permits)
    assert {len(set(json.loads((tmp_path / "plan.json").read_text())["seeds"]))} == {2}

    main([*words, "--test", "again"])
    assert (tmp_path / "table.md").read_text() == table
    assert len(Ledger(tmp_path / "ledger.jsonl").permits()) == len(permits)
    with pytest.raises(UsageError, match="choose another --out"):
        main([*words, "--levels", "4"])
