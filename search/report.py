"""Writes a study's report: ``report.md``, ``index.html``, ``report.json`` and the pictures, from the study's files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from data.files import atomic_write_bytes, atomic_write_json, atomic_write_text
from search.findings import Bootstrap, build_findings
from search.headline import add_headline
from search.report_html import render_html
from search.report_pictures import Picture, draw_pictures
from search.report_sections import SPLITS, Section, Table, build_sections, time_text
from search.study import read_study

REPORT_FOLDER = "report"
PAGE_FILE = "index.html"
MARKDOWN_FILE = "report.md"
NUMBERS_FILE = "report.json"


def write_report(study_dir: Path, bootstrap: Bootstrap | None = None) -> Path:
    """Write the report of a study into its folder ``report``; reads files, plays nothing.

    Args:
        study_dir: A study with evaluations and a selection.
        bootstrap: Seed, resamples and confidence of the intervals.

    Returns:
        The page, ``report/index.html``.

    Raises:
        UsageError: If the directory is no study.
        RunError: If the study is unfinished or damaged.
    """
    study = read_study(study_dir)
    findings = add_headline(build_findings(study, bootstrap))
    pictures = draw_pictures(findings, study)
    sections = build_sections(findings, [picture.name for picture in pictures])
    folder = study_dir / REPORT_FOLDER
    folder.mkdir(exist_ok=True)
    for picture in pictures:
        atomic_write_bytes(folder / picture.file, picture.png)
    atomic_write_text(folder / MARKDOWN_FILE, render_markdown(findings, sections, pictures))
    atomic_write_text(folder / PAGE_FILE, render_html(findings, sections, pictures))
    # Last, so that a complete report.json means a complete report.
    atomic_write_json(folder / NUMBERS_FILE, findings)
    return folder / PAGE_FILE


def render_markdown(findings: dict[str, Any], sections: Sequence[Section], pictures: Sequence[Picture]) -> str:
    """The report as Markdown; pictures are files beside it."""
    by_name = {picture.name: picture for picture in pictures}
    lines = [f"# {findings['headline']}", "", findings["explanation"], "", facts_line(findings), ""]
    for section in sections:
        lines += [f"## {section.title}", ""]
        lines += [f"> **{section.warning}**", ""] if section.warning else []
        lines += [section.note, ""] if section.note else []
        for picture in (by_name[name] for name in section.pictures):
            lines += [f"![{picture.caption}]({picture.file})", ""]
        lines += [*markdown_table(section.table), ""] if section.table else []
        lines += ["```", *section.code, "```", ""] if section.code else []
    return "\n".join(lines)


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
