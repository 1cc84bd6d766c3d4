"""Every algorithm in both tracks on small worlds: the tables of ``docs/results.md``.

``python -m benchmarks.learner_table coinrun jumper grid shop`` trains and plays train and validation levels, seed 0 of
everything first; ``--test REASON`` reads the sealed test levels, each policy once, with a permit in ``ledger.jsonl``;
``--table`` prints what there is. Every policy is a line of ``lines.jsonl`` (its test another), and what has its line
already is left out, so an interrupted command goes on. One thread, at low priority.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from actors.evaluate import evaluate
from actors.policy import RandomPolicy
from benchmarks.learner_markdown import markdown
from benchmarks.learner_worlds import TRACKS, WORLDS, Track, World, experiment_of, record
from data.dataset import Dataset
from envs.console import Progress, say
from envs.registry import make_spec
from metrics.ledger import Ledger
from metrics.protocol import Role
from metrics.table import EvaluationTable
from trainers.checkpoint import load_policy
from trainers.evaluation import protocol_of
from trainers.launch import run_inline
from trainers.training_data import TrainingData, open_training_data

RANDOM = "random"
RULE = "none: fixed in advance"


@dataclass(frozen=True, order=True)
class Run:
    """A policy of the table."""

    seed: int
    track: Track
    world: str
    algorithm: str

    @property
    def name(self) -> str:
        """Of its folder, and in the ledger."""
        return f"{self.world}-{self.algorithm}-{self.track}-{self.seed}"

    @property
    def key(self) -> tuple[str, str, str, int]:
        """What a line is found by."""
        return self.world, self.algorithm, self.track, self.seed


def runs_of(worlds: Sequence[World], seeds: int) -> list[Run]:
    """The first seed of everything before the second, our track before the published one, the random policy first."""
    baselines = [Run(0, "ours", world.name, RANDOM) for world in worlds]
    return baselines + [
        Run(seed, track, world.name, algorithm)
        for seed in range(seeds)
        for track in TRACKS
        for world in worlds
        for algorithm in world.algorithms[track]
    ]


def read_lines(out: Path) -> list[dict[str, Any]]:
    """Every line in order; a last one torn by a crash is left out."""
    path = out / "lines.jsonl"
    return [json.loads(line) for line in path.read_text().split("\n")[:-1]] if path.exists() else []


def done(lines: Sequence[dict[str, Any]], kind: str) -> set[tuple[str, str, str, int]]:
    """Keys of the runs that have a line of this kind: "open" or "test"."""
    return {(x["world"], x["algorithm"], x["track"], x["seed"]) for x in lines if x["kind"] == kind}


def append(out: Path, line: dict[str, Any]) -> None:
    """One line, on disk before this returns; what a crash left of the line before it is cut off."""
    path = out / "lines.jsonl"
    if path.exists() and not (text := path.read_bytes()).endswith(b"\n"):
        os.truncate(path, text.rfind(b"\n") + 1)
    with path.open("a") as file:
        file.write(json.dumps(line) + "\n")
        file.flush()
        os.fsync(file.fileno())


def returns_of(table: EvaluationTable) -> dict[str, dict[str, list[float]]]:
    """Role -> action mode -> raw return on every level, in level order."""
    return {
        role: {
            mode: [round(float(x), 4) for x in table.scores(role, mode, metric="episode_return")[0]]
            for mode in table.where(role=role).modes
        }
        for role in table.roles
    }


def train_and_play(run: Run, out: Path) -> dict[str, Any]:
    """Learn, and play train and validation levels with the last weights."""
    world = WORLDS[run.world]
    datasets = record(world, out / "data" / run.world)
    trained = run.algorithm != RANDOM
    algorithm = run.algorithm if trained else "bc"
    config = experiment_of(world, algorithm, run.track, run.seed, datasets)
    data = open_training_data(config)
    started = time.process_time()
    if trained:
        run_inline(config, out / "runs" / run.name, evaluate=lambda policy, step: {})
    learned = time.process_time()
    table = play(run, data, out)
    views = [Dataset.open(path) for path in datasets]
    numbers = {
        "data_return": sum(float(view.episodes["return"].sum()) for view in views) / sum(v.num_episodes for v in views),
        "data_transitions": sum(view.num_transitions for view in views),
        "data_episodes": sum(view.num_episodes for view in views),
        "train_cpu_s": round(learned - started, 1),
        "play_cpu_s": round(time.process_time() - learned, 1),
    }
    steps = world.learner_steps if trained else 0
    return {"data": data.view.fingerprint, "learner_steps": steps, **numbers, "returns": returns_of(table)}


def play(run: Run, data: TrainingData, out: Path, test: str | None = None) -> EvaluationTable:
    """The open levels or, with a reason, the sealed ones."""
    world = WORLDS[run.world]
    trained = run.algorithm != RANDOM
    config = experiment_of(world, run.algorithm if trained else "bc", run.track, run.seed, ("-",))
    settings = config.evaluation if trained else dataclasses.replace(config.evaluation, modes=("sampled",))
    protocol = protocol_of(settings, data.spec, data.levels)
    ledger = Ledger(out / "ledger.jsonl")
    key = (run.name, f"{run.world}-{run.algorithm}-{run.track}-{world.learner_steps}", data.view.fingerprint)
    permit = (ledger.find(*key) or ledger.issue(*key, rule=RULE, reason=test)) if test else None
    last = out / "runs" / run.name / "checkpoints" / "last"
    return evaluate(
        load_policy(last.resolve()) if trained else RandomPolicy(make_spec(world.env)),
        protocol,
        roles=(Role.TEST,) if test else protocol.open_roles,
        permit=permit,
        num_envs=config.evaluation.num_envs,
        policy_name=run.name,
        train_seed=run.seed,
    )


def read_test(run: Run, out: Path, reason: str) -> dict[str, Any]:
    """The sealed levels of a policy that is trained."""
    world = WORLDS[run.world]
    algorithm = run.algorithm if run.algorithm != RANDOM else "bc"
    datasets = record(world, out / "data" / run.world)
    data = open_training_data(experiment_of(world, algorithm, run.track, run.seed, datasets))
    return {"reason": reason, "returns": returns_of(play(run, data, out, reason))}


def work(worlds: Sequence[World], args: argparse.Namespace) -> Iterator[Run]:
    """What is missing."""
    lines = read_lines(args.out)
    opened, tested = done(lines, "open"), done(lines, "test")
    for run in runs_of(worlds, args.seeds):
        if (run.key in opened and run.key not in tested) if args.test else run.key not in opened:
            yield run


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("worlds", nargs="*", default=list(WORLDS), help=f"of {', '.join(WORLDS)} (default: all)")
    parser.add_argument("--out", type=Path, default=Path("runs/learner-table"), metavar="DIR", help="all lies here")
    parser.add_argument("--seeds", type=int, default=3, help="train seeds (default 3)")
    parser.add_argument("--test", metavar="REASON", help="read the sealed test levels of what is trained")
    parser.add_argument("--table", action="store_true", help="print the tables of the lines in --out, and nothing else")
    args = parser.parse_args(argv)
    worlds = [WORLDS[name] for name in args.worlds]
    if not args.table:
        os.nice(max(0, 15 - os.nice(0)))
        torch.set_num_threads(1)
        args.out.mkdir(parents=True, exist_ok=True)
        todo = list(work(worlds, args))
        with Progress("learner table", len(todo), "policies", every_s=1.0) as progress:
            for count, run in enumerate(todo, start=1):
                line = read_test(run, args.out, args.test) if args.test else train_and_play(run, args.out)
                names = {"kind": "test" if args.test else "open", **vars(run)}
                append(args.out, {**names, **line})
                progress.update(count, note=run.name)
    lines = read_lines(args.out)
    print("\n".join(markdown(lines, [world.name for world in worlds])))
    say(f"{len(lines)} lines in {args.out / 'lines.jsonl'}")
    print(json.dumps({"name": "learner_table", "lines": len(lines), "worlds": args.worlds}))


if __name__ == "__main__":
    main()
