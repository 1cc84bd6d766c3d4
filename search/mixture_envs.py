"""Mixtures of several environments: what each arm found is judged in every one, and in all of them together."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from data.dataset import Dataset
from envs.errors import RunError
from envs.spec import LevelSet
from metrics.table import EvaluationTable
from search.judging import Judge, evaluations_file
from search.mixture_config import MixtureSearchConfig
from search.mixture_trials import MixtureTrial, experiment_of, source_paths
from search.phases import StudyPolicy
from search.selection import Selection
from search.space import trial_path
from search.study import RANDOM_POLICY, Study
from trainers.several_envs import MEAN_OVER_ENVS, slug_of
from trainers.training_data import open_training_data


def other_envs(config: MixtureSearchConfig) -> tuple[str, ...]:
    """Environments besides the study's own in which policies are judged."""
    return config.experiment.data.other_envs if config.experiment.evaluation.each_env else ()


def judge_elsewhere(config: MixtureSearchConfig, out: Path, pool: Any, trials: Sequence[MixtureTrial]) -> None:
    """Play full runs on train and validation levels of every other environment; tables that exist are kept."""
    for env, judge, policies in _judges(config, out, pool, trials):
        judge.judge([_random(config, out, env), *policies.values()])
        judge.table()


def read_tests_elsewhere(
    config: MixtureSearchConfig, out: Path, pool: Any, trials: Sequence[MixtureTrial], selection: Selection
) -> None:
    """Read the sealed test of every other environment once with each full run; each read is in the ledger."""
    for env, judge, policies in _judges(config, out, pool, trials):
        for trial in trials:
            fingerprint = open_training_data(experiment_of(config, trial, out)).view.fingerprint
            reason = f"what the arm {trial.arm} found, on a fresh seed, in {env}"
            judge.test(policies[trial.trial_id], selection, fingerprint, reason)
        judge.table()


def env_tables(study: Study) -> dict[str, EvaluationTable]:
    """Results in each environment, by the ending of its name in metrics; the study's own first.

    Raises:
        RunError: If the policies were not judged in one of them.
    """
    tables = {slug_of(study.env): study.table}
    if not study.config["experiment"]["evaluation"].get("each_env"):
        return tables
    for env in study.config["experiment"]["data"].get("other_envs", []):
        path = evaluations_file(study.directory, env)
        if not path.exists():
            raise RunError(f"The study has not been judged in {env} ({path.name} is missing); resume it.")
        table = EvaluationTable.read(path)
        names = table.frame["policy"].str.removesuffix(_suffix(env))
        tables[slug_of(env)] = EvaluationTable(table.frame.assign(policy=names))
    return tables


def target_table(study: Study) -> EvaluationTable:
    """Results where the first objective is measured: in one environment, or on average over all of them."""
    target = str(study.config["objectives"][0]).partition("_return/")[2]
    if not target:
        return study.table
    tables = env_tables(study)
    return mean_table(tables) if target == MEAN_OVER_ENVS else tables[target]


def mean_table(tables: Mapping[str, EvaluationTable]) -> EvaluationTable:
    """One row for the n-th level of every environment: the mean of its normalized returns, as both kinds of return.

    Levels of different environments have nothing in common, so any pairing of them is as good; each environment counts
    the same.
    """
    keys = ["policy", "role", "mode", "episode", "rank"]
    frames = [table.frame.assign(rank=_ranks(table.frame)) for table in tables.values()]
    scores = pd.concat(frames).groupby(keys)["normalized_return"].agg(["mean", "size"])
    means = scores[scores["size"] == len(frames)]["mean"].rename("score").reset_index()
    rows = frames[0].merge(means, on=keys)
    rows = rows.assign(
        env=f"mean over {len(frames)} environments",
        level=rows["rank"],
        episode_return=rows["score"],
        normalized_return=rows["score"],
    )
    return EvaluationTable(rows.drop(columns=["rank", "score"]))


def _ranks(frame: pd.DataFrame) -> pd.Series[int]:
    """The place of each row's level among those that the policy played for its role."""
    ranks: pd.Series[int] = frame.groupby(["policy", "role", "mode"])["level"].rank(method="dense").astype("int64") - 1
    return ranks


def _judges(
    config: MixtureSearchConfig, out: Path, pool: Any, trials: Sequence[MixtureTrial]
) -> Iterator[tuple[str, Judge, dict[str, StudyPolicy]]]:
    for env in other_envs(config):
        policies = {trial.trial_id: _policy(config, trial, out, env) for trial in trials}
        yield env, Judge(config, out, pool, _random(config, out, env).levels, env=env), policies


def _policy(config: MixtureSearchConfig, trial: MixtureTrial, out: Path, env: str) -> StudyPolicy:
    levels = open_training_data(experiment_of(config, trial, out)).other_levels[env]
    return StudyPolicy(
        name=trial.trial_id + _suffix(env),
        checkpoint=(trial_path(out, trial.trial_id) / "checkpoints" / config.checkpoint).resolve(),
        levels=levels,
        num_levels=len(levels),
        train_seed=trial.seed,
        columns={"config_id": trial.config_id, "num_levels": len(levels), "arm": trial.arm},
    )


def _random(config: MixtureSearchConfig, out: Path, env: str) -> StudyPolicy:
    """With every level of that environment that any policy may learn from."""
    datasets = [Dataset.open(path) for path in source_paths(config, out).values()]
    levels = LevelSet.of(env, sorted({level for dataset in datasets for level in dataset.levels_of(env).tolist()}))
    name = RANDOM_POLICY + _suffix(env)
    return StudyPolicy(name=name, checkpoint=None, levels=levels, num_levels=len(levels))


def _suffix(env: str) -> str:
    return f"-in-{slug_of(env)}"


def with_target(study: Study) -> Study:
    """The study with the results that its first objective is about."""
    return dataclasses.replace(study, table=target_table(study))
