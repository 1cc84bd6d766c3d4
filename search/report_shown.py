"""What `showing` kept of a study, and the sections that let a reader see it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from search.config import slug
from search.examples import WON, choose_examples, choose_sheets
from search.report_parts import SPLITS, Findings, Scene, Section, Talk
from search.study import Study, read_json

SHOWN_FOLDER = "shown"
SHOWN_FILE = "shown.json"
READ_LINES = 6
"""Of what a policy reads before an action."""
LINE_WIDTH = 140


def read_shown(study: Study) -> dict[str, Any] | None:
    """What was shown of the policies that are selected now; None if that is nothing."""
    path = study.directory / SHOWN_FOLDER / SHOWN_FILE
    if not path.exists():
        return None
    record = read_json(path)
    if record.pop("wanted", None) != wanted_examples(study):
        return None
    return record


def wanted_examples(study: Study) -> dict[str, Any]:
    """What is worth showing of a study, as JSON holds it."""
    examples, sheets = choose_examples(study), choose_sheets(study)
    value: dict[str, Any] = {"examples": [e.to_json() for e in examples], "sheets": [s.to_json() for s in sheets]}
    plain: dict[str, Any] = json.loads(json.dumps(value))
    return plain


def shown_file(study_dir: Path, name: str) -> bytes:
    """A file that was kept."""
    return (study_dir / SHOWN_FOLDER / name).read_bytes()


def episodes_section(findings: Findings, pictures: Sequence[str]) -> Section:
    """An episode on a training level and one on an unseen level, of the policies that are worth seeing."""
    shown = findings["shown"] or {"examples": []}
    ends = "the fewest and of the most levels"
    whose = "the baseline and of the arm that is best on validation levels" if "baseline" in findings else ends
    return Section(
        title="The policies at play",
        short="Episodes",
        note=f"The best training level and the worst unseen level of the policies of {whose}; "
        "of several equal ones that of median length. Unseen levels are of the open splits: the sealed test is not "
        "read for pictures." + (" Lines that an episode has shown before are left out." if _is_text(shown) else ""),
        scenes=[_scene(example, pictures) for example in shown["examples"]],
    )


def sheets_section(findings: Findings, pictures: Sequence[str]) -> Section:
    """First frames of levels, won and lost."""
    shown = findings["shown"] or {"sheets": []}
    policies = sorted({sheet["policy"] for sheet in shown["sheets"]})
    return Section(
        title="Levels at a glance",
        short="Contact sheets",
        note=f"What levels look like when they begin, and whether {', '.join(policies)} wins them: ✓ and a green frame "
        f"from a normalized return of {WON:g} on, ✗ and a red frame below; the raw return stands beside.",
        pictures=[name for name in pictures if name.startswith("sheet_")],
    )


def animations(findings: Findings) -> Iterator[tuple[str, str, str]]:
    """(name of the picture, file, alternative text) of every animation."""
    for example in (findings["shown"] or {"examples": []})["examples"]:
        if "file" in example:
            yield animation_name(example), example["file"], f"Animation. {scene_title(example)}. {_caption(example)}"


def animation_name(example: Mapping[str, Any]) -> str:
    """Of the picture."""
    return f"episode_{example['role']}_{slug(example.get('arm', '')) or example['num_levels']}"


def scene_title(example: Mapping[str, Any]) -> str:
    """``"Trained on 10 levels: wins a training level"``."""
    outcome = "wins" if example["normalized_return"] >= WON else "loses"
    where = "a training level" if example["role"] == "train" else "an unseen level"
    if arm := example.get("arm"):
        return f"The arm {arm}: {outcome} {where}"
    return f"Trained on {example['num_levels']:,} levels: {outcome} {where}"


def _scene(example: Mapping[str, Any], pictures: Sequence[str]) -> Scene:
    name = animation_name(example)
    transcript = example.get("transcript", {"steps": [], "num_left_out": 0, "candidate_column": None})
    left_out = transcript["num_left_out"]
    return Scene(
        title=scene_title(example),
        caption=_caption(example),
        picture=name if name in pictures else "",
        talk=list(_talks(transcript)),
        rest=f"… {left_out} more steps" if left_out else "",
    )


def _caption(example: Mapping[str, Any]) -> str:
    among = "alone among" if example["num_alike"] == 1 else f"as on {example['num_alike']:,} of"
    alike = f"{among} the {example['num_played']:,} {SPLITS[example['role']]} levels that it played"
    stride = example.get("stride", 1)
    every = "" if stride == 1 else f" Every {_ordinal(stride)} step is shown."
    differs = "" if example["same_as_evaluated"] else " Played again it came out otherwise than when it was judged."
    return (
        f"Level {example['level']:,}: return {example['replayed_return']:g} ({alike}) after "
        f"{example['replayed_length']:,} steps.{every}{differs}"
    )


def _talks(transcript: Mapping[str, Any]) -> Iterator[Talk]:
    """Every step with the lines that are new to the reader."""
    seen: set[str] = set()
    for step in transcript["steps"]:
        columns = {name: list(texts) for name, texts in step["columns"].items()}
        offered = columns.pop(transcript["candidate_column"] or "", [])
        lines = [line for texts in columns.values() for text in texts for line in text.split("\n") if line.strip()]
        new = [line for line in lines if line not in seen]
        seen |= set(lines)
        more = [f"… {len(new) - READ_LINES} more lines"] if len(new) > READ_LINES else []
        yield Talk(
            step=step["step"],
            read="\n".join([*map(_cut, new[:READ_LINES]), *more]) or "(the same as before)",
            action=_cut(step["action"]),
            offered=f"of {len(offered)} offered" if offered else "",
            reward=f"{step['reward']:g}",
        )


def _is_text(shown: Mapping[str, Any]) -> bool:
    return any("transcript" in example for example in shown["examples"])


def _cut(line: str) -> str:
    return line if len(line) <= LINE_WIDTH else line[: LINE_WIDTH - 1] + "…"


def _ordinal(number: int) -> str:
    suffix = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{suffix}"
