"""WebShop's human demonstrations (``il_trajs_finalized_images.jsonl``), and the variant with rewards.

One JSON object a line: ``states`` (texts), ``actions``, ``available_actions`` (the choices of each step),
``action_idxs`` (which one was taken; -1 for a query that was typed), perhaps ``actions_translate``, ``images`` (both
ignored) and ``rewards`` (0 to 10 a step). Goals are not named: they are found again by their text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from envs.errors import RunError, UsageError

REWARD_SCALE = 10.0
"""What the recorded rewards of a perfect purchase sum to."""
TYPED = -1
"""Choice of a step whose action is none of its candidates: a typed query."""
_PRICE_CLAUSE = re.compile(r",?\s*and price lower than (\d+(?:\.\d+)?) dollars\.?\s*$", re.IGNORECASE)
_ITEM_CLICK = re.compile(r"click\[item - (.*)\]$", re.DOTALL)
_ITEM_BUTTON = re.compile(r"\[(?:clicked )?button\] (\w{1,10}) \[(?:clicked )?button_\]")


@dataclass(frozen=True, slots=True)
class DemoStep:
    """One decision of a demonstration.

    Attributes:
        observation: The page as text.
        candidates: The actions that could be chosen.
        choice: Position of the action among the candidates; `TYPED` if it is none of them.
        action: What was done, as an environment takes it: ``search[...]`` or ``click[...]`` with an identifier.
        reward: 0 to 1; None where the file has no rewards.
    """

    observation: str
    candidates: tuple[str, ...]
    choice: int
    action: str
    reward: float | None


@dataclass(frozen=True, slots=True)
class Demonstration:
    """One episode of a person.

    Attributes:
        line: Where it stands in the file, from 1.
        instruction: The text on the first page, price clause included.
        steps: The decisions, in order.
        final_observation: The page after the last action; None where the file does not have it.
    """

    line: int
    instruction: str
    steps: tuple[DemoStep, ...]
    final_observation: str | None

    @property
    def score(self) -> float | None:
        """Sum of the rewards, 0 to 1; None where the file has none."""
        rewards = [step.reward for step in self.steps if step.reward is not None]
        return sum(rewards) if rewards else None


class GoalTexts:
    """Finds goals by their text, whatever price they name, because prices of the original differ from run to run.

    Letter case, quotation marks, blanks and full stops at the ends do not count either.

    Args:
        texts: Instructions in goal order, with or without price clause.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        self._texts = tuple(texts)
        self._goals: dict[str, list[int]] = {}
        for goal, text in enumerate(self._texts):
            self._goals.setdefault(text_key(text), []).append(goal)

    def find(self, instruction: str) -> tuple[int, ...]:
        """The goals with this text, those with the same price first, then in order; empty if there is none."""
        cap = price_cap(instruction)
        found = self._goals.get(text_key(instruction), [])
        return tuple(sorted(found, key=lambda goal: (price_cap(self._texts[goal]) != cap, goal)))


@dataclass(frozen=True, slots=True)
class MatchReport:
    """Demonstrations with their goal, and how sure that is.

    Attributes:
        matched: (demonstration, goal): the first goal with its text.
        ambiguous: How many of them have a text that several goals share.
        other_price: How many of them name another price than their goal.
        unmatched: Demonstrations whose text no goal has.
    """

    matched: tuple[tuple[Demonstration, int], ...]
    ambiguous: int
    other_price: int
    unmatched: tuple[Demonstration, ...]


def match_goals(demonstrations: Iterable[Demonstration], texts: Sequence[str]) -> MatchReport:
    """Give every demonstration the goal it was played for.

    Args:
        demonstrations: From `read_demonstrations`.
        texts: Instructions in goal order, with or without price clause.
    """
    goals = GoalTexts(texts)
    matched, unmatched = [], []
    ambiguous = other_price = 0
    for demonstration in demonstrations:
        found = goals.find(demonstration.instruction)
        if not found:
            unmatched.append(demonstration)
            continue
        matched.append((demonstration, found[0]))
        ambiguous += len(found) > 1
        other_price += price_cap(texts[found[0]]) != price_cap(demonstration.instruction)
    return MatchReport(tuple(matched), ambiguous, other_price, tuple(unmatched))


def text_key(instruction: str) -> str:
    """What two texts of the same goal have in common."""
    text = _PRICE_CLAUSE.sub("", instruction).lower()
    return " ".join(text.replace('"', "").replace("'", "").split()).strip(". ")


def price_cap(instruction: str) -> float | None:
    """The price in dollars that an instruction names; None if it names none."""
    found = _PRICE_CLAUSE.search(instruction)
    return float(found[1]) if found else None


def read_demonstrations(path: Path | str) -> Iterator[Demonstration]:
    """The demonstrations of a file, one at a time.

    Raises:
        UsageError: If there is no such file, or a demonstration is broken; names file, line and key.
        RunError: If a line is not JSON, for example because the file is cut short, or the file is empty.
    """
    path = Path(path)
    if not path.is_file():
        raise UsageError(f"There is no file {path}. Check the path.")
    empty = True
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            empty = False
            yield _Row(path, number, line).demonstration()
    if empty:
        raise RunError(f"{path} is empty; one demonstration a line was expected.")


