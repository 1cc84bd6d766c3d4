"""One background thread that prepares the next batches while the learner computes."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Generic, TypeVar

T = TypeVar("T")


class Prefetcher(Generic[T]):
    """Yields ``fetch(start_step)``, ``fetch(start_step + 1)``, ... in order, prepared ahead by one thread.

    An exception in `fetch` is raised by the `next` that would have returned its result, and by every later one.
    Not for use from several threads.
    """

    def __init__(
        self, fetch: Callable[[int], T], start_step: int, depth: int = 2, stop_step: int | None = None
    ) -> None:
        """Start fetching at once.

        Args:
            fetch: Makes the item of a step; runs in the background thread only.
            start_step: The first step.
            depth: Items ready in advance, at most.
            stop_step: The step after the last one; None goes on for ever.
        """
        self._queue: queue.Queue[tuple[T | None, BaseException | None]] = queue.Queue(maxsize=depth)
        self._stopping = threading.Event()
        self._failure: BaseException | None = None
        arguments = (fetch, start_step, stop_step)
        self._thread = threading.Thread(target=self._work, args=arguments, name="prefetch", daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        if self._failure is None:
            item, self._failure = self._queue.get()
            if self._failure is None:
                return item  # type: ignore[return-value]  # T itself may include None
        raise self._failure

    def __enter__(self) -> Prefetcher[T]:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop the thread and drop what it had ready; waits for the fetch in progress. May be called twice."""
        self._stopping.set()
        while not self._queue.empty():
            self._queue.get_nowait()
        self._thread.join()
        if self._failure is None:
            self._failure = RuntimeError("The prefetcher was closed; nothing more can be read from it.")

    def _work(self, fetch: Callable[[int], T], start_step: int, stop_step: int | None) -> None:
        step = start_step
        try:
            while not self._stopping.is_set() and (stop_step is None or step < stop_step):
                self._offer((fetch(step), None))
                step += 1
            self._offer((None, StopIteration()))
        except BaseException as error:  # raised again in the caller
            self._offer((None, error))

    def _offer(self, item: tuple[T | None, BaseException | None]) -> None:
        while not self._stopping.is_set():
            try:
                return self._queue.put(item, timeout=0.1)
            except queue.Full:
                continue
        return None
