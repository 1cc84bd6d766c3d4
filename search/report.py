"""Writes a study's report: ``report.md``, ``index.html``, ``report.json`` and the pictures, from the study's files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from data.files import atomic_write_bytes, atomic_write_json, atomic_write_text
from metrics.wandb_logger import Mode
from search.findings import build_findings
from search.headline import add_headline
from search.level_scores import Bootstrap
from search.report_html import render_html
from search.report_media import Animation, Picture
from search.report_parts import SPLITS, Scene, Section, Table, time_text
from search.report_pictures import draw_pictures
from search.report_sections import build_sections
from search.report_tracking import track_report
from search.study import read_study
from search.surface import add_surface_headline, surface_findings

REPORT_FOLDER = "report"
PAGE_FILE = "index.html"
MARKDOWN_FILE = "report.md"
NUMBERS_FILE = "report.json"


def write_report(study_dir: Path, bootstrap: Bootstrap | None = None, *, wandb: Mode = "disabled") -> Path:
    """Write the report of a study into its folder ``report``; reads files, plays nothing.

    Args:
        study_dir: A study with evaluations and a selection.
        bootstrap: Seed, resamples and confidence of the intervals.
        wandb: Whether its panels also become a run of the study in W&B, as for `metrics.wandb_logger.WandbLogger`.

    Returns:
        The page, ``report/index.html``.

    Raises:
        UsageError: If the directory is no study.
        RunError: If the study is unfinished or damaged.
    """
    study = read_study(study_dir)
    findings = build_findings(study, bootstrap)
    findings["surface"] = surface_findings(study, findings["mode"], bootstrap or Bootstrap())
    findings = add_surface_headline(findings) if findings["surface"] else add_headline(findings)
    pictures = draw_pictures(findings, study.directory)
    sections = build_sections(findings, [picture.name for picture in pictures])
    folder = study_dir / REPORT_FOLDER
    folder.mkdir(exist_ok=True)
    for picture in pictures:
        atomic_write_bytes(folder / picture.file, picture.content)
    atomic_write_text(folder / MARKDOWN_FILE, render_markdown(findings, sections, pictures))
    atomic_write_text(folder / PAGE_FILE, render_html(findings, sections, pictures))
    # Last, so that a complete report.json means a complete report.
    atomic_write_json(folder / NUMBERS_FILE, findings)
    track_report(study, findings, sections, pictures, folder / PAGE_FILE, wandb)
    return folder / PAGE_FILE


def render_markdown(
    findings: dict[str, Any], sections: Sequence[Section], pictures: Sequence[Picture | Animation]
) -> str:
    """The report as Markdown; pictures are files beside it."""
    by_name = {picture.name: picture for picture in pictures}
    lines = [f"# {findings['headline']}", "", findings["explanation"], "", facts_line(findings), ""]
    for section in sections:
        lines += [f"## {section.title}", ""]
        lines += [f"> **{section.warning}**", ""] if section.warning else []
        lines += [section.note, ""] if section.note else []
        for picture in (by_name[name] for name in section.pictures):
            lines += [f"![{picture.alt}]({picture.file})", "", picture.caption, ""]
        for scene in section.scenes:
            lines += scene_markdown(scene, by_name)
        lines += [*(f"- {line}" for line in section.lines), ""] if section.lines else []
        lines += [*markdown_table(section.table), ""] if section.table else []
        lines += ["```", *section.code, "```", ""] if section.code else []
    return "\n".join(lines)


def scene_markdown(scene: Scene, pictures: Mapping[str, Picture | Animation]) -> list[str]:
    """Lines of one episode."""
    lines = [f"**{scene.title}.** {scene.caption}", ""]
    if scene.picture:
        lines += [f"![{pictures[scene.picture].alt}]({pictures[scene.picture].file})", ""]
    for talk in scene.talk:
        read = [f"> {line}" for line in talk.read.split("\n")]
        lines += [*read, ">", f"> **→ {talk.action}** {talk.offered}, reward {talk.reward}", ""]
    return [*lines, scene.rest, ""] if scene.rest else lines


def facts_line(findings: dict[str, Any]) -> str:
    """What, where, how much, in one line."""
    facts = [
        f"Study {findings['study']}",
        f"environment {environments_text(findings)}",
        f"protocol {findings['protocol']}",
        f"train seeds {', '.join(map(str, findings['seeds']))}",
        f"selection rule {findings['selection']['rule']}",
    ]
    return " · ".join([*facts, time_text(findings["created"])] if findings["created"] else facts)


def environments_text(findings: dict[str, Any]) -> str:
    """The environment that was trained in, and those of the splits that were played elsewhere."""
    elsewhere = [f"{SPLITS[role]} {env}" for role, env in findings["environments"].items() if env != findings["env"]]
    return findings["env"] + (f" ({', '.join(elsewhere)})" if elsewhere else "")


def markdown_table(table: Table) -> list[str]:
    """Lines of a Markdown table."""
    rows = [[cell.replace("|", "\\|") for cell in row] for row in (table.header, *table.rows)]
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return [lines[0], "|" + " --- |" * len(table.header), *lines[1:]]
