"""What every environment must do; subclass `EnvContract` and name yours in `env_names`."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
from gymnasium.error import ClosedEnvironmentError, ResetNeeded
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode

from envs.errors import UsageError
from envs.registry import make_spec, make_vec
from envs.vector import LevelEnv, LevelVectorEnv, Observations

Make = Callable[[int], LevelVectorEnv]

LEVELS = (3, 17, 250)


class Row(NamedTuple):
    """What one slot showed after one step (or its reset, with no reward)."""

    columns: tuple[bytes, ...]
    reward: float
    terminated: bool
    truncated: bool


def row_of(observations: Observations, slot: int, *rest: Any) -> Row:
    columns = tuple(np.ascontiguousarray(rows[slot]).tobytes() for _, rows in sorted(observations.items()))
    return Row(columns, *(array[slot].item() for array in rest)) if rest else Row(columns, 0.0, False, False)


def actions_for(env: LevelVectorEnv, level: int, length: int) -> np.ndarray:
    return np.random.default_rng(level).integers(0, env.task.num_actions, length).astype(np.int32)


def play_alone(env: LevelVectorEnv, level: int, length: int) -> list[Row]:
    """The first slot plays `level` with the level's own actions; the others play along on other levels."""
    return play_in_slot(env, 0, level, length)


def play_in_slot(env: LevelVectorEnv, slot: int, level: int, length: int, others: int = 1000) -> list[Row]:
    levels = np.arange(others, others + env.num_envs)
    levels[slot] = level
    observations, _ = env.reset(options={"levels": levels})
    rows = [row_of(observations, slot)]
    neighbors = np.random.default_rng(others).integers(0, env.task.num_actions, (length, env.num_envs))
    for t, action in enumerate(actions_for(env, level, length)):
        chosen = neighbors[t].astype(np.int32)
        chosen[slot] = action
        observations, *flags, infos = env.step(chosen)
        rows.append(row_of(observations, slot, *flags))
        if not infos["active"][slot]:
            break
    return rows


def play_to_the_end(env: LevelVectorEnv) -> tuple[Observations, np.ndarray, np.ndarray, np.ndarray]:
    """Random actions until every slot has ended: last observations, terminated, truncated, lengths."""
    rng = np.random.default_rng(0)
    terminated, truncated = np.zeros((2, env.num_envs), dtype=bool)
    lengths, active = np.zeros(env.num_envs, dtype=int), np.ones(env.num_envs, dtype=bool)
    observations: Observations = {}
    while active.any():
        lengths += active
        assert lengths.max() <= env.task.max_episode_steps, "an episode outlived the step limit"
        observations, _, ended, cut, infos = env.step(_random(env, rng))
        terminated, truncated, active = terminated | ended, truncated | cut, infos["active"]
    return observations, terminated, truncated, lengths


def _random(env: LevelVectorEnv, rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, env.task.num_actions, env.num_envs).astype(np.int32)


