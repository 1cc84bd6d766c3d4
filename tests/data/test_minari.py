"""Datasets travel to Minari and back without loss; what others wrote there is read with what it has."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data.dataset import Dataset
from data.episode import Episode, Ragged
from data.interop import minari_export
from data.verify import verify
from data.writer import DatasetWriter
from envs.errors import RunError, UsageError
from envs.spec import ColumnSpec, EnvSpec
from envs.text import encode_text
from tests.data.helpers import PIXELS, TEXT, make_episode, write
from tests.data.oracle import assert_same_episode
from tests.data.test_commands import call

minari = pytest.importorskip("minari")

from minari.data_collector.episode_buffer import EpisodeBuffer  # noqa: E402
from minari.dataset.minari_storage import MinariStorage  # noqa: E402

from data.interop.minari_export import export_minari  # noqa: E402
from data.interop.minari_import import import_minari  # noqa: E402

FRAMES = replace(PIXELS, name="toy/frames", observation_columns={"image": ColumnSpec("uint8", (64, 64, 3))})
MIXED = EnvSpec(
    name="toy/mixed",
    observation_columns={
        "page": ColumnSpec("uint8", ragged=True),
        "boxes": ColumnSpec("float32", (2,), ragged=True),
        "image": ColumnSpec("uint8", (3, 5)),
        "seen": ColumnSpec("bool", (4,)),
        "count": ColumnSpec("int64"),
        "half": ColumnSpec("float16", (2, 2)),
    },
    num_actions=4,
    max_episode_steps=50,
    level_universe=1000,
    candidate_column="page",
)


def recorded(env: EnvSpec, log_probs: bool = False) -> list[Episode]:
    """Truncated and terminated episodes, known and unknown ends, two sources, some with metrics."""
    return [
        make_episode(
            env,
            level=level,
            episode=number,
            length=1 + (level + 2 * number) % 5,
            source=["expert", "random"][number % 2],
            seed=number,
            policy_id=f"p{level}",
            truncated=(level + number) % 2 == 0,
            final_known=number != 1,
            log_probs=log_probs,
            metrics={"score": level / 7} if level else {},
        )
        for level in (0, 3, 9)
        for number in range(3)
    ]


@pytest.mark.parametrize("log_probs", [False, True])
@pytest.mark.parametrize("env", [PIXELS, FRAMES, TEXT, MIXED], ids=lambda env: env.name)
def test_there_and_back_nothing_changes(tmp_path: Path, env: EnvSpec, log_probs: bool) -> None:
    dataset = write(tmp_path / "set", recorded(env, log_probs), env)
    export_minari(dataset, tmp_path / "minari")
    again = import_minari(tmp_path / "minari", tmp_path / "again")
    assert again.fingerprint == dataset.fingerprint
    assert again.env == dataset.env
    assert verify(tmp_path / "again") == []
    for position in range(dataset.num_episodes):
        assert_same_episode(again.episode(position), dataset.episode(position))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25, deadline=None)
@given(st.data())
def test_any_texts_and_bytes_survive(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    tmp_path = tmp_path_factory.mktemp("minari")
    rows = data.draw(st.lists(st.text(max_size=20).map(str.encode) | st.binary(max_size=8), min_size=3, max_size=3))
    env = replace(TEXT, observation_columns={"page": ColumnSpec("uint8", ragged=True)})
    pages = Ragged.from_rows([np.frombuffer(row, np.uint8) for row in rows])
    episode = replace(make_episode(env, length=2), observations={"page": pages})
    dataset = write(tmp_path / "set", [episode], env)
    export_minari(dataset, tmp_path / "minari")
    assert import_minari(tmp_path / "minari", tmp_path / "again").fingerprint == dataset.fingerprint


def test_a_cut_view_keeps_its_ends(tmp_path: Path) -> None:
    dataset = write(tmp_path / "set", recorded(TEXT), TEXT).select(levels=[3, 9], max_transitions=9)
    export_minari(dataset, tmp_path / "minari")
    again = import_minari(tmp_path / "minari", tmp_path / "again")
    np.testing.assert_array_equal(again.episodes["truncated"], dataset.episodes["truncated"])
    for position in range(dataset.num_episodes):
        assert_same_episode(again.episode(position), dataset.episode(position))


def test_minari_itself_reads_what_was_exported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pages = ["a page", "another \u20ac page", "the end"]
    env = replace(TEXT, observation_columns={"page": ColumnSpec("uint8", ragged=True)})
    column = Ragged.from_rows([np.asarray(encode_text(page)) for page in pages])
    episode = replace(make_episode(env, level=7, length=2, truncated=True), observations={"page": column})
    dataset = write(tmp_path / "set", [episode], env)
    words = ["export", "minari", str(tmp_path / "set"), "--out", str(tmp_path / "root" / "toy" / "text-v3")]
    assert call(*words, "--id", "toy/text-v3")["dataset_id"] == "toy/text-v3"
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "root"))
    loaded = minari.load_dataset("toy/text-v3")
    (found,) = loaded.iterate_episodes()
    assert found.observations["page"] == pages
    assert all(page in loaded.observation_space["page"] for page in pages)
    assert found.actions.tolist() == episode.actions.tolist()
    assert loaded.action_space == spaces.Discrete(env.num_actions)
    assert (found.terminations.tolist(), found.truncations.tolist()) == ([False, False], [False, True])
    np.testing.assert_array_equal(found.infos["behavior_logp"][:-1], episode.behavior_logp)
    (about,) = loaded.storage.get_episode_metadata([0])
    assert about["options"] == {"level": 7}
    values = call("import", "minari", "toy/text-v3", "--out", str(tmp_path / "again"))
    assert (values["fingerprint"], values["env"]) == (dataset.fingerprint, "toy/text")
    assert Dataset.open(tmp_path / "again").info.provenance["exported"] == {"test": True}


def foreign(
    folder: Path,
    observation_space: spaces.Space[Any],
    buffers: list[EpisodeBuffer],
    action_space: spaces.Space[Any] | None = None,
    data_format: str = "hdf5",
    **metadata: Any,
) -> Path:
    (folder / "data").mkdir(parents=True)
    space = action_space or spaces.Discrete(3)
    storage = MinariStorage.new(folder / "data", observation_space, space, data_format=data_format)
    storage.update_episodes(buffers)
    storage.update_metadata({"dataset_id": "other/thing-v0", "minari_version": minari.__version__, **metadata})
    return folder


def buffer(length: int, observations: Any, first: int = 0, ends: str = "terminations", **more: Any) -> EpisodeBuffer:
    last = np.arange(length) == length - 1
    flags = {"terminations": np.zeros(length, bool), "truncations": np.zeros(length, bool)}
    flags |= {ends: last} if ends else {}
    actions = first + np.arange(length) % 3
    return EpisodeBuffer(observations=observations, actions=actions, rewards=np.arange(length) / 4, **flags, **more)


@pytest.mark.parametrize("data_format", ["hdf5", "arrow"])
def test_what_others_wrote_is_read_with_what_it_has(tmp_path: Path, data_format: str) -> None:
    space = spaces.Dict(
        {
            "a view": spaces.Box(-1, 1, (2,), np.float32),
            "mission": spaces.Text(20),
            "inner": spaces.Dict({"direction": spaces.Discrete(4)}),
        }
    )

    def observations(length: int) -> dict[str, Any]:
        view = np.arange(2 * length + 2, dtype=np.float32).reshape(-1, 2)
        texts = [f"go to {number}" for number in range(length + 1)]
        return {"a view": view, "mission": texts, "inner": {"direction": np.arange(length + 1) % 4}}

    buffers = [
        buffer(3, observations(3), first=5, seed=11),
        buffer(2, observations(2), first=5, ends="truncations", seed=4),
        buffer(2, observations(2), first=5, ends="", seed=11),
    ]
    folder = foreign(
        tmp_path / "other", space, buffers, spaces.Discrete(3, start=5), data_format,
        algorithm_name="SAC", ref_min_score=-1.0, ref_max_score=3,
    )  # fmt: skip
    values = call("import", "minari", str(folder), "--out", str(tmp_path / "set"), "--license", "CC-BY-4.0")
    dataset = Dataset.open(tmp_path / "set")
    assert verify(tmp_path / "set") == []
    assert values["env"] == dataset.env.name == "minari/other/thing-v0"
    assert dataset.env.observation_columns == {
        "a_view": ColumnSpec("float32", (2,)),
        "mission": ColumnSpec("uint8", ragged=True),
        "inner_direction": ColumnSpec("int64"),
    }
    assert dataset.env.return_bounds == {"minari": (-1.0, 3.0)}
    assert (dataset.sources, dataset.info.license) == (("SAC",), "CC-BY-4.0")
    assert dataset.info.provenance["levels"] == "reset seed"
    assert dataset.episodes["level"].tolist() == [4, 11, 11]
    assert dataset.episodes["episode"].tolist() == [0, 0, 1]
    assert dataset.episodes["terminated"].tolist() == [False, True, False]
    assert dataset.episodes["truncated"].tolist() == [True, False, True]
    assert dataset.episodes["final_observation_known"].all()
    episode = dataset.episode(1)
    assert episode.actions.tolist() == [0, 1, 2]
    assert episode.rewards.tolist() == [0.0, 0.25, 0.5]
    assert bytes(episode.observations["mission"][3]) == b"go to 3"
    np.testing.assert_array_equal(episode.observations["a_view"], np.arange(8, dtype=np.float32).reshape(4, 2))
    assert np.isnan(episode.behavior_logp).all()


def test_without_seeds_every_episode_is_a_level(tmp_path: Path) -> None:
    space = spaces.Box(0, 1, (2,), np.float64)
    buffers = [buffer(2, np.ones((3, 2))), buffer(1, np.zeros((2, 2)), seed=3)]
    dataset = import_minari(foreign(tmp_path / "other", space, buffers), tmp_path / "set", source="me")
    assert dataset.episodes["level"].tolist() == [0, 1]
    assert dataset.env.observation_columns == {"observation": ColumnSpec("float64", (2,))}
    assert (dataset.sources, dataset.info.license) == (("me",), "NOASSERTION")


def test_what_cannot_be_imported_says_why(tmp_path: Path) -> None:
    space = spaces.Box(0, 1, (2,), np.float32)
    box = foreign(tmp_path / "box", space, [buffer(2, np.ones((3, 2)))], spaces.Box(0, 2, (), np.float32))
    with pytest.raises(UsageError, match="only discrete ones"):
        import_minari(box, tmp_path / "set")
    with pytest.raises(UsageError, match=r"There is no Minari dataset at nowhere.*nothing is fetched"):
        import_minari("nowhere", tmp_path / "set")
    with pytest.raises(UsageError, match="has no episode"):
        import_minari(foreign(tmp_path / "none", space, []), tmp_path / "set")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "metadata.json").write_text("{}")
    with pytest.raises(RunError, match="cannot be read as a Minari dataset"):
        import_minari(tmp_path / "bad", tmp_path / "set")
    clash = spaces.Dict({"a b": space, "a_b": space})
    rows = {"a b": np.ones((3, 2)), "a_b": np.ones((3, 2))}
    with pytest.raises(UsageError, match="'a_b'; rename one"):
        import_minari(foreign(tmp_path / "clash", clash, [buffer(2, rows)]), tmp_path / "set")
    assert not (tmp_path / "set").exists()


def test_a_newer_form_is_refused(tmp_path: Path) -> None:
    export_minari(write(tmp_path / "set", [make_episode()]), tmp_path / "minari")
    file = tmp_path / "minari" / "data" / "metadata.json"
    content = json.loads(file.read_text())
    content["gengap"]["version"] = 99
    file.write_text(json.dumps(content))
    with pytest.raises(UsageError, match="form 99; this version reads 1"):
        import_minari(tmp_path / "minari", tmp_path / "again")


def test_exports_are_whole_or_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = write(tmp_path / "set", [make_episode()])
    with pytest.raises(UsageError, match="no Minari id"):
        export_minari(dataset, tmp_path / "minari", "a b")
    monkeypatch.setattr(minari_export, "_facts", None)
    with pytest.raises(TypeError):
        export_minari(dataset, tmp_path / "minari")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["set"]
    monkeypatch.undo()
    export_minari(dataset, tmp_path / "minari")
    with pytest.raises(UsageError, match="exists already"):
        export_minari(dataset, tmp_path / "minari")


def test_the_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr(minari_export, "import_module", missing)
    with DatasetWriter(tmp_path / "set", PIXELS, {}) as writer:
        writer.add(make_episode())
    with pytest.raises(UsageError, match=r"pip install 'gengap\[minari\]'"):
        export_minari(Dataset.open(tmp_path / "set"), tmp_path / "minari")
