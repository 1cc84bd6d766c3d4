"""Proposers on a synthetic problem whose best mixture is known."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envs.errors import UsageError
from search.dimensions import parse_dimensions
from search.mixtures import BASELINES, PROPOSERS, Observation, Problem, Proposal, Proposer, build_proposer
from search.mixtures.law import Law, fit_law
from search.mixtures.synthetic import PowerLaw
from search.mixtures.tpe import ParzenEstimator
from search.simplex import Simplex

SEARCHERS = [name for name in PROPOSERS if name not in BASELINES]


def problem(size: int = 4, **changes: Any) -> Problem:
    simplex = changes.pop("simplex", Simplex(names=tuple(f"s{i}" for i in range(size))))
    return Problem(simplex=simplex, natural=(1 / size,) * size, **{"num_trials": 24, **changes})


def searched(proposer: Proposer, law: PowerLaw, noise: float = 0.0, trials: int = 24) -> Proposal:
    rng = np.random.default_rng(proposer.problem.seed)
    for _ in range(trials):
        proposal = proposer.ask()
        proposer.tell(proposal, [law.loss(proposal.weights) + noise * rng.normal()])
    return proposer.recommend()


def test_the_best_mixture_of_the_synthetic_problem_is_known() -> None:
    law, rng = PowerLaw.made(5, seed=1), np.random.default_rng(0)
    assert law.best.sum() == pytest.approx(1)
    assert law.regret(law.best) == pytest.approx(0, abs=1e-12)
    assert min(law.regret(weights) for weights in rng.dirichlet(np.ones(5), 20_000)) > 0
    assert min(law.regret(rng.dirichlet(law.best * 3000)) for _ in range(200)) > 0


@pytest.mark.parametrize(("name", "most"), [("law", 0.06), ("regression", 0.06), ("tpe", 0.2), ("random", 0.6)])
def test_searchers_come_closer_to_the_best_mixture_than_equal_weights(name: str, most: float) -> None:
    """Regret as a share of that of equal weights, the mean of two problems."""
    shares = []
    for seed in range(2):
        law = PowerLaw.made(4, seed=seed)
        found = searched(build_proposer(name, problem(seed=seed)), law, noise=0.01 * law.regret([0.25] * 4))
        shares.append(law.regret(found.weights) / law.regret([0.25] * 4))
    assert np.mean(shares) < most, shares


def test_boosted_trees_learn_too() -> None:
    law = PowerLaw.made(3, seed=0)
    found = searched(build_proposer("regression", problem(3), {"model": "trees", "simulated": 2000}), law)
    assert law.regret(found.weights) < law.regret([1 / 3] * 3)


def test_dimensions_are_searched_together_with_weights() -> None:
    """The loss also depends on a learning rate, best at 1e-3, and on a choice."""
    dimensions = parse_dimensions({"rate": "log 1e-5 1e-1", "kind": "choice good bad", "size": "int 1 9 if kind=good"})
    law = PowerLaw.made(3, seed=2)
    for name in ("regression", "tpe"):
        proposer = build_proposer(name, problem(3, dimensions=dimensions, num_trials=30))
        for _ in range(30):
            proposal = proposer.ask()
            values: Any = proposal.values
            assert ("size" in values) == (values["kind"] == "good")
            extra = 0.1 * math.log10(values["rate"] / 1e-3) ** 2 + (values["kind"] == "bad")
            proposer.tell(proposal, [law.loss(proposal.weights) + extra])
        best: Any = proposer.recommend().values
        assert best["kind"] == "good"
        assert abs(math.log10(best["rate"] / 1e-3)) < 1, name


@pytest.mark.parametrize("name", SEARCHERS)
def test_a_killed_search_goes_on_as_if_nothing_had_been(name: str) -> None:
    law = PowerLaw.made(3, seed=3)
    whole, proposer = build_proposer(name, problem(3, seed=5)), build_proposer(name, problem(3, seed=5))
    for index in range(16):
        if index in (6, 13):  # asked and told go to disk and back
            asked = [Proposal.from_json(json.loads(json.dumps(p.to_json()))) for p in proposer.asked]
            history = [Observation(asked[o.proposal.number], o.losses) for o in proposer.history]
            proposer = build_proposer(name, problem(3, seed=5))
            proposer.restore(asked, history)
        first, second = whole.ask(), proposer.ask()
        assert first == second
        if index % 5:  # some are still running
            for one in (whole, proposer):
                one.tell(first, [law.loss(first.weights)])


@pytest.mark.parametrize("name", PROPOSERS)
@settings(max_examples=8, deadline=None)
@given(share=st.floats(0.3, 0.95), floor=st.floats(0, 0.9), seed=st.integers(0, 50))
def test_whatever_is_proposed_is_feasible(name: str, share: float, floor: float, seed: int) -> None:
    sizes = {"a": 500, "b": 300, "c": 200}
    budget = int(share * 600)
    simplex = Simplex.of_sizes(sizes, budget, floor * min(1 / 3, 200 / budget))
    options = {"simulated": 500, "num_random": 3} if name == "regression" else {}
    proposer = build_proposer(name, Problem(simplex=simplex, natural=(0.5, 0.3, 0.2), num_trials=6, seed=seed), options)
    rng = np.random.default_rng(seed)
    for _ in range(6):
        proposal = proposer.ask()
        simplex.check(simplex.named(proposal.weights))
        proposer.tell(proposal, [float(rng.normal())])
    simplex.check(simplex.named(proposer.recommend().weights))


def test_baselines_are_what_they_are_called() -> None:
    simplex = Simplex.of_sizes({"a": 600, "b": 300, "c": 30}, 300)
    made = {
        name: build_proposer(name, Problem(simplex=simplex, natural=(600 / 930, 300 / 930, 30 / 930)))
        for name in ("natural", "stratified")
    }
    assert made["natural"].ask().weights == pytest.approx((600 / 930, 300 / 930, 30 / 930))
    assert made["stratified"].ask().weights == pytest.approx((0.45, 0.45, 0.1))
    with pytest.raises(UsageError, match=r"The weight 0.3333 of 'c' is 0.2333 outside"):
        build_proposer("uniform", Problem(simplex=simplex, natural=(1 / 3,) * 3))


def test_failed_trials_are_passed_over() -> None:
    for name in SEARCHERS:
        proposer = build_proposer(name, problem(3, num_trials=8))
        with pytest.raises(UsageError, match="None of 0 trials succeeded"):
            proposer.recommend()
        told = [proposer.ask() for _ in range(4)]
        for index, proposal in enumerate(told):
            proposer.tell(proposal, [math.inf if index < 3 else 1.0])
        assert proposer.recommend() == told[3]
        assert proposer.ask().number == 4


def test_several_objectives_give_a_front() -> None:
    """Two losses that only a trade-off serves: the first wants all of s0, the second all of s1."""
    proposer = build_proposer("tpe", problem(2, num_objectives=2))
    assert isinstance(proposer, ParzenEstimator)
    for _ in range(30):
        proposal = proposer.ask()
        proposer.tell(proposal, [proposal.weights[1] ** 2, proposal.weights[0] ** 2])
    front = {proposal.number for proposal in proposer.front()}
    losses = [o.losses for o in proposer.history]
    beaten = {i for i, a in enumerate(losses) if any(b[0] <= a[0] and b[1] <= a[1] and b != a for b in losses)}
    assert front == set(range(30)) - beaten
    assert len(front) > 5
    with pytest.raises(UsageError, match="use the proposer 'tpe'"):
        build_proposer("law", problem(2, num_objectives=2))
    with pytest.raises(UsageError, match="1 losses were told of 2"):
        proposer.tell(proposer.ask(), [0.0])


def test_the_law_is_fitted_and_minimized() -> None:
    true = Law(np.log([1.0, 0.5, 0.8]), np.array([[-4.0, 0, 0], [0, -6.0, 0], [-1.0, 0, -3.0]]))
    rng = np.random.default_rng(0)
    weights, held_out = rng.dirichlet(np.ones(3), 60), rng.dirichlet(np.ones(3), 200)
    losses = true.value(weights)
    fitted = fit_law(weights, losses, 3, ridge=1e-6)
    correlation = np.corrcoef(fitted.value(held_out), true.value(held_out))[0, 1]
    assert correlation > 0.999, "the law is fitted up to scale and constant"
    simplex = Simplex(names=("a", "b", "c"))
    found, grid = fitted.minimum(simplex), rng.dirichlet(np.ones(3), 50_000)
    assert true.value(found[None])[0] < true.value(grid).min() + 0.01 * true.value(grid).std()


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("regresion", {}, "Did you mean 'regression'"),
        ("regression", {"modle": "trees"}, "Did you mean 'model'"),
        ("regression", {"model": "forest"}, "Allowed: process, trees"),
        ("law", {"ridge": 0.0}, "ridge above 0"),
        ("tpe", {"encoding": "stick"}, "Allowed: dirichlet, ilr, softmax"),
        ("stratified", {"weights": 1}, "has no options"),
    ],
)
def test_wrong_proposers_are_refused(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        build_proposer(name, problem(3), options)
