"""`gengap collect` and `gengap watch` from the shell's side."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import gengap
from actors.collect_config import CollectConfig
from data.dataset import Dataset
from envs.errors import UsageError


def run(*words: str) -> int:
    with pytest.raises(SystemExit) as ended:
        gengap.main(list(words))
    return int(ended.value.code or 0)


def test_collect_writes_a_dataset_and_prints_it_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "data"
    words = [
        "collect",
        "grid-expert",
        "num_levels=5",
        "min_transitions=50",
        "num_actors=0",
        "--out",
        str(out),
        "--json",
    ]
    assert run(*words) == 0
    printed = json.loads(capsys.readouterr().out.splitlines()[-1])
    dataset = Dataset.open(out)
    assert printed["num_transitions"] == len(dataset) >= 50
    assert printed["num_levels"] == 5
    assert printed["fingerprint"] == dataset.fingerprint


@pytest.mark.parametrize(("text", "levels"), [("levels=3,9,4", [3, 9, 4]), ("levels=5:8", [5, 6, 7])])
def test_levels_can_be_named(text: str, levels: list[int], tmp_path: Path) -> None:
    words = ["collect", "grid-expert", text, "min_transitions=1", "num_actors=0", "--out", str(tmp_path / "data")]
    assert run(*words) == 0
    assert sorted(Dataset.open(tmp_path / "data").levels) == sorted(levels)


@pytest.mark.parametrize("share", [float("nan"), "x", None, -0.1, 1.1])
def test_a_share_is_a_number_from_0_to_1(share: Any) -> None:
    with pytest.raises(UsageError, match="shares lie in"):
        CollectConfig(env="grid/default", source="grid-expert", mix={"random": share})


def test_a_series_writes_one_dataset_per_value_and_keeps_what_is_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["collect", "grid-expert", "min_transitions=200", "num_actors=0", "--out", str(tmp_path), "--json"]
    assert run(*words, "--series", "num_levels=2,5") == 0
    first = json.loads(capsys.readouterr().out.splitlines()[-1])["datasets"]
    assert [Path(made["path"]).name for made in first] == ["num_levels-2", "num_levels-5"]
    assert [made["num_levels"] for made in first] == [2, 5]
    assert run(*words, "--series", "num_levels=2,5,9") == 0
    printed = capsys.readouterr()
    again = json.loads(printed.out.splitlines()[-1])["datasets"]
    assert again[:2] == first
    assert printed.err.count("is there already") == 2
    assert again[2]["num_levels"] == 9
    assert run(*words, "seed=3", "--series", "num_levels=2") == 2
    assert "other settings" in capsys.readouterr().err
    assert run(*words, "--series", "num_levels") == 2


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (["collect", "grid-exprt"], "Did you mean 'grid-expert'"),
        (["collect", "grid-expert", "num_levls=3"], "Did you mean 'num_levels'"),
        (["collect", "grid-expert", "num_levels=none"], "whole number|is a number"),
        (["collect", "grid-expert", "env=grid/defualt"], "grid/default"),
        (["collect", "grid-expert", "num_levels=nan"], "num_levels received 'nan'"),
        (["collect", "grid-expert", "levels=[1,2]"], "for example 0:200"),
        (["collect", "grid-expert", "levels=1,2,2"], "lists a level twice"),
        (["collect", "grid-expert", "levels=0:9999999999"], "too long"),
        (["collect", "grid-expert", "mix.random=nan"], "mix.random received 'nan'"),
        (["collect", "grid-expert", "mix={'random': 'x'}"], "mix.random received 'x'"),
        (["collect", "grid-expert", "mix.random=2"], "shares lie in"),
        (["collect", "grid-expert", "options.noise=abc"], "'noise' of source 'grid-expert' is 'abc'"),
        (["collect", "grid-expert", "options.relabel=maybe"], "true or false"),
        (["collect", "procgen-random", "env=grid/default", "options.mode=fast"], "action mode 'fast'"),
        (["collect", "procgen-random", "env=grid/default", "options.temperature=abc"], "is 'abc'; it is a number"),
        (["collect", "procgen-random", "env=grid/default", "options.temperature=0"], "must be positive"),
        (["collect", "grid-expert", "source=grid-exp"], "Did you mean 'grid-expert'"),
        (["collect", "grid-expert", "source=ppo:coinrn"], "Did you mean 'coinrun'"),
        (["collect", "grid-expert", "num_actors=0", "--address", "1.2.3.4:6379"], "leave out --address"),
        (["collect"], "Name a recipe"),
        (["watch", "nothing-here", "--level", "0", "-o", "a.gif"], "nothing-here"),
        (["watch", "grid-expert", "--level", "0", "-o", "a.gif"], "--env"),
        (["watch", "grid-expert", "--env", "grid/default", "--level", "0", "-o", "a.mp4"], ".gif"),
        (["watch", "quiz-expert", "--env", "quiz/default", "--level", "0", "-o", "a.gif"], "no images"),
        (["watch", "grid-expert", "--env", "grid/default", "--level", "0", "--fps", "0", "-o", "a.gif"], "positive"),
    ],
)
def test_wrong_use_is_answered_and_writes_nothing(
    words: list[str],
    answer: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    import re

    monkeypatch.chdir(tmp_path)
    assert run(*words) == 2
    assert re.search(answer, capsys.readouterr().err)
    assert list(tmp_path.iterdir()) == []


def test_recipes_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("collect", "--list", "--json") == 0
    assert "maze" in json.loads(capsys.readouterr().out.splitlines()[-1])["recipes"]


def test_watch_shows_every_frame(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "new" / "episode.gif"
    assert run("watch", "grid-expert", "--env", "grid/default", "--level", "3", "-o", str(target), "--json") == 0
    printed = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert printed["episode_return"] == pytest.approx(1)
    with Image.open(target) as picture:
        assert picture.n_frames == printed["length"] + 1  # type: ignore[attr-defined]
        assert picture.size == (128, 128)
