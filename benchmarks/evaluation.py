"""Evaluation against what it could be at best, and against how it was published.

100 episodes on each of two splits of a Procgen game (training and validation levels, sampled actions) with one network,
measured in one run:

    evaluation   both splits together, as `gengap evaluate` and evaluators play them, in one process
    inference    the same network on full parts of its batches, no environment; measured now and then in between
    published    one environment, one frame at a time, in float32, on some of the same episodes
    one slot     the same with this program's own way of acting
    overlapped   evaluation in two environments, one of which steps on a second core while the policy acts in the other,
                 as on a GPU; by wall time, against inference before and after it

Useful rows are steps of the 200 episodes; slots that have nothing left to play count for nothing. Bars: 85 % of
inference, in rows/s, and 20 times the episodes/s of the published way. The episodes are the same, so the ratio of
episodes/s is that of steps/s. What is not overlapped runs in one thread and is measured by its processor time, so
`times_published` is what one core gains; evaluator actors multiply it by the number of cores, and `cores_for_20` says
how many reach 20. `seen_before` is the part of the rows whose answer was known, because the network had seen the frame;
`--no-memo` computes all of them.
"""

from __future__ import annotations

import argparse
import copy
import math
import statistics
import time
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from actors.evaluate import evaluate_inline
from actors.policy import PolicyInput
from actors.rollout import Job, num_slots, play
from benchmarks.common import report
from envs.registry import make_spec, make_vec
from envs.spec import LevelSet
from metrics.protocol import EvaluationProtocol, Role, strict
from trainers.config import NetworkConfig
from trainers.networks import build_policy_network, collate
from trainers.torch_policy import TorchPolicy

clock = time.process_time
"""Processor time: everything measured here runs in one thread, and other programs do not count. Wall time on a GPU."""

BAR_INFERENCE, BAR_PUBLISHED = 0.85, 20.0
SEED = 0


class Compared:
    """A policy that now and then also computes a full batch, so that both are timed on the same machine at once."""

    def __init__(self, policy: TorchPolicy, num_envs: int, every: int = 25) -> None:
        self._plain = without_memo(policy)
        self._policy, self.policy_id, self.max_slots = policy, policy.policy_id, policy.max_slots
        self.memoryless = policy.memoryless
        self._full, self._every = full_batch(policy, num_slots(policy, num_envs)), every
        self.seconds = self.full_seconds = 0.0
        self.calls = self.full_rows = self.slot_steps = 0

    def act(self, inputs: PolicyInput) -> npt.NDArray[np.float32]:
        """Log-probabilities [B, A]."""
        started = clock()
        log_probs = self._policy.act(inputs)
        self.seconds += clock() - started
        self.calls += 1
        self.slot_steps += len(inputs)
        if self.calls % self._every == 0:
            started = clock()
            self._plain.act(self._full)
            self.full_seconds += clock() - started
            self.full_rows += len(self._full)
        return log_probs


def without_memo(policy: TorchPolicy) -> TorchPolicy:
    """The same network, which computes every row that it is asked for."""
    return TorchPolicy(policy.network, policy.spec, policy.policy_id, policy.device, policy.precision)


def forget(policy: TorchPolicy) -> None:
    """Let a frozen policy begin anew, as for another checkpoint."""
    if policy._memo is not None:
        policy.freeze()


def full_batch(policy: TorchPolicy, num_envs: int) -> PolicyInput:
    """Random frames in every slot."""
    shape = policy.spec.observation_columns["image"].shape
    frames = np.random.default_rng(0).integers(0, 256, (num_envs, *shape), dtype=np.uint8)
    zeros = np.zeros(num_envs, dtype=np.float32)
    return PolicyInput({"image": frames}, zeros.astype(np.bool_), zeros.astype(np.int32), zeros)


def network_for(args: argparse.Namespace) -> nn.Module:
    """The network of the game's shipped policy, or an untrained one."""
    spec = make_spec(f"procgen/{args.game}")
    if args.shipped:
        from trainers.experts import load_expert

        return load_expert(args.game).network.float()
    torch.manual_seed(0)
    return build_policy_network(spec, NetworkConfig(encoder=args.network)).eval()


def evaluation_rows_per_s(policy: TorchPolicy, protocol: EvaluationProtocol, num_envs: int) -> dict[str, float]:
    """Useful rows/s of both splits together, rows/s of full batches meanwhile, and where the time went."""
    compared = Compared(policy, num_envs)
    memo = policy._memo
    compared.act(full_batch(policy, num_slots(policy, num_envs)))
    compared.seconds, compared.calls, compared.slot_steps = 0.0, 0, 0
    started = clock()
    table = evaluate_inline(compared, protocol, roles=(Role.TRAIN, Role.VALIDATION), seed=SEED, num_envs=num_envs)
    seconds = clock() - started - compared.full_seconds
    steps = int(table.frame["length"].sum())
    return {
        "rows_per_s": steps / seconds,
        "inference_rows_per_s": compared.full_rows / compared.full_seconds,
        "seconds": seconds,
        "steps": steps,
        "episodes": len(table),
        "episodes_per_s": len(table) / seconds,
        "in_policy": compared.seconds / seconds,
        "busy_slots": steps / compared.slot_steps,
        "seen_before": 0.0 if memo is None else 1 - memo.computed / memo.asked,
    }


