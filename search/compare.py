"""Compares two policies, configurations or studies level by level, from results on disk; plays nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from envs.errors import UsageError, unknown_name
from metrics import statistics
from metrics.protocol import ActionMode, Role
from metrics.table import EvaluationTable
from search.headline import interval_text
from search.level_scores import RAW, ROLES, Bootstrap, LevelScores, level_scores
from search.selection import Selection
from search.study import EVALUATIONS_FILE, EXPERT_POLICY, RANDOM_POLICY, STUDY_FILE, read_study

EVALUATION_FOLDER = "evaluation"
"""Where `gengap evaluate` writes in a run."""
TABLE_SUFFIXES = (".parquet", ".csv")


@dataclass(frozen=True, kw_only=True)
class Side:
    """One side of a comparison: policies (the seeds of one configuration, say) with their results."""

    label: str
    table: EvaluationTable
    policies: tuple[str, ...]
    num_levels: int | None = None
    """Set for the selected policies of one level count."""


def compare(a: str, b: str, bootstrap: Bootstrap | None = None) -> dict[str, Any]:
    """B minus A on every split and action mode that both played, on the same levels.

    Two studies are compared at every level count that both have; otherwise each side is one group of policies.

    Args:
        a: ``PATH`` or ``PATH:WHAT``, see `open_sides`.
        b: The same.
        bootstrap: Seed, resamples and confidence of the intervals.

    Returns:
        ``{"a", "b", "comparisons": [{"a", "b", "role", "mode", "num_levels", "difference", ...}]}``.

    Raises:
        UsageError: If the sides are of different environments or share no level.
    """
    bootstrap = bootstrap or Bootstrap()
    pairs = list(_pair(open_sides(a), open_sides(b)))
    comparisons = [row for left, right in pairs for row in compare_sides(left, right, bootstrap)]
    if not comparisons:
        raise UsageError(
            f"{a} and {b} share no level that both played for the same role in the same action mode; "
            "evaluate both with the same protocol."
        )
    return {"a": a, "b": b, "answer": answer(comparisons), "comparisons": comparisons}


def answer(comparisons: Sequence[dict[str, Any]]) -> str:
    """One sentence on the question whether B is better than A on unseen levels.

    The test answers it where both have read it, else validation; the first action mode that was played.
    """
    for role in (Role.TEST, Role.VALIDATION, Role.TRAIN_HELDOUT):
        rows = [row for row in comparisons if row["role"] == role.value]
        if rows:
            return " ".join(_sentence(row) for row in rows if row["mode"] == rows[0]["mode"])
    return "Both sides share training levels only, so nothing can be said about unseen ones; evaluate both further."


def _sentence(row: dict[str, Any]) -> str:
    difference = row["difference"]
    low, high = difference["low"], difference["high"]
    where = f"on {row['num_levels']} unseen levels ({row['role']}, {row['mode']} actions)"
    if low is None:
        return f"Nothing can be said {where}: {difference['reason']}."
    percent = f"{100 * difference['confidence']:.3g} % interval {low:+.3f} to {high:+.3f}, paired level by level"
    change = f"its return differs by {difference['point']:+.3f} ({percent})"
    if low <= 0 <= high:
        return f"B ({row['b']}) is not shown to be better or worse than A ({row['a']}) {where}: {change}."
    word = "better" if difference["point"] > 0 else "worse"
    return f"B ({row['b']}) is {word} than A ({row['a']}) {where}: {change}."


def compare_sides(a: Side, b: Side, bootstrap: Bootstrap) -> list[dict[str, Any]]:
    """One row per split and action mode that both played.

    Raises:
        UsageError: If the sides share no environment, or are the same.
    """
    envs = [set(side.table.where(policy=list(side.policies)).frame["env"]) for side in (a, b)]
    if not envs[0] & envs[1]:
        names = " and ".join(", ".join(sorted(env)) for env in envs)
        raise UsageError(f"The two sides played different environments ({names}); returns of two tasks do not compare.")
    if a == b or (a.policies == b.policies and a.table.frame.equals(b.table.frame)):
        raise UsageError(f"Both sides are {a.label}; name two different policies, configurations or studies.")
    rows = [compare_role(a, b, role, mode, bootstrap) for mode in a.table.modes for role in ROLES]
    return [row for row in rows if row is not None]


def compare_role(a: Side, b: Side, role: Role, mode: ActionMode, bootstrap: Bootstrap) -> dict[str, Any] | None:
    """The paired comparison on one split; None if both sides share no level there."""
    envs = [set(s.table.where(role=role.value, policy=list(s.policies)).frame["env"]) for s in (a, b)]
    if not envs[0] & envs[1]:  # one shift's validation may be in another environment than the other's
        return None
    left = level_scores(a.table, role, mode, RAW, a.policies)
    right = level_scores(b.table, role, mode, RAW, b.policies)
    if left is None or right is None:
        return None
    shared = np.intersect1d(left.levels, right.levels)
    if not len(shared):
        return None
    x, y = (_on(scores, shared) for scores in (left, right))
    played = [
        side.table.where(role=role.value, mode=mode, policy=list(side.policies)).frame["level"].nunique()
        for side in (a, b)
    ]
    difference = statistics.paired_difference(
        y, x, bootstrap.rng("compare", role.value, mode, "difference"), **bootstrap.options
    )
    improvement = statistics.paired_bootstrap(
        y,
        x,
        statistics.probability_of_improvement,
        bootstrap.rng("compare", role.value, mode, "improvement"),
        **bootstrap.options,
    )
    return {
        "a": a.label,
        "b": b.label,
        "role": role.value,
        "mode": mode,
        "num_levels": len(shared),
        "num_levels_left_out": {"a": played[0] - len(shared), "b": played[1] - len(shared)},
        "num_runs": {"a": len(x), "b": len(y)},
        "return_a": _mean(x, bootstrap, "a", role, mode),
        "return_b": _mean(y, bootstrap, "b", role, mode),
        "difference": difference.to_json(),
        "probability_b_is_better": improvement.to_json(),
        "levels_better": {
            "a": int((x.mean(axis=0) > y.mean(axis=0)).sum()),
            "b": int((y.mean(axis=0) > x.mean(axis=0)).sum()),
        },
        "verdict": _verdict(difference),
    }


def open_sides(text: str) -> list[Side]:
    """What ``PATH`` or ``PATH:WHAT`` names.

    PATH is a study, a trial's folder in a study, a run that `gengap evaluate` has played, a folder with
    `evaluations.parquet`, or an evaluation table. WHAT is the name of a policy in it or, for a study, a number of
    training levels (the policies selected there).

    Returns:
        One side; for a study without WHAT one per level count.

    Raises:
        UsageError: If the path holds no evaluations, or there is no such policy or level count.
        RunError: If a file is damaged.
    """
    path, what = _split(text)
    if (path / STUDY_FILE).exists():
        return _study_sides(path, what)
    if path.is_dir() and not (path / EVALUATIONS_FILE).exists():
        study = next((p for p in path.resolve().parents[:2] if (p / STUDY_FILE).exists()), None)
        if study is not None:
            return [_policy_side(read_study(study).table, what or path.resolve().name, str(path))]
    table = EvaluationTable.read(_table_in(path) if path.is_dir() else path)
    if not len(table):
        raise UsageError(f"{path} holds no episode; evaluate again.")
    if what:
        return [_policy_side(table, what, str(path))]
    policies = tuple(name for name in _counting(table).policies if name not in (RANDOM_POLICY, EXPERT_POLICY))
    return [Side(label=str(path), table=table, policies=policies or tuple(table.policies))]


def _counting(table: EvaluationTable) -> EvaluationTable:
    """Of a run that was judged by its best and its last weights, the best ones: both together are no two runs."""
    if "weights" not in table.frame.columns:
        return table
    best = table.frame["weights"].fillna("").astype(str).str.contains("best")
    return EvaluationTable(table.frame[best], table.episode_metrics) if best.any() else table


def _table_in(folder: Path) -> Path:
    """The table of a folder, or the one that `gengap evaluate` wrote for a run."""
    for place in (folder, folder / EVALUATION_FOLDER):
        if (place / EVALUATIONS_FILE).exists():
            return place / EVALUATIONS_FILE
    others = sorted((folder / EVALUATION_FOLDER).glob(f"*/{EVALUATIONS_FILE}"))  # of other protocols
    if others:
        raise UsageError(f"{folder} was evaluated by other protocols only; give {' or '.join(map(str, others[:3]))}.")
    raise UsageError(
        f"{folder} holds neither {STUDY_FILE} nor {EVALUATIONS_FILE}, nor does its {EVALUATION_FOLDER}/. If it is a "
        f"run, play it first: `gengap evaluate {folder}`. Otherwise give a study, a trial of one or a table."
    )


def _split(text: str) -> tuple[Path, str]:
    path = Path(text)
    if not path.exists() and ":" in text:
        before, _, what = text.rpartition(":")
        path = Path(before)
    else:
        what = ""
    if not path.exists():
        raise UsageError(f"{path} does not exist; give a study, a trial's folder or an evaluation table, or PATH:WHAT.")
    if path.is_file() and path.suffix not in TABLE_SUFFIXES:
        raise UsageError(f"{path} is no evaluation table; its name should end in {' or '.join(TABLE_SUFFIXES)}.")
    return path, what


def _study_sides(path: Path, what: str) -> list[Side]:
    study = read_study(path)
    selection = study.selection or Selection(rule="", visible_roles=())
    choices = {str(choice.num_levels): choice for choice in selection.choices}
    if what and what not in choices:
        if what not in study.table.policies:
            raise unknown_name(f"policy or number of levels of {path}", what, [*choices, *study.table.policies])
        return [_policy_side(study.table, what, str(path))]
    chosen = [choices[what]] if what else list(choices.values())
    if not chosen:
        raise UsageError(f"The study {path} has selected nothing yet; `gengap status {path}` shows how far it is.")
    return [
        Side(
            label=f"{path} at {choice.num_levels} levels",
            table=study.table,
            policies=choice.policies,
            num_levels=choice.num_levels,
        )
        for choice in chosen
    ]


def _policy_side(table: EvaluationTable, policy: str, origin: str) -> Side:
    if policy not in table.policies:
        raise unknown_name(f"policy of {origin}", policy, table.policies)
    return Side(label=policy, table=table, policies=(policy,))


def _pair(a: Sequence[Side], b: Sequence[Side]) -> Iterator[tuple[Side, Side]]:
    """Equal level counts face each other; a single side faces each of the other's."""
    if len(a) == 1 or len(b) == 1:
        yield from ((left, right) for left in a for right in b)
        return
    by_count = {side.num_levels: side for side in b}
    yield from ((side, by_count[side.num_levels]) for side in a if side.num_levels in by_count)


