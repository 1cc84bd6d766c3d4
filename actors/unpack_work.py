"""Processes that unpack one dataset together: each renders episodes and writes them into the columns.

They share counters, which say which episode comes next and where the next part of the columns belongs, and arrays in
which they note what they wrote; no frame goes from one to another.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import traceback
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from actors.render import Rendering, Scripts, long_first, render
from actors.replaying import num_slots
from data.pack.packed import Packed
from data.placed import STEPS, PlacedColumns, create_columns, names_of_units, units_of
from data.schema import episode_checksum
from data.validation import canonical_episode
from envs.errors import RunError, UsageError
from envs.registry import make_vec

_WAITING = 16  # episodes that are rendered and not yet written

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Work:
    """What the processes share; it travels to each as it starts.

    Args:
        file: The packed file.
        directory: Where the columns lie.
        num_envs: Slots of each process.
        owner: Number of the first process; when it is gone, so are the others.
        counters: Episodes begun, parts placed, and how far each unit of `data.placed` is used.
        raw: Memory of `Notes`.
    """

    file: Path
    directory: Path
    num_envs: int
    owner: int
    counters: Any
    raw: dict[str, Any]

    @classmethod
    def share(cls, context: Any, packed: Packed, directory: Path, num_envs: int) -> Work:
        """Make the columns' files and the memory.

        Args:
            context: Of `multiprocessing`.
            packed: Of kind ``"actions"``.
            directory: An empty one.
            num_envs: Slots of each process, fewer where episodes are long.
        """
        create_columns(directory, packed.env, packed.with_log_probs)
        raw = {name: context.RawArray("b", size * packed.num_episodes) for name, size in _sizes(packed).items()}
        counters = context.Array("q", 2 + len(names_of_units(packed.env, packed.with_log_probs)))
        slots = num_slots(scripts_of_packed(packed), num_envs)
        return cls(packed.path, directory, slots, os.getpid(), counters, raw)

    def claim(self, total: int) -> int | None:
        """The number of an episode that nobody has begun; None when there is none."""
        with self.counters.get_lock():
            number = int(self.counters[0])
            self.counters[0] = number + 1
        return number if number < total else None

    def claim_place(self, amounts: dict[str, int]) -> tuple[int, dict[str, int]]:
        """The number of a part, and where it begins in each unit."""
        with self.counters.get_lock():
            part = int(self.counters[1])
            self.counters[1] = part + 1
            starts = {}
            for position, unit in enumerate(sorted(amounts), start=2):
                starts[unit] = int(self.counters[position])
                self.counters[position] = starts[unit] + amounts[unit]
        return part, starts

    @property
    def num_parts(self) -> int:
        """Placed so far."""
        return int(self.counters[1])


class Notes:
    """What is known of the episodes that were written, and of the parts in which they were.

    Args:
        packed: Names the episodes.
        raw: Memory, zero before the first is written.

    Attributes:
        written: [E] whether an episode lies at its place.
        first_steps: [E] that place.
        checksums: [E, 16].
        returns: [E].
        crcs: Column -> [E] CRC-32 of each part's bytes; there are as many parts as `Work` says.
        amounts: Unit -> [E] size of each part.
    """

    def __init__(self, packed: Packed, raw: dict[str, Any]) -> None:
        view = {name: np.frombuffer(memory, dtype=np.uint8) for name, memory in raw.items()}
        self.written: npt.NDArray[np.bool_] = view["written"].view(np.bool_)
        self.first_steps: Indices = view["first_step"].view(np.int64)
        self.checksums: npt.NDArray[np.uint8] = view["checksum"].reshape(-1, 16)
        self.returns: npt.NDArray[np.float64] = view["return"].view(np.float64)
        units = units_of(packed.env, packed.with_log_probs)
        self.crcs: dict[str, npt.NDArray[np.uint32]] = {name: view[f"crc.{name}"].view(np.uint32) for name in units}
        self.amounts: dict[str, Indices] = {unit: view[f"amount.{unit}"].view(np.int64) for unit in units.values()}


def _sizes(packed: Packed) -> dict[str, int]:
    """Bytes per episode of each array of `Notes`."""
    units = units_of(packed.env, packed.with_log_probs)
    parts = {f"crc.{name}": 4 for name in units} | {f"amount.{unit}": 8 for unit in units.values()}
    return {"written": 1, "first_step": 8, "checksum": 16, "return": 8, **parts}


def scripts_of_packed(packed: Packed) -> Scripts:
    """What to play."""
    return Scripts(packed.env.name, packed.table["level"], packed.starts, packed.actions())


class Unpacker:
    """One process's part of the work.

    Args:
        work: What all share.
        packed: The file, opened by this process.
    """

    def __init__(self, work: Work, packed: Packed) -> None:
        self._work, self._packed = work, packed
        self._notes = Notes(packed, work.raw)
        self._gathered: list[tuple[int, int]] = []  # episodes in memory, with their lengths

    def run(self, stopped: Callable[[], bool]) -> None:
        """Render and write until no episode is left; a second thread checks, hashes and writes.

        Args:
            stopped: Asked before each step; True ends the work.

        Raises:
            OSError: If the disk is full or fails.
            RunError: If the packed file is damaged.
        """
        packed, scripts = self._packed, scripts_of_packed(self._packed)
        order = _claimed(self._work, long_first(scripts, range(len(scripts))))
        pending: deque[Future[None]] = deque()
        with (
            PlacedColumns(self._work.directory, packed.env, packed.with_log_probs) as columns,
            ThreadPoolExecutor(1, "write") as writer,
            contextlib.closing(make_vec(scripts.env, self._work.num_envs)) as env,
        ):
            for rendering in render(env, scripts, order, stopped):
                pending.append(writer.submit(self._take, columns, rendering))
                if len(pending) > _WAITING:
                    pending.popleft().result()
            pending.append(writer.submit(self._place, columns))
            for future in pending:
                future.result()
            columns.finish()
            columns.sync()

    def _take(self, columns: PlacedColumns, rendering: Rendering) -> None:
        packed, notes, index = self._packed, self._notes, rendering.index
        episode = packed.episode(index, rendering.observations, rendering.rewards)
        episode = canonical_episode(packed.env, episode)
        notes.checksums[index] = np.frombuffer(episode_checksum(episode), dtype=np.uint8)
        notes.returns[index] = episode.episode_return
        columns.add(episode)
        self._gathered.append((index, len(episode)))
        if columns.is_full:
            self._place(columns)

    def _place(self, columns: PlacedColumns) -> None:
        if not self._gathered:
            return
        notes, amounts = self._notes, columns.amounts()
        part, starts = self._work.claim_place(amounts)
        for name, crc in columns.place(starts).items():
            notes.crcs[name][part] = crc
        for unit, amount in amounts.items():
            notes.amounts[unit][part] = amount
        indices, lengths = np.array(self._gathered).T
        notes.first_steps[indices] = starts[STEPS] + np.cumsum(lengths) - lengths
        notes.written[indices] = True
        self._gathered = []


def _claimed(work: Work, order: list[int]) -> Iterator[int]:
    while (number := work.claim(len(order))) is not None:
        yield order[number]


def serve(work: Work, connection: Any) -> None:
    """The life of a further process: unpack until nothing is left, or until the first process is gone.

    Args:
        work: What all share.
        connection: Says what went wrong, if something did.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the first process decides when it is over
    try:
        importlib.import_module("envs.plugins").load_in_worker()
        with Packed(work.file) as packed:
            Unpacker(work, packed).run(lambda: os.getppid() != work.owner)
    except (UsageError, RunError, OSError) as error:
        connection.send(error)
    except Exception:
        connection.send(RuntimeError(traceback.format_exc()))


