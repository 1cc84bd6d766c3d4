"""What the report of a mixture search says: nothing that the intervals do not allow."""

from __future__ import annotations

from typing import Any

import numpy as np

from search.headline import NO_EFFECT
from search.mixture_measures import mixture_predictors
from search.mixture_pilot import design_section
from search.mixture_report import add_mixture_headline, build_mixture_tiles
from search.mixture_sections import arms_section, front, search_section, weights_text


def returns(mean: float) -> dict[str, Any]:
    value = {"mean": mean, "low": mean - 0.1, "high": mean + 0.1}
    both = {"validation": value, "test": value}
    return {"returns": both, "normalized": both, "statistics": {}}


def findings(searched: float, low: float, high: float) -> dict[str, Any]:
    weights = {"search": {"a": 0.7, "b": 0.3}, "stratified": {"a": 0.5, "b": 0.5}}
    scores = {"search": searched, "stratified": 0.5}
    difference = {"point": (low + high) / 2, "low": low, "high": high, "role": "test", "confidence": 0.95}
    return {
        "arms": [{"arm": n, "how": n, "weights": weights[n], "values": {}, **returns(scores[n])} for n in weights],
        "differences": {"search": difference | {"resolved": low > 0 or high < 0}},
        "baseline": "stratified",
        "compute": {name: {"trials": 4.0, "transitions_seen": 100.0} for name in weights},
        "random": returns(0.1),
        "mode": "sampled",
        "bootstrap": {"confidence": 0.95},
        "objectives": ["eval/validation/normalized_return", "cost/wall_s"],
        "sources": {"a": {}, "b": {}},
        "configurations": [
            {"arm": "search", "number": n, "losses": losses, "weights": [0.5, 0.5], "values": {"train.batch_size": 8}}
            for n, losses in enumerate([[-0.5, 3.0], [-0.4, 4.0], [-0.3, 1.0], None])
        ],
    }


def test_the_best_mixture_is_named_with_its_interval_and_the_difference() -> None:
    found = add_mixture_headline(findings(0.8, 0.1, 0.3))
    assert found["effect_detected"]
    assert found["best_arm"] == "search"
    for part in ("a 70 %, b 30 %", "0.80 [0.70, 0.90]", "+0.20 [+0.10, +0.30] against 'stratified' at equal compute"):
        assert part in found["headline"]


def test_an_interval_that_holds_zero_is_no_effect() -> None:
    found = add_mixture_headline(findings(0.8, -0.1, 0.3))
    assert found["headline"] == NO_EFFECT
    assert not found["effect_detected"]
    assert "a 70 %, b 30 %" in found["explanation"], "the best mixture is named all the same"


def test_a_baseline_that_wins_is_said_to_win() -> None:
    found = add_mixture_headline(findings(0.3, 0.1, 0.3))
    assert found["best_arm"] == "stratified"
    assert found["headline"] == NO_EFFECT
    assert "no arm did better than the baseline 'stratified'" in found["explanation"]


def test_several_objectives_show_their_front() -> None:
    tried = findings(0.8, 0.1, 0.3)["configurations"][:3]
    assert [entry["number"] for entry in front(tried)] == [0, 2], "1 is worse and slower than 0"
    table = search_section(findings(0.8, 0.1, 0.3), []).table
    assert table is not None
    assert [row[1:4] for row in table.rows] == [["0", "0.500", "3.000"], ["2", "0.300", "1.000"]]


def test_arms_stand_beside_their_compute_and_the_random_policy() -> None:
    table = arms_section(findings(0.8, 0.1, 0.3), []).table
    assert table is not None
    assert [row[0] for row in table.rows] == ["search", "stratified", "random policy"]
    assert table.rows[0][4:] == ["+0.20 [+0.10, +0.30]", "4", "100"]
    assert table.rows[1][4] == "baseline"


def test_small_weights_are_left_out_of_texts() -> None:
    assert weights_text({"a": 0.004, "b": 0.596, "c": 0.4}) == "b 60 %, c 40 %"


SELECTED = {"rule": "validation", "oracle": False}


def alone(correlation: float) -> dict[str, Any]:
    found = findings(0.8, 0.1, 0.3)
    value = {"point": correlation, "low": correlation - 0.1, "high": correlation + 0.1, "reason": ""}
    entry = {"name": "state_vendi", "says": "", "num_mixtures": 64, "correlation": value, "gap_correlation": value}
    return {**found, "arms": found["arms"][:1], "differences": {}, "predictors": [entry]}


def test_a_study_of_one_arm_is_about_what_predicts() -> None:
    found = add_mixture_headline(alone(0.7))
    assert found["headline"].startswith("Over 64 data sets the validation return goes most with state_vendi (+0.70")
    assert found["effect_detected"]
    assert "a 70 %, b 30 %" in found["explanation"]
    none = add_mixture_headline(alone(0.05))
    assert (none["headline"], none["effect_detected"]) == (NO_EFFECT, False)
    assert "goes most with no measure" in none["explanation"]
    compared = [tile.label for tile in build_mixture_tiles({**found, "ledger": [], "selection": SELECTED})]
    assert "Against the baseline" not in compared


def test_what_was_stated_beforehand_is_in_the_first_lines_and_in_a_table() -> None:
    design = {
        "smallest_difference": 0.12, "power": 0.8, "confidence": 0.95, "num_runs": 8, "num_levels": 200,
        "spread_of_runs": 0.01, "spread_of_rest": 0.4, "pilot_runs": 6, "pilot_levels": 100, "mean": 0.5,
        "stated_at": "2026-01-01T00:00:00+00:00",
    }  # fmt: skip
    found = add_mixture_headline({**findings(0.8, 0.1, 0.3), "design": design})
    assert "Stated before the search: a difference of 0.12 can be detected." in found["explanation"]
    table = design_section(found).table
    assert table is not None
    assert table.rows[0] == ["smallest difference between arms that is detected", "0.120"]
    assert design_section(findings(0.8, 0.1, 0.3)).table is None


def test_only_configurations_that_differ_in_their_data_alone_are_correlated() -> None:
    tried = [
        {"measures": {"state_vendi": float(n)}, "reached": [n / 10, 1.0], "values": {}, "losses": [-n / 10]}
        for n in range(8)
    ]
    other = {"measures": {"state_vendi": 99.0}, "reached": [0.0, 1.0], "values": {"train.learning_rate": 1.0}}
    (found,) = mixture_predictors([*tried, other, {"values": {}}], np.random.default_rng(0), num_resamples=50)
    assert found["num_mixtures"] == 8
    assert found["correlation"]["point"] == 1.0
    assert found["gap_correlation"]["point"] == -1.0
