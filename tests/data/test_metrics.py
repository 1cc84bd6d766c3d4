"""What the environment reported of episodes is part of a dataset; datasets from before that still open."""

from __future__ import annotations

import json
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from actors.policy import RandomPolicy
from actors.rollout import RecordOptions, play
from data.dataset import Dataset
from data.schema import MANIFEST, episode_dtype, manifest_checksum
from data.verify import verify
from data.writer import DatasetWriter
from envs.errors import RunError, UsageError
from envs.registry import make_spec, make_vec
from tests.data.helpers import TEXT, make_episode, write
from tests.data.oracle import assert_same_episode
from tests.data.test_commands import call

OLD = Path(__file__).resolve().parents[1] / "golden" / "dataset_v1"
OLD_FINGERPRINT = "0867e91ca9928bf32984521b7d1074cb"


def test_a_dataset_of_version_1_opens_and_is_what_it_was() -> None:
    old = Dataset.open(OLD)
    assert (old.info.schema_version, old.info.metrics, old.metrics) == (1, (), {})
    assert old.fingerprint == old.info.fingerprint == OLD_FINGERPRINT
    assert verify(OLD) == []
    expected = [
        make_episode(TEXT, level, number, 3 + level, source=source, truncated=bool(number), log_probs=True)
        for level in range(2)
        for number, source in enumerate(("expert", "random"))
    ]
    for position, episode in enumerate(expected):
        assert_same_episode(old.episode(position), episode)


def test_episodes_without_metrics_keep_their_fingerprint(tmp_path: Path) -> None:
    old = Dataset.open(OLD)
    again = write(tmp_path / "a", [old.episode(position) for position in range(old.num_episodes)], TEXT)
    assert (again.info.schema_version, again.fingerprint) == (2, OLD_FINGERPRINT)


def test_old_and_new_datasets_can_be_joined(tmp_path: Path) -> None:
    new = write(tmp_path / "a", [make_episode(TEXT, 5, log_probs=True, metrics={"b": 2.0, "a": 1.0})], TEXT)
    both = Dataset.concat([Dataset.open(OLD), new, Dataset.open(OLD)])
    assert list(both.metrics) == ["a", "b"]
    np.testing.assert_array_equal(both.metrics["b"], [np.nan] * 4 + [2.0] + [np.nan] * 4)
    assert [both.episode(position).metrics for position in (3, 4, 5)] == [{}, {"a": 1.0, "b": 2.0}, {}]
    assert both.select(episodes=[4]).fingerprint == new.fingerprint


def test_the_fingerprint_depends_on_names_and_values(tmp_path: Path) -> None:
    variants: list[dict[str, float]] = [{}, {"a": 1.0}, {"a": 2.0}, {"b": 1.0}, {"a": 1.0, "b": 1.0}]
    found = [
        write(tmp_path / str(number), [make_episode(TEXT, metrics=metrics)], TEXT).fingerprint
        for number, metrics in enumerate(variants)
    ]
    assert len(set(found)) == len(variants)
    unknown = write(tmp_path / "nan", [make_episode(TEXT, metrics={"a": 1.0, "c": np.nan})], TEXT)
    assert unknown.fingerprint == found[1]
    assert unknown.info.metrics == ("a",)


def test_a_changed_metric_is_damage(tmp_path: Path) -> None:
    write(tmp_path / "a", [make_episode(TEXT, metrics={"score": 0.25})], TEXT)
    file = tmp_path / "a" / "episodes.bin"
    table = np.frombuffer(file.read_bytes(), episode_dtype(["score"])).copy()
    table["metric.score"] = 1.0
    file.write_bytes(table.tobytes())
    assert any("episodes.bin" in problem for problem in verify(tmp_path / "a"))
    # Somebody who also repairs the checksum of the file is found by that of the episode.
    manifest = json.loads((tmp_path / "a" / MANIFEST).read_text())
    entry = next(entry for entry in manifest["files"] if entry["name"] == "episodes.bin")

    entry["crc32"] = f"{zlib.crc32(table.tobytes()):08x}"
    manifest["checksum"] = manifest_checksum(manifest)
    (tmp_path / "a" / MANIFEST).write_text(json.dumps(manifest))
    assert verify(tmp_path / "a") == ["level 0 episode 0 seed 0: content does not match its checksum"]


@pytest.mark.parametrize("names", [["a b"], ["a", "a"], [3], "xy"])
def test_a_manifest_with_impossible_metrics_is_damage(tmp_path: Path, names: object) -> None:
    write(tmp_path / "a", [make_episode(TEXT, metrics={"score": 0.25})], TEXT)
    manifest = json.loads((tmp_path / "a" / MANIFEST).read_text())
    manifest["metrics"] = names
    manifest["checksum"] = manifest_checksum(manifest)
    (tmp_path / "a" / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(RunError, match=r"manifest\.json|episodes\.bin"):
        Dataset.open(tmp_path / "a")


@pytest.mark.parametrize(
    ("metrics", "message"), [({"a b": 1.0}, "Metric 'a b'"), ({"a": np.inf}, "metric 'a' = inf; allowed: finite")]
)
def test_metrics_that_cannot_be_stored_are_refused(tmp_path: Path, metrics: dict[str, float], message: str) -> None:
    with DatasetWriter(tmp_path / "a", TEXT, {}) as writer:
        with pytest.raises(UsageError, match=message):
            writer.add(make_episode(TEXT, metrics=metrics))
        writer.add(make_episode(TEXT))


def test_a_cut_episode_has_none(tmp_path: Path) -> None:
    whole = write(tmp_path / "a", [make_episode(TEXT, n, metrics={"score": float(n)}) for n in range(3)], TEXT)
    cut = whole.select(max_transitions=12)
    np.testing.assert_array_equal(cut.metrics["score"], [0.0, 1.0, np.nan])
    assert cut.episode(2).metrics == {}
    np.testing.assert_array_equal(whole.select(max_transitions=10).metrics["score"], [0.0, 1.0])
    assert whole.metrics["score"].tolist() == [0.0, 1.0, 2.0]


def test_the_shop_reports_through_a_dataset(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = make_spec("shop/tiny")
    jobs = [(level, 0) for level in range(20)]
    record = RecordOptions(source="random")
    played = list(play(make_vec("shop/tiny", 4), RandomPolicy(spec), jobs, seed=0, record=record))
    dataset = write(tmp_path / "a", played, spec)
    by_level = {episode.level: episode.metrics for episode in played}
    assert dataset.info.metrics == ("score", "strict_success", "success")
    assert [dataset.episode(position).metrics for position in range(20)] == [by_level[level] for level in range(20)]
    values = call("info", str(tmp_path / "a"))
    mean = float(np.mean([metrics["score"] for metrics in by_level.values()]))
    assert values["metrics"]["score"] == {"mean": pytest.approx(mean), "num_episodes": 20}
    assert f"score: mean {mean:.4g} of 20 episodes" in capsys.readouterr().out
    assert json.dumps(values, allow_nan=False)


def test_info_of_metrics_that_only_some_episodes_have(tmp_path: Path) -> None:
    episodes = [make_episode(TEXT, 0, metrics={"a": 1.0}), make_episode(TEXT, 1, metrics={"a": 2.0, "b": 5.0})]
    write(tmp_path / "a", [*episodes, replace(make_episode(TEXT, 2))], TEXT)
    assert call("info", str(tmp_path / "a"))["metrics"] == {
        "a": {"mean": 1.5, "num_episodes": 2},
        "b": {"mean": 5.0, "num_episodes": 1},
    }
