"""Archives of the layout that the benchmark's data was released in."""

from __future__ import annotations

import argparse
import io
import pickle
import re
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.commands import add_arguments, run
from data.interop.gen_dgrl import choose, import_gen_dgrl
from data.interop.gen_dgrl_archive import EpisodeFile, list_episodes
from data.verify import verify
from envs.errors import RunError, UsageError
from tests.data.test_safe_pickle import Evil, boxed

GAME = "procgen/coinrun"
KINDS = ("npy", "npz")


@dataclass
class Made:
    """One episode as the published collector would store it, and as we want it."""

    level: int
    frames: np.ndarray  # [T + 1, 64, 64, 3]
    actions: np.ndarray
    rewards: np.ndarray

    @property
    def length(self) -> int:
        return len(self.actions)

    def arrays(self, float_frames: bool = True) -> dict[str, np.ndarray]:
        dones = np.zeros((self.length, 1), dtype=np.float32)
        dones[-1] = 1
        return {
            "observations": self.frames.transpose(0, 3, 1, 2).astype(np.float32 if float_frames else np.uint8),
            "actions": self.actions.reshape(-1, 1).astype(np.int64),
            "rewards": self.rewards.reshape(-1, 1).astype(np.float32),
            "dones": dones,
        }

    def name(self, index: int, kind: str) -> str:
        total = float(self.rewards.sum())
        return f"expert/20230329T112154_{index}_{self.length}_{self.level}_{total:.2f}.{kind}"


def make(level: int, length: int, seed: int = 0) -> Made:
    rng = np.random.default_rng([level, length, seed])
    frames = rng.integers(0, 256, (length + 1, 64, 64, 3)).astype(np.uint8)
    return Made(level, frames, rng.integers(0, 15, length), rng.integers(0, 2, length) * rng.integers(1, 9))


def content_of(arrays: dict[str, Any], kind: str) -> bytes:
    file = io.BytesIO()
    if kind == "npy":
        np.save(file, boxed(arrays), allow_pickle=True)
    else:
        np.savez_compressed(file, **arrays)
    return file.getvalue()


def archive_of(path: Path, members: list[tuple[str, bytes]]) -> Path:
    mode: Any = "w:" + {".tar": "", ".xz": "xz", ".gz": "gz"}[path.suffix]
    with tarfile.open(path, mode) as archive:
        folder = tarfile.TarInfo("expert")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def build(path: Path, episodes: list[Made], kind: str = "npy", float_frames: bool = True) -> Path:
    members = [
        (made.name(index, kind), content_of(made.arrays(float_frames), kind)) for index, made in enumerate(episodes)
    ]
    return archive_of(path, [("expert/README.txt", b"hello"), *members])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["a.tar", "a.tar.xz", "a.tar.gz"])
@pytest.mark.parametrize("float_frames", [True, False])
def test_every_frame_action_and_reward_arrives(tmp_path: Path, kind: str, name: str, float_frames: bool) -> None:
    made = [make(7, 5), make(3, 9), make(7, 4)]
    dataset, report = import_gen_dgrl(build(tmp_path / name, made, kind, float_frames), GAME, tmp_path / "set")
    assert (report.read, report.imported, report.other_length, report.other_return) == (3, 3, 0, 0)
    assert dataset.episodes["level"].tolist() == [3, 7, 7]
    assert dataset.episodes["episode"].tolist() == [0, 0, 1]
    for episode, expected in zip(map(dataset.episode, range(3)), [made[1], made[0], made[2]], strict=True):
        np.testing.assert_array_equal(episode.observations["image"], expected.frames[:-1])
        assert episode.actions.tolist() == expected.actions.tolist()
        assert episode.rewards.tolist() == expected.rewards.tolist()
        assert (episode.terminated, episode.truncated, episode.final_observation_known) == (True, False, False)
        assert np.isnan(episode.behavior_logp).all()
    assert dataset.info.license == "CC-BY-NC-4.0"
    assert verify(tmp_path / "set") == []


def test_an_episode_as_long_as_the_limit_is_truncated(tmp_path: Path) -> None:
    archive = build(tmp_path / "a.tar", [make(1, 500), make(2, 499)], "npz", float_frames=False)
    dataset, report = import_gen_dgrl(archive, "procgen/maze", tmp_path / "set")
    assert report.time_outs == 1
    assert dataset.episodes["truncated"].tolist() == [True, False]
    assert dataset.episodes["terminated"].tolist() == [False, True]


def listed(lengths: list[int], returns: list[int]) -> list[EpisodeFile]:
    pairs = enumerate(zip(lengths, returns, strict=True))
    return [EpisodeFile(at, f"n{at}", length, at, total) for at, (length, total) in pairs]


