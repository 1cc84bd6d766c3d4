"""Writing a dataset: episodes stream into a temporary directory that gets its name only when it is complete."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from data.complete import complete_dataset
from data.dataset import Dataset
from data.episode import Episode
from data.episode_table import EpisodeTable
from data.files import disk_errors, rename_directory
from data.journal import JOURNAL, Journal, claim_interrupted, read_journal
from data.partial import ColumnFiles
from data.remote import new_place
from data.schema import check_columns, json_object
from data.validation import canonical_episode
from envs.errors import UsageError
from envs.files import create_partial
from envs.spec import EnvSpec

COMMIT_EVERY_S = 10.0


class DatasetWriter:
    """Writes one dataset directory, crash-safe, in memory that does not grow with the frames.

    Leaving the block finishes the dataset; leaving it by an exception removes everything. A killed process leaves only
    a hidden ``.NAME.partial-*`` directory, which does not open and which the next writer of that name removes.

    With `resume`, such a directory is kept, also by an exception, and the next writer of the same name, environment and
    provenance goes on with it: it holds the episodes of the last commit, and `recorded` says which.
    """

    def __init__(
        self,
        path: Path | str,
        env: EnvSpec,
        provenance: Mapping[str, Any],
        license: str = "MIT",
        *,
        resume: bool = False,
        commit_every_s: float = COMMIT_EVERY_S,
    ) -> None:
        """Start writing, or go on.

        Args:
            path: Directory to create; it must not exist.
            env: The environment that every episode belongs to.
            provenance: How the data came to be, as JSON values: command, configuration, versions.
            license: SPDX identifier of the terms under which the data may be used.
            resume: Keep what is written when interrupted, and go on with what an interrupted writer left.
            commit_every_s: How much work an interruption may cost, in seconds.

        Raises:
            UsageError: If the path exists or is remote, the provenance is not JSON, or other work was interrupted here.
            RunError: If the disk is full or not writable, or what was left is damaged.
        """
        self.path = new_place(path)
        self.env = env
        self._finished: Dataset | None = None
        self._header = {"provenance": json_object(provenance), "license": license}
        check_columns(env)
        check_free(self.path)
        self._table = EpisodeTable()
        self._columns: ColumnFiles | None = None
        self._journal: Journal | None = None
        self._num_committed = 0
        self._commit_every_s, self._committed_s = commit_every_s, time.monotonic()
        with disk_errors(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._partial, self._lock = self._begin(resume)
        self._open = True

    @property
    def num_episodes(self) -> int:
        """Episodes written so far."""
        return len(self._table)

    @property
    def num_transitions(self) -> int:
        """Transitions written so far."""
        return self._table.num_transitions

    @property
    def recorded(self) -> dict[tuple[int, int], int]:
        """(level, episode) of what is there -> its transitions."""
        return self._table.lengths

    @property
    def returns(self) -> dict[str, list[float]]:
        """Source -> returns of its episodes, in order of arrival."""
        return self._table.returns

    def __enter__(self) -> DatasetWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self._interrupt()
        elif self._open:
            self.finish()

    @property
    def fingerprint(self) -> str:
        """Of the episodes added so far."""
        return self._table.fingerprint(self.env)

    def add(self, episode: Episode) -> bytes:
        """Append one whole episode; any order gives the same dataset.

        Returns:
            The episode's checksum.

        Raises:
            UsageError: If it does not fit the environment or is already there.
            RunError: If the disk is full; nothing but the last commit is left behind.
        """
        self._check_open()
        episode = canonical_episode(self.env, episode)
        self._table.check_new(episode)
        self._check_log_probs(episode)
        try:
            with disk_errors(self.path):
                if self._columns is None:
                    self._columns = ColumnFiles(self._partial, self.env, episode.behavior_log_probs is not None)
                checksum = self._columns.write(episode)
        except BaseException:  # columns of unequal length can only be cut back
            self._abandon()
            raise
        self._table.add(episode, checksum)
        if self._journal is not None and time.monotonic() - self._committed_s > self._commit_every_s:
            self.commit()
        return checksum

    def commit(self) -> None:
        """Make everything so far durable, so that an interruption costs nothing of it; without `resume`, do nothing.

        Raises:
            RunError: If the disk is full.
        """
        self._check_open()
        if self._journal is None or self._columns is None:
            return
        try:
            with disk_errors(self.path):
                self._journal.append(
                    {
                        "columns": self._columns.sync(),
                        "with_log_probs": self._columns.with_log_probs,
                        "episodes": self._table.entries(self._num_committed),
                    }
                )
        except BaseException:
            self._abandon()
            raise
        self._num_committed, self._committed_s = len(self._table), time.monotonic()

    def finish(self, measured: Mapping[str, Any] | None = None) -> Dataset:
        """Complete the dataset, give it its name, and open it.

        Args:
            measured: What was found out about the data, as JSON values; stands in the manifest's provenance.

        Raises:
            UsageError: If no episode was added.
            RunError: If the disk is full; nothing but the last commit is left behind.
        """
        if self._finished is not None:
            return self._finished
        self._check_open()
        if not len(self._table):
            self.abort()
            raise UsageError(f"No episode was added to {self.path}; a dataset needs at least one.")
        self.commit()
        if measured is not None:
            provenance = {**self._header["provenance"], "measured": json_object(measured)}  # type: ignore[dict-item]
            self._header = {**self._header, "provenance": provenance}
        try:
            with disk_errors(self.path):
                self._complete()
        except BaseException:
            self._abandon()
            raise
        self._open = False
        os.close(self._lock)
        self._finished = Dataset.open(self.path)
        return self._finished

    def abort(self) -> None:
        """Remove everything that was written; a finished dataset stays."""
        if self._open:
            self._close()
            shutil.rmtree(self._partial, ignore_errors=True)

    def _begin(self, resume: bool) -> tuple[Path, int]:
        if not resume:
            return create_partial(self.path)
        header = {"env": self.env.to_json(), **self._header}
        claimed = claim_interrupted(self.path, header)
        if claimed is None:
            partial, lock = create_partial(self.path)
            self._journal = Journal(partial, header)
            return partial, lock
        try:
            self._restore(claimed[0])
        except BaseException:
            os.close(claimed[1])
            raise
        return claimed

    def _restore(self, partial: Path) -> None:
        _, commits, _ = read_journal(partial / JOURNAL)
        for commit in commits:
            self._table.load(commit["episodes"])
        if commits:
            self._columns = ColumnFiles(partial, self.env, commits[-1]["with_log_probs"], commits[-1]["columns"])
        self._journal, self._num_committed = Journal(partial), len(self._table)

    def _interrupt(self) -> None:
        """What is whole is worth keeping, where it can be gone on with."""
        if self._open and self._journal is not None:
            with suppress(Exception):  # the error that interrupted is the one to hear of
                self.commit()
        self._abandon()

    def _abandon(self) -> None:
        if self._journal is None or self._num_committed == 0:
            self.abort()
        elif self._open:
            self._close()

    def _close(self) -> None:
        self._open = False
        if self._columns is not None:
            self._columns.discard()
        if self._journal is not None:
            self._journal.close()
        with suppress(OSError):
            os.close(self._lock)

    def _check_open(self) -> None:
        if not self._open:
            raise UsageError(f"The writer of {self.path} is closed; open a new one under another name.")

    def _check_log_probs(self, episode: Episode) -> None:
        if self._columns is not None and self._columns.with_log_probs != (episode.behavior_log_probs is not None):
            raise UsageError(
                "Some episodes have behavior_log_probs and some have not; record them for all or for none."
            )

    def _complete(self) -> None:
        assert self._columns is not None
        complete_dataset(self._partial, self.env, self._table, self._columns.close(), self._header)
        rename_directory(self._partial, self.path)
        if self._journal is not None:
            self._journal.close()
            (self.path / JOURNAL).unlink()


def check_free(path: Path) -> None:
    """Refuse a place that is taken.

    Raises:
        UsageError: If something is there.
    """
    if path.exists():
        raise UsageError(f"{path} exists already; a dataset is never overwritten. Remove it or choose another.")
