"""The report as one HTML page that needs nothing else: pictures and style are inside."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from typing import Any

from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup, escape

from search.headline import NO_EFFECT
from search.report_pictures import Picture
from search.report_sections import MISSING, REPEATED, Section, time_text

TEMPLATE = "report.html.j2"
_NUMBER = re.compile(r"[+-]?[\d.,]+( \[.*\])?( s)?")
_TIME = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d")
_INTERVAL = re.compile(r"(?P<point>[+-]?\d[\d.,]*) (?P<ends>\[[^\]]*\])")


def render_html(findings: Mapping[str, Any], sections: Sequence[Section], pictures: Sequence[Picture]) -> str:
    """The page.

    Args:
        findings: What `report.json` holds.
        sections: What `report_sections.build_sections` made of them.
        pictures: Embedded as PNG.
    """
    return _template().render(
        findings=findings,
        sections=sections,
        pictures={picture.name: picture for picture in pictures},
        no_effect=findings["headline"] == NO_EFFECT,
    )


@cache
def _template() -> Template:
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {
        "cell": cell,
        "data_url": data_url,
        "anchor": anchor,
        "cell_class": cell_class,
        "time": time_text,
    }
    return environment.from_string(resources.files("search").joinpath("templates", TEMPLATE).read_text("utf-8"))


def cell(text: str) -> Markup:
    """A table cell: web addresses become links, interval ends are set smaller; everything else is escaped."""
    if text.startswith(("https://", "http://")):
        return Markup('<a href="{0}">{0}</a>').format(text)
    if match := _INTERVAL.fullmatch(text):
        return Markup('{} <span class="ends">{}</span>').format(match["point"], match["ends"])
    if text == REPEATED:
        return Markup('<strong class="flag">{}</strong>').format(text)
    return escape(text)


def cell_class(text: str) -> str:
    """``"number"`` or ``"time"`` for what is never broken into lines."""
    if _TIME.fullmatch(text):
        return "time"
    return "number" if text == MISSING or _NUMBER.fullmatch(text) else ""


def data_url(png: bytes) -> str:
    """The picture as an address that needs no file."""
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")


def anchor(title: str) -> str:
    """The name of a section in the page's address."""
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")
