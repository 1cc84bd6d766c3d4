"""The order of goals, which of them are kept, and how one is drawn."""

from __future__ import annotations

import itertools
import random
import string
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence

from envs.errors import UsageError
from envs.shop.goals import Goal

SHUFFLE_SEED = 233
SESSION_LETTERS = 10


def shuffled(goals: Iterable[Goal], rng: random.Random) -> list[Goal]:
    """The goals in the original's order.

    Args:
        goals: In the order in which they were built.
        rng: ``random.Random(SHUFFLE_SEED)``. The original goes on with it: `limited`, then the draws of resets.
    """
    order = list(goals)
    rng.shuffle(order)
    return order


def hash_order(goals: Iterable[Goal]) -> list[Goal]:
    """The goals by the hash of their content, repeated ones once: the strict order, whatever order they came in."""
    return [goal for _, goal in sorted({goal.goal_id: goal for goal in goals}.items())]


def kept(goals: Iterable[Goal], keep: Callable[[int, Goal], bool]) -> list[Goal]:
    """The goals for which ``keep(index, goal)`` holds; indices are those before anything is removed."""
    return [goal for index, goal in enumerate(goals) if keep(index, goal)]


def limited(goals: Sequence[Goal], limit: int, rng: random.Random) -> list[Goal]:
    """A weighted sample of distinct goals in the order of the draws, as the original limits its list.

    Uses the original's sampler, off by one included. A limit of -1, or not below the number of goals, keeps all.
    """
    if limit == -1 or limit >= len(goals):
        return list(goals)
    sampler = GoalSampler([goal.weight for goal in goals], off_by_one=True)
    reachable = len(sampler.reachable())
    if not 0 <= limit <= reachable:
        raise UsageError(f"The goal limit is {limit}; allowed are -1 (all) and 0 to {reachable}.")
    drawn: dict[int, None] = {}
    while len(drawn) < limit:
        drawn.setdefault(sampler.draw(rng))
    return [goals[index] for index in drawn]


class GoalSampler:
    """Draws goal indices in proportion to weights.

    Args:
        weights: One for each goal, none negative.
        off_by_one: As the original: goal i is drawn with the weight of goal i-1, goal 0 never (unless it is the only
            one), the last goal also with its own weight.
    """

    def __init__(self, weights: Iterable[float], *, off_by_one: bool) -> None:
        self._sums = [0.0, *itertools.accumulate(weights)]
        self._shift = 0 if off_by_one else 1
        if len(self._sums) < 2 or not self._sums[-1] > 0:
            raise UsageError("There is no goal to draw: the list is empty or every weight is 0.")

    def index_at(self, position: float) -> int:
        """The goal at a position between 0 and the sum of all weights."""
        return min(max(bisect_right(self._sums, position) - self._shift, 0), len(self._sums) - 2)

    def draw(self, rng: random.Random) -> int:
        """One goal index; takes one uniform number from the generator."""
        return self.index_at(rng.uniform(0, self._sums[-1]))

    def reachable(self) -> list[int]:
        """The goals that can be drawn."""
        starts = [low for low, high in itertools.pairwise(self._sums) if high > low]
        return sorted({self.index_at(start) for start in starts})


def draw_session_id(rng: random.Random) -> str:
    """The name of a session whose reset names none: ten letters, drawn before the goal."""
    return "".join(rng.choices(string.ascii_lowercase, k=SESSION_LETTERS))
