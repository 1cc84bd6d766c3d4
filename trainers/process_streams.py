"""One stream whose environments run in processes of their own, without Ray; the learner infers for all of them.

The slots form two groups. While the processes step one group, the learner infers for the other, so that neither waits.
"""

from __future__ import annotations

import logging
import multiprocessing
import socket
import time
from typing import Any

import numpy as np

from data.episode import EpisodeResult
from envs.errors import RunError, UsageError
from envs.spec import EnvSpec, LevelSet
from trainers.env_process import DONE, START, STEP, SharedSlots, serve
from trainers.fragment import Act, Floats, Fragment, Frames, FramesInTurn, HostFrames, MakeFrames, Tape
from trainers.slots import Draws, EpisodeBook, SlotStep

NUM_GROUPS = 2
_ATTEMPTS = 3
_log = logging.getLogger(__name__)


class ProcessLostError(Exception):
    """A process ended or stopped answering; what it played is worth nothing."""


class ProcessStreams:
    """One stream in several processes.

    When a process dies or hangs, the fragment is discarded whole, all processes are replaced and the next incarnation
    begins with fresh episodes.

    Args:
        spec: The environment; all its columns must be of fixed shape.
        levels: Training levels.
        act: The policy and value function.
        num_processes: P.
        num_envs: In all processes together; a multiple of 2 * P.
        num_steps: T of a fragment.
        seed: Names the randomness; the number of processes is no part of it.
        timeout_s: A fragment that takes longer is lost.
        make_frames: Memory for the observations.

    Attributes:
        num_lost: Fragments lost so far.
        incarnation: The current one.
        processes: The current ones.

    Raises:
        UsageError: If the environment has ragged columns or the slots cannot be divided.
    """

    def __init__(
        self,
        spec: EnvSpec,
        levels: LevelSet,
        act: Act,
        *,
        num_processes: int,
        num_envs: int,
        num_steps: int,
        seed: int,
        timeout_s: float = 600.0,
        make_frames: MakeFrames = HostFrames,
    ) -> None:
        _check(spec, num_processes, num_envs)
        spec.check_levels(levels)
        self._spec, self._act = spec, act
        self._levels = np.asarray(levels.levels, dtype=np.int64)
        self._num_steps, self._num_envs, self._num_processes = num_steps, num_envs, num_processes
        self._seed, self._timeout_s = seed, timeout_s
        half = num_envs // NUM_GROUPS
        self._groups = [slice(group * half, (group + 1) * half) for group in range(NUM_GROUPS)]
        self._frames = FramesInTurn(make_frames, num_steps, num_envs)
        self._context: Any = multiprocessing.get_context("spawn")
        self.shared = SharedSlots.allocate(self._context, spec, num_envs)
        self._views = self.shared.views()
        self.num_lost = self.incarnation = 0
        self._deadline = 0.0
        self._stopped = False
        self._book = EpisodeBook(spec.name, num_envs)
        self._open()

    def collect(self, number: int) -> list[Fragment]:
        """The stream's next fragment.

        Raises:
            RunError: If processes were lost three times in a row, or an environment raised an error.
        """
        reason, frames = "", self._frames.next()
        for _ in range(_ATTEMPTS):
            try:
                return [self._play(number, frames)]
            except ProcessLostError as error:
                if self._stopped:
                    raise InterruptedError("the stream was closed") from None
                reason = str(error)
                _log.warning("%s; fragment %d is discarded and new processes start.", reason, number)
                self._replace()
        raise RunError(
            f"Processes of {self._spec.name!r} were lost {_ATTEMPTS} times while playing fragment {number}, the last "
            f"time because {reason}. Look for a lack of memory, or raise fragment_timeout_s ({self._timeout_s:g} s)."
        )

    def stop(self) -> None:
        """Kill the processes."""
        self._stopped = True
        for process in self.processes:
            process.kill()

    def close(self) -> None:
        """Kill the processes and wait for their end."""
        self.stop()
        self._hang_up()

    def _play(self, number: int, frames: Frames) -> Fragment:
        self._deadline = time.monotonic() + self._timeout_s
        names = (self._seed, "stream", 0, self.incarnation, number)
        draws = Draws.named(names, self._levels, self._num_steps, self._num_envs)
        tape, episodes = Tape(self._num_steps, self._num_envs), list[EpisodeResult]()
        if self._fresh:
            self._start(draws)
        for t in range(self._num_steps):
            for group, slots in enumerate(self._groups):
                if t:
                    episodes += self._settle(tape, draws, t - 1, group)
                rows = frames.write(t, slots, self.shared.columns(self._views, slots))
                self._views["actions"][slots] = tape.choose(t, slots, self._act(rows), draws.uniforms[t, slots])
                self._views["following"][slots] = draws.levels[t + 1, slots]
                self._send(STEP + group)
        for group in range(NUM_GROUPS):
            episodes += self._settle(tape, draws, self._num_steps - 1, group)
        return Fragment(
            stream=0,
            incarnation=self.incarnation,
            number=number,
            observations=frames.columns(),
            last_values=self._last_values(),
            episodes=tuple(episodes),
            **vars(tape),
        )

    def _start(self, draws: Draws) -> None:
        self._views["following"][:] = draws.levels[0]
        self._book.start(draws.levels[0])
        for group in range(NUM_GROUPS):
            self._send(START + group)
        for _ in range(NUM_GROUPS):
            self._wait()
        self._fresh = False

    def _settle(self, tape: Tape, draws: Draws, t: int, group: int) -> list[EpisodeResult]:
        """Wait for step t of a group and take it in; the groups are answered in the order in which they were sent."""
        self._wait()
        slots, views = self._groups[group], self._views
        truncated = views["truncated"][slots]
        shown = self._spec.final_observation_known and truncated.any()
        step = SlotStep(
            {},
            views["rewards"][slots],
            views["terminated"][slots],
            truncated,
            self.shared.columns(views, slots, final=True) if shown else None,
        )
        tape.settle(t, slots, step, self._act)
        return self._book.add(slots, step, draws.levels[t + 1, slots])

    def _last_values(self) -> Floats:
        values = [self._act(dict(self.shared.columns(self._views, slots)))[1] for slots in self._groups]
        return np.concatenate(values)

    def _send(self, command: int) -> None:
        try:
            for channel in self._channels:
                channel.sendall(bytes([command]))
        except OSError as error:
            raise ProcessLostError(f"a process that steps environments ended ({error})") from None

    def _wait(self) -> None:
        """For one answer of every process."""
        for process, channel in zip(self.processes, self._channels, strict=True):
            try:
                channel.settimeout(max(1e-3, self._deadline - time.monotonic()))
                answer = channel.recv(1)
            except TimeoutError:
                raise ProcessLostError(f"process {process.pid} did not answer within {self._timeout_s:g} s") from None
            except OSError as error:
                raise ProcessLostError(f"process {process.pid} ended ({error})") from None
            if not answer:
                process.join(1)
                raise ProcessLostError(f"process {process.pid} ended with exit code {process.exitcode}")
            if answer != DONE:
                raise RunError(f"A process that steps {self._spec.name!r} failed: {_rest(channel)}")

    def _open(self) -> None:
        self._fresh = True  # the first fragment starts new episodes
        self._channels: list[socket.socket] = []
        self.processes: list[Any] = []
        share = self._num_envs // NUM_GROUPS // self._num_processes
        for index in range(self._num_processes):
            ours, theirs = socket.socketpair()
            starts = [slots.start + index * share for slots in self._groups]
            ranges = tuple(slice(start, start + share) for start in starts)
            process = self._context.Process(target=serve, args=(theirs, self.shared, ranges), daemon=True)
            process.start()
            theirs.close()
            self._channels.append(ours)
            self.processes.append(process)

    def _replace(self) -> None:
        self.num_lost += 1
        self.incarnation += 1
        for process in self.processes:
            process.kill()
        self._hang_up()
        self._open()

    def _hang_up(self) -> None:
        for channel in self._channels:
            channel.close()
        for process in self.processes:
            process.join(10)


def _check(spec: EnvSpec, num_processes: int, num_envs: int) -> None:
    ragged = [name for name, column in spec.observation_columns.items() if column.ragged]
    if ragged:
        raise UsageError(
            f"{spec.name!r} has columns of varying length ({', '.join(ragged)}), which do not go through shared "
            "memory. Use num_streams (Ray actors) instead of num_env_processes."
        )
    if num_envs % (NUM_GROUPS * num_processes):
        raise UsageError(
            f"{num_envs} environments cannot be divided among {num_processes} processes with two groups each; "
            f"num_envs must be a multiple of {NUM_GROUPS * num_processes}."
        )


def _rest(channel: socket.socket) -> str:
    text = b""
    while part := channel.recv(65_536):
        text += part
    return text.decode(errors="replace").strip()
