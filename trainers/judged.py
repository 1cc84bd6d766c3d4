"""What `gengap evaluate` judges: a run, one of its checkpoints, or a source; and what is known about it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from actors.sources import EXPERTS, PLANNERS, SHIPPED, SourceSpec, checkpoint_of, load_policy
from envs.console import say
from envs.errors import RunError, UsageError
from envs.level_text import parse_levels
from envs.overrides import apply_overrides, config_from_json
from envs.registry import find_shift
from envs.spec import LevelSet
from metrics.ledger import Ledger, Permit, ledger_of
from metrics.protocol import EvaluationProtocol, Role
from metrics.protocols import is_shift, training_levels
from trainers.config import EvaluationConfig, ExperimentConfig
from trainers.evaluation import NUM_TRAIN_LEVELS
from trainers.online_config import OnlineConfig
from trainers.policy_files import network_id
from trainers.run_files import CONFIG, found_datasets, read_json
from trainers.training_data import open_training_data


@dataclasses.dataclass(frozen=True, kw_only=True)
class Judged:
    """A run or source, and what is known about it."""

    directory: Path
    name: str
    config: dict[str, Any]
    env: str
    seed: int
    train_levels: LevelSet
    dataset_fingerprint: str
    evaluation: EvaluationConfig
    algorithm: str = ""
    checkpoint: Path | None = None
    """The one that was named; None for a whole run, or a source."""
    source: str = ""

    def policies(self, protocol: EvaluationProtocol) -> dict[str, tuple[Path | str, str]]:
        """Name in the table -> (checkpoint or source, which weights); the one that counts comes first.

        Raises:
            RunError: If the run lacks a checkpoint that the protocol asks for.
        """
        if self.source:
            return {self.name: (self.source, "")}
        if self.checkpoint is not None:
            return {f"{self.name}/{self.checkpoint.name}": (self.checkpoint, "as named")}
        found: dict[str, tuple[Path | str, str]] = {}
        for weights in protocol.weights:
            link = self.directory / "checkpoints" / weights
            if not (link / "policy.json").exists():
                continue
            path = link.resolve()
            name = f"{self.name}/{path.name}"
            found[name] = (path, f"{found[name][1]} and {weights}" if name in found else weights)
        if not found:
            raise RunError(f"{self.directory} has none of the checkpoints {list(protocol.weights)}; train it first.")
        return found


def open_judged(name: str, *, env: str | None, words: Mapping[str, Any], train_levels: str | None = None) -> Judged:
    """What a word on the command line means.

    Args:
        name: A run directory, a checkpoint, or the name of a source.
        env: Where a source plays, or one of the other environments that a run learned from.
        words: Overrides of the evaluation.
        train_levels: As typed, in place of those that the data was recorded on, which then need not be here.

    Raises:
        UsageError: If there is no such thing, or `env` is not where a run plays.
    """
    if name == "random" or name in (*EXPERTS, *PLANNERS) or name.startswith(SHIPPED):
        judged = _open_source(name, env, apply_overrides(EvaluationConfig(), dict(words)))
        load_policy(SourceSpec(env=judged.env, name=name))  # says now what it cannot play
        return judged
    judged = _open_run(Path(name), train_levels, env)
    evaluation = dataclasses.replace(judged.evaluation, modes=None)
    return dataclasses.replace(judged, evaluation=apply_overrides(evaluation, dict(words)))


def permit_for(judged: Judged, name: str, policy: Path | str, protocol: str, reason: str) -> Permit:
    """A permit recorded in the ledger of the run, or of its study; earlier reads are said out loud."""
    if not reason.strip():
        raise UsageError(
            f"--test is {reason!r}; it needs a reason, for example --test 'selected by validation return'. "
            "Leave --test out to leave the test unread."
        )
    permit = Ledger(ledger_of(judged.directory)).issue(
        name,
        _without_seed(judged.config),
        judged.dataset_fingerprint,
        rule="chosen by hand",
        reason=reason,
        protocol=protocol,
        network=network_id(policy) if isinstance(policy, Path) else "",
    )
    if permit.repeated:
        say(f"This policy has read the test {permit.policy_reads_before} time(s) before; the ledger says so.")
    return permit


def _open_run(path: Path, train_levels: str | None, env: str | None) -> Judged:
    checkpoint = checkpoint_of(path)
    whole = (path / "checkpoints").is_dir()
    directory = path.resolve() if whole else checkpoint.parent.parent
    config = read_json(checkpoint / CONFIG)
    env = env or str(config["env"])
    _check_learned_from(env, config, path)
    given = None if train_levels is None else parse_levels(env, train_levels)
    if "data" in config:
        experiment = config_from_json(ExperimentConfig, config)
        datasets = found_datasets(experiment.data.datasets, directory)
        experiment = dataclasses.replace(experiment, data=dataclasses.replace(experiment.data, datasets=datasets))
        levels, fingerprint = (given, _recorded_fingerprint(directory)) if given else _learned_from(experiment, env)
        evaluation, algorithm = experiment.evaluation, experiment.algorithm.name
    else:
        online = config_from_json(OnlineConfig, config)
        levels, fingerprint = given or online.levels, "online"
        evaluation, algorithm = EvaluationConfig(), "ppo"
    return Judged(
        directory=directory,
        checkpoint=None if whole else checkpoint,
        name=directory.name,
        config=config,
        env=env,
        seed=int(config["seed"]),
        train_levels=levels,
        dataset_fingerprint=fingerprint,
        evaluation=evaluation,
        algorithm=algorithm,
    )


def _check_learned_from(env: str, config: Mapping[str, Any], path: Path) -> None:
    allowed = [str(config["env"]), *config.get("data", {}).get("other_envs", [])]
    if env not in allowed:
        raise UsageError(f"--env is {env}, but {path} plays {' and '.join(map(repr, allowed))}; leave --env out.")


def _learned_from(experiment: ExperimentConfig, env: str) -> tuple[LevelSet, str]:
    try:
        data = open_training_data(experiment)
    except (RunError, UsageError, OSError) as error:
        raise RunError(
            f"The data that the policy learned from cannot be opened, so its training levels are not known: {error} "
            "Bring the data back, or name the levels, for example --levels train=0:200."
        ) from error
    return {experiment.env: data.levels, **data.other_levels}[env], data.view.fingerprint


def _recorded_fingerprint(directory: Path) -> str:
    """Of the data, as the finished run wrote it down."""
    try:
        result = json.loads((directory / "result.json").read_text())
    except (OSError, ValueError):
        return "not recorded"
    return str(result.get("data", {}).get("fingerprint", "not recorded"))


def _open_source(name: str, env: str | None, evaluation: EvaluationConfig) -> Judged:
    """A source that was not trained here, on the levels that others train on."""
    if env is None and is_shift(evaluation.protocol):
        env = find_shift(evaluation.protocol).env(Role.TRAIN.value)
    if env is None and name.startswith(SHIPPED):
        env = f"procgen/{name.removeprefix(SHIPPED)}"
    if env is None:
        raise UsageError(f"{name!r} plays several environments; choose one with --env, for example grid/default.")
    count = evaluation.num_train_levels or NUM_TRAIN_LEVELS
    return Judged(
        directory=Path("runs") / name.replace(":", "-"),
        source=name,
        name=name,
        config={"source": name, "env": env, "protocol": evaluation.protocol},
        env=env,
        seed=0,
        train_levels=training_levels(evaluation.protocol, env, count),
        dataset_fingerprint="none",
        evaluation=evaluation,
        algorithm="ppo" if name.startswith(SHIPPED) else "",
    )


def _without_seed(config: Mapping[str, Any]) -> str:
    from data.schema import canonical_json
    from envs.seeding import derive_seed

    return f"{derive_seed(canonical_json({k: v for k, v in config.items() if k not in ('seed', 'name')})):016x}"
