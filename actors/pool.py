"""Spreads jobs over Ray actors; replaces dead and hanging ones; loses no episode and yields none twice."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import ray
from ray.exceptions import GetTimeoutError, RayActorError, RayError, RayTaskError

from actors.chunks import Chunk, after_failure, is_late, split
from actors.env_actor import ActorInfo, EnvActor, Item, PlayTask, RecordTask, Reply, Task
from actors.placement import ClusterRole, Waiting, actor_options, bundle_of, bundle_words, read_cluster, start_timeout
from actors.render import Rendering, RenderTask
from actors.rollout import Job
from data.episode import Episode, EpisodeResult
from envs.console import say
from envs.errors import RunError, UsageError

_BACKPRESSURE = 2  # replies an actor may have waiting before it pauses
_POLL_S = 0.5


@dataclass(eq=False)
class _Place:
    """One actor's place in the pool."""

    incarnation: int = 0
    handle: Any = None
    starting: Any = None  # reference to its first sign of life
    info: ActorInfo | None = None
    stream: Any = None  # generator of replies to the chunk in work
    chunk: Chunk | None = None
    started_s: float = 0.0  # when it got its chunk
    waiting_since_s: float = field(default_factory=time.monotonic)


class ActorPool:
    """A fixed number of env actors.

    Episodes depend on their names alone, so a chunk whose actor died is simply played again by another, but only the
    part of it that had not arrived.

    Args:
        num_actors: Actors; at most as many as the cluster can hold, or grow to hold, are started.
        deadline_s: An actor that yields nothing for so long counts as hanging and is replaced.
        start_timeout_s: If no actor at all starts within this time, the pool gives up; machines that must boot first
            are given `actors.placement.BOOT_S`.
        max_failures: How often the same jobs may lose their actor in a row before the pool gives up.
        role: What each actor holds of the cluster.
    """

    def __init__(
        self,
        num_actors: int,
        *,
        deadline_s: float = 300.0,
        start_timeout_s: float = 120.0,
        max_failures: int = 4,
        role: ClusterRole = ClusterRole.ENV_ACTOR,
    ) -> None:
        if num_actors < 1:
            raise UsageError(f"{num_actors} actors were asked for; a pool needs at least 1.")
        cluster, self._role = read_cluster(ray), role
        self._bundle = bundle_of(role, cluster)
        count = min(num_actors, max(cluster.fit(self._bundle), 1))
        if num_actors > count:
            say(
                f"{num_actors} {role}s were asked for, each with {bundle_words(self._bundle)}; the cluster has "
                f"{cluster.describe()}, so {count} are started."
            )
        self._deadline_s, self._max_failures = deadline_s, max_failures
        self._start_timeout_s = start_timeout(cluster, self._bundle, count, start_timeout_s)
        self._waiting = Waiting(ray)
        self._actor_class = ray.remote(max_restarts=0, **actor_options(self._bundle))(EnvActor)
        self._places = [_Place() for _ in range(count)]
        self._failed_starts = 0
        self._missing: set[Job] = set()  # jobs of the call without a result
        self._longest_s: float | None = None  # of a chunk that was finished in the call
        self._closed = False
        self.num_replaced = 0
        """Actors that died or hung and were replaced."""
        for place in self._places:
            self._start(place)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __len__(self) -> int:
        return len(self._places)

    def wait_until_started(self) -> list[ActorInfo]:
        """Wait for every actor.

        Raises:
            RunError: If one does not start within `start_timeout_s`.
        """
        for place in self._places:
            if place.info is None:
                try:
                    place.info = ray.get(place.starting, timeout=self._start_timeout_s)
                except RayError as error:
                    raise RunError(f"An env actor did not start: {_first_line(error)}") from None
        return [place.info for place in self._places if place.info is not None]

    def play_results(self, task: PlayTask, jobs: Sequence[Job]) -> Iterator[EpisodeResult]:
        """Yield every job's result once, in the order in which they arrive; see `play_episodes`."""
        yield from self._play(task, jobs)

    def play_episodes(self, task: RecordTask, jobs: Sequence[Job]) -> Iterator[Episode]:
        """Yield every job's episode once, in the order in which they arrive.

        Raises:
            UsageError: If a job is listed twice, or the task is wrong use (raised in the actor).
            RunError: If the same jobs keep killing their actors, or no actor starts.
        """
        yield from self._play(task, jobs)

    def play_renderings(self, task: RenderTask, jobs: Sequence[Job]) -> Iterator[Rendering]:
        """Yield the rendering of every job, a (level, index into the task's scripts), once."""
        yield from self._play(task, jobs)

    def _play(self, task: Task, jobs: Sequence[Job]) -> Iterator[Any]:
        if len(set(jobs)) != len(jobs):
            raise UsageError("A job (level, episode) is listed twice; each may be played once.")
        reference = ray.put(task)
        chunks = deque(split(jobs, len(self._places), task.num_envs))
        self._missing, self._longest_s = set(jobs), None
        try:
            # An actor that still has jobs when nothing is missing plays what another one was quicker with.
            while self._missing or any(place.chunk and not place.chunk.remaining for place in self._places):
                if self._closed:
                    raise RunError("The pool was closed while it was playing.")
                self._assign(reference, chunks)
                for place in self._wait():
                    yield from self._receive(place, chunks)
                self._replace_hanging(chunks)
                self._say_what_is_missing()
                self._copy_late(chunks)
        finally:
            self._abandon()

    def close(self) -> None:
        """End the actors; an episode that another thread waits for ends in a `RunError` there."""
        self._closed = True
        for place in self._places:
            if place.handle is not None:
                ray.kill(place.handle)
                place.handle = None

    def _start(self, place: _Place) -> None:
        if self._closed:
            return
        place.incarnation += 1
        place.handle = self._actor_class.remote(place.incarnation)
        place.starting, place.info = place.handle.info.remote(), None
        place.waiting_since_s = time.monotonic()

    def _assign(self, task: Any, chunks: deque[Chunk]) -> None:
        for number, place in enumerate(self._places):
            if chunks and place.info is not None and place.chunk is None:
                place.chunk = next((chunk for chunk in chunks if chunk.home == number), chunks[0])
                chunks.remove(place.chunk)
                method = place.handle.play.options(
                    num_returns="streaming", _generator_backpressure_num_objects=_BACKPRESSURE
                )
                place.stream = method.remote(task, list(place.chunk.remaining))
                place.started_s = place.waiting_since_s = time.monotonic()

    def _wait(self) -> list[_Place]:
        """The places that have something to say, at most `_POLL_S` later."""
        by_reference = {
            place.stream or place.starting: place for place in self._places if place.stream or not place.info
        }
        ready, _ = ray.wait(list(by_reference), num_returns=1, timeout=_POLL_S)
        if len(by_reference) > 1 and ready:
            ready, _ = ray.wait(list(by_reference), num_returns=len(by_reference), timeout=0)
        return [by_reference[reference] for reference in ready]

    def _receive(self, place: _Place, chunks: deque[Chunk]) -> Iterator[Item]:
        place.waiting_since_s = time.monotonic()
        try:
            if place.stream is None:
                place.info = ray.get(place.starting)
                self._failed_starts = 0
                return
            reply: Reply = ray.get(next(place.stream))
        except StopIteration:
            self._finish(place, chunks)
            return
        except RayTaskError as error:
            raise _cause(error) from None
        except (RayError, GetTimeoutError) as error:
            self._replace(place, chunks, error)
            return
        chunk = place.chunk
        assert chunk is not None
        chunk.failures = 0  # it makes progress
        for item in reply.items:
            del chunk.remaining[item.job]
            if item.job in self._missing:
                self._missing.remove(item.job)
                yield item

    def _finish(self, place: _Place, chunks: deque[Chunk]) -> None:
        chunk, place.chunk, place.stream = place.chunk, None, None
        if chunk is not None and chunk.remaining:
            raise RunError(f"An actor ended without playing {list(chunk.remaining)[:3]}; this is an error in gengap.")
        self._longest_s = max(self._longest_s or 0.0, time.monotonic() - place.started_s)

    def _replace(self, place: _Place, chunks: deque[Chunk], error: Exception | str) -> None:
        """Fill the place with a new actor and put back what it had not delivered."""
        self.num_replaced += 1
        self._failed_starts += place.info is None
        if self._failed_starts > self._max_failures:
            raise RunError(f"{self._failed_starts} env actors in a row died while starting: {_first_line(error)}")
        what = "died" if isinstance(error, RayActorError) else "failed"
        say(f"Env actor {self._places.index(place)} {what} and is replaced ({_first_line(error)})")
        ray.kill(place.handle)
        chunk, place.chunk, place.stream = place.chunk, None, None
        if chunk is not None and chunk.remaining:
            chunk.failures += 1
            if chunk.failures > self._max_failures and len(chunk.remaining) == 1:
                level, episode = next(iter(chunk.remaining))
                raise RunError(
                    f"{chunk.failures} actors were lost while playing level {level}, episode {episode}: "
                    f"{_first_line(error)}. Leave out this level, or mend what plays it."
                )
            chunks.extendleft(reversed(after_failure(chunk)))
        self._start(place)

    def _replace_hanging(self, chunks: deque[Chunk]) -> None:
        now_s = time.monotonic()
        for place in self._places:
            silent_s = now_s - place.waiting_since_s
            if place.chunk is not None and silent_s > self._deadline_s:
                self._replace(place, chunks, f"silent for {silent_s:.0f} s")
        if all(p.info is None and now_s - p.waiting_since_s > self._start_timeout_s for p in self._places):
            raise RunError(
                f"No {self._role} started within {self._start_timeout_s:.0f} s: the cluster's CPUs are taken by other "
                "work, or a machine did not come. Wait for it, stop it, or join a larger cluster with --address."
            )

    def _say_what_is_missing(self) -> None:
        missing = sum(place.info is None for place in self._places)
        if missing:
            self._waiting.tick(f"{missing} of {len(self._places)} {self._role}s", self._bundle)

    def _copy_late(self, chunks: deque[Chunk]) -> None:
        """Give what a slow actor still has to an idle one as well: results depend on their jobs alone."""
        if chunks or not any(place.info is not None and place.chunk is None for place in self._places):
            return
        now_s = time.monotonic()
        for number, place in enumerate(self._places):
            if place.chunk is not None and is_late(place.chunk, place.started_s, self._longest_s, now_s):
                place.chunk.copied = True
                say(f"Env actor {number} is slow; its last {len(place.chunk.remaining)} jobs are played twice")
                chunks.append(Chunk(number, dict(place.chunk.remaining), copied=True))
                return

    def _abandon(self) -> None:
        """An interrupted run and a slow actor are left busy; new actors are cheaper than waiting for them."""
        for place in self._places:
            if place.chunk is not None and place.handle is not None:
                ray.kill(place.handle)
                place.chunk = place.stream = None
                self._start(place)


def _cause(error: RayTaskError) -> Exception:
    cause = error.cause
    if isinstance(cause, UsageError | RunError):
        return cause
    return RunError(f"An env actor failed: {_first_line(cause)}\n{error}")


def _first_line(error: Exception | str) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
