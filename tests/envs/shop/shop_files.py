"""Small files in the original's schemas."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def record(number: int, **changes: Any) -> dict[str, Any]:
    """One product record; `changes` replace keys, ``...`` removes one."""
    values: dict[str, Any] = {
        "asin": f"B{number:09d}",
        "name": f"Café Chair No. {number}",
        "category": ("furniture", "fashion", "food")[number % 3],
        "query": f" Chairs {number % 7} ",
        "product_category": f"Home \u203a Chairs \u203a Kind {number % 5}",
        "full_description": f"A chair numbered {number}. " * 3,
        "small_description": [f"seat {number}", "", "four legs"],
        "pricing": ("$12.50", "$10.00 - $29.99", None)[number % 3],
        "images": [f"https://img.example/{number}.jpg"],
        "customization_options": {
            "Color": [
                {"value": " Red ", "image": f"https://img.example/{number}-red.jpg"},
                {"value": "Navy/Blue", "image": None},
            ],
            "Size": [{"value": f"{number % 4} inch"}],
            "Nothing": None,
        },
        "brand": "dropped on loading",
        "average_rating": 4.5,
    }
    values.update(changes)
    return {key: value for key, value in values.items() if value is not ...}


def entry(number: int) -> dict[str, Any]:
    """One entry of the attribute file."""
    attributes = [f"kind {number % 5}", "easy care"]
    return {"attributes": attributes, "instruction": "Find me a chair", "instruction_attributes": attributes[:1]}


def write(path: Path, content: Any) -> Path:
    """Write JSON, or text as it is."""
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path
