"""How far a mixture search is, from its files alone."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from pathlib import Path
from typing import Any

from search.mixture_arms import LOG_FILE
from search.mixture_trials import SOURCES, full_run
from search.space import trial_path
from search.status import RunStatus, run_status
from search.study import CONFIG_FILE, read_json, read_study


def mixture_status(study_dir: Path) -> dict[str, Any]:
    """Phases in their order, each with what is done of how much, and every trial that was asked for.

    Raises:
        RunError: If a file is damaged.
    """
    study, config = read_study(study_dir), read_json(study_dir / CONFIG_FILE)
    path = study_dir / LOG_FILE
    written = path.read_text() if path.exists() else ""
    events = [json.loads(line) for line in written[: written.rfind("\n") + 1].splitlines()]
    searched = [
        _state(study_dir, f"{event['arm']}-{event['proposal']['number']:03d}-seed-{seed}")
        for event in events
        if event["event"] == "asked"
        for seed in config["seeds"]
    ]
    answers = Counter(event["arm"] for event in events if event["event"] == "answered")
    confirmed = [
        _state(study_dir, full_run(arm, max(0, answers[arm] - 1), seed))
        for arm in config["arms"]
        for seed in config["confirm_seeds"]
    ]
    ended = Counter(event["arm"] for event in events if event["event"] == "ended")
    each = config["num_proposals"] * len(config["seeds"])
    recorded = len(list((study_dir / SOURCES).glob("*/manifest.json")))
    given = sum(Path(text).is_dir() for text in config["sources"].values())
    page = study_dir / "report" / "index.html"
    phases = {
        "collect": f"{recorded + given} of {len(config['sources'])} sources",
        "search": "; ".join(f"{arm}: {ended[arm]} of {each} trials" for arm in config["arms"]),
        "confirm": f"{sum(run.state == 'finished' for run in confirmed)} of {len(confirmed)} full runs",
        "judge": f"{len(study.table.policies)} policies",
        "select": f"{study.selection.overall} by rule {study.selection.rule}" if study.selection else "not yet",
        "test": f"{len(study.ledger)} reads of the sealed test",
        "report": str(page) if page.exists() else "not yet",
    }
    return {
        "directory": str(study_dir),
        "study": study.name,
        "finished": page.exists(),
        "phases": phases,
        "failures": [dict(entry) for entry in study.failures],
        "runs": [dataclasses.asdict(run) for run in (*searched, *confirmed)],
        "next": "" if page.exists() else f"gengap sweep --resume {study_dir}",
    }


def _state(study_dir: Path, trial_id: str) -> RunStatus:
    return run_status(trial_path(study_dir, trial_id))
