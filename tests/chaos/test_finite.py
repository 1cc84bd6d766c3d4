"""Numbers that are not finite never get from an environment into a dataset, an evaluation or a learner."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from actors.collect import CollectConfig, collect
from actors.evaluate import evaluate_inline
from actors.policy import RandomPolicy
from data.validation import canonical_episode
from data.writer import DatasetWriter
from envs.errors import RunError, UsageError
from envs.grid import GridVectorEnv
from envs.registry import make_spec
from envs.spec import ColumnSpec, EnvSpec, LevelSet
from envs.vector import LevelVectorEnv, Transition
from metrics.protocol import strict
from tests.data.helpers import make_episode

pytestmark = pytest.mark.chaos

SENSORS = EnvSpec(
    name="sensors/test",
    observation_columns={"sensors": ColumnSpec("float32", (2,)), "words": ColumnSpec("float32", ragged=True)},
    num_actions=2,
    max_episode_steps=5,
    level_universe=100,
    return_bounds={"official": (0.0, 1.0)},
)


class Sensors(LevelVectorEnv):
    """Shows what `shown` says for the given level and step, and finite numbers otherwise."""

    def __init__(self, level: int, step: int, **shown: float) -> None:
        super().__init__(SENSORS, 3)
        self._where, self._shown = (level, step), shown

    def _start(self, slots: Any, in_place: bool) -> None: ...

    def _value(self, name: str) -> np.ndarray:
        struck = (self._levels == self._where[0]) & (self._steps == self._where[1])
        return np.where(struck, self._shown.get(name, 0.0), 0.5).astype(np.float32)

    def _advance(self, actions: Any, active: Any) -> Transition:
        ended = self._steps >= np.array([5, 2, 5])
        return Transition(self._value("reward"), ended, np.zeros(3, dtype=np.bool_))

    def _observe(self) -> Any:
        sensors = np.stack([self._value("sensors"), np.zeros(3, np.float32)], axis=1)
        return {"sensors": sensors, "words": tuple(np.full(4, value, np.float32) for value in self._value("words"))}


def played(env: Sensors, levels: list[int], steps: int) -> None:
    env.reset(options={"levels": np.array(levels)})
    for _ in range(steps):
        env.step(np.zeros(3, dtype=np.int32))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(("what", "words"), [("reward", "the reward"), ("sensors", "'sensors'"), ("words", "'words'")])
def test_the_level_and_the_step_are_named(what: str, words: str, value: float) -> None:
    with pytest.raises(RunError, match=rf"'sensors/test' gave .*{words}.* {value} on level 42 at step 3 of the"):
        played(Sensors(42, 3, **{what: value}), [1, 2, 42], 5)
    played(Sensors(42, 3, **{what: value}), [1, 2, 4], 5)


def test_the_first_observation_is_looked_at_and_a_slot_that_has_ended_is_not() -> None:
    with pytest.raises(RunError, match="on level 42 at step 0"):
        played(Sensors(42, 0, sensors=np.nan), [1, 42, 3], 0)
    played(Sensors(42, 2, reward=0.5), [1, 42, 3], 5)
    ended = Sensors(42, 2, reward=0.5)
    played(ended, [1, 42, 3], 2)
    ended._shown["reward"] = np.nan  # its step stands still where it ended
    ended.step(np.zeros(3, dtype=np.int32))


def test_nothing_of_it_reaches_a_dataset_or_a_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    advance = GridVectorEnv._advance

    def broken(env: GridVectorEnv, actions: Any, active: Any) -> Transition:
        moved = advance(env, actions, active)
        return moved._replace(rewards=np.where((env._levels == 7) & (env._steps == 3), np.nan, moved.rewards))

    monkeypatch.setattr(GridVectorEnv, "_advance", broken)
    config = CollectConfig(env="grid/default", source="random", num_levels=10, min_transitions=500, num_actors=0)
    with pytest.raises(RunError, match="gave the reward nan on level 7 at step 3"):
        collect(config, tmp_path / "data")
    assert not (tmp_path / "data").exists()
    spec = make_spec("grid/default")
    protocol = strict(spec, LevelSet.range("grid/default", 0, 10), num_validation=2)
    with pytest.raises(RunError, match="gave the reward nan on level 7 at step 3"):
        evaluate_inline(RandomPolicy(spec), protocol, num_envs=4)


def test_a_recorded_number_that_is_not_finite_is_refused(tmp_path: Path) -> None:
    episode = make_episode(SENSORS, level=3)
    canonical_episode(SENSORS, episode)
    episode.observations["sensors"][1, 0] = np.nan
    with DatasetWriter(tmp_path / "set", SENSORS, {}) as writer:
        with pytest.raises(UsageError, match=r"on level 3 has a number in 'sensors' that is not finite"):
            writer.add(episode)
        writer.abort()