def overlapped_share(policy: TorchPolicy, protocol: EvaluationProtocol, num_envs: int) -> dict[str, float]:
    """Useful rows/s of wall time in two environments that take turns, and their share of inference."""

    def inference_rows_per_s(seconds: float = 3.0) -> float:
        plain, full = without_memo(policy), full_batch(policy, num_slots(policy, num_envs))
        plain.act(full)
        rows, started = 0, time.perf_counter()
        while (elapsed := time.perf_counter() - started) < seconds:
            plain.act(full)
            rows += len(full)
        return rows / elapsed

    before, started = inference_rows_per_s(), time.perf_counter()
    roles = (Role.TRAIN, Role.VALIDATION)
    table = evaluate_inline(policy, protocol, roles=roles, seed=SEED, num_envs=num_envs, overlap=True)
    rows_per_s = int(table.frame["length"].sum()) / (time.perf_counter() - started)
    inference = (before + inference_rows_per_s()) / 2
    return {"share": rows_per_s / inference, "rows_per_s": rows_per_s, "inference_rows_per_s": inference}


def one_slot_steps_per_s(policy: TorchPolicy, jobs: Sequence[Job], seconds: float) -> float:
    """Steps/s of one environment with this program's policy."""
    env = make_vec(policy.spec.name, 1)
    steps, started = 0, clock()
    for result in play(env, policy, jobs, seed=SEED):
        steps += result.length
        if (elapsed := clock() - started) > seconds:
            break
    env.close()
    return steps / elapsed


def published_steps_per_s(network: nn.Module, env_name: str, jobs: Sequence[Job], device: str, seconds: float) -> float:
    """Steps/s of one environment with single frames: a forward pass in float32, a draw, a step."""
    env = make_vec(env_name, 1)
    steps, started, elapsed = 0, clock(), 0.0
    for level, _ in jobs:
        observations, infos = env.reset(options={"levels": np.array([level])})
        while infos["active"][0]:
            with torch.no_grad():
                logits = network(collate(observations, device))
                action = torch.distributions.Categorical(logits=logits).sample().cpu().numpy()
            observations, _, _, _, infos = env.step(action)
            steps += 1
        if (elapsed := clock() - started) > seconds:
            break
    env.close()
    return steps / elapsed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--game", default="coinrun")
    parser.add_argument("--network", default="impala")
    parser.add_argument("--shipped", action="store_true", help="play the game's shipped policy, not an untrained one")
    parser.add_argument("--episodes", type=int, default=100, help="on each split")
    parser.add_argument("--num-envs", type=int, default=64)
    parser.add_argument("--no-memo", action="store_true", help="compute a frame again whenever it is seen")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seconds", type=float, default=8.0, help="of each measurement of single frames")
    args = parser.parse_args()
    global clock
    if args.device == "cpu":
        torch.set_num_threads(1)
    else:
        clock = time.perf_counter
    network, spec = network_for(args), make_spec(f"procgen/{args.game}")
    make_vec(spec.name, 1).close()  # a process loads the engine's pictures once, however many policies it judges
    plain = copy.deepcopy(network).to(args.device)
    policy = TorchPolicy(network, spec, "bench", args.device)
    policy.freeze()  # as loaded checkpoints are
    if args.no_memo:
        policy = without_memo(policy)
    levels = LevelSet.range(spec.name, 0, 200)
    protocol = strict(spec, levels, num_train=args.episodes, num_validation=args.episodes, num_test=1)
    jobs = [job for split in protocol.splits[:2] for job in split.jobs("sampled")]
    few = [jobs[start :: max(1, len(jobs) // 20)] for start in (0, 1)]
    single, slot = [], []
    for part in (few[0], None, few[1]):
        if part is None:
            forget(policy)
            evaluation = evaluation_rows_per_s(policy, protocol, args.num_envs)
            forget(policy)
            overlapped = overlapped_share(policy, protocol, args.num_envs)
        else:
            single.append(published_steps_per_s(plain, spec.name, part, args.device, args.seconds))
            forget(policy)
            slot.append(one_slot_steps_per_s(policy, part, args.seconds))
    share = evaluation["rows_per_s"] / evaluation["inference_rows_per_s"]
    speedup = evaluation["rows_per_s"] / statistics.mean(single)
    report(
        "evaluation_share_of_inference",
        round(share, 3),
        "useful rows/s over rows/s of full parts",
        BAR_INFERENCE,
        share >= BAR_INFERENCE and speedup >= BAR_PUBLISHED,
        overlapped={name: round(value, 3) for name, value in overlapped.items()},
        times_published=round(speedup, 2),
        times_bar=BAR_PUBLISHED,
        cores_for_20=math.ceil(BAR_PUBLISHED / speedup),
        times_one_slot=round(evaluation["rows_per_s"] / statistics.mean(slot), 2),
        published_steps_per_s=[round(value) for value in single],
        one_slot_steps_per_s=[round(value) for value in slot],
        evaluation={name: round(value, 3) for name, value in evaluation.items()},
        game=args.game,
        network="shipped" if args.shipped else args.network,
        num_envs=args.num_envs,
        device=args.device,
    )


if __name__ == "__main__":
    main()
