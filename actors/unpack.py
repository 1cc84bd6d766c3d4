"""Makes a dataset of a packed one: renders its episodes again and proves them."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from actors.replaying import Workers, check_environment, renderings
from actors.unpack_work import Notes, Unpacker, Work, scripts_of_packed, together
from data.complete import complete_dataset
from data.dataset import Dataset
from data.episode import Episode
from data.episode_table import EpisodeTable
from data.files import check_disk_space, disk_errors, new_directory
from data.pack.layout import FRAMES
from data.pack.packed import Packed
from data.placed import placed_entries
from data.remote import local_file, new_place
from data.writer import DatasetWriter, check_free
from envs.errors import RunError

Advance = Callable[[int], None]
"""Told the transitions done so far."""

_ALONE = Workers()
_NAMED = 5  # episodes, in an error
_PROGRESS_S = 0.2
_WORTH_A_PROCESS = 100_000  # transitions; with fewer, its start takes longer than the work


def unpack(file: Path, out: Path, *, workers: Workers = _ALONE, advance: Advance | None = None) -> Dataset:
    """Make the dataset that was packed, and prove it by its fingerprint.

    Args:
        file: A file that `pack` wrote.
        out: Directory of the dataset; it must not exist.
        workers: Who renders.
        advance: Progress.

    Raises:
        UsageError: If it is no packed dataset, or `out` exists, or its environment is unknown or another one here.
        RunError: If it is damaged, the disk is too small, or episodes come out otherwise; nothing is left behind.
    """
    with Packed(local_file(file)) as packed:
        if packed.kind != FRAMES:
            check_environment(packed.env)
        check_disk_space(out, packed.unpacked_bytes)
        if packed.kind != FRAMES and workers.num_actors == 0:
            return _by_processes(packed, out, workers, advance)
        with DatasetWriter(out, packed.env, packed.provenance, license=packed.license) as writer:
            different = []
            for index, episode in _episodes(packed, workers):
                if not packed.matches(index, writer.add(episode)):
                    different.append(index)
                if advance is not None:
                    advance(writer.num_transitions)
            _prove(packed, writer.fingerprint, different)
            return writer.finish()


def _episodes(packed: Packed, workers: Workers) -> Iterator[tuple[int, Episode]]:
    if packed.kind == FRAMES:
        yield from enumerate(packed.stored_episodes())
        return
    with renderings(scripts_of_packed(packed), workers) as arriving:
        for rendering in arriving:
            yield rendering.index, packed.episode(rendering.index, rendering.observations, rendering.rewards)


def _by_processes(packed: Packed, out: Path, workers: Workers, advance: Advance | None) -> Dataset:
    """By this process, and others if wanted, each of which writes what it rendered."""
    path = new_place(out)
    check_free(path)
    with disk_errors(path), new_directory(path) as partial:
        _fill(packed, partial, workers, advance)
    return Dataset.open(path)


def _fill(packed: Packed, partial: Path, workers: Workers, advance: Advance | None) -> None:
    context = multiprocessing.get_context("spawn")
    work = Work.share(context, packed, partial, workers.num_envs)
    notes = Notes(packed, work.raw)
    num_processes = min(workers.num_processes, 1 + packed.num_transitions // _WORTH_A_PROCESS)
    with together(context, work, num_processes - 1) as await_others:
        Unpacker(work, packed).run(_Progress(packed, notes, advance))
        await_others()
    if advance is not None:
        advance(packed.num_transitions)
    table, different = _table(packed, notes)
    _prove(packed, table.fingerprint(packed.env), different)
    crcs = {name: values[: work.num_parts] for name, values in notes.crcs.items()}
    amounts = {unit: values[: work.num_parts] for unit, values in notes.amounts.items()}
    entries = placed_entries(packed.env, packed.with_log_probs, crcs, amounts)
    header = {"provenance": packed.provenance, "license": packed.license}
    complete_dataset(partial, packed.env, table, entries, header)


def _table(packed: Packed, notes: Notes) -> tuple[EpisodeTable, list[int]]:
    """The episodes in the order in which they lie in the columns, and which of them are not what was packed."""
    if not notes.written.all():
        raise RunError(f"{int((~notes.written).sum())} episodes were not written; this is an error in gengap.")
    table, different = EpisodeTable(), []
    for index in np.argsort(notes.first_steps, kind="stable").tolist():
        checksum = notes.checksums[index].tobytes()
        table.load([packed.entry(index, checksum, float(notes.returns[index]))])
        if not packed.matches(index, checksum):
            different.append(index)
    return table, different


class _Progress:
    """Tells now and then how much lies at its place; called before each step, it never asks for a stop."""

    def __init__(self, packed: Packed, notes: Notes, advance: Advance | None) -> None:
        self._lengths, self._notes, self._advance = packed.table["length"], notes, advance
        self._told_s = time.monotonic()

    def __call__(self) -> bool:
        if self._advance is not None and time.monotonic() - self._told_s > _PROGRESS_S:
            self._told_s = time.monotonic()
            self._advance(int(self._lengths[self._notes.written].sum()))
        return False


def _prove(packed: Packed, fingerprint: str, different: list[int]) -> None:
    if different:
        named = "; ".join(packed.name_of(index) for index in sorted(different)[:_NAMED])
        more = f"; and {len(different) - _NAMED} more" if len(different) > _NAMED else ""
        advice = (
            "The file is damaged: fetch or pack it again."
            if packed.kind == FRAMES
            else "The environment here is not the one that recorded them: pack with `--check` here, or with --frames."
        )
        raise RunError(
            f"{len(different)} of {packed.num_episodes} episodes of {packed.path} come out otherwise than they were "
            f"recorded: {named}{more}. {advice}"
        )
    if fingerprint != packed.fingerprint:
        raise RunError(
            f"{packed.path} unpacks to fingerprint {fingerprint}, but {packed.fingerprint} was packed. It is "
            "damaged: fetch or pack it again."
        )
