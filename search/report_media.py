"""Pictures and animations of a report, as files and for pages of every width."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from matplotlib.figure import Figure

from metrics.figure import FILE, PAGE, PHONE, Shape, png_bytes, svg_text

THIRD = Shape(width=3.7, height=3.2, columns=1, titled=False)
"""A third of a report's page, or a whole phone's."""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One figure, drawn anew for every place it goes to."""

    name: str
    caption: str
    """What to see in it."""
    alt: str
    """The same for who cannot see it, with the numbers."""
    draw: Callable[[Shape], Figure]
    shape: Shape = PAGE
    """On a wide page."""

    @cached_property
    def png(self) -> bytes:
        """As a file that travels alone, with its title."""
        return png_bytes(self.draw(FILE))

    @cached_property
    def svg(self) -> str:
        """On a wide page."""
        return svg_text(self.draw(self.shape))

    @cached_property
    def phone_svg(self) -> str:
        """On a narrow page."""
        return svg_text(self.draw(PHONE)) if self.shape != THIRD else self.svg

    @property
    def content(self) -> bytes:
        """Of its file."""
        return self.png

    @property
    def file(self) -> str:
        """Its file beside the report."""
        return f"{self.name}.png"


@dataclass(frozen=True, kw_only=True)
class Animation:
    """An episode that moves."""

    name: str
    alt: str
    content: bytes
    """GIF."""

    @property
    def file(self) -> str:
        """Its file beside the report."""
        return f"{self.name}.gif"

    @property
    def caption(self) -> str:
        """The same."""
        return self.alt

    @cached_property
    def still(self) -> bytes:
        """The first frame as PNG, for readers who asked for less motion."""
        from PIL import Image

        buffer = io.BytesIO()
        with Image.open(io.BytesIO(self.content)) as gif:
            gif.convert("RGB").save(buffer, "PNG", optimize=True)
        return buffer.getvalue()
