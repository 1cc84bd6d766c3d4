"""A toy text environment: pages with a varying number of candidate answers, solvable by a stated rule."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from envs.cache import LeastRecentlyUsed
from envs.errors import UsageError
from envs.seeding import rng_for
from envs.spec import ColumnSpec, EnvSpec
from envs.text import encode_text, encode_texts
from envs.vector import Actions, LevelVectorEnv, Mask, Observations, Transition

NAME = "quiz/default"
AGAIN = "read again"
MAX_CANDIDATES = 6
MAX_STEPS = 8
NUM_LEVELS = 2**31 - 1
_CACHED_LEVELS = 4096

_COLORS = ("red", "blue", "green", "black", "white", "yellow", "purple", "orange")
_THINGS = ("mug", "lamp", "chair", "shirt", "radio", "kettle", "carpet", "pencil")
_LAST_CANDIDATES = ("leave",)

Text = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Question:
    """One page and the answers offered with it."""

    wanted: str
    offered: tuple[str, ...]
    """2 to 6 candidates, one of them `wanted`; possibly `AGAIN`, which asks the same question once more."""


def entries() -> dict[str, tuple[Callable[[], EnvSpec], Callable[..., LevelVectorEnv]]]:
    """The only variant for the registry."""
    return {NAME: (make_spec, QuizVectorEnv)}


def make_spec() -> EnvSpec:
    """The contract; returns lie in [0, 1], the share of questions answered rightly."""
    text = ColumnSpec("uint8", ragged=True)
    return EnvSpec(
        name=NAME,
        observation_columns={"page": text, "candidates": text},
        num_actions=MAX_CANDIDATES,
        max_episode_steps=MAX_STEPS,
        level_universe=NUM_LEVELS,
        return_bounds={"official": (0.0, 1.0)},
        candidate_column="candidates",
    )


def make_level(level: int) -> tuple[Question, ...]:
    """The 2 to 4 questions of a level."""
    rng = rng_for(NAME, level)
    return tuple(_make_question(rng) for _ in range(int(rng.integers(2, 5))))


def _make_question(rng: np.random.Generator) -> Question:
    """A wanted thing among others that share its color or its name or neither."""
    count = int(rng.integers(2, MAX_CANDIDATES + 1))
    with_again = count > 2 and bool(rng.random() < 0.5)
    pairs = rng.permutation(len(_COLORS) * len(_THINGS))[: count - with_again]
    things = [f"{_COLORS[pair % len(_COLORS)]} {_THINGS[pair // len(_COLORS)]}" for pair in pairs]
    offered = things + [AGAIN] * with_again
    return Question(things[0], tuple(offered[i] for i in rng.permutation(count)))


def page_text(questions: Sequence[Question], number: int, right: int) -> str:
    """The page shown while question `number` (from 0) is open, or after the last one."""
    if number == len(questions):
        return f"The quiz is over. {right} of {len(questions)} right."
    return f"Question {number + 1} of {len(questions)}. {right} right so far. Wanted: {questions[number].wanted}"


def quiz_answer(page: str, candidates: Sequence[str]) -> int:
    """The rule that solves every page: choose the candidate that the page wants.

    Raises:
        UsageError: If the page asks nothing.
    """
    _, found, wanted = page.partition("Wanted: ")
    if not found:
        raise UsageError(f"The page {page!r} asks nothing, so it has no answer; pages of running episodes do.")
    return list(candidates).index(wanted)


class QuizVectorEnv(LevelVectorEnv):
    """B slots. A right answer pays 1 / questions; right or wrong, the next question follows.

    Choosing `AGAIN`, or an index beyond the row's candidates, spends a step and changes nothing, so an episode can run
    into the step limit.

    Args:
        num_envs: Slots.
    """

    def __init__(self, num_envs: int) -> None:
        super().__init__(make_spec(), num_envs)
        self._made = LeastRecentlyUsed(make_level, _CACHED_LEVELS)
        self._questions: list[tuple[Question, ...]] = [()] * num_envs
        self._number = np.zeros(num_envs, dtype=np.int64)  # [B] open question
        self._right = np.zeros(num_envs, dtype=np.int64)  # [B] right answers so far
        self._pages: list[Text] = [encode_text("")] * num_envs
        self._candidates: list[Text] = [encode_texts(_LAST_CANDIDATES)] * num_envs

    def _start(self, slots: npt.NDArray[np.intp], in_place: bool) -> None:
        for slot in slots:
            self._questions[slot] = self._made.get(int(self._levels[slot]))
            self._number[slot], self._right[slot] = 0, 0
            self._write_page(int(slot))

    def _advance(self, actions: Actions, active: Mask) -> Transition:
        rewards = np.zeros(self.num_envs, dtype=np.float32)
        finished = np.zeros(self.num_envs, dtype=np.bool_)
        for slot in np.flatnonzero(active):
            rewards[slot], finished[slot] = self._answer(int(slot), int(actions[slot]))
        return Transition(rewards, finished, ~finished & (self._steps >= self.task.max_episode_steps))

    def _answer(self, slot: int, action: int) -> tuple[float, bool]:
        questions = self._questions[slot]
        question = questions[self._number[slot]]
        if action >= len(question.offered) or question.offered[action] == AGAIN:
            return 0.0, False
        right = question.offered[action] == question.wanted
        self._right[slot] += right
        self._number[slot] += 1
        self._write_page(slot)
        return right / len(questions), bool(self._number[slot] == len(questions))

    def _write_page(self, slot: int) -> None:
        questions, number = self._questions[slot], int(self._number[slot])
        self._pages[slot] = encode_text(page_text(questions, number, int(self._right[slot])))
        offered = questions[number].offered if number < len(questions) else _LAST_CANDIDATES
        self._candidates[slot] = encode_texts(offered)

    def _observe(self) -> Observations:
        columns = {"page": self._pages, "candidates": self._candidates}
        return {name: tuple(row.copy() for row in rows) for name, rows in columns.items()}
