"""One learner step: losses, gradients, optimizer. Nothing here knows about data, files or clusters."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from envs.seeding import derive_seed
from trainers.algorithms.base import Algorithm
from trainers.averaging import build_average
from trainers.batches import TensorBatch
from trainers.config import TrainConfig
from trainers.cuda_graph import GraphedStep
from trainers.distributed import WorkerContext, sum_over_workers, wrap
from trainers.networks import SequenceModel
from trainers.optim import build_optimizer, learning_rate_at, load_optimizer, set_learning_rate
from trainers.precision import autocast, compile_errors, compiled, place
from trainers.sharding import gather, load_sharded, load_sharded_moments, shard

_COUNT = "#steps"


class Learner:
    """An algorithm with its optimizer on one worker.

    Attributes:
        algorithm: What learns; its parameters may be divided among the workers.
        whole: What acts and is saved: the same, or where parameters are divided a copy that `gather` brings up to date.
        learner_step: Steps taken so far.
        average: The policy of averaged weights, if there is one.
    """

    def __init__(self, algorithm: Algorithm, config: TrainConfig, context: WorkerContext, seed: int = 0) -> None:
        self.config = config
        self.context = context
        self.seed = seed
        self.algorithm = place(algorithm, context.device)
        self.whole = copy.deepcopy(self.algorithm).requires_grad_(False) if config.shard else self.algorithm
        self.module = shard(self.algorithm, context) if config.shard else wrap(self.algorithm, context)
        self._forward: Callable[[TensorBatch], dict[str, Tensor]] = (
            compiled(self.module) if config.compile else self.module
        )
        self.parameters = [parameter for parameter in algorithm.parameters() if parameter.requires_grad]
        self.optimizer = build_optimizer(config, algorithm)
        self.average = build_average(algorithm.policy(), config)
        self.learner_step = 0
        self._graph = GraphedStep(self._descend, self.optimizer, context.device) if config.cuda_graphs else None
        self._random = any(
            isinstance(module, SequenceModel) and module.config.dropout for module in algorithm.modules()
        )

    def step(self, batch: TensorBatch) -> dict[str, Tensor]:
        """Learn from this worker's share of a batch.

        Returns:
            The named losses of the share: detached scalars on the device.
        """
        self.begin_step()
        losses = self._descend(batch) if self._graph is None else self._graph(batch)
        self.finish_step()
        return losses

    def gather(self) -> None:
        """Bring `whole` up to date. Collective where parameters are divided."""
        if self.config.shard:
            self.whole.load_state_dict(gather(self.algorithm.state_dict()))

    def optimizer_state(self) -> dict[str, Any]:
        """The optimizer's state for a checkpoint. Collective where parameters are divided."""
        state = self.optimizer.state_dict()
        return gather(state) if self.config.shard else state

    def load(self, parameters: Mapping[str, Tensor], optimizer: dict[str, Any]) -> None:
        """Take over what `whole` and `optimizer_state` were."""
        if self.config.shard:
            load_sharded(self.algorithm, parameters)
            optimizer = load_sharded_moments(self.optimizer, optimizer)
        else:
            self.algorithm.load_state_dict(parameters)
        load_optimizer(self.optimizer, optimizer)

    def begin_step(self) -> None:
        """Count the step and set its learning rate."""
        self.learner_step += 1
        set_learning_rate(self.optimizer, learning_rate_at(self.config, self.learner_step))

    def update(self) -> None:
        """Follow the gradients."""
        if self.config.max_grad_norm is not None:
            nn.utils.clip_grad_norm_(self.parameters, self.config.max_grad_norm)
        self.optimizer.step()

    def finish_step(self) -> None:
        """What follows the parameters: target networks and averages."""
        self.algorithm.after_step()
        if self.average is not None:
            self.average.update(self.learner_step)

    def _descend(self, batch: TensorBatch) -> dict[str, Tensor]:
        """Gradients of this batch alone, and a step of the optimizer."""
        self.optimizer.zero_grad(set_to_none=True)
        with self._dropout_of_step(), self._compile_errors():
            losses = self._accumulate(batch)
        self.update()
        return losses

    def _accumulate(self, batch: TensorBatch) -> dict[str, Tensor]:
        """Add up the gradients of the parts of a batch; a loss is a mean, so its parts count equally."""
        parts = self.config.accumulation_steps
        sums: dict[str, Tensor] = {}
        for index, part in enumerate(batch.split(parts)):
            with self._gradients_kept(index < parts - 1):
                with autocast(self.context.device, self.config.precision):
                    losses = self._forward(part)
                (losses["total"] / parts).backward()
            for name, loss in losses.items():
                sums[name] = sums[name] + loss.detach() if name in sums else loss.detach()
        return {name: total / parts for name, total in sums.items()} if parts > 1 else sums

    def _gradients_kept(self, kept: bool) -> contextlib.AbstractContextManager[None]:
        """Keep the gradients to this worker until the last part of the batch."""
        if kept and isinstance(self.module, DistributedDataParallel):
            return self.module.no_sync()
        return contextlib.nullcontext()

    def _compile_errors(self) -> contextlib.AbstractContextManager[None]:
        return compile_errors("train.compile") if self.config.compile else contextlib.nullcontext()

    @contextlib.contextmanager
    def _dropout_of_step(self) -> Iterator[None]:
        """Dropout draws from torch's global generator: seed it by step and rank, and leave it as it was."""
        if not self._random:
            yield
            return
        devices = [self.context.device] if self.context.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(derive_seed(self.seed, "dropout", self.learner_step, self.context.rank))
            yield


class LossMeter:
    """Sums of named losses, kept on the device: the loop waits for the device only when it writes a row."""

    def __init__(self, context: WorkerContext) -> None:
        self._context = context
        self._names: tuple[str, ...] = ()
        self._sums: Tensor | None = None  # float64 [terms + 1]; the last entry counts steps

    def add(self, losses: dict[str, Tensor]) -> None:
        """Count one step of this worker."""
        one = torch.ones((), dtype=torch.float64, device=self._context.device)
        self._names = tuple(sorted(losses))
        row = torch.stack([*(losses[name].to(torch.float64) for name in self._names), one])
        self._sums = row if self._sums is None else self._sums + row

    def sums(self) -> dict[str, float]:
        """Sums since the last flush over the steps of all workers, and their count. Collective."""
        if self._sums is None:
            return {}
        totals = sum_over_workers(self._sums.clone(), self._context).tolist()
        return dict(zip((*self._names, _COUNT), totals, strict=True))

    def load(self, sums: dict[str, float]) -> None:
        """Go on from saved `sums`; the first worker carries them, so that they count once."""
        if sums and self._context.is_first:
            self._names = tuple(sorted(name for name in sums if name != _COUNT))
            values = [sums[name] for name in (*self._names, _COUNT)]
            self._sums = torch.tensor(values, dtype=torch.float64, device=self._context.device)

    def flush(self) -> dict[str, float]:
        """Means since the last flush over the steps of all workers. Collective."""
        sums = self.sums()
        self._sums = None
        count = sums.pop(_COUNT, 0.0)
        return {name: total / count for name, total in sums.items()}
