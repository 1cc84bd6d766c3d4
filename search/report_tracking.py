"""The report as one W&B run of the study, so that a person who opens only W&B sees the gap."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from data.files import atomic_write_json
from envs.console import say
from metrics.wandb_logger import Mode, WandbLogger, resolve_mode
from metrics.wandb_media import AnimationFile, Cell, LinesData, PageFile, PictureFile, TableData
from search.report_html import anchor
from search.report_media import Animation, Picture
from search.report_parts import SPLITS, Findings, Section, played_roles
from search.robustness import robustness_plots
from search.study import Study, read_json

STEP_NAME = "num_levels"
"""The x-axis: training levels, not learner steps."""
TRACKED_FILE = "wandb.json"
FINISH_TIMEOUT_S = 60.0
_ENDS = ("low", "high")


def track_report(
    study: Study,
    findings: Findings,
    sections: Sequence[Section],
    pictures: Sequence[Picture | Animation],
    page: Path,
    mode: Mode,
) -> None:
    """Write the report's panels as a W&B run in the study's group, with a row for every number of training levels.

    Args:
        study: Gives the group and where offline files go.
        findings: Numbers.
        sections: Tables and transcripts.
        pictures: Their files lie beside the page.
        page: The report's HTML page.
        mode: As for `WandbLogger`.
    """
    rows = [(int(entry["num_levels"]), numbers_of(entry)) for entry in findings["levels"]]
    panels = partial(panels_of, findings, sections, pictures, page)
    send_report(study, findings, rows, panels, page, mode, step_name=STEP_NAME)


def send_report(
    study: Study,
    findings: Findings,
    rows: Sequence[tuple[int, Mapping[str, float]]],
    panels: Callable[[], Mapping[str, Any]],
    page: Path,
    mode: Mode,
    *,
    step_name: str,
) -> None:
    """Write rows and panels as a run; a report that was sent already is not sent again.

    Args:
        study: Gives the group and where offline files go.
        findings: Numbers; the same ones are the same report.
        rows: Steps, increasing, with their numbers.
        panels: Makes what is shown with the last row.
        page: The report's HTML page.
        mode: As for `WandbLogger`.
        step_name: What the steps count.
    """
    fingerprint = hashlib.blake2b(json.dumps(findings, sort_keys=True).encode(), digest_size=4).hexdigest()
    record = page.with_name(TRACKED_FILE)
    known = record.exists() and read_json(record).get("fingerprint") == fingerprint
    if mode == "disabled" or known or resolve_mode(mode) == "disabled":
        return
    tracking = study.config.get("experiment", {}).get("tracking", {})
    logger = WandbLogger(
        project=str(tracking.get("project", "gengap")),
        run_id=f"{study.name}-report-{fingerprint}",
        group=study.name,
        name=f"{study.name} report",
        config={"study": study.name, "env": study.env, **{k: findings[k] for k in ("protocol", "mode", "seeds")}},
        directory=study.directory,
        mode=mode,
        finish_timeout_s=FINISH_TIMEOUT_S,
        tags=("report", study.name),
        step_name=step_name,
        notes=f"{findings['headline']} {findings['explanation']}",
    )
    for step, numbers in rows[:-1]:
        logger.write(step, dict(numbers))
    last_step, last_numbers = rows[-1] if rows else (0, {})
    logger.write(last_step, {**last_numbers, **panels()})
    logger.close()
    offline = f"offline under {study.directory / 'wandb'}; send it with `wandb sync FOLDER`"
    say(f"W&B: {logger.url or offline}")
    atomic_write_json(record, {"fingerprint": fingerprint, "run_id": logger.run_id, "url": logger.url})


def numbers_of(entry: Mapping[str, Any]) -> dict[str, float]:
    """Returns, gaps, middle and worst levels at one number of training levels, with the ends of their intervals."""
    values: dict[str, float] = {}
    for kind in ("returns", "normalized"):
        for role, summary in entry[kind].items():
            name = f"study/{role}/{'episode_return' if kind == 'returns' else 'normalized_return'}"
            values |= with_ends(name, summary["mean"], summary)
    for role, gap in entry["gaps"].items():
        values |= with_ends(f"study/gap/{role}", gap["point"], gap)
    for role, found in entry["aggregates"].items():
        for name, value in found.items():
            if value["point"] is not None and math.isfinite(value["point"]):
                values |= with_ends(f"study/{role}/{name}", value["point"], value)
    return values


def panels_of(
    findings: Findings, sections: Sequence[Section], pictures: Sequence[Picture | Animation], page: Path
) -> dict[str, Any]:
    """Everything of the page as panels: ``study/plots``, ``study/pictures``, ``study/episodes``, ``study/tables``."""
    shared = page_panels(findings, sections, pictures, page)
    return {**shared, **dict(_plots(findings)), **dict(robustness_plots(findings)), **dict(_level_tables(findings))}


def page_panels(
    findings: Findings, sections: Sequence[Section], pictures: Sequence[Picture | Animation], page: Path
) -> dict[str, Any]:
    """What a page of either kind of study has: its headline, itself, its pictures, episodes and tables."""
    panels: dict[str, Any] = {"study/headline": findings["headline"], "study/report": PageFile(page)}
    for picture in pictures:
        path = page.with_name(picture.file)
        if isinstance(picture, Animation):
            panels[f"study/episodes/{picture.name.removeprefix('episode_')}"] = AnimationFile(path, picture.caption)
        else:
            panels[f"study/pictures/{picture.name}"] = PictureFile(path, picture.caption)
    for section in sections:
        if section.table is not None:
            name = anchor(section.short or section.title)
            panels[f"study/tables/{name}"] = TableData(section.table.header, section.table.rows)
    return {**panels, **dict(_transcripts(sections))}


def _plots(findings: Findings) -> Iterator[tuple[str, LinesData]]:
    """Return and gap against diversity as W&B's own plots, where every level count has a value."""
    entries = findings["levels"]
    counts = [float(entry["num_levels"]) for entry in entries]
    returns = {
        SPLITS[role]: [entry["returns"][role]["mean"] for entry in entries]
        for role in played_roles(findings)
        if entries and all(role in entry["returns"] for entry in entries)
    }
    if returns:
        title = "Return against the number of training levels"
        yield "study/plots/returns", LinesData(counts, returns, title, STEP_NAME)
    roles = [role for role in SPLITS if entries and all(role in entry["gaps"] for entry in entries)]
    gaps = {f"train minus {SPLITS[role]}": [entry["gaps"][role]["point"] for entry in entries] for role in roles}
    if gaps:
        title = "Generalization gap against the number of training levels"
        yield "study/plots/gap", LinesData(counts, gaps, title, STEP_NAME)


def _level_tables(findings: Findings) -> Iterator[tuple[str, TableData]]:
    """One row a held-out level, one column a number of training levels."""
    for role, values in findings["per_level"].items():
        if values:
            columns = ["level", *(f"{count} levels" for count in values["num_levels"])]
            scores = zip(*values["normalized"], strict=True)
            rows = [[int(level), *row] for level, row in zip(values["levels"], scores, strict=True)]
            yield f"study/tables/levels-{role}", TableData(columns, rows)


def _transcripts(sections: Sequence[Section]) -> Iterator[tuple[str, TableData]]:
    for scene in (scene for section in sections for scene in section.scenes if scene.talk):
        rows: list[list[Cell]] = [[talk.step, talk.read, talk.action, talk.offered, talk.reward] for talk in scene.talk]
        yield f"study/episodes/{anchor(scene.title)}", TableData(["step", "reads", "does", "offered", "reward"], rows)


def with_ends(name: str, point: float, interval: Mapping[str, Any]) -> dict[str, float]:
    """A number with the ends of its interval, as far as it has them."""
    ends = {f"{name}_{end}": float(interval[end]) for end in _ENDS if interval.get(end) is not None}
    return {name: float(point), **ends}