@settings(max_examples=60, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=12),
    seed=st.integers(0, 9),
    budget=st.integers(9, 120),
    order=st.sampled_from(["random", "best_first"]),
)
def test_a_choice_is_a_prefix_within_the_budget(lengths: list[int], seed: int, budget: int, order: str) -> None:
    returns = np.random.default_rng(seed).integers(0, 4, len(lengths)).tolist()
    files = listed(lengths, returns)
    chosen = choose(files, budget, order, seed)
    used = sum(lengths[at] for at in chosen)
    assert used <= budget
    if len(chosen) < len(files):
        assert used + max(lengths) > budget, "another episode would have fitted"
    if order == "best_first":
        left = [returns[at] for at in range(len(files)) if at not in chosen]
        assert min(returns[at] for at in chosen) >= max(left, default=-1)
    assert choose(files, budget, order, seed) == chosen


def test_a_random_choice_does_not_prefer_high_returns() -> None:
    """10 of 100 episodes with 1 step: the mean return of random choices is that of all, of best first it is the top."""
    files = listed([1] * 100, list(range(100)))
    means = [np.mean([files[at].episode_return for at in choose(files, 10, "random", seed)]) for seed in range(200)]
    assert abs(np.mean(means) - 49.5) < 2.5
    assert choose(files, 10, "best_first", 0) == set(range(90, 100))


def test_a_bounded_import_takes_the_same_episodes_under_the_same_names(tmp_path: Path) -> None:
    made = [make(level % 3, 4 + level % 2, seed=level) for level in range(12)]
    archive = build(tmp_path / "a.tar.xz", made)
    whole, _ = import_gen_dgrl(archive, GAME, tmp_path / "whole")
    some, report = import_gen_dgrl(archive, GAME, tmp_path / "some", max_transitions=20, seed=3)
    best, _ = import_gen_dgrl(archive, GAME, tmp_path / "best", max_transitions=20, order="best_first")
    assert 15 < len(some) <= 20
    assert (report.read, report.imported) == (12, some.num_episodes)
    known = {sum_.tobytes() for sum_ in whole.episodes["checksum"]}
    assert all(sum_.tobytes() in known for sum_ in some.episodes["checksum"])
    assert best.episodes["return"].min() >= np.sort(whole.episodes["return"])[-best.num_episodes]
    assert best.fingerprint != some.fingerprint
    with pytest.raises(UsageError, match="first episode has"):
        import_gen_dgrl(archive, GAME, tmp_path / "none", max_transitions=3)


def test_a_poisoned_archive_creates_no_file(tmp_path: Path) -> None:
    made = make(1, 4)
    poisoned = content_of({**made.arrays(), "evil": Evil(tmp_path / "evil")}, "npy")
    archive = archive_of(tmp_path / "a.tar.xz", [(made.name(0, "npy"), poisoned)])
    with pytest.raises(RunError, match=r"is refused: it names _?io\.open"):
        import_gen_dgrl(archive, GAME, tmp_path / "set")
    assert [path.name for path in tmp_path.iterdir()] == ["a.tar.xz"]
    inside = np.load(io.BytesIO(poisoned), allow_pickle=True).item()
    inside["evil"].close()
    assert (tmp_path / "evil").exists(), "NumPy itself would have"


def test_pickled_arrays_in_an_npz_are_refused(tmp_path: Path) -> None:
    file = io.BytesIO()
    np.savez(file, evil=np.array([Evil(tmp_path / "evil")], dtype=object))
    archive = archive_of(tmp_path / "a.tar", [(make(1, 4).name(0, "npz"), file.getvalue())])
    with pytest.raises(RunError, match="cannot be read"):
        import_gen_dgrl(archive, GAME, tmp_path / "set")
    assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize("prefix", ["../", "/tmp/", "expert/../../", "expert\\..\\"])
@pytest.mark.parametrize("suffix", [".tar", ".tar.xz"])
def test_a_name_that_leads_out_is_refused(tmp_path: Path, prefix: str, suffix: str) -> None:
    made = make(1, 4)
    name = prefix + Path(made.name(0, "npy")).name
    archive = archive_of(tmp_path / f"a{suffix}", [(name, content_of(made.arrays(), "npy"))])
    with pytest.raises(RunError, match="leads out of it"):
        import_gen_dgrl(archive, GAME, tmp_path / "set")
    assert [path.name for path in tmp_path.iterdir()] == [f"a{suffix}"]


def test_links_and_devices_are_passed_over(tmp_path: Path) -> None:
    made, name = make(1, 4), make(2, 4).name(1, "npy")
    path = build(tmp_path / "a.tar", [made])
    with tarfile.open(path, "a") as archive:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            archive.addfile(info)
    _, report = import_gen_dgrl(path, GAME, tmp_path / "set")
    assert report.read == 1


