"""A second axis of a study: what it may be, what each of its trials learns from, and what the report says of it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data.dataset import Dataset
from envs.errors import UsageError
from metrics.protocol import Role
from metrics.surface import surface
from metrics.table import EvaluationTable
from search.config import SweepConfig
from search.headline import NO_EFFECT
from search.level_scores import Bootstrap
from search.phases import collect_datasets
from search.preflight import check_names, study_bytes
from search.recipes import build_sweep
from search.selection import select_configurations
from search.space import TrialSpec, data_specs, dataset_path, experiment_of, trial_specs
from search.study import Study
from search.surface import add_surface_headline, effect_text, surface_findings
from search.surface_section import surface_pictures, surface_section
from search.variants import value_of
from tests.search.synthetic_study import rows
from trainers.training_data import open_training_data


def small(**changes: Any) -> SweepConfig:
    return dataclasses.replace(build_sweep("grid-diversity"), **changes)


@pytest.mark.parametrize(
    ("variants", "message"),
    [
        (("transitions=50",), "two or more"),
        (("transitions=50", "transitions=50"), "none twice"),
        (("transitions=90", "transitions=50"), "increasing"),
        (("transitions=90", "noise=0.5"), "all of one NAME"),
        (("noise", "noise=0.5"), "write NAME=VALUE"),
        (("noise=some", "noise=more"), "has no number"),
        (("transitions=0", "transitions=50"), "whole numbers"),
        (("transitions=1.5", "transitions=50"), "whole numbers"),
    ],
)
def test_what_is_no_axis_is_refused(variants: tuple[str, ...], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        small(variants=variants)


def test_one_axis_at_a_time_and_only_options_that_the_source_has() -> None:
    with pytest.raises(UsageError, match="has one of them"):
        small(variants=("noise=0.1", "noise=0.2"), strata="theme")
    with pytest.raises(UsageError, match="Did you mean 'noise'"):
        check_names(small(variants=("nois=0.1", "nois=0.2")))
    small(variants=("noise=0.1", "noise=0.2"), level_counts=(5,))
    with pytest.raises(UsageError, match="at least two different counts"):
        small(level_counts=(5,))


def test_sizes_share_one_recording_and_a_smaller_one_is_part_of_a_larger_one(tmp_path: Path) -> None:
    variants = ("transitions=60", "transitions=240")
    config = small(level_counts=(6,), variants=variants, learning_rates=(1e-3,), num_actors=0)
    records = collect_datasets(config, tmp_path)
    assert [record["realised_transitions"] for record in records] == [60, 240]
    assert [record["realised_levels"] for record in records] == [6, 6], "diversity stands still"
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["levels-6"]
    views = [open_training_data(experiment_of(config, spec, tmp_path)).view for spec in data_specs(config)]
    keys = [{bytes(checksum) for checksum in view.episodes["checksum"]} for view in views]
    assert keys[0] < keys[1] or len(keys[0] - keys[1]) == 1, "but for the episode that was cut"
    assert study_bytes(config) < study_bytes(dataclasses.replace(config, level_counts=(6, 12)))


def test_quality_is_recorded_anew_for_each_value(tmp_path: Path) -> None:
    config = small(level_counts=(4, 40), variants=("noise=0", "noise=0.8"), num_transitions=300, num_actors=0)
    records = {(r["num_levels"], r["mixture"]): r for r in collect_datasets(config, tmp_path)}
    assert len(trial_specs(config)) == 2 * 2 * 2 * 2
    assert {record["realised_transitions"] for record in records.values()} == {300}
    assert {"state_vendi", "goal_coverage_1", "mean_return"} < set(records[4, "noise=0"]["measures"])
    assert not [name for name in records[4, "noise=0"]["measures"] if "/" in name]
    for count in (4, 40):
        assert records[count, "noise=0"]["mean_return"] > records[count, "noise=0.8"]["mean_return"] + 0.05
    first, second = (Dataset.open(dataset_path(tmp_path, spec)) for spec in data_specs(config)[:2])
    assert first.levels.tolist() == second.levels.tolist(), "the same levels"


AXIS = ("noise=0", "noise=0.5")


def study_of(tested: dict[tuple[int, str], float], axis: str = "noise") -> Study:
    """Two seeds in each cell, which solve this share of the test levels."""
    frames = []
    for (count, name), share in tested.items():
        for seed in (0, 1):
            spec = TrialSpec(count, 1e-3, seed, name)
            columns = {"config_id": spec.config_id, "num_levels": count, "mixture": name}
            for role, success in ((Role.TRAIN, 1.0), (Role.VALIDATION, share), (Role.TEST, share)):
                frames.append(EvaluationTable(rows(spec.trial_id, role, success, train_seed=seed, **columns)))
    table = EvaluationTable.concat(frames)
    return Study(
        directory=Path("x"),
        name="x",
        env="grid/default",
        axis=axis,
        mixtures=AXIS,
        level_counts=tuple(sorted({count for count, _ in tested})),
        num_transitions=2000,
        table=table,
        selection=select_configurations(table, "validation"),
    )


def findings_of(tested: dict[tuple[int, str], float], train: float = 9.5) -> dict[str, Any]:
    study = study_of(tested)
    found = surface_findings(study, "sampled", Bootstrap(num_resamples=300))
    entries = [
        {
            "num_levels": count,
            "mixture": name,
            "realised_transitions": 2000,
            "config_id": f"{count}-{name}",
            "returns": {
                "train": {"mean": train, "low": train - 0.5, "high": train + 0.5},
                "test": {"mean": 10 * share, "low": 10 * share - 1, "high": 10 * share + 1},
            },
            "gap": {"point": 1 - share, "low": None, "high": None},
        }
        for (count, name), share in tested.items()
    ]
    nobody: dict[str, Any] = {"returns": {}}
    random = {"returns": {"validation": {"mean": 4.0, "low": 3.0, "high": 5.0}}}
    best = {"overall": entries[-1]["config_id"]}
    return add_surface_headline(
        {
            "surface": found, "mixtures": entries, "num_transitions": 2000, "env": "grid/default", "mode": "sampled",
            "levels": entries, "random": random, "selection": best, "expert": nobody, "other_policies": [],
        }
    )  # fmt: skip


CELLS = {(5, AXIS[0]): 0.3, (5, AXIS[1]): 0.35, (80, AXIS[0]): 0.4, (80, AXIS[1]): 0.9}


def test_each_axis_has_an_effect_where_the_other_stands_still() -> None:
    found = findings_of(CELLS)
    effects = {(e["along"], tuple(e["first"]), tuple(e["last"])): e for e in found["surface"]["effects"]}
    assert len(effects) == 4
    assert effects["noise", (80, AXIS[0]), (80, AXIS[1])]["point"] == pytest.approx(5.0)
    assert effects["noise", (5, AXIS[0]), (5, AXIS[1])]["point"] == pytest.approx(0.5)
    assert effects["training levels", (5, AXIS[0]), (80, AXIS[0])]["point"] == pytest.approx(1.0)
    assert {e["confidence"] for e in effects.values()} == {1 - 0.05 / 4}
    assert found["headline"] == (
        "Test return rises from 4.00 [3.00, 5.00] at noise 0 to 9.00 [8.00, 10.00] at noise 0.5, with 80 training "
        "levels with the same 2,000 transitions."
    )
    assert "5 to 80 training levels at noise 0.5: test return +5.50" in found["explanation"]
    assert "98.8 % intervals for each of 4" in found["explanation"]


def test_an_axis_without_an_effect_is_said_to_have_none() -> None:
    flat = {(5, AXIS[0]): 0.4, (5, AXIS[1]): 0.4, (80, AXIS[0]): 0.4, (80, AXIS[1]): 0.4}
    found = findings_of(flat)
    assert found["headline"] == NO_EFFECT
    assert not found["effect_detected"]


def test_an_effect_of_the_other_axis_is_not_called_none() -> None:
    cells = {(5, AXIS[0]): 0.2, (5, AXIS[1]): 0.2, (80, AXIS[0]): 0.9, (80, AXIS[1]): 0.9}
    found = findings_of(cells)
    assert found["effect_detected"]
    assert found["headline"].startswith(
        "No effect of noise detectable at 80 training levels; 2 of 4 effects exclude zero, the largest 5 to 80 "
        "training levels at noise 0: test return +7.00 ["
    )


def test_policies_that_learned_nothing_show_no_effect() -> None:
    found = findings_of(CELLS, train=5.2)
    assert (found["headline"], found["effect_detected"]) == (NO_EFFECT, False)
    assert "on its own training levels, 5.20 [4.70, 5.70], does not lie above" in found["explanation"]
    assert "noise 0 to 0.5 at 80 training levels: test return +5.00" in found["explanation"]


def test_one_level_count_has_one_axis_and_a_study_without_variants_none() -> None:
    one = surface_findings(study_of({c: s for c, s in CELLS.items() if c[0] == 5}), "sampled", Bootstrap())
    assert one is not None
    assert [effect["along"] for effect in one["effects"]] == ["noise"]
    assert one["effects"][0]["confidence"] == 0.95
    assert effect_text(one["effects"][0], "noise").startswith("noise 0 to 0.5 at 5 training levels: test return +0.50")
    assert surface_findings(study_of(CELLS, axis=""), "sampled", Bootstrap()) is None


def test_the_section_has_a_row_a_cell_and_maps_where_both_axes_move() -> None:
    found = findings_of(CELLS)
    pictures = {picture.name: picture for picture in surface_pictures(found)}
    assert list(pictures) == ["surface", "surface_gap", "surface_lines"]
    assert "80 training levels and noise 0.5: 9.00" in pictures["surface"].alt
    assert all(picture.content.startswith(b"\x89PNG") for picture in pictures.values())
    section = surface_section(found, list(pictures))
    assert section.table is not None
    assert section.table.rows[3] == [
        "80", "0.5", "2,000", "9.50 [9.00, 10.00]", "—", "9.00 [8.00, 10.00]", "+0.10",
    ]  # fmt: skip
    narrow = {**found, "surface": {**found["surface"], "level_counts": [5]}}
    assert [picture.name for picture in surface_pictures(narrow)] == ["surface_lines"]
    assert surface_section(
        {"surface": None, **{k: found[k] for k in ("levels", "random", "expert", "other_policies")}}, []
    ).empty


def test_a_heat_map_says_every_number_and_refuses_another_shape() -> None:
    figure = surface(
        [[0.1, np.nan], [0.3, 0.4]], ["a", "b"], ["x", "y"], title="", xlabel="", ylabel="", value_label=""
    )
    assert {text.get_text() for text in figure.axes[0].texts} == {"0.10", "0.30", "0.40"}
    with pytest.raises(UsageError, match="2 rows and 1 columns"):
        surface([[1.0, 2.0]], ["a", "b"], ["x"], title="", xlabel="", ylabel="", value_label="")


def test_values_are_read_as_numbers() -> None:
    assert value_of("noise=0.4") == 0.4
    assert value_of("transitions=5000") == 5000
