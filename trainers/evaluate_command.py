"""`gengap evaluate RUN`: a trained policy on the levels of each split."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from actors.sources import checkpoint_of
from data.files import atomic_write_json
from envs.console import Progress, say
from envs.errors import UsageError
from envs.overrides import apply_overrides, config_from_json, parse_overrides
from envs.registry import make_spec
from envs.spec import LevelSet
from metrics.ledger import Ledger, Permit
from metrics.protocol import EvaluationProtocol, Role, build_protocol
from metrics.table import EvaluationTable, summarize
from trainers.config import EvaluationConfig, ExperimentConfig
from trainers.online_config import OnlineConfig
from trainers.run_files import CONFIG, read_json
from trainers.training_data import open_training_data

TABLE, SUMMARY, LEDGER = "evaluations.parquet", "evaluation.json", "ledger.jsonl"


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Run:
    """What the levels and the ledger need to know about a run."""

    directory: Path
    checkpoint: Path
    config: dict[str, Any]
    env: str
    seed: int
    train_levels: LevelSet
    dataset_fingerprint: str
    evaluation: EvaluationConfig


def add_evaluate_arguments(parser: argparse.ArgumentParser) -> None:
    """Which run, what is played, and the permission to read the test."""
    parser.add_argument("run", type=Path, help="run directory of `gengap train`, or one of its checkpoints")
    parser.add_argument(
        "overrides", nargs="*", metavar="FIELD=VALUE", help="of the evaluation, for example num_validation_levels=200"
    )
    parser.add_argument(
        "--test", metavar="REASON", help="also read the sealed test levels; the reason is written into the ledger"
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="where to write (default: evaluation/ in the run)")


def run_evaluate(args: argparse.Namespace) -> dict[str, Any]:
    """Play both action modes; the result holds the flat statistics of every split."""
    from actors.cluster import ray_session
    from actors.evaluate import evaluate_on_pool
    from actors.pool import ActorPool

    run = _open(args.run, args.overrides)
    protocol = _protocol(run)
    permit = _permit(run, args.test) if args.test else None
    roles = [role for role in protocol.roles if role != Role.TEST or permit is not None]
    out = args.out or run.directory / "evaluation"
    episodes = sum(len(protocol.split(role).jobs(mode)) for role in roles for mode in protocol.modes)
    with (
        ray_session(args.address),
        ActorPool(run.evaluation.num_actors) as pool,
        Progress(f"evaluate {run.checkpoint.name}", episodes, "episodes") as progress,
    ):
        table = evaluate_on_pool(
            pool,
            run.checkpoint,
            protocol,
            roles=roles,
            seed=run.seed,
            permit=permit,
            num_envs=run.evaluation.num_envs,
            policy_name=_policy_name(run),
            train_seed=run.seed,
            progress=progress.update,
        )
    values = summarize(table)
    out.mkdir(parents=True, exist_ok=True)
    table.write(out / TABLE)
    atomic_write_json(out / SUMMARY, values)
    _print_table(table, values)
    say(f"Every episode: {out / TABLE}")
    return {"run": str(run.directory), "checkpoint": str(run.checkpoint), "table": str(out / TABLE), **values}


def _open(path: Path, overrides: list[str]) -> _Run:
    checkpoint = checkpoint_of(path)
    directory = checkpoint.parent.parent
    config = read_json(checkpoint / CONFIG)
    if "data" in config:
        experiment = config_from_json(ExperimentConfig, config)
        data = open_training_data(experiment)
        levels, fingerprint, evaluation = data.levels, data.view.fingerprint, experiment.evaluation
    else:
        online = config_from_json(OnlineConfig, config)
        levels, fingerprint, evaluation = online.levels, "online", EvaluationConfig()
    evaluation = dataclasses.replace(evaluation, modes=("sampled", "greedy"))
    return _Run(
        directory=directory,
        checkpoint=checkpoint,
        config=config,
        env=config["env"],
        seed=int(config["seed"]),
        train_levels=levels,
        dataset_fingerprint=fingerprint,
        evaluation=apply_overrides(evaluation, parse_overrides(overrides)),
    )


def _protocol(run: _Run) -> EvaluationProtocol:
    settings = run.evaluation
    return build_protocol(
        settings.protocol,
        make_spec(run.env),
        run.train_levels,
        num_train=settings.num_train_levels,
        num_validation=settings.num_validation_levels,
        num_test=settings.num_test_levels,
        episodes_per_level=settings.episodes_per_level,
        modes=settings.modes,
    )


def _policy_name(run: _Run) -> str:
    return f"{run.directory.name}/{run.checkpoint.name}"


def _permit(run: _Run, reason: str) -> Permit:
    """A permit recorded beside the run; earlier reads are said out loud."""
    if not reason.strip():
        raise UsageError("--test needs a reason, for example --test 'selected by validation return'.")
    fingerprint = _without_seed(run.config)
    permit = Ledger(run.directory / LEDGER).issue(
        _policy_name(run), fingerprint, run.dataset_fingerprint, rule="chosen by hand", reason=reason
    )
    if permit.repeated:
        say(f"This policy has read the test {permit.policy_reads_before} time(s) before; the ledger says so.")
    return permit


def _without_seed(config: Mapping[str, Any]) -> str:
    from data.schema import canonical_json
    from envs.seeding import derive_seed

    return f"{derive_seed(canonical_json({k: v for k, v in config.items() if k not in ('seed', 'name')})):016x}"


def _print_table(table: EvaluationTable, values: Mapping[str, float]) -> None:
    print(f"{'split':<14} {'mode':<8} {'levels':>6} {'return':>8} {'normalized':>11}  95 % interval")
    for mode in table.modes:
        prefix = "" if mode == table.modes[0] else f"{mode}_"
        for role in table.where(mode=mode).roles:
            name = f"eval/{role}/{prefix}"
            low, high = (values.get(f"{name}normalized_return_{end}") for end in ("low", "high"))
            interval = f"[{low:.3f}, {high:.3f}]" if low is not None and high is not None else "-"
            print(
                f"{role:<14} {mode:<8} {values[name + 'num_levels']:>6.0f} {values[name + 'episode_return']:>8.3f} "
                f"{values[name + 'normalized_return']:>11.3f}  {interval}"
            )
