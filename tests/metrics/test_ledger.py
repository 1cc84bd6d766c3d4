from __future__ import annotations

import json
import pickle
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from envs.errors import RunError, UsageError
from metrics.ledger import Ledger, Permit, SealedTestError, check_permit
from metrics.protocol import Role


def issue(ledger: Ledger, policy: str = "trial-1", config: str = "c1") -> Permit:
    return ledger.issue(policy, config, "d1", "validation", "highest validation return of 100 levels")


def test_the_test_is_sealed_and_other_roles_are_open() -> None:
    with pytest.raises(SealedTestError, match="no permit was given"):
        check_permit(Role.TEST, None)
    for role in (Role.TRAIN, Role.TRAIN_HELDOUT, Role.VALIDATION):
        check_permit(role, None)


def test_a_permit_opens_the_test_for_its_policy_only(tmp_path: Path) -> None:
    permit = issue(Ledger(tmp_path / "runs" / "ledger.jsonl"))
    check_permit(Role.TEST, permit, "trial-1")
    check_permit(Role.TEST, pickle.loads(pickle.dumps(permit)))
    with pytest.raises(SealedTestError, match="not for 'trial-2'"):
        check_permit(Role.TEST, permit, "trial-2")
    check_permit(Role.VALIDATION, permit, "trial-2")


def test_a_permit_that_is_in_no_ledger_is_not_valid(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.jsonl")
    permit = issue(ledger)
    with pytest.raises(SealedTestError, match="not recorded"):
        check_permit(Role.TEST, replace(permit, policy_id="another"), "another")
    ledger.path.unlink()
    with pytest.raises(SealedTestError, match="not recorded"):
        check_permit(Role.TEST, permit)


def test_repeated_reads_are_counted_and_flagged(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.jsonl")
    first, other_seed, again = issue(ledger), issue(ledger, "trial-2"), issue(ledger)
    assert [p.policy_reads_before for p in (first, other_seed, again)] == [0, 0, 1]
    assert [p.config_reads_before for p in (first, other_seed, again)] == [0, 1, 2]
    assert [p.total_reads_before for p in (first, other_seed, again)] == [0, 1, 2]
    assert [record["repeated"] for record in ledger.records()] == [False, False, True]
    assert ledger.reads_before(policy_id="trial-1") == 2
    assert ledger.reads_before(config_fingerprint="c1") == 3
    assert ledger.reads_before(policy_id="trial-1", config_fingerprint="c2") == 0
    assert ledger.permits() == [first, other_seed, again]


def test_an_interrupted_evaluation_finds_its_permit(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.jsonl")
    permit = issue(ledger)
    assert Ledger(ledger.path).find("trial-1", "c1", "d1") == permit
    assert ledger.find("trial-1", "c1", "d2") is None


def test_a_line_torn_by_a_kill_is_no_permit_and_is_replaced(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.jsonl")
    first = issue(ledger)
    whole = ledger.path.read_bytes()
    ledger.path.write_bytes(whole + whole[: len(whole) // 2])
    assert ledger.permits() == [first]
    second = issue(ledger)
    assert ledger.permits() == [first, second]
    assert second.policy_reads_before == 1


@pytest.mark.parametrize("damage", ["{broken", "[1, 2]", '"text"', '{"other": "program"}'])
def test_a_damaged_ledger_keeps_the_test_sealed(damage: str, tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.jsonl")
    issue(ledger)
    ledger.path.write_text(damage + "\n" + ledger.path.read_text())
    with pytest.raises(RunError, match="ledger"):
        issue(ledger)


def test_concurrent_permits_are_all_recorded(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.jsonl")
    with ThreadPoolExecutor(8) as pool:
        permits = list(pool.map(lambda i: issue(ledger, f"trial-{i}"), range(40)))
    assert {p.permit_id for p in ledger.permits()} == {p.permit_id for p in permits}


def test_a_permit_needs_a_rule_and_a_reason(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.jsonl")
    with pytest.raises(UsageError, match="selection rule and a reason"):
        ledger.issue("p", "c", "d", " ", "because")
    assert not ledger.path.exists()


def test_a_ledger_that_cannot_be_written_gives_no_permit(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(RunError, match="stays sealed"):
        issue(Ledger(tmp_path / "file" / "ledger.jsonl"))


def test_records_are_plain_json_and_move_with_their_folder(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "a" / "ledger.jsonl")
    permit = issue(ledger)
    record = json.loads(ledger.path.read_text())
    assert (record["rule"], record["policy_id"]) == ("validation", "trial-1")
    (tmp_path / "a").rename(tmp_path / "b")
    (moved,) = Ledger(tmp_path / "b" / "ledger.jsonl").permits()
    assert moved == replace(permit, ledger=moved.ledger)
    check_permit(Role.TEST, moved, "trial-1")
