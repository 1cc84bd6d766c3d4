"""The network as a player of streams: on the learner's device, with parameters of its own."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from envs.errors import RunError
from envs.vector import Observations
from trainers.config import Precision
from trainers.fragment import Floats, Fragment, Rows
from trainers.networks import TensorObservations, collate
from trainers.precision import autocast, compile_errors, compiled, place
from trainers.streams import Source


class ActorCriticPlayer:
    """What a stream calls at each step: observations to log-probabilities and values.

    Args:
        module: An actor-critic that belongs to this player.
        device: Where it computes.
        precision: Of the forward pass.
        compile: Whether the forward pass is compiled.
    """

    def __init__(
        self, module: nn.Module, device: torch.device | str, precision: Precision, *, compile: bool = False
    ) -> None:
        self.module = place(module, device)
        self.device = torch.device(device)
        self.precision: Precision = precision
        self._forward: Callable[..., Any] = compiled(self.module) if compile else self.module
        # A stream of its own lets a step's small batch overtake the learner's large ones.
        self._stream = torch.cuda.Stream(self.device, priority=-1) if self.device.type == "cuda" else None

    def __call__(self, rows: Rows) -> tuple[Floats, Floats]:
        """Log-probabilities [B, A] and values [B]."""
        with torch.inference_mode(), autocast(self.device, self.precision), compile_errors():
            logits, values = self._forward(to_device(rows, self.device))
            log_probs = torch.log_softmax(logits, dim=1)
        return log_probs.cpu().numpy(), values.cpu().numpy()

    def take(self, module: nn.Module) -> None:
        """Copy the parameters of another module of the same shape; what that one learns later changes nothing here."""
        with torch.no_grad():
            for own, other in zip(self.module.parameters(), module.parameters(), strict=True):
                own.copy_(other)
        if self._stream is not None:
            self._stream.wait_stream(torch.cuda.current_stream(self.device))

    @contextlib.contextmanager
    def queue(self) -> Iterator[None]:
        """Within it the device's work of the calling thread goes to the player's own queue."""
        with contextlib.nullcontext() if self._stream is None else torch.cuda.stream(self._stream):
            yield


class PlayedHere:
    """Streams of this process, played with a copy of the learner's parameters.

    Args:
        source: Calls the player.
        player: Gets the learner's parameters before each fragment.
        module: The learner's.
        ahead: Play in a second thread, from `begin` on; otherwise within `finish`.
    """

    def __init__(self, source: Source, player: ActorCriticPlayer, module: nn.Module, *, ahead: bool) -> None:
        self.source = source
        self._player, self._module = player, module
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="streams") if ahead else None
        self._number = 0
        self._pending: Future[list[Fragment]] | None = None

    def begin(self, number: int) -> None:
        """Copy the parameters, and start playing if this goes ahead."""
        self._player.take(self._module)
        self._number = number
        if self._thread is not None:
            self._pending = self._thread.submit(self._play, number)

    def finish(self) -> list[Fragment]:
        """The fragments of the last `begin`."""
        return self._play(self._number) if self._pending is None else self._pending.result()

    def close(self) -> None:
        """Stop playing and close the environments."""
        self.source.stop()
        if self._thread is not None:
            self._thread.shutdown(wait=True)
        self.source.close()

    def _play(self, number: int) -> list[Fragment]:
        with self._player.queue():
            return self.source.collect(number)


class DeviceFrames:
    """Frames that are copied to the device once, as bytes, and stay there to be learned from."""

    def __init__(self, device: torch.device, num_steps: int, num_envs: int) -> None:
        self._device = device
        self._shape = (num_steps, num_envs)
        self._fixed: dict[str, Tensor] = {}  # [T, B, *shape]

    def write(self, t: int, slots: slice, observations: Observations) -> Rows:
        """See `trainers.fragment.Frames`."""
        rows: Rows = {}
        for name, column in observations.items():
            assert not isinstance(column, tuple)  # refused by `check_columns`
            source = torch.from_numpy(np.require(column, requirements=["C", "W"]))
            if name not in self._fixed:
                shape = (*self._shape, *source.shape[1:])
                self._fixed[name] = torch.empty(shape, dtype=source.dtype, device=self._device)
            rows[name] = self._fixed[name][t, slots]
            # Does not block where the memory is pinned; the environments write to it only after the actions, which
            # wait for this copy.
            rows[name].copy_(source, non_blocking=True)
        return rows

    def columns(self) -> Rows:
        """See `trainers.fragment.Frames`."""
        return {name: column.flatten(0, 1) for name, column in self._fixed.items()}


def pin(arrays: list[npt.NDArray[Any]]) -> None:
    """Make existing memory page-locked, so that copies from it to a GPU do not block.

    Raises:
        RunError: If the driver refuses.
    """
    runtime: Any = torch.cuda.cudart()
    for array in arrays:
        if code := int(runtime.cudaHostRegister(array.ctypes.data, array.nbytes, 0)):
            raise RunError(
                f"The GPU's driver refuses to pin {array.nbytes} bytes (CUDA error {code}); try fewer num_envs."
            )


def to_device(rows: Rows, device: torch.device) -> TensorObservations:
    """Rows as tensors on the device; those that are there already stay."""
    host = {name: column for name, column in rows.items() if not isinstance(column, Tensor)}
    there = {name: column.to(device) for name, column in rows.items() if isinstance(column, Tensor)}
    return {**collate(host, device), **there}
