"""Who acts, by name: random, the experts, and trained policies. Descriptions travel to actors; they build from them."""

from __future__ import annotations

import importlib
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from actors.experts import ExpertPolicy, GridExpert, QuizExpert
from actors.policy import Policy, RandomPolicy
from actors.rollout import Job, RecordOptions, is_privileged, play
from actors.shop_agents import SHOP_AGENTS
from data.episode import Episode
from data.remote import local_checkpoint
from envs.errors import UsageError, unknown_name
from envs.overrides import read_literal
from envs.registry import make_spec, make_vec
from envs.vector import LevelVectorEnv
from metrics.protocol import ACTION_MODES, ActionMode

Option = float | int | str | bool

POLICY_LOADER = "trainers.checkpoint:load_policy"
"""Loads a trained policy from a path. Named, not imported: acting comes before training."""

SHIPPED = "ppo:"
"""Before the name of a trained policy that comes with the package, for example ``ppo:coinrun``."""

SHIPPED_LOADER = "trainers.experts:load_expert"
SHIPPED_NAMES = "trainers.experts:read_provenance"
"""Refuses a name that is none of theirs."""

_EXPERT_OPTIONS = ("noise", "relabel", "log_probs")
_POLICY_OPTIONS = ("mode", "temperature", "log_probs", "loader")


@dataclass(frozen=True, kw_only=True)
class SourceSpec:
    """Which source of episodes, with its settings; the same on every machine."""

    env: str
    name: str
    """``"random"``, a name in `EXPERTS` such as ``"maze-search"`` or ``"shop-expert"``, one in `PLANNERS`, a shipped
    policy such as ``"ppo:coinrun"``, or the path of a checkpoint."""
    options: Mapping[str, Option] = field(default_factory=dict)
    """Experts: ``noise`` (probability of a random move, default 0), ``relabel`` (store the expert's action in place of
    the one taken). Planners: ``budget`` (simulator steps a level at most). Checkpoints: ``mode``, ``temperature``,
    ``loader``. All: ``log_probs`` (store whole distributions)."""


def parse_source(env: str, text: str, options: Mapping[str, Option] | None = None) -> SourceSpec:
    """A source written as ``NAME`` or ``NAME?OPTION=VALUE&OPTION=VALUE``, with further options.

    Raises:
        UsageError: If an option has no value.
    """
    name, _, query = text.partition("?")
    parsed: dict[str, Option] = {}
    for word in query.split("&") if query else ():
        key, equals, value = word.partition("=")
        if not equals:
            raise UsageError(
                f"{text!r}: {word!r} has no value; write NAME?OPTION=VALUE, for example random?log_probs=1."
            )
        parsed[key] = read_literal(value)
    return SourceSpec(env=env, name=name, options={**parsed, **(options or {})})


@dataclass(kw_only=True)
class Source:
    """A source ready to play."""

    env: str
    policy: Policy
    record: RecordOptions
    mode: ActionMode = "sampled"
    temperature: float = 1.0

    @property
    def name(self) -> str:
        """Stored with every episode."""
        return self.record.source

    @property
    def privileged(self) -> bool:
        """Whether it is told the level."""
        return is_privileged(self.policy)

    @cached_property
    def _single(self) -> LevelVectorEnv:
        return make_vec(self.env, 1)

    def play(self, level: int, episode: int, seed: int) -> Episode:
        """The episode named by (seed, level, episode), in one slot of its own."""
        return next(self.play_jobs(self._single, [(level, episode)], seed))

    def play_jobs(self, env: LevelVectorEnv, jobs: Sequence[Job], seed: int) -> Iterator[Episode]:
        """Yields the episode of every job as it ends."""
        return play(env, self.policy, jobs, seed=seed, mode=self.mode, temperature=self.temperature, record=self.record)


def build_source(spec: SourceSpec) -> Source:
    """Build a source from its description.

    Raises:
        UsageError: For an unknown source or option, or one that cannot play this environment.
    """
    if spec.name in PLANNERS:
        return PLANNERS[spec.name](spec)
    if spec.name in EXPERTS:
        return _expert_source(spec)
    _check_name(spec)
    _check_options(spec, _POLICY_OPTIONS)
    mode: Any = spec.options.get("mode", "sampled")
    if mode not in ACTION_MODES:
        raise unknown_name("action mode", str(mode), ACTION_MODES)
    temperature = number_option(spec, "temperature", 1.0)
    if not 0 < temperature < math.inf:
        raise UsageError(f"Option 'temperature' of source {spec.name!r} is {temperature:g}; it must be positive.")
    log_probs = flag_option(spec, "log_probs")
    policy = load_policy(spec)
    suffix = ("-greedy" if mode == "greedy" else "") + (f"-t{temperature:g}" if temperature != 1 else "")
    record = RecordOptions(source=policy.policy_id + suffix, log_probs=log_probs)
    return Source(env=spec.env, policy=policy, record=record, mode=mode, temperature=temperature)


