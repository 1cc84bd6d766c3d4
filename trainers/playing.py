"""The network as a player of streams: on the learner's device, with parameters of its own."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import torch
from torch import nn

from trainers.actor_critic import ActorCritic
from trainers.config import Precision
from trainers.device import to_device
from trainers.fragment import Floats, Fragment, Rows
from trainers.precision import autocast, compile_errors, compiled, keep_cast, place
from trainers.streams import Source


class ActorCriticPlayer:
    """What a stream calls at each step: observations to log-probabilities and values.

    Args:
        module: Belongs to this player.
        device: Where it computes.
        precision: Of the forward pass.
        compile: Whether the forward pass is compiled.
    """

    def __init__(
        self, module: ActorCritic, device: torch.device | str, precision: Precision, *, compile: bool = False
    ) -> None:
        self.module = place(module, device)
        keep_cast(self.module.policy.encoder, device, precision)
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
