"""`gengap data import webshop`: human demonstrations of WebShop as a dataset to learn from.

The environment of such a dataset, `DEMONSTRATIONS`, has the columns of the shop's environments and cannot be played.
A level is the goal that was shopped for. Files are read twice, one demonstration in memory at a time.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data.dataset import Dataset
from data.episode import Episode, Ragged
from data.interop.webshop_demos import (
    TYPED,
    Demonstration,
    DemoStep,
    GoalTexts,
    link_text,
    price_cap,
    read_demonstrations,
    text_key,
)
from data.writer import DatasetWriter
from envs.errors import UsageError
from envs.shop.entries import read_goal_texts
from envs.shop.offers import LEAVE
from envs.shop.queries import visible_queries
from envs.spec import ColumnSpec, EnvSpec
from envs.text import SEPARATOR, encode_text, encode_texts

DEMONSTRATIONS = "webshop/demonstrations"
BUY = "click[buy now]"
STEP_LIMIT = 100
"""Of the benchmark's own training environment, in steps."""


@dataclass(kw_only=True)
class ImportReport:
    """What became of the demonstrations of some files.

    Attributes:
        read: Demonstrations in the files.
        imported: Those with a goal.
        unmatched: Those left out because no goal has their text.
        ambiguous: Imported ones whose text several goals share; they have the first.
        other_price: Imported ones that name another price than their goal.
        without_rewards: Imported ones whose file has no rewards; theirs are stored as 0, and they have no score.
        unbought: Imported ones that end without a purchase; they are truncated.
        max_candidates: Most candidates of a step.
        max_steps: Steps of the longest.
    """

    read: int = 0
    imported: int = 0
    unmatched: int = 0
    ambiguous: int = 0
    other_price: int = 0
    without_rewards: int = 0
    unbought: int = 0
    max_candidates: int = 1
    max_steps: int = STEP_LIMIT

    def count(self, demonstration: Demonstration, goals: Sequence[int], texts: Sequence[str]) -> None:
        """Take in one demonstration with the goals that have its text."""
        self.read += 1
        if not goals:
            self.unmatched += 1
            return
        self.imported += 1
        text = demonstration.instruction
        self.ambiguous += len(goals) > 1
        self.other_price += price_cap(texts[goals[0]]) != price_cap(demonstration.instruction)
        self.without_rewards += demonstration.score is None
        self.unbought += demonstration.steps[-1].action != BUY
        self.max_candidates = max(self.max_candidates, *(len(candidates(step, text)) for step in demonstration.steps))
        self.max_steps = max(self.max_steps, len(demonstration.steps))


def import_demonstrations(
    files: Sequence[Path | str],
    out: Path | str,
    *,
    texts: Sequence[str] | None = None,
    source: str = "human",
    license: str = "NOASSERTION",
) -> tuple[Dataset, ImportReport]:
    """Write demonstrations as a dataset.

    Args:
        files: In the layout of ``il_trajs_finalized_images.jsonl``, with or without rewards.
        out: Directory to create.
        texts: Instructions in goal order: level i is goal i. None numbers them by first appearance in the files,
            whatever price they name.
        source: Name of origin of the episodes.
        license: SPDX identifier of their terms.

    Raises:
        UsageError: If a file is missing or broken, or no demonstration has a goal.
        RunError: If a file is cut short, or the disk is full.
    """
    if texts is None:
        texts = list({text_key(demo.instruction): demo.instruction for demo in _read(files)}.values())
    goals, report = GoalTexts(texts), ImportReport()
    for demo in _read(files):
        report.count(demo, goals.find(demo.instruction), texts)
    if not report.imported:
        raise UsageError(
            f"None of the {report.read} demonstrations has the text of one of {len(texts)} goals; give the goals they "
            "were recorded with, or leave out --goals to number instructions as they come."
        )
    names = [{"name": Path(file).name, "bytes": Path(file).stat().st_size} for file in files]
    provenance = {"format": "WebShop demonstrations", "files": names, "report": asdict(report)}
    repeats: Counter[int] = Counter()
    with DatasetWriter(out, spec_of(report, len(texts)), provenance, license) as writer:
        for demo in _read(files):
            for level in goals.find(demo.instruction)[:1]:
                writer.add(episode_of(demo, level, repeats[level], source))
                repeats[level] += 1
        return writer.finish(), report


