"""What an environment reports of an episode besides its return reaches results, tables and flat metrics."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from actors.evaluate import evaluate
from actors.policy import RandomPolicy
from actors.rollout import RecordOptions, play
from data.episode import EpisodeResult
from envs.quiz import QuizVectorEnv
from envs.registry import make_spec
from envs.spec import LevelSet
from envs.vector import Actions, LevelEnv, Mask, Transition
from metrics.protocol import EvaluationProtocol, Role, Split
from metrics.table import EvaluationTable, summarize

NAME = "quiz/default"
JOBS = [(level, episode) for level in range(12) for episode in range(2)]


class CountingQuiz(QuizVectorEnv):
    """Reports the level that a slot plays and how many questions were answered rightly."""

    def _advance(self, actions: Actions, active: Mask) -> Transition:
        moved = super()._advance(actions, active)
        return moved._replace(metrics={"own_level": self._levels.astype(float), "right": self._right.astype(float)})


def test_metrics_stand_at_slots_that_ended_now() -> None:
    env, ended_once = CountingQuiz(4), np.zeros(4, dtype=bool)
    env.reset(options={"levels": np.array([3, 4, 5, 6])})
    for _ in range(env.task.max_episode_steps):
        _, _, terminated, truncated, infos = env.step(np.zeros(4, dtype=np.int32))
        ended = terminated | truncated
        own = infos["episode_metrics"]["own_level"]
        assert np.isnan(own[~ended]).all()
        assert own[ended].tolist() == np.array([3, 4, 5, 6])[ended].tolist()
        ended_once |= ended
    assert ended_once.all()


def test_the_single_view_reports_at_the_end_only() -> None:
    single = LevelEnv(CountingQuiz(1))
    single.reset(options={"level": 9})
    over = False
    while not over:
        _, _, terminated, truncated, info = single.step(0)
        over = terminated or truncated
        assert ("episode_metrics" in info) == over
    assert info["episode_metrics"]["own_level"] == 9.0


@pytest.mark.parametrize("record", [None, RecordOptions(source="test")])
def test_rollouts_carry_them_into_results(record: Any) -> None:
    played = list(play(CountingQuiz(5), RandomPolicy(make_spec(NAME)), JOBS, seed=0, record=record))
    results = [item if isinstance(item, EpisodeResult) else item.result() for item in played]
    assert sorted((result.level, result.episode) for result in results) == JOBS
    for result in results:
        assert result.metrics["own_level"] == result.level
        # Each question pays 1 / questions, so the return is a share of what was right.
        assert (result.metrics["right"] > 0) == (result.episode_return > 0)


def test_environments_without_measures_have_none() -> None:
    result = next(play(QuizVectorEnv(2), RandomPolicy(make_spec(NAME)), JOBS, seed=0))
    assert result.metrics == {}


def test_evaluation_turns_them_into_columns_and_flat_metrics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("actors.rollout.make_vec", lambda name, num_envs: CountingQuiz(num_envs))
    splits = tuple(Split(role, LevelSet.range(NAME, 10 * i, 10 * i + 10), 2) for i, role in enumerate(list(Role)[:3:2]))
    protocol = EvaluationProtocol("test", splits, modes=("sampled", "greedy"))
    table = evaluate(RandomPolicy(make_spec(NAME)), protocol, extra={"num_levels": 7, "learning_rate": 0.1})
    assert table.episode_metrics == ("own_level", "right")
    for kept in (
        table,
        EvaluationTable.read(table.write(tmp_path / "table.parquet")),
        EvaluationTable.concat([table.where(role="train"), EvaluationTable.empty(), table.where(role="validation")]),
    ):
        flat = summarize(kept)
        assert flat["eval/train/own_level"] == pytest.approx(4.5)
        assert flat["eval/validation/own_level"] == pytest.approx(14.5)
        assert flat["eval/validation/greedy_own_level"] == pytest.approx(14.5)
        right = kept.where(role="train", mode="sampled").frame["right"].mean()
        assert flat["eval/train/right_low"] <= flat["eval/train/right"] == pytest.approx(right)
        # A study's constants are no measures, even if a statistic has the name.
        assert flat["eval/train/num_levels"] == 10
        assert "eval/train/learning_rate" not in flat


def test_tables_with_different_measures_can_be_joined() -> None:
    def table(level: int, metrics: dict[str, float]) -> EvaluationTable:
        protocol = EvaluationProtocol("test", (Split(Role.TRAIN, LevelSet.range(NAME, 0, 2)),))
        result = EpisodeResult(NAME, level, 0, 1.0, 3, True, False, metrics)
        options: Any = {"spec": make_spec(NAME), "protocol": protocol, "role": Role.TRAIN, "mode": "sampled"}
        return EvaluationTable.from_results([result], policy="p", **options)

    joined = table(0, {"a": 1.0, "b": 2.0}).append(table(1, {"b": 4.0}))
    assert joined.episode_metrics == ("a", "b")
    flat = summarize(joined)
    assert flat["eval/train/b"] == 3.0
    assert "eval/train/a" not in flat