def load_policy(spec: SourceSpec) -> Policy:
    """The policy of a source, without noise where it is an expert's.

    Raises:
        UsageError: If there is no such source.
    """
    if spec.name == "random":
        return RandomPolicy(make_spec(spec.env))
    if spec.name in (*EXPERTS, *PLANNERS):
        return build_source(spec).policy
    if spec.name.startswith(SHIPPED):
        policy = _named_function(SHIPPED_LOADER)(spec.name.removeprefix(SHIPPED))
    else:
        load = _named_function(str(spec.options.get("loader", POLICY_LOADER)))
        policy = load(str(checkpoint_of(Path(spec.name))))
    played = getattr(policy, "spec", None)
    if played is not None and played.name != spec.env and played.observation_columns != _columns(spec.env):
        raise UsageError(f"The policy {spec.name!r} was made for {played.name!r}; it cannot read {spec.env!r}.")
    return policy


def _named_function(name: str) -> Callable[[str], Policy]:
    module, _, function = name.partition(":")
    loaded: Callable[[str], Policy] = getattr(importlib.import_module(module), function)
    return loaded


def checkpoint_of(path: Path) -> Path:
    """The checkpoint that a path means: itself, or a run directory's best one; a remote one is copied here first.

    Raises:
        UsageError: If there is none.
    """
    path = local_checkpoint(path)
    for candidate in (path, path / "checkpoints" / "best", path / "checkpoints" / "last"):
        if (candidate / "policy.json").exists():
            return candidate.resolve()
    if path.exists():
        raise UsageError(_not_a_run(path))
    raise unknown_name(
        "source (nor is there a run or checkpoint of that name)", str(path), [*EXPERTS, *PLANNERS, "random"]
    )


def _not_a_run(path: Path) -> str:
    """What is at a path where no policy is."""
    if path.is_file():
        return f"{path} is a file; give the directory of a run, one of its checkpoints, or the name of a source."
    runs = sorted(checkpoints.parent for checkpoints in path.glob("**/checkpoints"))
    if not runs:
        return f"{path} is no run: it has no folder checkpoints with a policy; train it first."
    shown = ", ".join(map(str, runs[:3])) + (f" and {len(runs) - 3} more" if len(runs) > 3 else "")
    return f"{path} is no run, but there are some in it: {shown}. Give one of them."


def env_of(checkpoint: Path) -> str:
    """The environment that a checkpoint was trained in."""
    return str(json.loads((checkpoint / "policy.json").read_text())["env"]["name"])


def _columns(env: str) -> Mapping[str, Any]:
    return make_spec(env).observation_columns


def _expert_source(spec: SourceSpec) -> Source:
    _check_options(spec, _EXPERT_OPTIONS)
    relabel = flag_option(spec, "relabel")
    policy = ExpertPolicy(EXPERTS[spec.name](spec.env), spec.name, number_option(spec, "noise", 0.0))
    record = RecordOptions(
        source=policy.policy_id + ("-relabeled" if relabel else ""),
        log_probs=flag_option(spec, "log_probs"),
        labeler=policy.labeler() if relabel else None,
    )
    return Source(env=spec.env, policy=policy, record=record)


def _check_options(spec: SourceSpec, allowed: tuple[str, ...]) -> None:
    for name in spec.options:
        if name not in allowed:
            raise unknown_name(f"option of source {spec.name!r}", name, allowed)


def _check_name(spec: SourceSpec) -> None:
    """An unknown source is answered as such, not by an option that it was given for another one."""
    if spec.name.startswith(SHIPPED):
        _named_function(SHIPPED_NAMES)(spec.name.removeprefix(SHIPPED))
    elif spec.name != "random":
        checkpoint_of(Path(spec.name))


def number_option(spec: SourceSpec, name: str, default: float) -> float:
    """An option that is a number.

    Raises:
        UsageError: If it is anything else.
    """
    value = spec.options.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UsageError(
            f"Option {name!r} of source {spec.name!r} is {value!r}; it is a number, for example {default}."
        )
    return float(value)


def flag_option(spec: SourceSpec, name: str) -> bool:
    """An option that is on or off, by default off.

    Raises:
        UsageError: If it is anything else.
    """
    value = spec.options.get(name, False)
    if not isinstance(value, bool | int) or value not in (0, 1):
        raise UsageError(f"Option {name!r} of source {spec.name!r} is {value!r}; it is true or false.")
    return bool(value)


def _archive_search(spec: SourceSpec) -> Source:
    from actors.archive_source import planned_source

    return planned_source(spec)


def _maze_search(env: str) -> Any:
    from actors.maze_search import MazeSearch

    return MazeSearch(env)


EXPERTS: dict[str, Callable[[str], Any]] = {
    "maze-search": _maze_search,
    "grid-expert": GridExpert,
    "quiz-expert": lambda env: QuizExpert(make_spec(env)),
    **SHOP_AGENTS,
}
"""Name -> expert for an environment."""

PLANNERS: dict[str, Callable[[SourceSpec], Source]] = {"archive-search": _archive_search}
"""Name -> source that plans whole episodes before it plays them."""
