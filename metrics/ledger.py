"""Permits for the sealed test, in an append-only file that says what was read, when and why."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

from envs.errors import RunError, UsageError
from metrics.protocol import Role

LEDGER = "ledger.jsonl"
STUDY = "study.json"
"""The file that makes a folder a study, whose runs share one ledger."""


class SealedTestError(UsageError):
    """A test level was to be played without a valid permit."""


@dataclass(frozen=True, kw_only=True)
class Permit:
    """The right to play the test levels with one policy. `Ledger.issue` makes them; a hand-made one is not valid."""

    permit_id: str
    ledger: str
    """Path of the ledger that recorded it."""
    policy_id: str
    config_fingerprint: str
    dataset_fingerprint: str
    rule: str
    """Name of the selection rule that chose the policy."""
    reason: str
    issued_at: str
    """UTC, ISO 8601."""
    policy_reads_before: int
    """Permits issued for this policy before; more than 0 is a repeated read of the test."""
    config_reads_before: int
    """Permits issued for this configuration before (its other seeds included)."""
    total_reads_before: int
    protocol: str = ""
    """What the test was read by."""
    network: str = ""
    """Identifies the parameters that were tested, whatever the policy was called."""

    @property
    def repeated(self) -> bool:
        """Whether this policy had been tested before."""
        return self.policy_reads_before > 0

    def check(self, role: Role, policy_id: str | None = None) -> None:
        """Refuse to play the test if this permit does not cover it; other roles are always open.

        Args:
            role: The role about to be played.
            policy_id: The policy about to play, if known; a permit covers one policy.

        Raises:
            SealedTestError: If the permit is of another policy, or is in no ledger.
        """
        if role != Role.TEST:
            return
        if policy_id is not None and policy_id != self.policy_id:
            raise SealedTestError(
                f"The permit {self.permit_id} was issued for policy {self.policy_id!r}, not for {policy_id!r}; "
                "issue one for this policy with Ledger.issue."
            )
        if self not in Ledger(Path(self.ledger)).permits():
            raise SealedTestError(
                f"The permit {self.permit_id} of policy {self.policy_id!r} is not recorded in {self.ledger}; "
                "issue permits with Ledger.issue."
            )


def check_permit(role: Role, permit: Permit | None, policy_id: str | None = None) -> None:
    """What every evaluation calls before it plays a level.

    Raises:
        SealedTestError: If `role` is the test and there is no valid permit.
    """
    if role == Role.TEST and permit is None:
        raise SealedTestError(
            "Test levels are sealed and no permit was given. Select on train and validation first, "
            "then issue a permit with Ledger.issue."
        )
    if permit is not None:
        permit.check(role, policy_id)


class Ledger:
    """Append-only JSON lines, one permit a line. Each line is on disk before its permit is returned."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def issue(
        self,
        policy_id: str,
        config_fingerprint: str,
        dataset_fingerprint: str,
        rule: str,
        reason: str,
        *,
        protocol: str = "",
        network: str = "",
    ) -> Permit:
        """Record that the test is about to be read, and allow it.

        Args:
            policy_id: The policy that will be tested.
            config_fingerprint: Its configuration, without the seed.
            dataset_fingerprint: What it learned from.
            rule: The selection rule that chose it.
            reason: One sentence for the report.
            protocol: What the test is read by.
            network: Identifies the parameters; another name for the same ones is a repeated read, too.

        Raises:
            UsageError: If the rule or the reason is empty.
            RunError: If the ledger cannot be written or is damaged.
        """
        if not rule.strip() or not reason.strip():
            raise UsageError("A permit needs a selection rule and a reason; one of them is empty.")
        with self._locked():
            return self._issue(policy_id, config_fingerprint, dataset_fingerprint, rule, reason, protocol, network)

    def _issue(
        self, policy_id: str, config: str, dataset: str, rule: str, reason: str, protocol: str, network: str
    ) -> Permit:
        before = self.permits()
        same = sum(p.policy_id == policy_id or bool(network and p.network == network) for p in before)
        permit = Permit(
            permit_id=uuid4().hex[:12],
            ledger=str(self.path.absolute()),
            policy_id=policy_id,
            config_fingerprint=config,
            dataset_fingerprint=dataset,
            rule=rule,
            reason=reason,
            issued_at=datetime.now(UTC).isoformat(timespec="seconds"),
            policy_reads_before=same,
            config_reads_before=sum(p.config_fingerprint == config for p in before),
            total_reads_before=len(before),
            protocol=protocol,
            network=network,
        )
        self._append(_to_record(permit))
        return permit

    def find(self, policy_id: str, config_fingerprint: str, dataset_fingerprint: str) -> Permit | None:
        """The last permit issued for exactly this, for an evaluation that was interrupted and is run again."""
        wanted = (policy_id, config_fingerprint, dataset_fingerprint)
        matches = [p for p in self.permits() if (p.policy_id, p.config_fingerprint, p.dataset_fingerprint) == wanted]
        return matches[-1] if matches else None

    def reads_before(self, *, policy_id: str | None = None, config_fingerprint: str | None = None) -> int:
        """How many permits were issued so far, for this policy and configuration where given."""
        return sum(
            (policy_id is None or p.policy_id == policy_id)
            and (config_fingerprint is None or p.config_fingerprint == config_fingerprint)
            for p in self.permits()
        )

    def records(self) -> list[dict[str, Any]]:
        """Every line in order; a last line torn by a crash never became a permit and is left out.

        Raises:
            RunError: If another line is damaged.
        """
        if not self.path.exists():
            return []
        complete = self.path.read_bytes().split(b"\n")[:-1]
        records = []
        for number, line in enumerate(complete, start=1):
            try:
                records.append(dict(json.loads(line)))
            except (ValueError, TypeError) as error:
                raise RunError(
                    f"Line {number} of the ledger {self.path} is damaged, so reads of the test cannot be counted; "
                    "restore the file from a copy."
                ) from error
        return records

    def permits(self) -> list[Permit]:
        """Every permit issued, in order."""
        try:
            return [
                Permit(**{k: v for k, v in record.items() if k != "repeated"}, ledger=str(self.path.absolute()))
                for record in self.records()
            ]
        except TypeError as error:
            raise RunError(f"The ledger {self.path} holds a record of another program or version: {error}.") from error

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One writer at a time, so that everybody counts the reads of all others."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            lock = self.path.with_name(f".{self.path.name}.lock").open("w")
        except OSError as error:
            raise RunError(f"The ledger {self.path} cannot be written ({error}); the test stays sealed.") from error
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _append(self, record: dict[str, Any]) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab+") as file:
                _drop_torn_tail(file.fileno(), self.path)
                file.write(json.dumps(record).encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise RunError(f"The ledger {self.path} cannot be written ({error}); the test stays sealed.") from error


def ledger_of(directory: Path) -> Path:
    """The ledger that a run's reads belong in: that of the study it is part of, else its own."""
    for folder in (directory, *directory.resolve().parents[:2]):
        if (folder / STUDY).exists():
            return folder / LEDGER
    return directory / LEDGER


def ledger_table(records: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Header and rows of every read, for reports; a repeated read of the same policy says so.

    Args:
        records: As `Ledger.records` gives them.
    """
    header = ["when (UTC)", "policy", "read", "reads before", "rule", "reason", "protocol", "configuration", "data"]
    rows = [
        [
            str(record["issued_at"]).removesuffix("+00:00").replace("T", " "),
            str(record["policy_id"]),
            "REPEATED READ" if record["policy_reads_before"] else "first read",
            f"{record['total_reads_before']} ({record['policy_reads_before']} of this policy)",
            str(record["rule"]),
            str(record["reason"]),
            str(record.get("protocol", "")) or "not recorded",
            str(record["config_fingerprint"]),
            str(record["dataset_fingerprint"]),
        ]
        for record in records
    ]
    return header, rows


def _to_record(permit: Permit) -> dict[str, Any]:
    # The path is where the file is, so a study folder may be moved.
    return {key: value for key, value in asdict(permit).items() if key != "ledger"} | {"repeated": permit.repeated}


def _drop_torn_tail(descriptor: int, path: Path) -> None:
    data = path.read_bytes()
    if data and not data.endswith(b"\n"):
        os.ftruncate(descriptor, data.rfind(b"\n") + 1)
