"""The report as one HTML page that needs nothing else: pictures and style are inside, and there is no script."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from functools import cache, partial
from importlib import resources
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined, Template
from markupsafe import Markup, escape

from metrics.figure import PAGE
from search.headline import NO_EFFECT
from search.report_hero import Tile, build_tiles
from search.report_media import THIRD, Animation, Picture
from search.report_parts import MISSING, REPEATED, Section, time_text

TEMPLATE = "report.html.j2"
HEROES = ("surface", "surface_lines", "returns")
"""The picture of the first screen is the first of these that there is."""
_LONG, _LONG_WORDS = 36, 30
"""Characters of a cell that may be broken into lines: of a name, of several words."""
_NUMBER = re.compile(r"[+-]?[\d.,]+( \[.*\])?( s)?")
_TIME = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d")
_INTERVAL = re.compile(r"(?P<point>[+-]?\d[\d.,]*) (?P<ends>\[[^\]]*\])")


def render_html(
    findings: Mapping[str, Any],
    sections: Sequence[Section],
    pictures: Sequence[Picture | Animation],
    tiles: Sequence[Tile] | None = None,
) -> str:
    """The page.

    Args:
        findings: What `report.json` holds.
        sections: What `report_sections.build_sections` made of them.
        pictures: Embedded.
        tiles: Numbers of the first screen; None takes those of a study over level counts.
    """
    by_name = {picture.name: picture for picture in pictures}
    return _template().render(
        findings=findings,
        sections=sections,
        pictures=by_name,
        hero=next((by_name[name] for name in HEROES if name in by_name), None),
        tiles=build_tiles(findings) if tiles is None else tiles,
        no_effect=findings["headline"] == NO_EFFECT,
        third=THIRD,
        half=PAGE,
    )


@cache
def _template() -> Template:
    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        loader=FunctionLoader(lambda name: resources.files("search").joinpath("templates", name).read_text("utf-8")),
    )
    environment.filters |= {
        "cell": cell,
        "intervals": intervals,
        "png": partial(data_url, kind="image/png"),
        "gif": partial(data_url, kind="image/gif"),
        "svg": partial(data_url, kind="image/svg+xml"),
        "anchor": anchor,
        "cell_class": cell_class,
        "time": time_text,
    }
    return environment.get_template(TEMPLATE)


def cell(text: str) -> Markup:
    """A table cell: web addresses become links, interval ends are set smaller; everything else is escaped."""
    if text.startswith(("https://", "http://")):
        return Markup('<a href="{0}">{0}</a>').format(text)
    if match := _INTERVAL.fullmatch(text):
        return Markup('{} <span class="ends">{}</span>').format(match["point"], match["ends"])
    if text == REPEATED:
        return Markup('<strong class="flag">{}</strong>').format(text)
    return escape(text)


def intervals(text: str) -> Markup:
    """Running text in which a value and its interval stay on one line, the ends set smaller."""
    text = re.sub(r"(?<=\d) %", "\N{NO-BREAK SPACE}%", text)
    parts, at = [], 0
    for match in _INTERVAL.finditer(text):
        parts += [escape(text[at : match.start()])]
        parts += [
            Markup('<span class="value">{} <span class="ends">{}</span></span>').format(match["point"], match["ends"])
        ]
        at = match.end()
    return Markup("").join([*parts, escape(text[at:])])


def cell_class(text: str) -> str:
    """``"number"``, ``"time"`` or ``"name"`` for what is never broken into lines, ``"prose"`` for what needs room."""
    if _TIME.fullmatch(text):
        return "time"
    if text == MISSING or _NUMBER.fullmatch(text):
        return "number"
    return "prose" if len(text) > (_LONG_WORDS if " " in text else _LONG) else "name"


def data_url(content: bytes | str, kind: str) -> str:
    """The content as an address that needs no file."""
    data = content.encode("utf-8") if isinstance(content, str) else content
    return f"data:{kind};base64," + base64.b64encode(data).decode("ascii")


def anchor(title: str) -> str:
    """The name of a section in the page's address."""
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")
