"""What the shop's agents, and behavioral cloning, reach on every shift: the score table of ``docs/shop.md``.

``python -m benchmarks.shop_scores`` trains, plays all levels but the tests' and prints the table;
``--test REASON`` then reads the sealed test levels, each policy once, with a permit in ``ledger.jsonl``. Whatever lies
in the output folder already is kept, so an interrupted run goes on.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from actors.collect import CollectConfig, collect
from actors.evaluate import evaluate
from data.files import atomic_write_json
from envs.console import say
from envs.errors import UsageError
from envs.registry import find_shift, make_spec, shift_names
from envs.seeding import rng_for
from envs.spec import LevelSet
from metrics import statistics
from metrics.ledger import Ledger
from metrics.protocol import ActionMode, EvaluationProtocol, Role
from metrics.protocols import build_protocol, training_levels
from metrics.table import EvaluationTable
from trainers.config import DataConfig, EvaluationConfig, ExperimentConfig, TrackingConfig
from trainers.launch import run_inline
from trainers.recipes import shop_bc
from trainers.training_data import open_training_data

AGENTS = ("random", "shop-rule", "shop-limited", "shop-oracle", "shop-expert")
METRICS = ("score", "success", "strict_success")
BC = "BC"
SHOPS = tuple(name for name in shift_names() if name.startswith("shop-"))


@dataclass(frozen=True)
class Plan:
    """How large everything is."""

    out: Path
    levels: int = 200
    """Of each role of each shift."""
    seeds: tuple[int, ...] = (0, 1)
    instructions: int = 1500
    """Distinct training instructions."""
    transitions: int = 10_000
    learner_steps: int = 1000


@dataclass(frozen=True)
class Player:
    """One policy on one shift."""

    shift: str
    name: str
    source: Path | str
    """Checkpoint, or name of a source."""
    train_levels: LevelSet
    data: str = "none"
    """Fingerprint of what it learned from."""
    seed: int = 0

    @property
    def policy(self) -> str:
        """Its name in the table and the ledger."""
        return f"{self.shift}/{self.name}" + (f"-seed-{self.seed}" if self.name == BC else "")

    @property
    def trained(self) -> bool:
        """Whether its action mode matters."""
        return self.name == BC


def open_folder(plan: Plan) -> None:
    """Begin a table, or go on with the same one.

    Raises:
        UsageError: If the folder holds a table of another size.
    """
    plan.out.mkdir(parents=True, exist_ok=True)
    path = plan.out / "plan.json"
    wanted = {name: value for name, value in dataclasses.asdict(plan).items() if name != "out"}
    wanted["seeds"] = list(plan.seeds)
    if path.exists() and (found := json.loads(path.read_text())) != wanted:
        raise UsageError(f"{plan.out} holds scores made with {found}, not with {wanted}; choose another --out.")
    atomic_write_json(path, wanted)


def players(plan: Plan, shift: str) -> Iterator[Player]:
    """Every policy of a shift, trained where it must be."""
    env = find_shift(shift).env(Role.TRAIN.value)
    levels = training_levels(shift, env, plan.instructions)
    for agent in AGENTS:
        yield Player(shift, agent, agent, levels)
    for seed in plan.seeds:
        experiment = experiment_of(plan, levels, seed)
        record(plan, experiment, levels)
        data = open_training_data(experiment)
        run_dir = plan.out / "runs" / f"{levels.fingerprint}-seed-{seed}"
        if not (run_dir / "result.json").exists():
            say(f"{shift}: BC on {len(data.levels)} instructions, seed {seed}")
            run_inline(experiment, run_dir)
        last = (run_dir / "checkpoints" / "last").resolve()
        yield Player(shift, BC, last, data.levels, data.view.fingerprint, seed)


def experiment_of(plan: Plan, levels: LevelSet, seed: int) -> ExperimentConfig:
    """The recipe ``shop-bc`` on the data of these levels; it is evaluated at its end only, and little."""
    base = shop_bc()
    return dataclasses.replace(
        base,
        seed=seed,
        data=DataConfig(datasets=(str(data_path(plan, levels)),), max_transitions=plan.transitions),
        train=dataclasses.replace(base.train, learner_steps=plan.learner_steps, evaluate_every=0),
        evaluation=EvaluationConfig(num_train_levels=20, num_validation_levels=20, num_envs=40),
        tracking=TrackingConfig(wandb="disabled"),
    )


def data_path(plan: Plan, levels: LevelSet) -> Path:
    """Shifts that train on the same levels share their data and policies."""
    return plan.out / "data" / levels.fingerprint


def record(plan: Plan, experiment: ExperimentConfig, levels: LevelSet) -> None:
    """The expert with one action in five at random, every state labeled with its own action."""
    if not data_path(plan, levels).exists():
        config = CollectConfig(
            env=experiment.env,
            source="shop-expert",
            options={"noise": 0.2, "relabel": True},
            levels=levels,
            min_transitions=plan.transitions,
            num_actors=0,
        )
        collect(config, data_path(plan, levels))


def play(plan: Plan, player: Player, *, test: str | None) -> EvaluationTable:
    """Validation (a trained policy: all levels but the test's) or, with a reason, the test; kept tables are read."""
    path = plan.out / "evaluations" / f"{player.policy.replace('/', '.')}.{'test' if test else 'open'}.parquet"
    if path.exists():
        return EvaluationTable.read(path)
    modes: tuple[ActionMode, ...] = ("sampled", "greedy") if player.trained else ("sampled",)
    protocol = build_protocol(
        player.shift,
        make_spec(player.train_levels.env),
        player.train_levels,
        num_train=plan.levels,
        num_validation=plan.levels,
        num_test=plan.levels,
        modes=modes,
    )
    ledger = Ledger(plan.out / "ledger.jsonl")
    key = (player.policy, fingerprint(plan, protocol), player.data)
    permit = (ledger.find(*key) or ledger.issue(*key, rule="none: fixed in advance", reason=test)) if test else None
    table = evaluate(
        player.source,
        protocol,
        roles=(Role.TEST,) if test else protocol.open_roles if player.trained else (Role.VALIDATION,),
        permit=permit,
        num_envs=100,
        policy_name=player.policy,
        train_seed=player.seed,
        extra={"agent": player.name},
    )
    say(f"{player.policy}: {len(table)} episodes on {', '.join(table.roles)}")
    return EvaluationTable.read(table.write(path))


def fingerprint(plan: Plan, protocol: EvaluationProtocol) -> str:
    """Of what is played with how much training."""
    levels = "-".join(split.levels.fingerprint for split in protocol.splits if split.role != Role.TRAIN)
    return f"{protocol.name}-{levels}-{plan.instructions}-{plan.transitions}-{plan.learner_steps}"


def cell(table: EvaluationTable, shift: str, agent: str, mode: ActionMode, role: Role, metric: str) -> str:
    """Percent with a 95 % interval over levels and, where there are several, train seeds."""
    rows = table.where(protocol=shift, agent=agent)
    if role.value not in rows.roles:
        return "—"
    scores = rows.scores(role, mode, metric=metric)
    rng = rng_for("shop scores", shift, agent, mode, role.value, metric)
    interval = statistics.level_bootstrap(scores, statistics.mean, rng, num_resamples=2000)
    return f"{100 * interval.point:.1f} [{100 * interval.low:.1f}, {100 * interval.high:.1f}]"


def markdown(table: EvaluationTable, shifts: Sequence[str]) -> list[str]:
    """The score table, then what BC loses from its own levels to the shift."""
    roles = (Role.VALIDATION, Role.TEST)
    columns = [f"{role.value} {metric.replace('_', ' ')}" for role in roles for metric in METRICS]
    lines = ["| shift | agent | " + " | ".join(columns) + " |", "|---|---|" + "---:|" * len(columns)]
    rows: list[tuple[str, ActionMode]] = [*((agent, "sampled") for agent in AGENTS), (BC, "sampled"), (BC, "greedy")]
    for shift in shifts:
        for agent, mode in rows:
            cells = [cell(table, shift, agent, mode, role, metric) for role in roles for metric in METRICS]
            shown = f"{agent}, {mode}" if agent == BC else f"`{agent}`"
            lines.append(f"| {shift.removeprefix('shop-')} | {shown} | " + " | ".join(cells) + " |")
    lines += [
        "",
        "| shift | measures | " + " | ".join(role.value for role in Role) + " |",
        "|---|---|---:|---:|---:|---:|",
    ]
    for shift in shifts:
        cells = [cell(table, shift, BC, "greedy", role, "score") for role in Role]
        lines.append(f"| {shift.removeprefix('shop-')} | {find_shift(shift).measures} | " + " | ".join(cells) + " |")
    return lines


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--out", type=Path, default=Path("runs/shop-scores"), metavar="DIR", help="everything lies here"
    )
    parser.add_argument("--shifts", default=",".join(SHOPS), help="which, joined by commas (default: all nine)")
    parser.add_argument("--test", metavar="REASON", help="read the sealed test levels, too")
    for field in ("levels", "instructions", "transitions", "learner_steps"):
        default = getattr(Plan, field)
        parser.add_argument(f"--{field.replace('_', '-')}", type=int, default=default, help=f"default {default}")
    args = parser.parse_args(argv)
    plan = Plan(args.out, args.levels, (0, 1), args.instructions, args.transitions, args.learner_steps)
    shifts = args.shifts.split(",")
    open_folder(plan)
    everyone = [player for shift in shifts for player in players(plan, shift)]
    tables = [play(plan, player, test=None) for player in everyone]
    if args.test:
        tables += [play(plan, player, test=args.test) for player in everyone]
    lines = markdown(EvaluationTable.concat(tables), shifts)
    (plan.out / "table.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))
    print(json.dumps({"table": str(plan.out / "table.md"), "shifts": shifts, "tested": bool(args.test)}))


if __name__ == "__main__":
    main()
