"""Experts that know the answer, and the policy that follows one with some noise.

Experts are privileged: they are told the level, or read the rule that made the page.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from actors.policy import PolicyInput
from envs.cache import LeastRecentlyUsed
from envs.errors import UsageError
from envs.grid_levels import VARIANTS, make_level, move, optimal_actions
from envs.quiz import quiz_answer
from envs.spec import EnvSpec
from envs.text import decode_text, decode_texts

Masks = npt.NDArray[np.bool_]


class Advice(NamedTuple):
    """What an expert says about B rows."""

    best: Masks  # [B, A] the best actions, at least one a row
    allowed: Masks  # [B, A] the actions that noise may play


class Expert(Protocol):
    """Knows the best actions of a running episode."""

    def advise(self, inputs: PolicyInput) -> Advice:
        """The advice for this step; called once for every step, in order."""
        ...


class ExpertPolicy:
    """Follows an expert; with probability `noise` plays any allowed action instead.

    P(a) = noise / |allowed| + (1 - noise) [a is best] / |best| for every allowed action a. An expert knows the way from
    every state, so disturbed episodes recover, and episodes of one level differ.

    Args:
        expert: Whom to follow.
        name: Its name; the policy id adds the noise.
        noise: Probability in [0, 1] of an action chosen uniformly among the allowed ones.
    """

    privileged = True

    def __init__(self, expert: Expert, name: str, noise: float = 0.0) -> None:
        if not 0 <= noise <= 1:
            raise UsageError(f"noise is {noise}; it is a probability from 0 to 1.")
        self._expert = expert
        self._noise = noise
        self._inputs: PolicyInput | None = None
        self._advice: Advice | None = None
        self.policy_id = f"{name}-e{noise:g}" if noise else name

    def act(self, inputs: PolicyInput) -> npt.NDArray[np.float32]:
        """Log-probabilities [B, A]."""
        return _log_probs(self._ask(inputs), self._noise)

    def _ask(self, inputs: PolicyInput) -> Advice:
        # An expert with a memory must see each step once, also when it both acts and labels.
        if self._advice is None or inputs is not self._inputs:
            self._inputs, self._advice = inputs, self._expert.advise(inputs)
        return self._advice

    def labeler(self) -> ExpertLabels:
        """The same expert without noise, for labels of the steps that this policy plays."""
        return ExpertLabels(self)


class ExpertLabels:
    """What the expert of another policy would do, at the cost of asking it once."""

    privileged = True

    def __init__(self, policy: ExpertPolicy) -> None:
        self._policy = policy
        self.policy_id = policy.policy_id + "-labels"

    def act(self, inputs: PolicyInput) -> npt.NDArray[np.float32]:
        """Log-probabilities [B, A]."""
        return _log_probs(self._policy._ask(inputs), 0.0)


def _log_probs(advice: Advice, noise: float) -> npt.NDArray[np.float32]:
    best = advice.best / advice.best.sum(axis=1, keepdims=True)
    allowed = advice.allowed / advice.allowed.sum(axis=1, keepdims=True)
    with np.errstate(divide="ignore"):
        log_probs: npt.NDArray[np.float64] = np.log((1 - noise) * best + noise * allowed)
    return log_probs.astype(np.float32)


class GridExpert:
    """Shortest ways in the grid, from its own simulation of the level: it never looks at the pixels.

    Args:
        env: Name of a grid variant.
    """

    def __init__(self, env: str) -> None:
        if env not in VARIANTS:
            raise UsageError(f"The grid expert plays {sorted(VARIANTS)}; received {env!r}.")
        self._levels = LeastRecentlyUsed(partial(make_level, VARIANTS[env]), 4096)
        self._states: list[tuple[int, int]] = []  # per row: cell, items collected

    def advise(self, inputs: PolicyInput) -> Advice:
        """Every action on a shortest way, [B, 5]; noise may play the four moves."""
        assert inputs.levels is not None
        best = np.zeros((len(inputs), 5), dtype=np.bool_)
        if len(self._states) != len(inputs):
            self._states = [(0, 0)] * len(inputs)
        for row, number in enumerate(inputs.levels):
            level = self._levels.get(int(number))
            cell, collected = self._states[row]
            if inputs.starting[row]:
                cell, collected = level.start, 0
            elif collected < len(level.items) and inputs.previous_actions[row] >= 0:
                cell, collected, _, _ = move(level, cell, collected, int(inputs.previous_actions[row]))
            self._states[row] = cell, collected
            over = collected == len(level.items)  # a row that has ended; what it plays has no effect
            best[row, [0] if over else list(optimal_actions(level, cell, collected))] = True
        return Advice(best, np.broadcast_to(np.array([False, True, True, True, True]), best.shape))


class QuizExpert:
    """The rule that solves the quiz, applied to the text that everyone sees."""

    def __init__(self, spec: EnvSpec) -> None:
        if spec.candidate_column is None or "page" not in spec.observation_columns:
            raise UsageError(f"The quiz expert plays 'quiz/default'; received {spec.name!r}.")
        self._num_actions = spec.num_actions

    def advise(self, inputs: PolicyInput) -> Advice:
        """The wanted candidate, [B, A]; noise may play any candidate."""
        best = np.zeros((len(inputs), self._num_actions), dtype=np.bool_)
        allowed = np.zeros_like(best)
        for row in range(len(inputs)):
            page = decode_text(inputs.observations["page"][row])
            candidates = decode_texts(inputs.observations["candidates"][row])
            over = "Wanted: " not in page  # a row that has ended
            best[row, 0 if over else quiz_answer(page, candidates)] = True
            allowed[row, : len(candidates)] = True
        return Advice(best, allowed)
