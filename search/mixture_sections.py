"""The sections of a mixture search's report as plain data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from search.headline import interval_text
from search.mixture_pilot import design_section
from search.predictors_section import predictors_section
from search.report_parts import MISSING, SPLITS, Section, Table, count_text
from search.report_provenance import failures_section, ledger_section, reproduction_section
from search.report_shown import episodes_section, sheets_section

Findings = Mapping[str, Any]
SHOWN = 12


def build_mixture_sections(findings: Findings, pictures: Sequence[str]) -> list[Section]:
    """All sections in the order of reading; those with nothing to show are left out."""
    sections = [
        arms_section(findings, pictures),
        each_env_section(findings),
        *(section for section in (design_section(findings), predictors_section(findings, pictures)) if section.table),
        weights_section(findings),
        search_section(findings, pictures),
        episodes_section(findings, pictures),
        sheets_section(findings, pictures),
        sources_section(findings),
        ledger_section(findings),
        failures_section(findings),
        reproduction_section(findings),
    ]
    return [section for section in sections if not section.empty]


def arms_section(findings: Findings, pictures: Sequence[str]) -> Section:
    """What each arm found, in return and beside the baseline, and what it took."""
    roles = [role for role in SPLITS if any(role in arm["returns"] for arm in findings["arms"])]
    rows = []
    for arm in findings["arms"]:
        difference, spent = findings["differences"].get(arm["arm"]), findings["compute"][arm["arm"]]
        rows.append(
            [
                arm["arm"],
                arm["how"],
                *(interval_text(arm["returns"][role]) if role in arm["returns"] else MISSING for role in roles),
                "baseline" if difference is None else interval_text(difference, signed=True),
                f"{spent['trials']:.0f}",
                count_text(int(spent["transitions_seen"])),
            ]
        )
    random = findings["random"]["returns"]
    rows.append(
        ["random policy", "", *(interval_text(random[r]) if r in random else MISSING for r in roles), *[MISSING] * 3]
    )
    count, percent = max(1, len(findings["differences"])), f"{100 * findings['bootstrap']['confidence']:.3g} %"
    header = ["arm", "proposer", *(SPLITS[role] for role in roles), "minus baseline", "runs", "transitions drawn"]
    return Section(
        title="What each arm found",
        note=f"Episode return ({findings['mode']} actions) of full runs on fresh seeds, with {percent} intervals over "
        "levels and train seeds; differences on the same levels"
        + (f", {percent} for all {count} together." if count > 1 else "."),
        table=Table(header, rows),
        pictures=[name for name in pictures if name == "arms"],
    )


def each_env_section(findings: Findings) -> Section:
    """What each arm found, in every environment by itself and on average."""
    rows = [
        [env.replace("_", " "), arm, *(interval_text(returns[role]) if role in returns else MISSING for role in SPLITS)]
        for env, arms in findings.get("each_env", {}).items()
        for arm, returns in arms.items()
    ]
    return Section(
        title="In every environment",
        note=f"Normalized return. What counts in this study, and stands above, is {findings.get('judged_in', '')}.",
        table=Table(["environment", "arm", *SPLITS.values()], rows) if rows else None,
    )


def weights_section(findings: Findings) -> Section:
    """The mixtures, as proposed and as they came out."""
    rows = [
        [
            arm["arm"],
            name,
            f"{100 * arm['weights'][name]:.1f} %",
            *_realised_cells(arm["realised"]["sources"].get(name)),
        ]
        for arm in findings["arms"]
        for name in findings["sources"]
    ]
    values = [f"{arm['arm']}: {_values_text(arm['values'])}" for arm in findings["arms"] if arm["values"]]
    return Section(
        title="Mixtures",
        note="Weight is the share of draws; epochs is how often a transition is drawn in a full run. "
        + ("Other dimensions: " + "; ".join(values) + "." if values else ""),
        table=Table(["arm", "source", "weight", "levels", "transitions", "epochs"], rows),
    )


def search_section(findings: Findings, pictures: Sequence[str]) -> Section:
    """The best configurations of each arm; a configuration is the mean of its seeds."""
    rows = []
    for arm in findings["arms"]:
        tried = [c for c in findings["configurations"] if c["arm"] == arm["arm"]]
        ended = sorted(front([c for c in tried if c["losses"]]), key=lambda c: float(c["losses"][0]))
        for entry in ended[: max(3, SHOWN // len(findings["arms"]))]:
            weights = dict(zip(findings["sources"], entry["weights"], strict=True))
            shown = [f"{_value(n, v):.3f}" for n, v in zip(findings["objectives"], entry["losses"], strict=False)]
            padded = shown + [MISSING] * (len(findings["objectives"]) - len(shown))
            rows.append(
                [arm["arm"], str(entry["number"]), *padded, weights_text(weights), _values_text(entry["values"])]
            )
    header = ["arm", "number", *findings["objectives"], "mixture", "other dimensions"]
    several = len(findings["objectives"]) > 1
    return Section(
        title="The best configurations tried",
        note="On validation levels, while searching: the best of many noisy numbers flatters. What counts is above."
        + (" Configurations that another one of their arm beats in every objective are left out." if several else ""),
        table=Table(header, rows) if rows else None,
        pictures=[name for name in pictures if name == "search"],
    )


def sources_section(findings: Findings) -> Section:
    """What the sources hold."""
    rows = [
        [
            name,
            record["played_by"],
            count_text(record["levels"]),
            count_text(record["episodes"]),
            count_text(record["transitions"]),
            f"{record['mean_return']:.2f}",
            record["fingerprint"],
        ]
        for name, record in findings["sources"].items()
    ]
    header = ["source", "played by", "levels", "episodes", "transitions", "mean return", "fingerprint"]
    return Section(title="Sources", table=Table(header, rows))


def front(configurations: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """With several objectives those that no other beats in all of them; with one objective all."""
    losses = [tuple(entry["losses"]) for entry in configurations]
    if not losses or len(losses[0]) == 1:
        return list(configurations)
    return [
        entry
        for entry, own in zip(configurations, losses, strict=True)
        if not any(other != own and all(a <= b for a, b in zip(other, own, strict=True)) for other in losses)
    ]


def weights_text(weights: Mapping[str, float]) -> str:
    """``"expert 62 %, random 38 %"``, the largest first; what is below half a percent is left out."""
    shares = sorted(((value, name) for name, value in weights.items() if value >= 0.005), reverse=True)
    return ", ".join(f"{name} {100 * value:.0f} %" for value, name in shares)


def _realised_cells(source: Mapping[str, Any] | None) -> list[str]:
    if source is None:
        return [MISSING] * 3
    return [count_text(source["levels"]), count_text(source["transitions"]), f"{source['epochs']:.1f}"]


def _values_text(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{n} {v:.3g}" if isinstance(v, float) else f"{n} {v}" for n, v in values.items())


def _value(objective: str, loss: float) -> float:
    return -loss if objective.startswith("eval/") and not objective.startswith("eval/gap/") else loss
