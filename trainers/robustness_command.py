"""`gengap evaluate RUN --robustness`: one policy under every change, as a table and a picture."""

from __future__ import annotations

import argparse
from typing import Any

from actors.conditions import play_conditions
from actors.players import players
from data.files import atomic_write_json
from envs.console import say
from envs.errors import UsageError
from envs.registry import make_spec
from metrics.protocol import EvaluationProtocol, Role
from metrics.robustness import Condition, all_conditions, robustness_curve
from metrics.table import EvaluationTable
from trainers.judged import Judged

TABLE, CURVE, PICTURE = "robustness.parquet", "robustness.json", "robustness"


def run_robustness(
    args: argparse.Namespace, judged: Judged, protocol: EvaluationProtocol, roles: list[Role]
) -> dict[str, Any]:
    """Play the first of the protocol's checkpoints; the test is never played here.

    Raises:
        UsageError: If the test is asked for, or changes that there are not.
    """
    if Role.TEST in roles:
        raise UsageError(
            "A robustness curve is looked at again and again, so it plays no test levels; leave out --test."
        )
    role = Role.VALIDATION if args.splits is None else roles[0]
    if len(roles) > 1 and args.splits is not None:
        raise UsageError(f"A robustness curve plays one split; --splits names {args.splits}.")
    families = [name.strip() for name in args.robustness.split(",") if name.strip()]
    spec = make_spec(judged.env)
    conditions = all_conditions(spec, protocol.split(role), judged.train_levels, families or None)
    table = _play(args, judged, protocol, conditions)
    out = args.out or judged.directory / "evaluation" / "robustness"
    table.write(out / TABLE)
    curve = robustness_curve(table)
    atomic_write_json(out / CURVE, {"policy": table.policies[0], "protocol": protocol.name, "curve": curve})
    pictures = _draw(curve, f"{table.policies[0]}, {role.value} levels", out)
    _print(curve)
    say(f"Every episode: {out / TABLE}  The curve: {out / CURVE}  Picture: {pictures[0]}")
    return {
        "run": str(judged.directory),
        "policy": table.policies[0],
        "table": str(out / TABLE),
        "curve": curve,
        "pictures": pictures,
    }


def _play(
    args: argparse.Namespace, judged: Judged, protocol: EvaluationProtocol, conditions: list[Condition]
) -> EvaluationTable:
    name, (policy, _) = next(iter(judged.policies(protocol).items()))
    with players(judged.evaluation.num_actors, args.address) as play:
        return play_conditions(
            play,
            policy,
            protocol,
            conditions,
            seed=judged.seed,
            num_envs=judged.evaluation.num_envs,
            temperature=judged.evaluation.temperature,
            policy_name=name,
            train_seed=judged.seed,
        )


def _draw(curve: list[dict[str, Any]], title: str, out: Any) -> list[str]:
    from metrics.figure import save
    from metrics.robustness_plot import robustness_figure

    return [str(path) for path in save(robustness_figure(curve, title=title), out / PICTURE)]


def _print(curve: list[dict[str, Any]]) -> None:
    print(f"{'change':<14} {'strength':>8} {'mode':<8} {'levels':>6} {'normalized':>11}  95 % interval     lost")
    for entry in curve:
        value, loss = entry["normalized_return"], entry["loss"]
        interval = f"[{value['low']:.3f}, {value['high']:.3f}]" if value["low"] is not None else "-"
        lost = f"{loss['point']:+.3f}" if loss else "-"
        print(
            f"{entry['family']:<14} {entry['strength']:>8} {entry['mode']:<8} {entry['num_levels']:>6} "
            f"{value['point']:>11.3f}  {interval:<16}  {lost}" + (f"  ({entry['note']})" if entry["note"] else "")
        )
