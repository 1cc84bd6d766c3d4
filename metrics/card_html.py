"""A dataset's card as one HTML page that needs nothing else."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

from jinja2 import Environment, StrictUndefined

from data.files import format_bytes
from data.measures import MEASURES, NUM_DRAWS
from metrics.card_samples import Frame, Transcript
from metrics.card_text import bar_label

TEMPLATE = "card.html.j2"


def render_card(card: Mapping[str, Any], frames: Sequence[Frame], transcript: Transcript | None) -> str:
    """The page.

    Args:
        card: From `metrics.card.make_card`.
        frames: Shown as a contact sheet.
        transcript: Shown below; None leaves it out.
    """
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {
        "size": format_bytes,
        "label": bar_label,
        "pretty": lambda value: json.dumps(value, indent=2, ensure_ascii=False),
        "picture": lambda png: "data:image/png;base64," + base64.b64encode(png).decode("ascii"),
    }
    template = environment.from_string(resources.files("metrics").joinpath("templates", TEMPLATE).read_text("utf-8"))
    actions = sorted(card["actions"]["counts"].items(), key=lambda item: -item[1])
    page: str = template.render(
        card=card,
        frames=frames,
        transcript=transcript,
        actions=actions,
        measures=MEASURES,
        num_draws=NUM_DRAWS,
    )
    return page
