"""The arms of a mixture search: whose turn it is, what was asked and what came of it. All of it is on disk."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from envs.errors import UsageError
from search.dimensions import parse_dimensions
from search.mixture_config import MixtureSearchConfig, parse_arm
from search.mixture_trials import MixtureTrial, trial_losses
from search.mixtures import BASELINES, Observation, Problem, Proposal, Proposer, build_proposer
from search.simplex import Simplex

LOG_FILE = "proposals.jsonl"


class Arms:
    """Every arm's proposer, restored from the study's log.

    A configuration is told to its proposer when its last seed has ended, as the mean over seeds; if one failed, as
    failed.

    Args:
        config: The study.
        study_dir: Holds the log and the trials.
        sizes: Source -> transitions that it holds.

    Raises:
        UsageError: For an unknown proposer or option, or mixtures that the sources cannot fill.
    """

    def __init__(self, config: MixtureSearchConfig, study_dir: Path, sizes: dict[str, int]) -> None:
        self._config, self._dir = config, study_dir
        self.simplex = Simplex.of_sizes(sizes, config.num_transitions, config.minimum_weight)
        self.proposers = {name: self._proposer(name, sizes) for name in config.arms}
        self._told: dict[tuple[str, int], dict[int, tuple[float, ...]]] = {}
        self._answers: dict[str, list[Proposal]] = {name: [] for name in self.proposers}
        self._heard: dict[str, int] = {}  # of how many configurations an arm had heard when it answered last
        self._restore()

    def next_trials(self) -> list[MixtureTrial]:
        """The seeds of the next configuration, of the arm that has asked least; empty when all had their share."""
        name = min(self.proposers, key=lambda arm: len(self.proposers[arm].asked))
        proposer = self.proposers[name]
        if len(proposer.asked) >= self._config.num_proposals:
            return []
        proposal = proposer.ask()
        self._log({"event": "asked", "arm": name, "proposal": proposal.to_json()})
        return self._seeds(name, proposal)

    def unfinished(self) -> list[MixtureTrial]:
        """Trials that were asked for, but of which nothing is known."""
        return [
            trial
            for name, proposer in self.proposers.items()
            for proposal in proposer.asked
            for trial in self._seeds(name, proposal)
            if trial.seed not in self._told.get((name, proposal.number), {})
        ]

    def end(self, trial: MixtureTrial) -> None:
        """Read what came of a trial; with the last seed of its configuration the proposer is told."""
        losses = trial_losses(self._config, trial, self._dir)
        self._log({"event": "ended", "arm": trial.arm, "number": trial.number, "seed": trial.seed, "losses": losses})
        self._end(trial.arm, trial.number, trial.seed, losses)

    def trials(self) -> Iterator[MixtureTrial]:
        """Every trial asked for, arm by arm."""
        for name, proposer in self.proposers.items():
            for proposal in proposer.asked:
                yield from self._seeds(name, proposal)

    def confirming(self) -> list[MixtureTrial]:
        """The full runs of what each arm found, on fresh seeds.

        Where trials were added and an arm's answer changed, the new answer has runs and names of its own.

        Raises:
            UsageError: If no trial of an arm succeeded.
        """
        for name, proposer in self.proposers.items():
            answers, heard = self._answers[name], len(proposer.history)
            if answers and self._heard[name] == heard:
                continue
            proposal = proposer.recommend()
            if not answers or (proposal.weights, proposal.values) != (answers[-1].weights, answers[-1].values):
                self._log({"event": "answered", "arm": name, "proposal": proposal.to_json(), "heard": heard})
                self._answer(name, proposal, heard)
        return [trial for name in self.proposers for trial in self._full_runs(name, len(self._answers[name]) - 1)]

    def superseded(self) -> list[MixtureTrial]:
        """The full runs of answers that arms gave before trials were added."""
        earlier = ((name, index) for name, answers in self._answers.items() for index in range(len(answers) - 1))
        return [trial for name, index in earlier for trial in self._full_runs(name, index)]

    def _answer(self, name: str, proposal: Proposal, heard: int) -> None:
        self._answers[name].append(proposal)
        self._heard[name] = heard

    def _full_runs(self, name: str, index: int) -> list[MixtureTrial]:
        answer = self._answers[name][index]
        seeds = self._config.confirm_seeds
        return [MixtureTrial.of(name, answer, seed, kind="confirmed", answer=index) for seed in seeds]

    def _proposer(self, name: str, sizes: dict[str, int]) -> Proposer:
        arm, total = parse_arm(self._config.arms[name]), sum(sizes.values())
        if arm.proposer in BASELINES and not self._config.dimensions and self._config.num_proposals > 1:
            raise UsageError(
                f"The arm {name!r} has the same weights in all of its {self._config.num_proposals} trials, so its "
                "compute would be spent on repeats; give dimensions to search, for example "
                "dimensions.train.learning_rate='log 1e-4 1e-2'."
            )
        problem = Problem(
            simplex=self.simplex,
            natural=tuple(size / total for size in sizes.values()),
            dimensions=parse_dimensions(self._config.dimensions),
            num_trials=self._config.num_proposals,
            num_objectives=1 if arm.proposer in BASELINES else len(self._config.objectives),
            seed=self._config.seed,
        )
        return build_proposer(arm.proposer, problem, arm.options)

    def _seeds(self, name: str, proposal: Proposal) -> list[MixtureTrial]:
        return [MixtureTrial.of(name, proposal, seed) for seed in self._config.seeds]

    def _end(self, arm: str, number: int, seed: int, losses: Sequence[float]) -> None:
        told = self._told.setdefault((arm, number), {})
        told[seed] = tuple(losses)
        if len(told) == len(self._config.seeds):
            proposer = self.proposers[arm]
            mean = np.mean(list(told.values()), axis=0)
            proposer.tell(proposer.asked[number], mean[: proposer.problem.num_objectives].tolist())

    def _log(self, event: dict[str, Any]) -> None:
        with (self._dir / LOG_FILE).open("a") as stream:
            stream.write(json.dumps(event) + "\n")

    def _restore(self) -> None:
        path = self._dir / LOG_FILE
        if not path.exists():
            return
        written = path.read_bytes()
        complete = written[: written.rfind(b"\n") + 1]
        if complete != written:  # a line torn by a kill: what it said is asked or read again
            path.write_bytes(complete)
        for event in map(json.loads, complete.splitlines()):
            if event["event"] == "asked":
                self.proposers[event["arm"]].asked.append(Proposal.from_json(event["proposal"]))
            elif event["event"] == "answered":
                self._answer(event["arm"], Proposal.from_json(event["proposal"]), event["heard"])
            else:
                self._end(event["arm"], event["number"], event["seed"], event["losses"])


def summary(arms: Arms) -> list[dict[str, Any]]:
    """Every configuration that was tried with its mean losses, for the study's record."""
    records = []
    for name, proposer in arms.proposers.items():
        told: dict[int, Observation] = {o.proposal.number: o for o in proposer.history}
        for proposal in proposer.asked:
            observed = told.get(proposal.number)
            losses = None if observed is None or observed.failed else list(observed.losses)
            records.append({"arm": name, **dataclasses.asdict(proposal), "losses": losses})
    return records