def spec_of(report: ImportReport, num_goals: int) -> EnvSpec:
    """The contract of what was imported: the columns of the shop's environments."""
    text = ColumnSpec("uint8", ragged=True)
    return EnvSpec(
        name=DEMONSTRATIONS,
        observation_columns={"page": text, "candidates": text},
        num_actions=report.max_candidates,
        max_episode_steps=report.max_steps,
        level_universe=num_goals,
        return_bounds={"official": (0.0, 1.0)},
        candidate_column="candidates",
    )


def candidates(step: DemoStep, instruction: str) -> tuple[str, ...]:
    """What could be done at a step, the chosen action among it, as the shop's environments word it.

    A person types queries, so a search page lists none; here it offers those that can be read off the instruction, as
    the shop's environments do, and the typed one last if it is none of them.

    Args:
        step: The decision.
        instruction: What was shopped for.
    """
    offered = [link_text(text, step.observation) for text in step.candidates]
    if step.choice == TYPED:
        queries = visible_queries(instruction) if step.action.startswith("search[") else ()
        offered += [*(f"search[{query}]" for query in queries), step.action]
    return tuple(dict.fromkeys(map(_clean, offered)))


def chosen(step: DemoStep, instruction: str) -> int:
    """The position of the action among `candidates`."""
    text = step.action if step.choice == TYPED else link_text(step.candidates[step.choice], step.observation)
    return candidates(step, instruction).index(_clean(text))


def episode_of(demonstration: Demonstration, level: int, episode: int, source: str) -> Episode:
    """A demonstration as an episode; how likely its actions were is unknown, so their log-probabilities are NaN.

    Args:
        demonstration: From `read_demonstrations`.
        level: Its goal.
        episode: Which demonstration of that goal it is, from 0.
        source: Name of origin.
    """
    steps, score, text = demonstration.steps, demonstration.score, demonstration.instruction
    bought = steps[-1].action == BUY
    pages = [step.observation for step in steps]
    rows = [encode_texts(candidates(step, text)) for step in steps]
    final = demonstration.final_observation
    if bought and final is not None:  # without a purchase nobody knows what the last page offered
        pages.append(final)
        rows.append(encode_text(LEAVE))
    return Episode(
        env=DEMONSTRATIONS,
        level=level,
        episode=episode,
        seed=0,
        source=source,
        policy_id="webshop-demonstrations",
        observations={
            "page": Ragged.from_rows([encode_text(_clean(page)) for page in pages]),
            "candidates": Ragged.from_rows([np.asarray(row) for row in rows]),
        },
        actions=np.array([chosen(step, text) for step in steps], dtype=np.int32),
        rewards=np.array([step.reward or 0.0 for step in steps], dtype=np.float32),
        behavior_logp=np.full(len(steps), np.nan, dtype=np.float32),
        terminated=bought,
        truncated=not bought,
        final_observation_known=len(pages) > len(steps),
        metrics={} if score is None else {"score": score, "success": float(score == 1.0)},
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="demonstrations, one a line")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="dataset directory to create")
    parser.add_argument(
        "--goals",
        type=Path,
        metavar="FILE",
        help="instructions in goal order (a list of texts or of goals); without it they are numbered as they come",
    )
    parser.add_argument("--source", default="human", metavar="NAME", help="origin of the episodes (default human)")
    parser.add_argument(
        "--license", default="NOASSERTION", metavar="SPDX", help="terms of the files (default NOASSERTION: not stated)"
    )


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Import; the result names the dataset and says what became of the demonstrations."""
    texts = read_goal_texts(args.goals) if args.goals else None
    dataset, report = import_demonstrations(args.files, args.out, texts=texts, source=args.source, license=args.license)
    counts = asdict(report)
    print(f"{report.imported} of {report.read} demonstrations are in {args.out}: {len(dataset)} transitions")
    for name in ("unmatched", "ambiguous", "other_price", "without_rewards", "unbought"):
        if counts[name]:
            print(f"  {counts[name]} {name.replace('_', ' ')}")
    return {"path": str(args.out), "fingerprint": dataset.fingerprint, "num_transitions": len(dataset), **counts}


def _read(files: Sequence[Path | str]) -> Iterator[Demonstration]:
    for file in files:
        yield from read_demonstrations(file)


def _clean(text: str) -> str:
    """A text that UTF-8 can hold, without the separator of candidates."""
    return text.encode("utf-8", "replace").decode().replace(SEPARATOR, " ")
