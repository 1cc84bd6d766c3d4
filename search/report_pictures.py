"""The report's pictures, drawn by `metrics.plots` and `metrics.panels` from the report's numbers."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from metrics import panels, plots
from metrics.figure import PHONE, WIDE, Shape
from metrics.protocol import Role
from metrics.robustness_plot import robustness_figure
from search.headline import interval_text, random_band
from search.predictors_section import predictor_pictures
from search.report_alt import (
    gap_alt,
    heatmap_alt,
    lines_alt,
    mixtures_alt,
    profiles_alt,
    returns_alt,
    robustness_alt,
    sheet_alt,
)
from search.report_media import THIRD, Animation, Picture
from search.report_parts import SPLITS, percent_text
from search.report_shown import animations, shown_file
from search.robustness import regret_pictures
from search.surface_section import surface_pictures

Findings = Mapping[str, Any]


def draw_pictures(findings: Findings, study_dir: Path) -> list[Picture | Animation]:
    """Every picture for which there are numbers or files."""
    return [
        *surface_pictures(findings),
        *_returns(findings),
        *_gap(findings),
        *_heatmaps(findings),
        *_profiles(findings),
        *_mixtures(findings),
        *predictor_pictures(findings),
        *_robustness(findings),
        *_curves(findings),
        *regret_pictures(findings),
        *shown_pictures(findings, study_dir),
    ]


def shown_pictures(findings: Findings, study_dir: Path) -> list[Picture | Animation]:
    """Contact sheets and animations of what was played for the report."""
    moving = [
        Animation(name=name, alt=alt, content=shown_file(study_dir, file)) for name, file, alt in animations(findings)
    ]
    return [*_sheets(findings, study_dir), *moving]


def _returns(findings: Findings) -> Iterator[Picture]:
    levels = [entry for entry in findings["levels"] if entry["returns"]]
    if not levels or (len(levels) == 1 and findings.get("surface")):
        return
    random = random_band(findings)

    def draw(shape: Shape) -> Figure:
        return plots.return_against_levels(
            levels,
            key="returns",
            title=f"{findings['env']}: return against the number of training levels",
            ylabel="episode return" + (f" ({findings['mode']} actions)" if shape.titled else ""),
            references={"random policy": random} if random else None,
            shape=shape,
        )

    caption = (
        "The space between the blue line and the others is the generalization gap. "
        f"Bars and bands: {percent_text(findings)} intervals over levels and train seeds."
    )
    yield Picture(name="returns", caption=caption, alt=returns_alt(findings), draw=draw)


def _gap(findings: Findings) -> Iterator[Picture]:
    levels = [entry for entry in findings["levels"] if entry["gap"]]
    if levels and not (len(levels) == 1 and findings.get("surface")):
        role, first, last = levels[0]["gap"]["role"], levels[0], levels[-1]
        caption = (
            f"Train minus {SPLITS[role]}, normalized: {interval_text(first['gap'], signed=True)} at "
            f"{first['num_levels']:,} levels, {interval_text(last['gap'], signed=True)} at {last['num_levels']:,}. "
            "On the dashed line nothing is lost on unseen levels."
        )
        draw = partial(plots.gap_against_levels, levels)
        yield Picture(name="gap", caption=caption, alt=gap_alt(findings), draw=_shaped(draw))


def _heatmaps(findings: Findings) -> Iterator[Picture]:
    for role in (Role.TEST, Role.VALIDATION):
        values = findings["per_level"].get(role.value)
        if not values:
            continue
        labels = [f"{count:,} levels" for count in values["num_levels"]]
        draw = partial(
            plots.per_level_heatmap,
            values["normalized"],
            labels,
            title=f"{SPLITS[role.value].capitalize()} levels one by one",
        )
        best = np.asarray(values["normalized"]).max(axis=0)
        unsolved = int((best <= np.asarray(values["normalized"]).min() + 1e-9).sum())
        caption = (
            f"Each column is one of {len(values['levels']):,} {SPLITS[role.value]} levels, each row the policies of "
            f"one number of training levels. On {unsolved:,} levels no row rises above the lowest return."
        )
        yield Picture(
            name=f"levels_{role.value}", caption=caption, alt=heatmap_alt(values, role.value), draw=_shaped(draw),
            shape=WIDE,
        )  # fmt: skip


def _profiles(findings: Findings) -> Iterator[Picture]:
    profiles = findings["profiles"]
    if not profiles:
        return
    split = SPLITS[profiles["role"]]
    lines = {f"{int(count):,} training levels": line for count, line in profiles["lines"].items()}
    draw = partial(panels.performance_profile, lines, title=f"Performance profiles on {split} levels")
    caption = (
        f"Share of (level, train seed) pairs of the {split} split that score above t. Bands: {percent_text(findings)} "
        "at each t, over levels and train seeds."
    )
    yield Picture(name="profiles", caption=caption, alt=profiles_alt(lines, split), draw=_shaped(draw))


def _robustness(findings: Findings) -> Iterator[Picture]:
    for number, entry in enumerate(findings["robustness"]):
        seeds = f", mean over {len(entry['policies'])} train seeds" if len(entry["policies"]) > 1 else ""
        draw = partial(robustness_figure, entry["curve"], title=f"Robustness of {entry['policy']}")
        caption = f"{entry['policy']}{seeds}: normalized return against the strength of each change, and under shifts."
        yield Picture(
            name=f"robustness_{number}", caption=caption, alt=robustness_alt(entry), draw=_shaped(draw), shape=WIDE
        )


def _mixtures(findings: Findings) -> Iterator[Picture]:
    """Return on the most sealed split that every mixture was played on."""
    entries = findings["mixtures"] if findings["strata"] else []
    roles = (Role.TEST.value, Role.VALIDATION.value, Role.TRAIN_HELDOUT.value)
    role = next((role for role in roles if entries and all(role in entry["returns"] for entry in entries)), None)
    if role is None:
        return
    strata = sorted({name for entry in entries for name in entry["strata"]})
    points = [
        panels.MixturePoint(
            label=entry["mixture"],
            group=f"{entry['num_levels']:,} training levels",
            shares={name: entry["strata"].get(name, {"weight": 0.0})["weight"] for name in strata},
            value=entry["returns"][role]["mean"],
        )
        for entry in entries
    ]
    value_label = f"{SPLITS[role]} return"
    alt = mixtures_alt(points, value_label)
    if len(strata) > 1:
        draw = partial(panels.mixtures, points, value_label=value_label, title=f"Mixtures over {findings['strata']}")
        caption = (
            f"Where a mixture lies says what its draws are of, its color the {value_label}; the same number of "
            "transitions everywhere."
        )
        yield Picture(name="mixtures", caption=caption, alt=alt, draw=_shaped(draw))
    draw = partial(
        plots.curves,
        _mixture_lines(entries, role),
        title=f"{SPLITS[role].capitalize()} return by mixture over {findings['strata']}",
        ylabel=f"episode return ({findings['mode']} actions)",
        xlabel="number of training levels (log scale)",
        log_x=True,
    )
    caption = f"The {value_label} of each mixture against the number of levels; bands are intervals."
    yield Picture(name="mixtures_levels", caption=caption, alt=alt, draw=_shaped(draw))


def _mixture_lines(entries: Sequence[Mapping[str, Any]], role: str) -> dict[str, dict[str, list[float]]]:
    lines: dict[str, dict[str, list[float]]] = {}
    for entry in entries:
        value = entry["returns"][role]
        line = lines.setdefault(entry["mixture"], {"x": [], "mean": [], "low": [], "high": []})
        line["x"].append(entry["num_levels"])
        for key in ("mean", "low", "high"):
            line[key].append(value["mean"] if value[key] is None else value[key])
    return lines


def _curves(findings: Findings) -> Iterator[Picture]:
    """One plot per level count, all with the same vertical axis."""
    curves = {count: lines for count, lines in findings["curves"].items() if _has_course(lines)}
    if not curves:
        return
    ends = [value for lines in curves.values() for line in lines.values() for value in (*line["low"], *line["high"])]
    margin = 0.05 * (max(ends) - min(ends) or 1.0)
    limits = (min(ends) - margin, max(ends) + margin)
    for count, lines in curves.items():
        title = f"{int(count):,} training levels"
        draw = partial(_curve, lines, f"Normalized return while learning: {title}", limits)
        caption = f"{title}: " + ", ".join(
            f"{SPLITS[role]} ends at {line['mean'][-1]:.2f}" for role, line in lines.items()
        )
        yield Picture(
            name=f"curves_{count}", caption=caption + ".", alt=lines_alt(lines, title), draw=draw, shape=THIRD
        )


def _curve(lines: Mapping[str, Any], title: str, limits: tuple[float, float], shape: Shape) -> Figure:
    figure = plots.curves(lines, title=title, ylabel="normalized return", shape=shape)
    figure.axes[0].set_ylim(*limits)
    return figure


def _has_course(lines: Mapping[str, Mapping[str, Sequence[float]]]) -> bool:
    return any(len(line["x"]) > 1 for line in lines.values())


def _sheets(findings: Findings, study_dir: Path) -> Iterator[Picture]:
    from PIL import Image

    for sheet in (findings["shown"] or {"sheets": []})["sheets"]:
        if "file" not in sheet:
            continue
        strip = np.asarray(Image.open(io.BytesIO(shown_file(study_dir, sheet["file"]))).convert("RGB"))
        frames = [
            panels.SheetFrame(image=image, label=f"{level} · {value:g}", won=won)
            for image, level, value, won in zip(
                np.split(strip, len(sheet["levels"]), axis=1),
                sheet["levels"], sheet["episode_returns"], sheet["won"], strict=True,
            )
        ]  # fmt: skip
        split = SPLITS[sheet["role"]]
        caption = (
            f"{len(frames)} of {sheet['num_played']:,} {split} levels; it wins {sheet['num_won']:,} of "
            f"{sheet['num_played']:,}."
        )
        yield Picture(
            name=f"sheet_{sheet['role']}", caption=caption, alt=sheet_alt(sheet),
            draw=partial(_sheet, frames, f"{split.capitalize()} levels: {sheet['policy']}"), shape=WIDE,
        )  # fmt: skip


def _sheet(frames: Sequence[panels.SheetFrame], title: str, shape: Shape) -> Figure:
    columns = 4 if shape == PHONE else 8
    return panels.contact_sheet(frames, columns=columns, title=title, shape=shape)


def _shaped(draw: Callable[..., Figure]) -> Callable[[Shape], Figure]:
    return lambda shape: draw(shape=shape)