class _Row:
    """One line, with errors that name file, line and key."""

    def __init__(self, path: Path, number: int, line: bytes) -> None:
        self._place = f"{path}, line {number}"
        self._number = number
        try:
            self._content = json.loads(line.decode("utf-8-sig"))
        except ValueError as error:
            hint = "" if line.endswith(b"\n") else " The file ends in the middle of it; fetch it again."
            raise RunError(f"{self._place} is not JSON ({error}).{hint}") from error
        if not isinstance(self._content, dict):
            raise self._wrong(f"holds a {type(self._content).__name__}; an object with keys was expected")

    def demonstration(self) -> Demonstration:
        states, actions = self._texts("states"), self._texts("actions")
        length = len(actions)
        if not length or len(states) not in (length, length + 1):
            raise self._wrong(
                f"has {len(states)} 'states' for {length} 'actions'; equal numbers or one more are needed"
            )
        candidates, choices = self._list("available_actions", length), self._list("action_idxs", length)
        rewards = self._list("rewards", length) if "rewards" in self._content else [None] * length
        steps = zip(states, candidates, choices, actions, rewards, strict=False)
        return Demonstration(
            line=self._number,
            instruction=self._instruction(states[0]),
            steps=tuple(self._step(at, *step) for at, step in enumerate(steps)),
            final_observation=states[length] if len(states) > length else None,
        )

    def _step(self, at: int, state: str, candidates: Any, choice: Any, action: str, reward: Any) -> DemoStep:
        if not isinstance(candidates, list) or not all(isinstance(text, str) for text in candidates):
            raise self._wrong(f"'available_actions' of step {at} must be a list of texts")
        if type(choice) is not int or not TYPED <= choice < len(candidates):
            raise self._wrong(f"'action_idxs' of step {at} is {choice!r}; allowed: -1 to {len(candidates) - 1}")
        if reward is not None and (isinstance(reward, bool) or not isinstance(reward, int | float)):
            raise self._wrong(f"'rewards' of step {at} is {reward!r}, not a number")
        scaled = None if reward is None else float(reward) / REWARD_SCALE
        return DemoStep(state, tuple(candidates), choice, executable(action, state), scaled)

    def _instruction(self, page: str) -> str:
        lines = [line.strip() for line in re.split(r"\n| \[SEP\] ", page)]
        for label, text in pairwise(lines):
            if label.rstrip(": ").lower() == "instruction" and text:
                return text
        raise self._wrong("'states' starts with a page without instruction")

    def _texts(self, key: str) -> list[str]:
        values = self._list(key)
        if not all(isinstance(value, str) for value in values):
            raise self._wrong(f"{key!r} must hold texts only")
        return values

    def _list(self, key: str, length: int | None = None) -> list[Any]:
        if key not in self._content:
            raise self._wrong(f"has no key {key!r}; it has {', '.join(sorted(self._content)) or 'none'}")
        values = self._content[key]
        if not isinstance(values, list):
            raise self._wrong(f"{key!r} must be a list, found {type(values).__name__}")
        if length is not None and len(values) != length:
            raise self._wrong(f"has {len(values)} {key!r} for {length} 'actions'; equal numbers are needed")
        return values

    def _wrong(self, reason: str) -> UsageError:
        return UsageError(
            f"{self._place}: the demonstration {reason}." if reason[0] != "'" else f"{self._place}: {reason}."
        )


def executable(action: str, observation: str) -> str:
    """An action as an environment takes it: the click on a title becomes the click on its identifier.

    Args:
        action: As recorded, for example ``click[item - red shoes]``.
        observation: The ``text_rich`` page on which it was taken; of equal titles the last counts.
    """
    found = _clicked_product(action, observation)
    return action if found is None else f"click[{found.asin.lower()}]"


def link_text(action: str, observation: str) -> str:
    """A candidate as the shop's environments word it: a link to a product reads as its title and price.

    Args:
        action: As recorded, for example ``click[item - red shoes]``.
        observation: The ``text_rich`` page on which it was offered; of equal titles the last counts.
    """
    found = _clicked_product(action, observation)
    return action if found is None else f"click[{found.title}, {found.price}]"


class _Link(NamedTuple):
    asin: str
    title: str
    price: str


def _clicked_product(action: str, observation: str) -> _Link | None:
    """The product behind a click on a title; None for any other action, and where no line of the page fits."""
    click = _ITEM_CLICK.match(action)
    if click is None:
        return None
    lines = [*observation.split("\n"), ""]
    for at in reversed(range(len(lines) - 2)):
        button = _ITEM_BUTTON.search(lines[at])
        if button and lines[at + 1].strip().lower() == click[1].strip().lower():
            return _Link(button[1], lines[at + 1].strip(), lines[at + 2].strip())
    return None