@pytest.mark.parametrize("suffix", [".tar", ".tar.xz", ".tar.gz"])
def test_an_archive_that_was_cut_anywhere_is_noticed(tmp_path: Path, suffix: str) -> None:
    made = [make(level, 2) for level in range(3)]
    whole = build(tmp_path / f"a{suffix}", made, "npz", float_frames=False)
    content, cut, noticed = whole.read_bytes(), tmp_path / f"cut{suffix}", 0
    end = len(content.rstrip(b"\0")) if suffix == ".tar" else len(content)
    sizes = [*range(0, end, max(1, end // 60)), end - 1]
    for size in sizes:
        cut.write_bytes(content[:size])
        try:
            listed = list_episodes(cut)
        except RunError as error:
            assert re.search("cut short|no archive", str(error))  # noqa: PT017
            with pytest.raises(RunError, match=r"cut short|no archive"):
                import_gen_dgrl(cut, GAME, tmp_path / "set")
            noticed += 1
        else:  # only what follows the end of the archive is missing: padding and a checksum
            assert listed == list_episodes(whole)
    assert noticed >= len(sizes) - 2
    assert not (tmp_path / "set").exists()


BROKEN: dict[str, tuple[dict[str, Any], str]] = {
    "no actions": ({"actions": None}, "has no 'actions'"),
    "an end in the middle": ({"dones": np.array([0, 1, 0, 1])}, "not one whole episode"),
    "no end": ({"dones": np.zeros(4)}, "not one whole episode"),
    "nothing": ({"dones": np.zeros(0)}, "not one whole episode"),
    "frames of another size": ({"observations": np.zeros((5, 3, 32, 32))}, "shape"),
    "too few frames": ({"observations": np.zeros((3, 3, 64, 64))}, "shape"),
    "scaled frames": ({"observations": np.full((5, 3, 64, 64), 0.5)}, "scaled"),
    "frames beyond a byte": ({"observations": np.full((5, 3, 64, 64), 256.0)}, "whole numbers"),
    "other actions": ({"actions": np.zeros((3, 1))}, "shape"),
    "actions in between": ({"actions": np.full((4, 1), 0.5)}, "whole numbers"),
    "unknown actions": ({"actions": np.full((4, 1), 15)}, "allowed: 0..14"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_episodes_are_named(tmp_path: Path, name: str) -> None:
    changes, message = BROKEN[name]
    arrays = {key: value for key, value in {**make(1, 4).arrays(), **changes}.items() if value is not None}
    member = make(1, 4).name(0, "npy")
    archive = archive_of(tmp_path / "a.tar", [(member, content_of(arrays, "npy"))])
    with pytest.raises((RunError, UsageError), match=message):
        import_gen_dgrl(archive, GAME, tmp_path / "set")
    assert not (tmp_path / "set").exists()


@pytest.mark.parametrize(
    "content", [b"", b"\x93NUMPY", b"PK\x03\x04broken", pickle.dumps({}), b"\x93NUMPY\x01\x00\xff\xff{"]
)
def test_rubbish_in_a_member_is_one_clear_line(tmp_path: Path, content: bytes) -> None:
    archive = archive_of(tmp_path / "a.tar", [(make(1, 4).name(0, "npy"), content)])
    with pytest.raises(RunError, match="cannot be read"):
        import_gen_dgrl(archive, GAME, tmp_path / "set")


def test_names_that_disagree_with_the_content_are_counted(tmp_path: Path) -> None:
    made = make(1, 4)
    name = f"x_0_9_1_{made.rewards.sum() + 5:.2f}.npy"
    archive = archive_of(tmp_path / "a.tar", [(name, content_of(made.arrays(), "npy"))])
    _, report = import_gen_dgrl(archive, GAME, tmp_path / "set")
    assert (report.other_length, report.other_return) == (1, 1)


def test_wrong_use_is_answered(tmp_path: Path) -> None:
    archive = build(tmp_path / "a.tar", [make(1, 4)])
    with pytest.raises(UsageError, match="'grid/default' is none"):
        import_gen_dgrl(archive, "grid/default", tmp_path / "set")
    with pytest.raises(UsageError, match="no archive"):
        import_gen_dgrl(tmp_path / "missing.tar", GAME, tmp_path / "set")
    with pytest.raises(UsageError, match="Unknown order"):
        import_gen_dgrl(archive, GAME, tmp_path / "set", order="worst")
    with pytest.raises(UsageError, match="holds no file named"):
        import_gen_dgrl(archive_of(tmp_path / "b.tar", [("README", b"x")]), GAME, tmp_path / "set")
    (tmp_path / "text.tar").write_text("hello")
    with pytest.raises(RunError, match="no archive"):
        import_gen_dgrl(tmp_path / "text.tar", GAME, tmp_path / "set")


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    archive = build(tmp_path / "a.tar.xz", [make(level, 5) for level in range(4)])
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    words = ["import", "gen_dgrl", str(archive), "--env", GAME, "--out", str(tmp_path / "set")]
    values = run(parser.parse_args([*words, "--max-transitions", "11"]))
    assert (values["num_transitions"], values["imported"], values["read"]) == (10, 2, 4)
    assert "2 of 4 episodes" in capsys.readouterr().out
    with pytest.raises(UsageError, match="at least 1"):
        run(parser.parse_args([*words, "--max-transitions", "0"]))
