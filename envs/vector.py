"""The contract of every environment: a Gymnasium vector env whose caller chooses the level of each slot."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, NamedTuple

import gymnasium
import numpy as np
import numpy.typing as npt
from gymnasium import spaces
from gymnasium.error import ClosedEnvironmentError, ResetNeeded
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from envs.errors import UsageError
from envs.finite import check_finite, float_columns
from envs.spaces import observation_space
from envs.spec import EnvSpec

Mask = npt.NDArray[np.bool_]
Actions = npt.NDArray[np.int32]
Rows = npt.NDArray[Any] | tuple[npt.NDArray[Any], ...]
"""A fixed column is one array [B, ...]; a ragged one is a tuple of B arrays."""
Observations = dict[str, Rows]
EpisodeMetrics = dict[str, npt.NDArray[np.float64]]
"""What an episode achieved besides its return: name -> [B]."""
Step = tuple[Observations, npt.NDArray[np.float32], Mask, Mask, dict[str, Any]]

_ACTION_DTYPE = np.dtype(np.int32)


class Transition(NamedTuple):
    """What a subclass reports of one step; the entries of slots that have ended are ignored."""

    rewards: npt.NDArray[np.float32]  # [B]
    terminated: Mask  # [B] the task itself ended
    truncated: Mask  # [B] the step limit cut it off
    metrics: EpisodeMetrics | None = None  # name -> [B]; read where an episode ended now


class LevelVectorEnv(VectorEnv[Observations, Actions, npt.NDArray[Any]], ABC):
    """B slots that each play one level the caller chose, without autoreset.

    A slot that has ended stays inert until it is reset: reward 0, both flags False and the observation it ended with.
    Every returned array is the caller's: no later call writes to it. Treat it as read-only nevertheless, because the
    environment may return it again for a slot that has ended.

    Attributes:
        task: The environment's contract (`spec` belongs to Gymnasium).
    """

    metadata: dict[str, Any] = {"autoreset_mode": AutoresetMode.DISABLED, "render_modes": []}  # noqa: RUF012

    def __init__(self, task: EnvSpec, num_envs: int) -> None:
        check_num_envs(task.name, num_envs)
        self.task = task
        self.num_envs = num_envs
        self.single_observation_space = observation_space(task.observation_columns)
        self.single_action_space = spaces.Discrete(task.num_actions, dtype=np.int32)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._active: Mask = np.zeros(num_envs, dtype=np.bool_)
        self._steps = np.zeros(num_envs, dtype=np.int64)  # [B] steps of the running episode
        self._levels = np.full(num_envs, -1, dtype=np.int64)  # [B] -1: never started
        self._float_columns = float_columns(task)

    @abstractmethod
    def _start(self, slots: npt.NDArray[np.intp], in_place: bool) -> None:
        """Put these slots at the beginning of ``self._levels[slots]``.

        Args:
            slots: Which.
            in_place: Whether the arrays that `_observe` returned last may be overwritten.
        """

    @abstractmethod
    def _advance(self, actions: Actions, active: Mask) -> Transition:
        """Play one step; `self._steps` counts it already."""

    @abstractmethod
    def _observe(self) -> Observations:
        """The current observations in arrays that are not written to again."""

    def first_looks(self, levels: npt.NDArray[np.int64]) -> list[bytes]:
        """For each level the bytes by which it is told apart: its first observation, unless a subclass sees more.

        Ends whatever the slots are playing.
        """
        looks: list[bytes] = []
        for start in range(0, len(levels), self.num_envs):
            part = levels[start : start + self.num_envs]
            observations, _ = self.reset(options={"levels": np.resize(part, self.num_envs)})
            looks += [b"\0".join(rows[slot].tobytes() for rows in observations.values()) for slot in range(len(part))]
        return looks

    def reset(
        self, *, seed: int | None = None, options: Mapping[str, Any] | None = None
    ) -> tuple[Observations, dict[str, Any]]:
        """Start slots on chosen levels.

        Args:
            seed: Seeds the draw of levels when none are given.
            options: ``levels`` int [B], the level of each slot (read only where the mask is set), and
                ``reset_mask`` bool [B], the slots to start (default: all). Without ``levels`` they are drawn
                uniformly from the level universe, as Gymnasium's contract has it. ``in_place`` (default False): the
                caller gives the observations returned last back, so their arrays may be written to and returned
                again; saves a copy of the batch for each reset.

        Returns:
            The observations of all slots, and ``active`` and ``levels``, each [B].

        Raises:
            UsageError: For an unknown option, a wrong shape or a level that does not exist.
            RunError: If the environment shows a number that is not finite.
            ClosedEnvironmentError: After `close`.
        """
        if self.closed:
            raise _closed(self.task)
        super().reset(seed=seed)
        mask, levels, in_place = self._read_options(dict(options or {}))
        slots = np.flatnonzero(mask)
        self._levels[slots] = levels[slots]
        self._steps[slots] = 0
        self._active = self._active | mask
        self._start(slots, in_place)
        return self._look(mask), {"active": self._active.copy(), "levels": self._levels.copy()}

    def set_copy(self, copy: bool) -> bool:
        """Say whether returned arrays must outlive the next call; the default is that they do.

        Args:
            copy: False lets the next `reset` or `step` write to arrays returned before, and lets a slot that has ended
                show anything valid. An environment that gains nothing by it ignores it.

        Returns:
            What held before.
        """
        return True

    def moved(self, slots: npt.NDArray[np.intp]) -> LevelVectorEnv | None:
        """A new environment that goes on with these running slots alone; None where states cannot be moved."""
        return None

    def step(self, actions: Actions) -> Step:
        """Play one step in every running slot.

        Args:
            actions: int [B]; the entries of ended slots are checked but have no effect.

        Returns:
            Observations, rewards float32 [B], terminated bool [B], truncated bool [B], and infos with ``active`` bool
            [B] (slots still running) and ``final_observation_known`` bool [B] (slots that ended now and whose returned
            observation is the true last one). An environment that judges episodes by more than their return adds
            ``episode_metrics``: name -> float64 [B], NaN except for slots that ended now.

        Raises:
            UsageError: For actions of a wrong shape, outside the action space, or that are no integers.
            RunError: If the environment gives a reward or shows a number that is not finite, with its level and step.
            ResetNeeded: Before the first `reset`.
            ClosedEnvironmentError: After `close`.
        """
        if self.closed:
            raise _closed(self.task)
        if self._levels[0] < 0 and (self._levels < 0).all():
            raise ResetNeeded(f"{self.task.name!r} was stepped before its first reset; call reset() first.")
        active = self._active
        self._steps += active
        rewards, terminated, truncated, metrics = self._advance(self._check_actions(actions), active)
        if not active.all():
            rewards = np.where(active, rewards, np.float32(0))
            terminated, truncated = terminated & active, truncated & active
        self._check_finite("the reward", rewards, active)
        ended = terminated | truncated
        self._active = active & ~ended
        known = ended if self.task.final_observation_known else np.zeros_like(ended)
        infos: dict[str, Any] = {"active": self._active.copy(), "final_observation_known": known}
        if metrics is not None:
            infos["episode_metrics"] = {name: np.where(ended, values, np.nan) for name, values in metrics.items()}
        return self._look(active), rewards, terminated, truncated, infos

    def _look(self, slots: Mask) -> Observations:
        observations = self._observe()
        for name in self._float_columns:
            self._check_finite(f"the observation {name!r} with", observations[name], slots)
        return observations

    def _check_finite(self, what: str, rows: Rows, slots: Mask) -> None:
        check_finite(self.task, what, rows, slots, self._levels, self._steps)

    def _check_actions(self, actions: npt.ArrayLike) -> Actions:
        checked = actions if isinstance(actions, np.ndarray) else _as_array(actions)
        if checked.shape != (self.num_envs,):
            raise UsageError(f"Actions have shape {checked.shape}; {self.task.name!r} needs ({self.num_envs},).")
        exact = checked.dtype == _ACTION_DTYPE
        if not exact and checked.dtype.kind not in "iu":
            raise UsageError(
                f"Actions of {self.task.name!r} are integers in 0..{self.task.num_actions - 1}; "
                f"received {checked.dtype} {checked.tolist()[:5]}."
            )
        if checked.min() < 0 or checked.max() >= self.task.num_actions:
            raise UsageError(
                f"Actions of {self.task.name!r} lie in 0..{self.task.num_actions - 1}; "
                f"received {int(checked.min())}..{int(checked.max())}."
            )
        return checked if exact else checked.astype(_ACTION_DTYPE)  # in range now: 2**32 + 1 would become 1

    def _read_options(self, options: dict[str, Any]) -> tuple[Mask, npt.NDArray[np.int64], bool]:
        mask = np.asarray(options.pop("reset_mask", np.ones(self.num_envs, dtype=np.bool_)))
        levels, in_place = options.pop("levels", None), bool(options.pop("in_place", False))
        if options:
            raise UsageError(f"Unknown reset options {sorted(options)}. Allowed: 'levels', 'reset_mask', 'in_place'.")
        if mask.shape != (self.num_envs,) or mask.dtype != np.bool_:
            raise UsageError(f"'reset_mask' is {mask.dtype} {mask.shape}; it must be bool ({self.num_envs},).")
        if levels is None:
            return mask, self.np_random.integers(self.task.level_universe, size=self.num_envs), in_place
        chosen = np.asarray(levels)
        if chosen.shape != (self.num_envs,) or not np.issubdtype(chosen.dtype, np.integer):
            raise UsageError(f"'levels' is {chosen.dtype} {chosen.shape}; it must be integers ({self.num_envs},).")
        self._check_levels(chosen[mask])
        return mask, chosen.astype(np.int64), in_place

    def _check_levels(self, levels: npt.NDArray[Any]) -> None:
        wrong = levels[(levels < 0) | (levels >= self.task.level_universe)]
        if len(wrong):
            raise UsageError(
                f"Level {int(wrong[0])} does not exist in {self.task.name!r}; "
                f"allowed: 0 to {self.task.level_universe - 1}."
            )


def check_num_envs(name: str, num_envs: Any) -> None:
    """Refuse a number of slots that no environment can have.

    Raises:
        UsageError: If it is not a whole number from 1 on.
    """
    whole = isinstance(num_envs, int | np.integer) and not isinstance(num_envs, bool)
    if not whole or num_envs < 1:
        raise UsageError(f"{num_envs!r} slots of {name!r} were asked for; allowed: a whole number, 1 or more.")


def _as_array(actions: npt.ArrayLike) -> npt.NDArray[Any]:
    try:
        return np.asarray(actions)
    except ValueError as error:
        raise UsageError(f"Actions are {actions!r}; they are a flat list of integers.") from error


def _closed(task: EnvSpec) -> ClosedEnvironmentError:
    return ClosedEnvironmentError(f"{task.name!r} was closed and cannot be used again; make a new one with make_vec.")


class LevelEnv(gymnasium.Env[dict[str, npt.NDArray[Any]], np.int32]):
    """One slot of a vector env as an ordinary Gymnasium environment.

    Args:
        vector_env: An environment with one slot; this view owns it.
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012

    def __init__(self, vector_env: LevelVectorEnv) -> None:
        if vector_env.num_envs != 1:
            raise UsageError(f"LevelEnv needs a vector env with 1 slot; received one with {vector_env.num_envs}.")
        self.vector_env = vector_env
        self.observation_space = vector_env.single_observation_space
        self.action_space = vector_env.single_action_space

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, npt.NDArray[Any]], dict[str, Any]]:
        """Start a level: ``options={"level": n}``, or a draw seeded by `seed`."""
        super().reset(seed=seed)
        unknown = set(options or {}) - {"level"}
        if unknown:
            raise UsageError(f"Unknown reset options {sorted(unknown)}. Allowed: 'level'.")
        level = (options or {}).get("level")
        if level is None:
            level = self.np_random.integers(self.vector_env.task.level_universe)
        observations, _ = self.vector_env.reset(options={"levels": np.array([level], dtype=np.int64)})
        return self._first_row(observations), {"level": int(level)}

    def step(self, action: np.int32 | int) -> tuple[dict[str, npt.NDArray[Any]], float, bool, bool, dict[str, Any]]:
        """Play one step; the info of the last one holds ``episode_metrics`` where the environment has them."""
        actions: Any = [action]  # the vector env checks what is in it
        observations, rewards, terminated, truncated, infos = self.vector_env.step(actions)
        info: dict[str, Any] = {"final_observation_known": bool(infos["final_observation_known"][0])}
        if "episode_metrics" in infos and (terminated[0] or truncated[0]):
            info["episode_metrics"] = {name: float(values[0]) for name, values in infos["episode_metrics"].items()}
        return self._first_row(observations), float(rewards[0]), bool(terminated[0]), bool(truncated[0]), info

    def close(self) -> None:
        """Close the vector env."""
        self.vector_env.close()

    @staticmethod
    def _first_row(observations: Observations) -> dict[str, npt.NDArray[Any]]:
        return {name: rows[0] for name, rows in observations.items()}
