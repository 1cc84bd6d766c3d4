"""`gengap evaluate RUN`: a trained policy, or a scripted one, on the levels of each split."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from actors.sources import EXPERTS, checkpoint_of
from data.files import atomic_write_json
from envs.console import Progress, say
from envs.errors import UsageError
from envs.overrides import apply_overrides, config_from_json, parse_overrides
from envs.registry import find_shift, make_spec
from envs.spec import LevelSet
from metrics.ledger import Ledger, Permit
from metrics.protocol import Role
from metrics.protocols import is_shift, training_levels
from metrics.table import EvaluationTable, summarize
from trainers.config import EvaluationConfig, ExperimentConfig
from trainers.evaluation import NUM_TRAIN_LEVELS, protocol_of
from trainers.online_config import OnlineConfig
from trainers.run_files import CONFIG, read_json
from trainers.sealed_rows import write_keeping_test
from trainers.training_data import open_training_data

TABLE, SUMMARY, LEDGER = "evaluations.parquet", "evaluation.json", "ledger.jsonl"


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Run:
    """What the levels and the ledger need to know about a policy."""

    directory: Path
    policy: Path | str
    """Checkpoint, or name of a source."""
    name: str
    """In the table and the ledger."""
    config: dict[str, Any]
    env: str
    seed: int
    train_levels: LevelSet
    dataset_fingerprint: str
    evaluation: EvaluationConfig


def add_evaluate_arguments(parser: argparse.ArgumentParser) -> None:
    """Which run, what is played, and the permission to read the test."""
    parser.add_argument(
        "run", help="run directory of `gengap train`, one of its checkpoints, or a source: random, shop-expert, ..."
    )
    parser.add_argument(
        "overrides", nargs="*", metavar="FIELD=VALUE", help="of the evaluation, for example num_validation_levels=200"
    )
    parser.add_argument(
        "--protocol", metavar="NAME", help="strict, paper, or a shift such as shop-I3 (default: the one of the run)"
    )
    parser.add_argument("--env", metavar="NAME", help="where a source plays; a run and a shift know their own")
    parser.add_argument(
        "--test", metavar="REASON", help="also read the sealed test levels; the reason is written into the ledger"
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="where to write (default: evaluation/ in the run, in runs/NAME for a source)",
    )


def run_evaluate(args: argparse.Namespace) -> dict[str, Any]:
    """Play both action modes; the result holds the flat statistics of every split."""
    from actors.cluster import ray_session
    from actors.evaluate import evaluate_on_pool
    from actors.pool import ActorPool

    run = _open(args)
    protocol = protocol_of(run.evaluation, make_spec(run.env), run.train_levels)
    permit = _permit(run, args.test) if args.test is not None else None
    roles = [role for role in protocol.roles if role != Role.TEST or permit is not None]
    out = args.out or run.directory / "evaluation"
    if args.protocol:
        out = args.out or out / args.protocol
    episodes = sum(len(protocol.split(role).jobs(mode, protocol.epsilon)) for role in roles for mode in protocol.modes)
    with (
        ray_session(args.address),
        ActorPool(run.evaluation.num_actors) as pool,
        Progress(f"evaluate {run.name}", episodes, "episodes") as progress,
    ):
        table = evaluate_on_pool(
            pool,
            run.policy,
            protocol,
            roles=roles,
            seed=run.seed,
            permit=permit,
            num_envs=run.evaluation.num_envs,
            temperature=run.evaluation.temperature,
            extra={"temperature": run.evaluation.temperature} if run.evaluation.temperature != 1 else None,
            policy_name=run.name,
            train_seed=run.seed,
            progress=progress.update,
        )
    table = write_keeping_test(table, out / TABLE)
    values = summarize(table)
    atomic_write_json(out / SUMMARY, values)
    _print_table(table, values)
    say(f"Every episode: {out / TABLE}")
    return {"run": str(run.directory), "checkpoint": str(run.policy), "table": str(out / TABLE), **values}


def _open(args: argparse.Namespace) -> _Run:
    words = {**({"protocol": args.protocol} if args.protocol else {}), **parse_overrides(args.overrides)}
    if args.run == "random" or args.run in EXPERTS:
        return _open_source(args.run, args.env, apply_overrides(EvaluationConfig(), words))
    run = _open_run(Path(args.run))
    if args.env not in (None, run.env):
        raise UsageError(f"--env is {args.env}, but {args.run} plays {run.env!r}; leave --env out.")
    evaluation = dataclasses.replace(run.evaluation, modes=None)
    return dataclasses.replace(run, evaluation=apply_overrides(evaluation, words))


def _open_run(path: Path) -> _Run:
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
    return _Run(
        directory=directory,
        policy=checkpoint,
        name=f"{directory.name}/{checkpoint.name}",
        config=config,
        env=config["env"],
        seed=int(config["seed"]),
        train_levels=levels,
        dataset_fingerprint=fingerprint,
        evaluation=evaluation,
    )


def _open_source(name: str, env: str | None, evaluation: EvaluationConfig) -> _Run:
    """A source that was not trained, on the levels that others train on."""
    if env is None and is_shift(evaluation.protocol):
        env = find_shift(evaluation.protocol).env(Role.TRAIN.value)
    if env is None:
        raise UsageError(f"{name!r} plays several environments; choose one with --env, for example grid/default.")
    return _Run(
        directory=Path("runs") / name,
        policy=name,
        name=name,
        config={"source": name, "env": env, "protocol": evaluation.protocol},
        env=env,
        seed=0,
        train_levels=training_levels(evaluation.protocol, env, evaluation.num_train_levels or NUM_TRAIN_LEVELS),
        dataset_fingerprint="none",
        evaluation=evaluation,
    )


def _permit(run: _Run, reason: str) -> Permit:
    """A permit recorded beside the run; earlier reads are said out loud."""
    if not reason.strip():
        raise UsageError(
            f"--test is {reason!r}; it needs a reason, for example --test 'selected by validation return'. "
            "Leave --test out to leave the test unread."
        )
    fingerprint = _without_seed(run.config)
    permit = Ledger(run.directory / LEDGER).issue(
        run.name, fingerprint, run.dataset_fingerprint, rule="chosen by hand", reason=reason
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
