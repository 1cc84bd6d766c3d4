"""Turn a finished online run into an expert: weights, measured returns, learning curve.

``python -m trainers.experts.publish RUN NAME --command "gengap train ..."`` writes ``NAME.safetensors`` and
``NAME.json`` into this folder and the curve into ``docs/figures/``. With ``--fractions 0.25 0.75 1`` the kept policies
nearest to these shares of the final return become ``NAME-25``, ``NAME-75`` and ``NAME``.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from actors.policy import Policy, RandomPolicy
from actors.rollout import play
from data.files import atomic_write_json
from envs.errors import UsageError
from envs.registry import make_spec, make_vec
from envs.seeding import rng_for
from envs.spec import LevelSet
from metrics import plots, statistics
from metrics.figure import save
from metrics.history import read_history
from metrics.ledger import Ledger, Permit, check_permit
from metrics.protocol import ActionMode, EvaluationProtocol, Role, strict
from trainers.experts import FOLDER, load_expert
from trainers.experts.reference import REFERENCE
from trainers.experts.weights import Candidate, check_room, last_policy, policies_near, write_expert

_SEED = 0
_WINDOW_STEPS = 50_000  # environment steps over which the curve is averaged
Scores = npt.NDArray[np.float64]


def measure(policy: Policy, protocol: EvaluationProtocol, permit: Permit | None, num_envs: int = 64) -> dict[str, Any]:
    """Raw returns on training and test levels, with 95 % intervals over levels.

    Args:
        policy: Plays.
        protocol: Which levels, how often, in which modes.
        permit: For the test levels.
        num_envs: Slots.

    Returns:
        Mode -> "train", "test" and "gap", each with point, low and high.
    """
    check_permit(Role.TEST, permit, policy.policy_id)
    env = make_vec(protocol.split(Role.TEST).env, num_envs)
    measured: dict[str, Any] = {}
    for mode in protocol.modes:
        train, test = (_level_means(env, policy, protocol, role, mode) for role in (Role.TRAIN, Role.TEST))
        intervals = {
            "train": statistics.level_bootstrap(train, statistics.mean, rng_for(_SEED, "train", mode)),
            "test": statistics.level_bootstrap(test, statistics.mean, rng_for(_SEED, "test", mode)),
            "gap": statistics.gap_interval(train, test, rng_for(_SEED, "gap", mode)),
        }
        measured[mode] = {key: _rounded(interval) for key, interval in intervals.items()}
    env.close()
    return measured


def _level_means(env: Any, policy: Policy, protocol: EvaluationProtocol, role: Role, mode: ActionMode) -> Scores:
    split = protocol.split(role)
    returns: dict[int, list[float]] = {}
    for result in play(env, policy, split.jobs(mode), seed=_SEED, mode=mode):
        returns.setdefault(result.level, []).append(result.episode_return)
    return np.array([[np.mean(returns[level]) for level in split.levels]])  # [1, L]


def _rounded(interval: statistics.Interval) -> dict[str, float]:
    return {key: round(getattr(interval, key), 3) for key in ("point", "low", "high")}


def draw_curve(run_dir: Path, name: str, measured: dict[str, Any], figures: Path) -> list[Path]:
    """The return of the training episodes against environment steps, in windows of 50,000, and what the end reaches."""
    rows = [row for row in read_history(run_dir / "metrics.jsonl") if "train/episode/return_mean" in row]
    windows = np.array([row["env_steps"] // _WINDOW_STEPS for row in rows])
    counts = np.array([row["train/episode/count"] for row in rows])
    returns = np.array([row["train/episode/return_mean"] for row in rows])
    kept = np.unique(windows)
    means = [float(np.average(returns[windows == window], weights=counts[windows == window])) for window in kept]
    steps = [(float(window) + 0.5) * _WINDOW_STEPS / 1e6 for window in kept]
    series: dict[str, dict[str, list[float]]] = {"during training": {"x": steps, "mean": means}}
    for role, label in (("train", "final, training levels"), ("test", "final, unseen levels")):
        interval = measured["sampled"][role]
        series[label] = {"x": [0.9 * steps[-1], steps[-1]]} | {
            key: [interval[source]] * 2 for key, source in (("mean", "point"), ("low", "low"), ("high", "high"))
        }
    figure = plots.curves(
        series, title=f"PPO on {name}, sampled actions", xlabel="million environment steps", ylabel="raw episode return"
    )
    return save(figure, figures / f"ppo_{name}")


def publish(
    run_dir: Path,
    candidates: Sequence[Candidate],
    *,
    command: str,
    note: str = "",
    num_test: int = 400,
    folder: Path = FOLDER,
    figures: Path = Path("docs/figures"),
) -> None:
    """Everything at once; the measured policies are those that were written, float16 rounding included.

    Args:
        run_dir: The run that trained them.
        candidates: Of it; the curve is named after the last.
        command: That trained it.
        note: What a reader should know.
        num_test: Test levels, from 2,000,000 up.
        folder: Where the weights go.
        figures: Where the curve goes.

    Raises:
        UsageError: Beyond what the package can carry; nothing is written then.
    """
    check_room(candidates, folder)
    config = json.loads((run_dir / "checkpoints" / "last" / "config.json").read_text())
    spec = make_spec(config["env"])
    levels = LevelSet.range(spec.name, 0, config["num_levels"])
    ledger = Ledger(run_dir / "ledger.jsonl")
    random = RandomPolicy(spec)
    permit = ledger.issue(random.policy_id, "random", levels.fingerprint, "baseline", "The level of chance.")
    chance = measure(random, strict(spec, levels, num_test=num_test), permit)
    protocol = strict(spec, levels, num_test=num_test, episodes_per_level=2, modes=("sampled", "greedy"))
    for candidate in candidates:
        provenance = write_expert(candidate, config, folder)
        policy = load_expert(candidate.name, folder)
        reason = json.dumps(candidate.chosen)
        permit = ledger.issue(policy.policy_id, candidate.name, levels.fingerprint, candidate.chosen["rule"], reason)
        measured = measure(policy, protocol, permit)
        atomic_write_json(
            folder / f"{candidate.name}.json",
            {
                **provenance,
                "command": command,
                "note": note,
                "num_levels_measured": {"train": len(levels), "test": num_test},
                "test_levels": f"2000000..{2_000_000 + num_test - 1}",
                "episodes_per_level": {"sampled": 2, "greedy": 1},
                "returns": measured,
                "returns_of_random_actions": chance["sampled"],
                "reference": REFERENCE.get(spec.name.rpartition("/")[2]),
            },
        )
    draw_curve(run_dir, candidates[-1].name, measured, figures)


def main() -> None:
    """The command of the module docstring."""
    parser = argparse.ArgumentParser(description="Publish policies of a finished online run.")
    parser.add_argument("run", type=Path, help="directory of the run")
    parser.add_argument("name", help="name of the expert, for example starpilot")
    parser.add_argument("--command", default="", help="the command that trained it")
    parser.add_argument("--note", default="", help="what a reader should know")
    parser.add_argument(
        "--fractions",
        type=float,
        nargs="+",
        metavar="SHARE",
        help="of the final return, ascending, for example 0.25 0.75 1: the kept policies nearest to each (default: "
        "only the last checkpoint)",
    )
    parser.add_argument("--num-test", type=int, default=400, help="test levels, from 2,000,000 up")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the weights go")
    parser.add_argument("--figures", type=Path, default=Path("docs/figures"), help="where the curve goes")
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.fractions:
        candidates = policies_near(args.run, args.name, sorted(args.fractions))
    else:
        candidates = [last_policy(args.run, args.name)]
    options = {name: getattr(args, name) for name in ("command", "note", "num_test", "folder", "figures")}
    try:
        publish(args.run, candidates, **options)
    except UsageError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
