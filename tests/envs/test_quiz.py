"""The text quiz: solvable by its rule, with a varying number of candidates."""

from __future__ import annotations

import numpy as np
import pytest

from envs.errors import UsageError
from envs.quiz import AGAIN, MAX_CANDIDATES, MAX_STEPS, make_level, quiz_answer
from envs.registry import make_vec
from envs.text import count_texts, decode_text, decode_texts
from envs.vector import LevelVectorEnv, Observations


def start(levels: list[int]) -> tuple[LevelVectorEnv, Observations]:
    env = make_vec("quiz/default", len(levels))
    return env, env.reset(options={"levels": np.array(levels)})[0]


def texts(observations: Observations, slot: int) -> tuple[str, list[str]]:
    return decode_text(observations["page"][slot]), decode_texts(observations["candidates"][slot])


def test_the_rule_earns_everything() -> None:
    levels = list(range(30))
    env, observations = start(levels)
    returns, active = np.zeros(len(levels)), np.ones(len(levels), dtype=bool)
    while active.any():
        actions = np.zeros(len(levels), dtype=np.int32)
        for slot in np.flatnonzero(active):
            actions[slot] = quiz_answer(*texts(observations, int(slot)))
        observations, rewards, _, truncated, infos = env.step(actions)
        returns, active = returns + rewards, infos["active"]
        assert not truncated.any()
    assert returns == pytest.approx(np.ones(len(levels)))
    for slot, level in enumerate(levels):
        count = len(make_level(level))
        assert texts(observations, slot) == (f"The quiz is over. {count} of {count} right.", ["leave"])


def test_candidates_vary_from_two_to_six() -> None:
    questions = [question for level in range(200) for question in make_level(level)]
    assert {len(question.offered) for question in questions} == set(range(2, MAX_CANDIDATES + 1))
    assert {len(make_level(level)) for level in range(50)} == {2, 3, 4}
    for question in questions:
        assert question.wanted in question.offered
        assert question.wanted != AGAIN
        assert len(set(question.offered)) == len(question.offered)


def test_a_wrong_answer_pays_nothing_and_goes_on() -> None:
    env, observations = start([0])
    page, candidates = texts(observations, 0)
    answer = quiz_answer(page, candidates)
    wrong = next(i for i, text in enumerate(candidates) if i != answer and text != AGAIN)
    observations, rewards, terminated, _, _ = env.step(np.array([wrong]))
    assert (rewards[0], terminated[0]) == (0, False)
    assert texts(observations, 0)[0].startswith("Question 2 of")


@pytest.mark.parametrize("choice", ["again", "beyond"])
def test_choices_without_effect_run_into_the_step_limit(choice: str) -> None:
    level = next(n for n in range(50) if AGAIN in make_level(n)[0].offered and len(make_level(n)[0].offered) < 6)
    env, observations = start([level])
    page, candidates = texts(observations, 0)
    action = candidates.index(AGAIN) if choice == "again" else count_texts(observations["candidates"][0])
    for step in range(MAX_STEPS):
        observations, rewards, terminated, truncated, _ = env.step(np.array([action]))
        assert (rewards[0], terminated[0], truncated[0]) == (0, False, step == MAX_STEPS - 1)
        assert texts(observations, 0) == (page, candidates)


def test_a_page_that_asks_nothing_has_no_answer() -> None:
    with pytest.raises(UsageError, match="asks nothing"):
        quiz_answer("The quiz is over.", ["leave"])