class EnvContract:
    """Inherit, and override `env_name` with a fixture that gives registered names."""

    steps = 40

    @pytest.fixture
    def env_name(self) -> str:
        raise NotImplementedError

    @pytest.fixture
    def make(self, env_name: str) -> Any:
        made: list[LevelVectorEnv] = []

        def build(num_envs: int) -> LevelVectorEnv:
            made.append(make_vec(env_name, num_envs))
            return made[-1]

        yield build
        for env in made:
            env.close()

    def test_a_level_and_actions_determine_the_episode(self, make: Make) -> None:
        env = make(1)
        first = play_alone(env, LEVELS[0], self.steps)
        assert play_alone(env, LEVELS[0], self.steps) == first
        assert play_alone(make(1), LEVELS[0], self.steps) == first

    def test_an_episode_is_the_same_in_any_slot_beside_any_neighbors(self, make: Make) -> None:
        alone, wide = make(1), make(3)
        for slot, level in enumerate(LEVELS):
            expected = play_alone(alone, level, self.steps)
            assert play_in_slot(wide, slot, level, self.steps, others=50) == expected
            assert play_in_slot(wide, slot, level, self.steps, others=7000) == expected

    def test_resetting_neighbors_leaves_a_slot_alone(self, make: Make) -> None:
        expected = play_alone(make(1), LEVELS[0], self.steps)
        env = make(3)
        observations, _ = env.reset(options={"levels": np.array([5, LEVELS[0], 6])})
        rows = [row_of(observations, 1)]
        for t, action in enumerate(actions_for(env, LEVELS[0], self.steps)):
            observations, *flags, infos = env.step(np.full(3, action))
            rows.append(row_of(observations, 1, *flags))
            if not infos["active"][1]:
                break
            mask = np.array([True, False, t % 2 == 0])
            after, infos = env.reset(options={"levels": np.array([t, -1, t]), "reset_mask": mask})
            assert row_of(after, 1).columns == rows[-1].columns, "a masked reset changed another slot's observation"
            assert infos["levels"].tolist()[:2] == [t, LEVELS[0]]
        assert rows == expected

    def test_a_reset_in_place_shows_the_same(self, make: Make) -> None:
        rng, envs = np.random.default_rng(3), [make(3), make(3)]
        for env in envs:
            env.reset(options={"levels": np.array(LEVELS)})
        for t in range(self.steps):
            actions = _random(envs[0], rng)
            options = {"levels": np.full(3, t), "reset_mask": np.arange(3) == t % 3}
            for env in envs:
                env.step(actions)
            usual, in_place = (env.reset(options={**options, "in_place": env is envs[1]})[0] for env in envs)
            assert [row_of(usual, slot) for slot in range(3)] == [row_of(in_place, slot) for slot in range(3)]

    def test_ended_slots_are_inert(self, make: Make, env_name: str) -> None:
        env = make(2)
        env.reset(options={"levels": np.array(LEVELS[:2])})
        observations, terminated, truncated, lengths = play_to_the_end(env)
        assert (terminated ^ truncated).all()
        assert (lengths[truncated] == env.task.max_episode_steps).all()
        before = [row_of(observations, slot).columns for slot in range(2)]
        rng = np.random.default_rng(5)
        for _ in range(5):
            observations, rewards, terminated, truncated, infos = env.step(_random(env, rng))
            assert [row_of(observations, slot).columns for slot in range(2)] == before
            inert = (rewards, terminated, truncated, infos["active"], infos["final_observation_known"])
            assert not np.stack(inert).any()
        _, infos = env.reset(options={"levels": np.array([9, 0]), "reset_mask": np.array([True, False])})
        assert infos["active"].tolist() == [True, False]

    def test_returned_arrays_are_never_written_again(self, make: Make) -> None:
        env, rng = make(3), np.random.default_rng(1)
        kept: list[tuple[np.ndarray, bytes]] = []

        def keep(observations: Observations, infos: dict[str, Any], *arrays: np.ndarray) -> None:
            columns = [
                array for rows in observations.values() for array in (rows if isinstance(rows, tuple) else [rows])
            ]
            told = [
                array for value in infos.values() for array in (value.values() if isinstance(value, dict) else [value])
            ]
            kept.extend((array, array.tobytes()) for array in [*columns, *arrays, *told])

        keep(*env.reset(options={"levels": np.array(LEVELS)}))
        for t in range(self.steps):
            observations, rewards, terminated, truncated, infos = env.step(_random(env, rng))
            keep(observations, infos, rewards, terminated, truncated)
            if t % 5 == 4 or not infos["active"].all():
                mask = ~infos["active"] | (np.arange(3) == t % 3)
                keep(*env.reset(options={"levels": np.full(3, t), "reset_mask": mask}))
        assert all(array.tobytes() == copy for array, copy in kept)

    def test_writing_to_returned_flags_changes_nothing(self, make: Make) -> None:
        env = make(2)
        _, infos = env.reset(options={"levels": np.array(LEVELS[:2])})
        infos["active"][:], infos["levels"][:] = False, 0
        _, _, _, _, infos = env.step(np.zeros(2, dtype=np.int32))
        infos["active"][:] = False
        _, infos = env.reset(options={"levels": np.array([0, 9]), "reset_mask": np.array([False, True])})
        assert infos["levels"].tolist() == [LEVELS[0], 9]
        assert infos["active"].all()

    def test_spaces_contain_what_is_returned(self, make: Make) -> None:
        env = make(2)
        observations, infos = env.reset(seed=4)
        assert observations in env.observation_space
        assert {name: rows[0] for name, rows in observations.items()} in env.single_observation_space
        for _ in range(10):
            actions = env.action_space.sample()
            assert actions in env.action_space
            observations, rewards, terminated, truncated, infos = env.step(actions)
            assert observations in env.observation_space
            assert (rewards.dtype, terminated.dtype, truncated.dtype) == (np.float32, bool, bool)
            assert infos["active"].dtype == bool
            assert rewards.shape == terminated.shape == truncated.shape == infos["active"].shape == (2,)
        assert env.metadata["autoreset_mode"] == AutoresetMode.DISABLED

    def test_the_spec_describes_the_env_and_travels(self, make: Make, env_name: str) -> None:
        spec, env = make_spec(env_name), make(1)
        assert spec.name == env_name
        assert env.task == spec
        assert pickle.loads(pickle.dumps(spec)) == spec
        observations, _ = env.reset(seed=0)
        assert set(observations) == set(spec.observation_columns)
        for name, column in spec.observation_columns.items():
            row = observations[name][0]
            assert row.dtype == column.dtype
            assert row.shape[1 if column.ragged else 0 :] == column.shape
        assert len(spec.action_names) in (0, spec.num_actions)

    def test_whether_the_final_observation_is_known_is_said_once(self, make: Make, env_name: str) -> None:
        env, rng = make(2), np.random.default_rng(2)
        env.reset(options={"levels": np.array(LEVELS[:2])})
        active = np.ones(2, dtype=bool)
        while active.any():
            _, _, terminated, truncated, infos = env.step(_random(env, rng))
            ended = terminated | truncated
            assert (ended == (active & ~infos["active"])).all()
            expected = ended if make_spec(env_name).final_observation_known else np.zeros(2, dtype=bool)
            assert (infos["final_observation_known"] == expected).all()
            active = infos["active"]

    def test_levels_are_drawn_from_the_seed(self, make: Make) -> None:
        env = make(3)
        observations, infos = env.reset(seed=11)
        again, infos_again = env.reset(seed=11)
        assert (infos["levels"] == infos_again["levels"]).all()
        assert row_of(observations, 2) == row_of(again, 2)
        assert (env.reset(seed=12)[1]["levels"] != infos["levels"]).any()
        assert (env.reset()[1]["levels"] < env.task.level_universe).all()

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"level": [1, 2]}, "Unknown reset options"),
            ({"levels": np.array([1])}, "must be integers"),
            ({"levels": np.array([1.0, 2.0])}, "must be integers"),
            ({"levels": np.array([1, -1])}, "does not exist"),
            ({"levels": np.array([1, 2**40])}, "does not exist"),
            ({"levels": np.array([1, 2]), "reset_mask": np.array([1, 0])}, "must be bool"),
            ({"levels": np.array([1, 2]), "reset_mask": np.array([True])}, "must be bool"),
        ],
    )
    def test_wrong_reset_options_are_refused(self, make: Make, options: dict[str, Any], message: str) -> None:
        env = make(2)
        with pytest.raises(UsageError, match=message):
            env.reset(options=options)

    def test_wrong_actions_are_refused(self, make: Make) -> None:
        env = make(2)
        with pytest.raises(ResetNeeded):
            env.step(np.zeros(2, dtype=np.int32))
        env.reset(seed=0)
        for actions in (np.array([0, -1]), np.array([0, env.task.num_actions])):
            with pytest.raises(UsageError, match="lie in"):
                env.step(actions)
        wide = [np.array([0, value]) for value in (2**32 + 1, 2**32, -(2**32))]
        for actions in [*wide, np.array([0, 2**63], dtype=np.uint64)]:
            with pytest.raises(UsageError, match="lie in"):
                env.step(actions)
        for wrong in ([0, 1.7], [0.0, 1.0], [True, False], [None, 0], ["1", "0"], [0, 2**70], np.zeros(2)):
            with pytest.raises(UsageError, match="are integers in"):
                env.step(wrong)  # type: ignore[arg-type]
        for shape in (np.zeros(3, dtype=np.int32), None, [], 1, "1"):
            with pytest.raises(UsageError, match="shape"):
                env.step(shape)  # type: ignore[arg-type]
        with pytest.raises(UsageError, match="flat list"):
            env.step([[0], [0, 1]])  # type: ignore[arg-type]

    def test_integers_of_any_width_play_the_same(self, make: Make) -> None:
        played = []
        for dtype in (np.int32, np.int64, np.uint8):
            env = make(2)
            env.reset(options={"levels": np.array(LEVELS[:2])})
            played.append([row_of(env.step(np.array([1, 0], dtype=dtype))[0], slot) for slot in range(2)])
        env.reset(options={"levels": np.array(LEVELS[:2])})
        played.append([row_of(env.step([1, 0])[0], slot) for slot in range(2)])  # type: ignore[arg-type]
        assert played[0] == played[1] == played[2] == played[3]

    def test_a_closed_env_says_so(self, make: Make) -> None:
        env = make(2)
        env.reset(seed=0)
        env.close()
        env.close()
        for use in (lambda: env.reset(seed=0), lambda: env.step(np.zeros(2, dtype=np.int32))):
            with pytest.raises(ClosedEnvironmentError, match="was closed"):
                use()

    @pytest.mark.parametrize("num_envs", [0, -1, 2.5, 2.0, True, "2", None])
    def test_a_wrong_number_of_slots_is_refused(self, env_name: str, num_envs: Any) -> None:
        with pytest.raises(UsageError, match="whole number, 1 or more"):
            make_vec(env_name, num_envs)

    def test_the_single_view_passes_gymnasiums_checker(self, make: Make) -> None:
        single = LevelEnv(make(1))
        single.reset(options={"level": 5})
        for action in (1.7, 2**32 + 1, None):
            with pytest.raises(UsageError, match=r"are integers in|lie in"):
                single.step(action)  # type: ignore[arg-type]
        observation, info = single.reset(options={"level": 5})
        assert info["level"] == 5
        assert observation in single.observation_space
        with pytest.raises(UsageError, match="Unknown reset options"):
            single.reset(options={"levels": 5})
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            check_env(single, skip_render_check=True)