def _on(scores: LevelScores, levels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return scores.values[:, np.isin(scores.levels, levels)]


def _mean(values: np.ndarray[Any, Any], bootstrap: Bootstrap, *names: str) -> dict[str, Any]:
    rng = bootstrap.rng("compare", *names)
    return statistics.level_bootstrap(values, statistics.mean, rng, **bootstrap.options).to_json()


def _verdict(difference: statistics.Interval) -> str:
    if not difference.excludes(0.0):
        return "not resolved"
    return "B is better" if difference.point > 0 else "A is better"


def compare_lines(value: dict[str, Any]) -> list[str]:
    """What `compare` found, for reading: a block per pair, a line per split and action mode."""
    lines: list[str] = []
    for row in value["comparisons"]:
        title = f"A: {row['a']}\nB: {row['b']}"
        if title not in lines:
            lines.append(title)
        lines.append(
            f"  {row['role']:<10} {row['mode']:<7} {row['num_levels']:>5} levels  "
            f"A {interval_text(row['return_a'])}  B {interval_text(row['return_b'])}  "
            f"B - A {interval_text(row['difference'], signed=True)}  "
            f"P(B > A) {interval_text(row['probability_b_is_better'])}  {row['verdict']}"
        )
    lines += [line for row in value["comparisons"] for line in _left_out(row)]
    return [*lines, value["answer"]] if "answer" in value else lines


def _left_out(row: dict[str, Any]) -> Iterator[str]:
    """What a comparison could not use; two policies' training levels differ by nature."""
    for side in ("a", "b") if row["role"] != Role.TRAIN.value else ():
        if count := row.get("num_levels_left_out", {}).get(side):
            yield (
                f"{row[side]}: {count} {row['role']} levels ({row['mode']} actions) are left out, because not every "
                "policy of both sides played them; evaluate with the same protocol to use them."
            )
