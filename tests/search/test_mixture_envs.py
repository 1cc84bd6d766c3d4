"""A mixture search over several environments: judged in each, and by the mean over all of them where that is wanted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from metrics.table import EvaluationTable
from search.mixture_envs import mean_table
from search.mixture_sections import each_env_section
from tests.search.test_mixture_search import GAMES, start


def table(env: str, first_level: int, scores: dict[str, list[float]]) -> EvaluationTable:
    rows = [
        {
            "protocol": "strict", "role": "validation", "env": env, "level": first_level + 3 * index, "episode": 0,
            "mode": "sampled", "policy": policy, "train_seed": 0, "episode_return": 10 * score,
            "normalized_return": score, "length": 5, "terminated": True, "truncated": False,
        }
        for policy, values in scores.items()
        for index, score in enumerate(values)
    ]  # fmt: skip
    return EvaluationTable(pd.DataFrame(rows))


def test_every_environment_counts_the_same_in_the_mean() -> None:
    own = table("a", 100, {"x": [0.0, 0.5, 1.0], "y": [0.2, 0.2, 0.2]})
    other = table("b", 7, {"x": [1.0, 0.5, 1.0, 0.9], "y": [0.4, 0.6, 0.8, 0.9]})
    frame = mean_table({"a": own, "b": other}).frame
    assert set(frame["env"]) == {"mean over 2 environments"}
    found = frame.sort_values(["policy", "level"])
    assert found["level"].tolist() == [0, 1, 2, 0, 1, 2], "levels that only one environment has are left out"
    np.testing.assert_allclose(found["normalized_return"], [0.5, 0.5, 1.0, 0.3, 0.4, 0.5])
    np.testing.assert_allclose(found["episode_return"], found["normalized_return"])


def test_the_section_says_what_counts() -> None:
    summary = {"validation": {"mean": 0.5, "low": 0.4, "high": 0.6}}
    findings: dict[str, Any] = {"each_env": {"grid-default": {"law": summary}}, "judged_in": "mean over 2 environments"}
    section = each_env_section(findings)
    assert section.table is not None
    assert section.table.rows == [["grid-default", "law", "—", "—", "0.50 [0.40, 0.60]", "—"]]
    assert "mean over 2 environments" in section.note
    assert each_env_section({}).empty


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_study_over_two_environments_is_searched_and_judged_by_their_mean(tmp_path: Path) -> None:
    out = tmp_path / "study"
    words = [
        *GAMES,
        "sources.aimless=random levels=2000:2010 transitions=200 env=grid/distractors",
        "objectives=eval/validation/normalized_return/mean_over_envs",
        "arms.search=random",
    ]
    process = start(out, *words)
    _, stderr = process.communicate(timeout=1200)
    assert process.returncode == 0, stderr[-3000:]
    report = json.loads((out / "report" / "report.json").read_text())
    assert report["judged_in"] == "mean over 2 environments"
    assert set(report["each_env"]) == {"grid-default", "grid-distractors", "mean_over_envs"}
    tables = [EvaluationTable.read(out / f"evaluations{suffix}.parquet") for suffix in ("", "-grid-distractors")]
    for arm in report["arms"]:
        means = []
        for suffix, played in zip(("", "-in-grid-distractors"), tables, strict=True):
            rows = played.where(role="test", mode="sampled", policy=[name + suffix for name in arm["policies"]]).frame
            assert set(rows["env"]) == {"grid/distractors" if suffix else "grid/default"}
            means.append(rows["normalized_return"].mean())
        assert arm["normalized"]["test"]["mean"] == pytest.approx(np.mean(means))
    ledger = [json.loads(line) for line in (out / "ledger.jsonl").read_text().splitlines()]
    assert len(ledger) == 2 * 2 * 2
    assert not any(record["repeated"] for record in ledger)
    tried = [c for c in report["configurations"] if c["losses"]]
    trial = json.loads((out / "trials" / f"{tried[0]['arm']}-000-seed-0" / "result.json").read_text())["metrics"]
    names = [f"eval/validation/normalized_return/{env}" for env in ("grid-default", "grid-distractors")]
    mean = trial["eval/validation/normalized_return/mean_over_envs"]
    assert mean == pytest.approx(np.mean([trial[name] for name in names]))
    assert report["sources"]["aimless"]["env"] == "grid/distractors"
