"""Visual changes: the contract of the plain environment, its levels, draws and returns; only the image differs."""

from __future__ import annotations

import numpy as np
import pytest

from actors.evaluate import evaluate_inline
from envs.errors import UsageError
from envs.registry import make_spec, make_vec
from envs.spec import EnvSpec, LevelSet
from envs.visual import CHANGES, FOLDS, STRENGTHS, changed_frames, parse_visual, visual_name
from metrics.protocol import EvaluationProtocol, Role, Split
from tests.actors.oracle import HashPolicy

GRID = "grid/default"


def frames(count: int = 5) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 36, 40, 3), dtype=np.uint8)


@pytest.mark.parametrize("change", CHANGES)
def test_a_stronger_change_is_further_from_the_frame_and_rows_do_not_touch_each_other(change: str) -> None:
    levels = np.arange(5, dtype=np.int64)
    smooth = np.kron(frames()[:, ::9, ::5], np.ones((1, 9, 5, 1), dtype=np.uint8))
    distances = []
    for strength in (0, *STRENGTHS):
        changed = changed_frames(smooth, levels, change, strength)
        assert (changed.shape, changed.dtype) == (smooth.shape, np.uint8)
        distances.append(np.abs(changed.astype(float) - smooth).mean())
        for row in range(5):
            alone = changed_frames(smooth[row : row + 1], levels[row : row + 1], change, strength)
            np.testing.assert_array_equal(alone[0], changed[row])
    assert distances[0] == 0
    assert distances == sorted(distances)
    assert distances[1] > 0


def test_the_folds_hold_every_family_once() -> None:
    assert sorted([*FOLDS["1"], *FOLDS["2"]]) == sorted(CHANGES)


def test_resolution_and_blur_keep_a_plain_frame_and_the_mean() -> None:
    plain = np.full((1, 36, 40, 3), 90, dtype=np.uint8)
    level = np.zeros(1, dtype=np.int64)
    for change in ("blur", "resolution"):
        np.testing.assert_array_equal(changed_frames(plain, level, change, 3), plain)
    coarse = changed_frames(frames(1), level, "resolution", 2)
    np.testing.assert_allclose(coarse[0, :4, :4], np.full((4, 4, 3), frames(1)[0, :4, :4].mean((0, 1))), atol=0.51)


def protocol(env: str) -> EvaluationProtocol:
    return EvaluationProtocol("x", (Split(Role.VALIDATION, LevelSet.range(env, 0, 12)),))


class Blind(HashPolicy):
    """Sees nothing, so it plays alike however the frames are changed."""

    def act(self, inputs):  # type: ignore[no-untyped-def]
        return np.full((len(inputs), 5), -np.log(5), dtype=np.float32)


def test_draws_levels_and_returns_are_those_of_the_plain_environment() -> None:
    plain = evaluate_inline(Blind(5, None), protocol(GRID)).frame
    changed = evaluate_inline(Blind(5, None), protocol(f"{GRID}+blur-3")).frame
    columns = ["level", "episode", "episode_return", "normalized_return", "length", "terminated"]
    assert plain[columns].equals(changed[columns])
    assert set(changed["env"]) == {f"{GRID}+blur-3"}
    seeing = [evaluate_inline(HashPolicy(5, None), protocol(f"{GRID}+blur-{s}")).frame[columns] for s in (0, 3)]
    assert seeing[0].equals(evaluate_inline(HashPolicy(5, None), protocol(GRID)).frame[columns])
    assert not seeing[0].equals(seeing[1])


def test_a_slot_that_ended_keeps_its_changed_frame() -> None:
    plain, changed = make_vec(GRID, 2), make_vec(f"{GRID}+noise-2", 2)
    for env in (plain, changed):
        env.reset(options={"levels": np.array([3, 4])})
    seen = []
    for _ in range(60):
        actions = np.zeros(2, dtype=np.int32)
        seen.append((plain.step(actions)[0]["image"], changed.step(actions)[0]["image"]))
    for original, shown in seen:
        np.testing.assert_array_equal(shown, changed_frames(original, np.array([3, 4]), "noise", 2))
    changed.close()


def test_names_are_checked_and_texts_have_no_image() -> None:
    assert parse_visual(visual_name("procgen/maze", "cutout", 1)) == ("procgen/maze", "cutout", 1)
    spec = make_spec("procgen/maze+fog-2")
    assert spec.return_bounds == make_spec("procgen/maze").return_bounds
    assert EnvSpec.from_json(spec.to_json()) == spec
    assert "drawn_as" not in make_spec("procgen/maze").to_json()
    for name, message in (
        (f"{GRID}+blurr-2", "Did you mean 'blur'"),
        (f"{GRID}+blur", "strength from 0 to 3"),
        (f"{GRID}+blur-4", "strength from 0 to 3"),
        ("grid/defalt+blur-1", "Did you mean 'grid/default'"),
        ("shop/default+blur-1", "shows no image"),
    ):
        with pytest.raises(UsageError, match=message):
            make_spec(name)


@pytest.mark.procgen
def test_procgen_frames_are_changed_and_nothing_else() -> None:
    plain, changed = make_vec("procgen/maze", 2), make_vec("procgen/maze+color-2", 2)
    levels = np.array([5, 9])
    first = [env.reset(options={"levels": levels})[0]["image"] for env in (plain, changed)]
    np.testing.assert_array_equal(first[1], changed_frames(first[0], levels, "color", 2))
    rng = np.random.default_rng(0)
    for _ in range(50):
        actions = rng.integers(0, 15, 2).astype(np.int32)
        a, b = plain.step(actions), changed.step(actions)
        np.testing.assert_array_equal(a[1], b[1])
        np.testing.assert_array_equal(changed_frames(a[0]["image"], levels, "color", 2), b[0]["image"])
    assert plain.first_looks(levels) == changed.first_looks(levels)
