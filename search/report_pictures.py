"""The report's pictures, drawn by `metrics.plots` from the report's numbers."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure

from metrics import plots
from metrics.history import series
from metrics.protocol import Role
from search.findings import HELDOUT_ROLES
from search.headline import random_band
from search.study import Study

CURVE_ROLES = (Role.TRAIN, Role.TRAIN_HELDOUT, Role.VALIDATION)


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One drawn picture."""

    name: str
    caption: str
    png: bytes
    width: int = 760
    """Pixels it is shown at; it is drawn finer."""

    @property
    def file(self) -> str:
        """Its file beside the report."""
        return f"{self.name}.png"


def draw_pictures(findings: Mapping[str, Any], study: Study) -> list[Picture]:
    """Every picture for which there are numbers."""
    return [*_returns(findings), *_gap(findings), *_mixtures(findings), *_heatmaps(findings), *_curves(findings, study)]


def _returns(findings: Mapping[str, Any]) -> Iterator[Picture]:
    levels = [entry for entry in findings["levels"] if entry["returns"]]
    if not levels:
        return
    random = random_band(findings)
    figure = plots.return_against_levels(
        levels,
        key="returns",
        title=f"{findings['env']}: return against the number of training levels",
        ylabel=f"episode return ({findings['mode']} actions)",
        references={"random policy": random} if random else None,
    )
    percent = f"{100 * findings['bootstrap']['confidence']:.3g} %"
    caption = f"Bars and bands: {percent} intervals over levels and train seeds."
    yield picture("returns", caption, figure)


def _gap(findings: Mapping[str, Any]) -> Iterator[Picture]:
    levels = [entry for entry in findings["levels"] if entry["gap"]]
    if levels:
        role = levels[0]["gap"]["role"]
        yield picture("gap", f"Train minus {role}, with intervals.", plots.gap_against_levels(levels), width=640)


def _mixtures(findings: Mapping[str, Any]) -> Iterator[Picture]:
    """Return on the most sealed split that was played, one line per mixture."""
    entries = findings["mixtures"]
    role = next((r for r in HELDOUT_ROLES if entries and all(r.value in e["returns"] for e in entries)), None)
    if role is None:
        return
    lines: dict[str, dict[str, list[float]]] = {}
    for entry in entries:
        value = entry["returns"][role.value]
        line = lines.setdefault(entry["mixture"], {"x": [], "mean": [], "low": [], "high": []})
        line["x"].append(entry["num_levels"])
        for key in ("mean", "low", "high"):
            line[key].append(value["mean"] if value[key] is None else value[key])
    title = f"{role.value.capitalize()} return by mixture over {findings['strata']}"
    ylabel = f"episode return ({findings['mode']} actions)"
    figure = plots.curves(lines, title=title, ylabel=ylabel, xlabel="training levels")
    yield picture("mixtures", "The same number of transitions everywhere; bands are intervals.", figure)


def _heatmaps(findings: Mapping[str, Any]) -> Iterator[Picture]:
    for role in (Role.TEST, Role.VALIDATION):
        values = findings["per_level"].get(role.value)
        if values:
            labels = [f"{count:,} levels" for count in values["num_levels"]]
            title = f"{role.value.capitalize()} levels one by one"
            figure = plots.per_level_heatmap(values["normalized"], labels, title=title)
            caption = f"Each column is one of {len(values['levels'])} {role.value} levels."
            yield picture(f"levels_{role.value}", caption, figure)


def _curves(findings: Mapping[str, Any], study: Study) -> Iterator[Picture]:
    """One plot per level count, all with the same vertical axis."""
    figures: dict[int, Figure] = {}
    for entry in findings["levels"]:
        lines = training_curves([study.history(policy) for policy in entry["policies"]])
        if lines:
            count = entry["num_levels"]
            title = f"{count:,} training levels"
            figures[count] = plots.curves(lines, title=title, ylabel="normalized return")
    limits = [figure.axes[0].get_ylim() for figure in figures.values()]
    for count, figure in figures.items():
        figure.axes[0].set_ylim(min(low for low, _ in limits), max(high for _, high in limits))
        yield picture(f"curves_{count}", f"Trained on {count:,} levels.", figure, width=470)


def training_curves(histories: Sequence[Sequence[dict[str, Any]]]) -> dict[str, dict[str, list[float]]]:
    """Train and validation return over learner steps: mean, lowest and highest over the runs that reached a step."""
    lines = {}
    for role in CURVE_ROLES:
        by_step: dict[int, list[float]] = {}
        for history in histories:
            for step, value in zip(*series(history, f"eval/{role.value}/normalized_return"), strict=True):
                by_step.setdefault(step, []).append(value)
        if by_step:
            steps = sorted(by_step)
            lines[role.value] = {
                "x": [float(step) for step in steps],
                "mean": [sum(by_step[step]) / len(by_step[step]) for step in steps],
                "low": [min(by_step[step]) for step in steps],
                "high": [max(by_step[step]) for step in steps],
            }
    return lines


def picture(name: str, caption: str, figure: Figure, width: int = 760) -> Picture:
    """A drawn figure as PNG."""
    buffer = io.BytesIO()
    # Without the library's version the same numbers give the same bytes.
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return Picture(name=name, caption=caption, png=buffer.getvalue(), width=width)