@contextlib.contextmanager
def together(context: Any, work: Work, num_others: int) -> Iterator[Callable[[], None]]:
    """Further processes at work; the block gets a function that waits for their end. They end with the block.

    Raises:
        OSError: From the function, if the disk is full or fails in one of them.
        RunError: From the function, if one of them ended without saying why, or the packed file is damaged.
    """
    pairs = [context.Pipe(duplex=False) for _ in range(num_others)]
    others = [context.Process(target=serve, args=(work, theirs), daemon=True) for _, theirs in pairs]
    try:
        for process, (_, theirs) in zip(others, pairs, strict=True):
            process.start()
            theirs.close()

        def await_others() -> None:
            for process, (ours, _) in zip(others, pairs, strict=True):
                _await_end(process, ours)

        yield await_others
    finally:
        for process in others:
            if process.pid is not None:
                process.kill()
                process.join()


def _await_end(process: Any, connection: Any) -> None:
    """Wait for one process.

    Raises:
        OSError: The one that ended it.
        RunError: The one that ended it, or that it ended without a word.
    """
    error = None
    with contextlib.suppress(EOFError):
        error = connection.recv()
    process.join()
    if error is not None:
        raise error
    if process.exitcode != 0:
        raise RunError(
            f"A process that unpacked ended with exit code {process.exitcode} (perhaps for lack of memory); nothing is "
            "left behind. Unpack again, perhaps with fewer processes (--processes)."
        )
