"""The report's section and pictures of a study with a second axis."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from metrics import plots
from metrics.figure import Shape
from metrics.protocol import Role
from metrics.surface import surface as draw_surface
from search.headline import interval_text
from search.report_media import Picture
from search.report_parts import MISSING, SPLITS, Findings, Section, Table, cells, count_text, played_roles
from search.surface import LEVELS, cells_of, effect_text, value_text
from search.variants import TRANSITIONS, value_of

MAP, LINES, GAP = "surface", "surface_lines", "surface_gap"


def surface_section(findings: Findings, pictures: Sequence[str]) -> Section:
    """Every cell, and what each axis does."""
    surface = findings.get("surface")
    sized = surface is not None and surface["axis"] == TRANSITIONS
    rows = []
    for count, name, entry in cells_of(findings) if surface else ():
        rows.append(
            [
                f"{count:,}",
                value_text(name),
                *([] if sized else [count_text(entry["realised_transitions"])]),
                *cells(entry["returns"], findings),
                interval_text(entry["gap"], signed=True) if entry["gap"] else MISSING,
            ]
        )
    axis = surface["axis"] if surface else ""
    return Section(
        title=f"Return over {LEVELS} and {axis}",
        short="Surface",
        note="The configuration selected among each cell's trials. Every policy has the same number of learner steps. "
        + (_effects_note(surface) if surface else ""),
        lines=[effect_text(effect, axis) for effect in surface["effects"]] if surface else (),
        table=Table(
            [
                LEVELS,
                axis,
                *([] if sized else [TRANSITIONS]),
                *(SPLITS[role] for role in played_roles(findings)),
                "gap",
            ],
            rows,
        )
        if rows
        else None,
        pictures=[name for name in pictures if name in (MAP, LINES, GAP)],
    )


def _effects_note(surface: Mapping[str, Any]) -> str:
    effects = surface["effects"]
    if not effects:
        return ""
    each = f"{100 * effects[0]['confidence']:.3g} % intervals"
    return f"Each effect stands below the pictures, on the same levels, with {each}" + (
        f" so that all {len(effects)} hold together." if len(effects) > 1 else "."
    )


def surface_pictures(findings: Findings) -> Iterator[Picture]:
    """Heat maps of return and gap where both axes have several values; lines along the second axis everywhere."""
    if not findings.get("surface"):
        return
    entries = list(cells_of(findings))
    role = next(r for r in (Role.TEST.value, Role.VALIDATION.value) if all(r in e["returns"] for _, _, e in entries))
    if len(findings["surface"]["level_counts"]) > 1:
        yield _map(findings, MAP, f"{SPLITS[role]} return", {(c, n): e["returns"][role] for c, n, e in entries})
        gaps = {(c, n): e["gap"] for c, n, e in entries if e["gap"]}
        if gaps:
            yield _map(findings, GAP, "gap", gaps, " (train minus held-out, normalized)")
    yield _lines(findings, role)


def _map(
    findings: Findings,
    name: str,
    value_label: str,
    values: Mapping[tuple[int, str], Mapping[str, Any]],
    explained: str = "",
) -> Picture:
    surface = findings["surface"]
    points = {cell: value.get("point", value.get("mean")) for cell, value in values.items()}
    array = [[points.get((count, n), np.nan) for n in surface["names"]] for count in surface["level_counts"]]
    told = ", ".join(f"{c:,} {LEVELS} and {surface['axis']} {value_text(n)}: {v:.2f}" for (c, n), v in points.items())
    draw = partial(
        draw_surface,
        array,
        [f"{count:,}" for count in surface["level_counts"]],
        [value_text(n) for n in surface["names"]],
        title=f"{findings['env']}: {value_label}",
        xlabel=surface["axis"],
        ylabel=LEVELS,
        value_label=value_label,
    )
    return Picture(
        name=name,
        caption=f"The {value_label}{explained} of each cell; more diverse data upwards.",
        alt=f"Heat map of the {value_label}{explained}. {told}.",
        draw=lambda shape: draw(shape=shape),
    )


def _lines(findings: Findings, role: str) -> Picture:
    """With one level count a line a split, with several a line a level count on the held-out split."""
    surface = findings["surface"]
    several = len(surface["level_counts"]) > 1
    lines: dict[str, dict[str, list[float]]] = {}
    for count, name, entry in cells_of(findings):
        for split, value in entry["returns"].items():
            if several and split != role:
                continue
            line = lines.setdefault(f"{count:,} {LEVELS}" if several else split, {k: [] for k in _KEYS})
            line["x"].append(value_of(name))
            for key in _KEYS[1:]:
                line[key].append(value["mean"] if value[key] is None else value[key])
    told = "; ".join(f"{label} {', '.join(f'{v:.2f}' for v in line['mean'])}" for label, line in lines.items())
    what = f"{SPLITS[role]} return" if several else "return"

    def draw(shape: Shape) -> Figure:
        return plots.curves(
            lines,
            title=f"{findings['env']}: {what} against {surface['axis']}",
            ylabel="episode return" + (f" ({findings['mode']} actions)" if shape.titled else ""),
            xlabel=surface["axis"] + (" (log scale)" if surface["axis"] == TRANSITIONS else ""),
            log_x=surface["axis"] == TRANSITIONS,
            shape=shape,
        )

    return Picture(
        name=LINES,
        caption=f"Episode return against {surface['axis']}; bands are intervals over levels and train seeds.",
        alt=f"Line chart of the {what} against {surface['axis']} ({', '.join(map(value_text, surface['names']))}): "
        f"{told}.",
        draw=draw,
    )


_KEYS = ("x", "mean", "low", "high")
