from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest

from metrics.protocol import Role
from metrics.table import EvaluationTable
from search.predictors import predictors, resolved
from search.predictors_section import predictor_pictures, predictors_section, predictors_text
from search.study import DatasetRecord, Study, TrialRecord

MODE: Any = "sample"


def study_of(validation: list[float], test: list[float], measures: list[dict[str, float]]) -> Study:
    """One data set of n = 1, 2, ... levels with two policies each, whose returns straddle the number given."""
    rows, trials = [], []
    for index, (seen, sealed) in enumerate(zip(validation, test, strict=True)):
        for seed, change in enumerate((-0.1, 0.1)):
            name = f"n{index}-s{seed}"
            record = TrialRecord(
                trial_id=name, config_id=f"n{index}", num_levels=index + 1, learning_rate=0.1, train_seed=seed
            )
            trials.append(record)
            for role, value in ((Role.TRAIN, 1.0), (Role.VALIDATION, seen + change), (Role.TEST, sealed)):
                rows.append({"role": role.value, "mode": MODE, "policy": name, "normalized_return": value})
    datasets = [
        DatasetRecord(num_levels=index + 1, realised_transitions=1, num_episodes=1, fingerprint="", measures=values)
        for index, values in enumerate(measures)
    ]
    table = cast(EvaluationTable, SimpleNamespace(frame=pd.DataFrame(rows)))
    return Study(
        directory=Path("x"), name="x", env="grid/default", trials=tuple(trials), datasets=tuple(datasets), table=table
    )


def correlations(study: Study) -> dict[str, dict[str, Any]]:
    found = predictors(study, MODE, np.random.default_rng(0), num_resamples=200)
    return {entry["name"]: entry["correlation"] for entry in found}


VALIDATION = [0.1, 0.3, 0.2, 0.5, 0.6, 0.9]
MEASURES = [
    {"state_vendi": value, "shortcut_index": -value, "num_levels": 3.0, "unknown": value} for value in VALIDATION
]


def test_measures_are_ranked_by_how_well_they_predict_validation_returns() -> None:
    study = study_of(VALIDATION, VALIDATION[::-1], MEASURES)
    found = correlations(study)
    assert found["state_vendi"]["point"] == pytest.approx(1)
    assert found["shortcut_index"]["point"] == pytest.approx(-1)
    assert found["num_levels"] == {
        "point": None, "low": None, "high": None, "confidence": 0.95, "reason": "the same for all mixtures",
    }  # fmt: skip
    assert "unknown" not in found
    gaps = {e["name"]: e["gap_correlation"] for e in predictors(study, MODE, np.random.default_rng(0), num_resamples=9)}
    assert gaps["state_vendi"]["point"] == pytest.approx(-1), "all learned their own levels, so the gap is what is left"
    assert list(found)[-1] == "num_levels"


def test_no_test_return_is_looked_at() -> None:
    first = correlations(study_of(VALIDATION, [0.0] * 6, MEASURES))
    second = correlations(study_of(VALIDATION, [float("nan")] * 6, MEASURES))
    assert first == second


def test_two_data_sets_or_old_studies_have_no_table() -> None:
    study = study_of(VALIDATION, VALIDATION, MEASURES)
    assert predictors(dataclasses.replace(study, datasets=study.datasets[:2]), MODE, np.random.default_rng(0)) == []
    old = tuple(dataclasses.replace(record, measures={}) for record in study.datasets)
    assert predictors(dataclasses.replace(study, datasets=old), MODE, np.random.default_rng(0)) == []
    assert predictors_section({}).table is None


def test_the_section_reads_as_a_table() -> None:
    found = predictors(study_of(VALIDATION, VALIDATION, MEASURES), MODE, np.random.default_rng(0))
    table = predictors_section({"predictors": found}).table
    assert table is not None
    assert table.rows[0][:2] in (["state_vendi", "+1.00 [+1.00, +1.00]"], ["shortcut_index", "-1.00 [-1.00, -1.00]"])
    assert table.rows[-1][1] == "none (the same for all mixtures)"


def entry(name: str, point: float, low: float, high: float, count: int = 64) -> dict[str, Any]:
    value = {"point": point, "low": low, "high": high, "reason": ""}
    return {"name": name, "says": "", "num_mixtures": count, "correlation": value, "gap_correlation": value}


def test_a_measure_counts_only_beyond_zero_and_beyond_what_so_many_can_detect() -> None:
    entries = [
        entry("weak", 0.36, 0.1, 0.6),
        entry("strong", -0.8, -0.9, -0.6),
        entry("unsure", 0.9, -0.1, 1.0),
        entry("good", 0.6, 0.4, 0.8),
    ]
    assert [found["name"] for found in resolved(entries)] == ["strong", "good"], "0.36 is not enough for 4 measures"
    assert [found["name"] for found in resolved(entries[:1])] == ["weak"]
    assert resolved([entry("few", 0.9, 0.8, 1.0, 3)]) == []
    assert "goes most with strong (-0.80 [-0.90, -0.60])" in predictors_text(entries)
    assert "goes most with no measure" in predictors_text([entry("unsure", 0.9, -0.1, 1.0)])


def test_pictures_show_every_measure_that_has_an_interval() -> None:
    entries = [entry("one", 0.6, 0.4, 0.8), entry("other", -0.6, -0.8, -0.4)]
    pictures = list(predictor_pictures({"predictors": entries}))
    assert [picture.name for picture in pictures] == ["predictors", "predictors_gap"]
    assert "one +0.60 [+0.40, +0.80], other -0.60" in pictures[0].alt
    assert pictures[0].content.startswith(b"\x89PNG")
    assert list(predictor_pictures({"predictors": [entry("one", 0.6, 0.4, 0.8, 4)]})) == []
    section = predictors_section({"predictors": entries}, ["predictors", "returns"])
    assert section.pictures == ["predictors"]
    assert "a correlation of 0.35 from zero" in section.note
