"""`gengap evaluate RUN`: trained policies, or a scripted one, on each split, or under changed conditions."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from actors.players import players
from data.files import atomic_write_json
from envs.console import Progress, say
from envs.overrides import parse_overrides
from envs.registry import make_spec
from metrics.ledger import Permit
from metrics.protocol import EvaluationProtocol, Role
from metrics.protocols import shortfall
from metrics.scorecard import scorecard
from metrics.table import EvaluationTable, summarize
from trainers.chosen_levels import parse_splits, split_levels, with_levels
from trainers.evaluation import protocol_of
from trainers.judged import Judged, open_judged, permit_for
from trainers.sealed_rows import write_keeping_test
from trainers.several_envs import slug_of

TABLE, SUMMARY, STATISTICS = "evaluations.parquet", "evaluation.json", "statistics.json"


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
    parser.add_argument(
        "--splits", metavar="NAMES", help="only these, for example train,validation (default: all but the test)"
    )
    parser.add_argument(
        "--levels",
        action="append",
        default=[],
        metavar="SPLIT=LEVELS",
        help="play these levels for a split, for example validation=1000000:1000050 or train=0,3,7; may be repeated",
    )
    parser.add_argument(
        "--robustness",
        nargs="?",
        const="",
        metavar="CHANGES",
        help="play the validation levels (or those of --splits) under visual changes (default: "
        "color,blur,cutout,resolution) and the shifts that begin in this environment; writes a table and a picture",
    )
    parser.add_argument(
        "--env",
        metavar="NAME",
        help="where a source plays; a run and a shift know their own, but a run that learned from several games is "
        "judged in each by its name",
    )
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
    """Play; the result holds the flat statistics of every split, those of the first checkpoint on top."""
    if args.robustness and "=" in args.robustness:  # an override that followed --robustness
        args.overrides, args.robustness = [*args.overrides, args.robustness], ""
    words = {**({"protocol": args.protocol} if args.protocol else {}), **parse_overrides(args.overrides)}
    chosen = split_levels(args.levels)
    judged = open_judged(args.run, env=args.env, words=words, train_levels=chosen.get(Role.TRAIN))
    protocol = protocol_of(
        judged.evaluation,
        make_spec(judged.env),
        judged.train_levels,
        algorithm=judged.algorithm,
        distinct_from=None if args.test is None else judged.train_levels,
    )
    protocol = with_levels(protocol, chosen)
    roles = parse_splits(args.splits, protocol, test=args.test is not None)
    if args.robustness is not None:
        from trainers.robustness_command import run_robustness

        return run_robustness(args, judged, protocol, roles)
    if Role.TEST in roles and (missing := shortfall(protocol)):
        say(missing)
    table = _play(args, judged, protocol, roles)
    out = args.out or judged.directory / "evaluation"
    if judged.env != judged.config["env"]:  # one of several that the run learned from
        out = args.out or out / slug_of(judged.env)
    if args.protocol:
        out = args.out or out / args.protocol
    table = write_keeping_test(table, out / TABLE)
    return _report(table, judged, protocol, out)


def _play(args: argparse.Namespace, judged: Judged, protocol: EvaluationProtocol, roles: list[Role]) -> EvaluationTable:
    policies = judged.policies(protocol)
    episodes = sum(len(protocol.split(role).jobs(mode, protocol.epsilon)) for role in roles for mode in protocol.modes)
    tables = []
    with (
        players(judged.evaluation.num_actors, args.address) as play,
        Progress(f"evaluate {judged.name}", episodes * len(policies), "episodes") as progress,
    ):
        for number, (name, (policy, weights)) in enumerate(policies.items()):
            permit: Permit | None = None
            if Role.TEST in roles:
                permit = permit_for(judged, name, policy, protocol.name, args.test)
            table = play(
                policy,
                protocol,
                roles=roles,
                seed=judged.seed,
                permit=permit,
                num_envs=judged.evaluation.num_envs,
                temperature=judged.evaluation.temperature,
                extra=_columns(judged, weights),
                policy_name=name,
                train_seed=judged.seed,
                progress=lambda done, total, before=number * episodes: progress.update(before + done),
            )
            tables.append(table)
    return EvaluationTable.concat(tables)


def _columns(judged: Judged, weights: str) -> dict[str, float | int | str] | None:
    temperature = judged.evaluation.temperature
    columns: dict[str, float | int | str] = {"weights": weights} if weights else {}
    return {**columns, **({"temperature": temperature} if temperature != 1 else {})} or None


def _report(table: EvaluationTable, judged: Judged, protocol: EvaluationProtocol, out: Path) -> dict[str, Any]:
    by_policy: dict[str, dict[str, float]] = {}
    names = [name for name in judged.policies(protocol) if name in table.policies]
    for name in names:
        part = table.where(policy=name, protocol=protocol.name)
        by_policy[name] = summarize(part)
        weights = f" ({part.frame['weights'].iloc[0]} weights)" if "weights" in part.frame.columns else ""
        print(f"{name}{weights}, protocol {protocol.name}")
        _print_table(part, by_policy[name])
    first = by_policy[names[0]]
    atomic_write_json(out / SUMMARY, first)
    atomic_write_json(
        out / STATISTICS,
        {"protocol": protocol.to_json(), "policies": by_policy, "statistics": scorecard(table)},
    )
    say(f"Every episode: {out / TABLE}  Every statistic with its interval: {out / STATISTICS}")
    return {
        "run": str(judged.directory),
        "protocol": protocol.name,
        "policy": names[0],
        "table": str(out / TABLE),
        "statistics": str(out / STATISTICS),
        "policies": by_policy,
        **first,
    }


def _print_table(table: EvaluationTable, values: Mapping[str, float]) -> None:
    print(f"{'split':<14} {'mode':<8} {'levels':>6} {'return':>8} {'normalized':>11}  95 % interval")
    for mode in table.modes:
        prefix = "" if mode == table.modes[0] else f"{mode}_"
        for role in table.where(mode=mode).roles:
            name = f"eval/{role}/{prefix}"
            low, high = (values.get(f"{name}normalized_return_{end}") for end in ("low", "high"))
            interval = f"[{low:.3f}, {high:.3f}]" if low is not None and high is not None else "none: too few levels"
            print(
                f"{role:<14} {mode:<8} {values[name + 'num_levels']:>6.0f} {values[name + 'episode_return']:>8.3f} "
                f"{values[name + 'normalized_return']:>11.3f}  {interval}"
            )
