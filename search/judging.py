"""Judging a study's policies by Ray actors: train and validation for all, the sealed test for the selected ones."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol

from actors.conditions import play_conditions
from actors.evaluate import evaluate_on_pool
from actors.players import Play
from data.files import atomic_write_json
from envs.console import Progress, say
from envs.registry import make_spec
from envs.spec import LevelSet
from metrics.ledger import Ledger, Permit
from metrics.protocol import EvaluationProtocol, Role
from metrics.robustness import all_conditions
from metrics.table import EvaluationTable
from search.config import SweepConfig
from search.crafted import crafted_scores
from search.phases import StudyPolicy, trial_policy
from search.robustness import robustness_table
from search.selection import Selection, find_rule, needs_crafted, select_configurations
from search.space import collected_levels, data_specs, has_diverged, trial_specs
from search.study import EVALUATIONS_FILE, LEDGER_FILE, RANDOM_POLICY, SELECTION_FILE
from trainers.config import EvaluationConfig, ExperimentConfig
from trainers.evaluation import protocol_of
from trainers.policy_files import network_id
from trainers.several_envs import slug_of

EVALUATIONS_FOLDER = "evaluations"


class Judged(Protocol):
    """A study as far as judging its policies goes; a dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def experiment(self) -> ExperimentConfig:
        """Whose environment and seed are played."""
        ...

    @property
    def judge(self) -> EvaluationConfig:
        """What is played."""
        ...


class Judge:
    """Plays policies on the levels of each role and keeps every table on disk.

    Args:
        config: The study; `SweepConfig.judge` says what is played.
        study_dir: Where tables and the ledger lie.
        pool: Evaluator actors.
        training_levels: Every level that any policy may have learned from; one test for all, so that levels pair up.
        env: Where to play; empty for the study's own environment. Another one has tables of its own.
    """

    def __init__(self, config: Judged, study_dir: Path, pool: Any, training_levels: LevelSet, env: str = "") -> None:
        self._config, self._dir, self._pool = config, study_dir, pool
        self._training_levels = training_levels
        self._env = env
        self._spec = make_spec(env or config.experiment.env)

    def judge(self, policies: Sequence[StudyPolicy]) -> None:
        """Play every policy on all roles but the test; tables that exist are kept."""
        roles = self._protocol(policies[0]).open_roles
        pending = [policy for policy in policies if not self._path(policy, roles).exists()]
        label = f"judge on {' and '.join(role.value for role in roles)}"
        with Progress(label, len(policies), "policies") as progress:
            for policy in pending:
                progress.update(len(policies) - len(pending), note=policy.name)
                self._play(policy, roles, permit=None)
                pending = pending[1:]
            progress.update(len(policies))

    def test(self, policy: StudyPolicy, selection: Selection, dataset_fingerprint: str, reason: str) -> None:
        """Read the sealed test levels with one selected policy, once.

        A read that was recorded but interrupted before its results were kept goes on under the same permit.
        """
        if self._path(policy, (Role.TEST,)).exists():
            return
        ledger = Ledger(self._dir / LEDGER_FILE)
        key = (policy.name, self._fingerprint(policy), dataset_fingerprint)
        permit = ledger.find(*key) or ledger.issue(
            *key,
            rule=selection.rule,
            reason=reason,
            protocol=self._config.judge.protocol,
            network=self._network(policy),
        )
        say(f"Test: {policy.name} ({reason}; permit {permit.permit_id})")
        self._play(policy, (Role.TEST,), permit)

    def robustness(self, policy: StudyPolicy, play: Play) -> None:
        """Let `play` play one policy on validation levels under every change; a table that exists is kept."""
        path = robustness_table(self._dir, policy.name)
        if path.exists():
            return
        protocol = self._protocol(policy)
        table = play_conditions(
            play,
            policy.checkpoint or RANDOM_POLICY,
            protocol,
            all_conditions(self._spec, protocol.split(Role.VALIDATION), policy.levels),
            seed=self._config.experiment.seed,
            num_envs=self._config.judge.num_envs,
            policy_name=policy.name,
            train_seed=policy.train_seed,
            extra=policy.columns,
        )
        table.write(path)

    def table(self) -> EvaluationTable:
        """Every row so far, also written as the study's table."""
        files = sorted(self._folder.glob("*.parquet"))
        table = EvaluationTable.concat([EvaluationTable.read(file) for file in files])
        table.write(evaluations_file(self._dir, self._env))
        return table

    def _play(self, policy: StudyPolicy, roles: Sequence[Role], permit: Permit | None) -> None:
        judge = self._config.judge
        protocol = self._protocol(policy)
        table = evaluate_on_pool(
            self._pool,
            policy.checkpoint or RANDOM_POLICY,
            protocol,
            roles=roles,
            seed=self._config.experiment.seed,
            permit=permit,
            num_envs=judge.num_envs,
            policy_name=policy.name,
            train_seed=policy.train_seed,
            extra=policy.columns,
        )
        table.write(self._path(policy, roles))

    def _protocol(self, policy: StudyPolicy) -> EvaluationProtocol:
        experiment = self._config.experiment
        return protocol_of(
            self._config.judge,
            self._spec,
            policy.levels,
            algorithm=experiment.algorithm.name,
            distinct_from=self._training_levels,
        )

    def _path(self, policy: StudyPolicy, roles: Sequence[Role]) -> Path:
        return self._folder / f"{policy.name}.{'-'.join(role.value for role in roles)}.parquet"

    @property
    def _folder(self) -> Path:
        return self._dir / (f"{EVALUATIONS_FOLDER}-{slug_of(self._env)}" if self._env else EVALUATIONS_FOLDER)

    def _network(self, policy: StudyPolicy) -> str:
        """Identifies the parameters; the test of another environment is another test."""
        if policy.checkpoint is None:
            return ""
        return network_id(policy.checkpoint) + (f" in {self._env}" if self._env else "")

    def _fingerprint(self, policy: StudyPolicy) -> str:
        """Of the configuration without the seed."""
        text = json.dumps([dataclasses.asdict(self._config), dict(policy.columns)], sort_keys=True)
        return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def evaluations_file(study_dir: Path, env: str = "") -> Path:
    """The table of a study's results in its own environment, or in another one that is named."""
    own = study_dir / EVALUATIONS_FILE
    return own.with_stem(f"{own.stem}-{slug_of(env)}") if env else own


def study_levels(config: SweepConfig) -> LevelSet:
    """Every level that any trial of a study may learn from."""
    levels = (level for spec in data_specs(config) for level in collected_levels(config, spec))
    return LevelSet.of(config.experiment.env, sorted(set(levels)))


def crafted_of(config: SweepConfig, study_dir: Path) -> dict[str, float]:
    """Every trial's score on crafted shifts; see `search.crafted`."""
    trained = [spec for spec in trial_specs(config) if not has_diverged(study_dir, spec)]
    return crafted_scores(
        config, study_dir, {spec.trial_id: (spec, trial_policy(config, study_dir, spec)) for spec in trained}
    )


def select(config: SweepConfig, study_dir: Path, table: EvaluationTable) -> Selection:
    """Apply the study's rule at every level count (and mixture) and write down what it chose."""
    crafted = crafted_of(config, study_dir) if needs_crafted(find_rule(config.selection_rule)) else None
    selection = select_configurations(table, config.selection_rule, crafted=crafted)
    atomic_write_json(study_dir / SELECTION_FILE, selection.to_json())
    for choice in (*selection.choices, *selection.mixture_choices):
        say(f"Selected {choice.where}: {choice.config_id} ({choice.reason})")
    return selection
