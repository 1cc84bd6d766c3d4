"""Halving finds the guilty, nothing is lost by it, and only the late are played twice."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from actors.chunks import LATE_FACTOR, LATE_S, Chunk, after_failure, is_late, split


@given(num_jobs=st.integers(0, 500), num_actors=st.integers(1, 9), num_envs=st.integers(1, 70))
def test_every_job_is_in_one_chunk_in_order(num_jobs: int, num_actors: int, num_envs: int) -> None:
    jobs = [(level, 0) for level in range(num_jobs)]
    chunks = list(split(jobs, num_actors, num_envs))
    assert [job for chunk in chunks for job in chunk.remaining] == jobs
    assert all(chunk.remaining and chunk.home < num_actors for chunk in chunks)


@given(num_jobs=st.integers(1, 300), guilty=st.sets(st.integers(0, 299), max_size=3))
def test_the_guilty_are_alone_in_the_end_and_all_others_are_played(num_jobs: int, guilty: set[int]) -> None:
    waiting, played, blamed, deaths = [Chunk(0, {(n, 0): None for n in range(num_jobs)})], set(), set(), 0
    while waiting:
        chunk = waiting.pop()
        jobs = set(chunk.remaining)
        if not jobs & {(n, 0) for n in guilty}:
            played |= jobs
            continue
        deaths += 1
        chunk.failures += 1
        if len(jobs) == 1 and chunk.failures > 4:
            blamed |= jobs
        else:
            waiting += after_failure(chunk)
    assert blamed == {(n, 0) for n in guilty if n < num_jobs}
    assert played == {(n, 0) for n in range(num_jobs)} - blamed
    assert deaths <= len(blamed) * (5 + num_jobs.bit_length())


def test_a_first_death_may_be_an_accident() -> None:
    chunk = Chunk(1, {(n, 0): None for n in range(5)}, failures=1)
    assert after_failure(chunk) == [chunk]
    chunk.failures = 2
    halves = after_failure(chunk)
    assert [(half.home, half.failures, len(half.remaining)) for half in halves] == [(1, 2, 2), (1, 2, 3)]


def test_late_is_what_takes_longer_than_others_did() -> None:
    chunk = Chunk(0, {(1, 0): None})
    longest_s = 10.0
    limit_s = LATE_FACTOR * longest_s + LATE_S
    assert not is_late(chunk, 100.0, longest_s, 100.0 + limit_s)
    assert is_late(chunk, 100.0, longest_s, 100.1 + limit_s)
    assert not is_late(chunk, 100.0, None, 1e6), "there is nothing to compare with"
    assert not is_late(Chunk(0, {}), 100.0, longest_s, 1e6)
    assert not is_late(Chunk(0, {(1, 0): None}, copied=True), 100.0, longest_s, 1e6)
