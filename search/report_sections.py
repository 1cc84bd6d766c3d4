"""All sections of a report in the order of reading: the answer, the evidence, how it came about, what is left out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from metrics.profiles import TOO_FEW_VALUES
from search.predictors_section import predictors_section
from search.report_parts import Findings, Section
from search.report_provenance import (
    datasets_section,
    failures_section,
    ledger_section,
    reproduction_section,
    selection_section,
    trials_section,
)
from search.report_results import (
    aggregates_section,
    curves_section,
    gap_section,
    levels_section,
    mixtures_section,
    modes_section,
    profiles_section,
    returns_section,
    worst_section,
)
from search.report_shown import episodes_section, sheets_section
from search.robustness import regrets_section, robustness_section
from search.surface_section import surface_section


def build_sections(findings: Findings, pictures: Sequence[str]) -> list[Section]:
    """All sections; those with nothing to show are left out.

    Args:
        findings: What `report.json` holds.
        pictures: Names of the pictures that were drawn.
    """
    sections = [
        surface_section(findings, pictures),
        returns_section(findings, pictures),
        gap_section(findings, pictures),
        episodes_section(findings, pictures),
        sheets_section(findings, pictures),
        levels_section(pictures),
        profiles_section(findings, pictures),
        mixtures_section(findings, pictures),
        predictors_section(findings, pictures),
        robustness_section(findings, pictures),
        curves_section(findings, pictures),
        modes_section(findings),
        aggregates_section(findings),
        worst_section(findings),
        selection_section(findings),
        regrets_section(findings, pictures),
        ledger_section(findings),
        datasets_section(findings),
        trials_section(findings),
        failures_section(findings),
        reproduction_section(findings),
        Section(title="Not on this page", short="Left out", lines=list(_left_out(findings, pictures))),
    ]
    return [section for section in sections if not section.empty]


def _left_out(findings: Findings, pictures: Sequence[str]) -> Iterator[str]:
    """One line for each panel that this study has no data for, and why."""
    if not any("test" in entry["returns"] for entry in findings["levels"]):
        yield "Test returns: the sealed test has not been played yet; `gengap sweep --resume` plays it after selection."
    if not findings["shown"]:
        yield (
            "Episodes and contact sheets: nothing was played for them. `gengap report DIR --animate` does it where the "
            "trials' checkpoints are there; the sealed test is not read for it."
        )
    if "profiles" not in pictures:
        yield (
            f"Performance profiles: the returns take fewer than {TOO_FEW_VALUES} different values, so a profile says "
            "what the mean says."
            if findings["per_level"]
            else "Performance profiles: no held-out level was played by every level count."
        )
    if not any(name.startswith("curves_") for name in pictures):
        yield (
            "Training curves: the trials were evaluated fewer than two times while they learned "
            "(train.evaluate_every sets how often)."
        )
    if not findings["robustness"]:
        yield (
            "Robustness: no policy was played under changes. `gengap report DIR --robustness` plays the selected "
            "configuration, where the trials' checkpoints are there."
        )
    if not findings["regrets"]:
        yield (
            "What each selection rule would have chosen: `gengap rules DIR --test REASON` finds out, and for that "
            "reads the test levels with every policy."
        )
