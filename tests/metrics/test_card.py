"""The card of a dataset says what a slow count of its episodes says."""

from __future__ import annotations

import argparse
import io
import json
import math
import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from actors.collect import CollectConfig, collect
from data.commands import add_arguments, run
from data.dataset import Dataset
from data.episode import Episode
from data.pack.write import pack_actions
from data.store import Store
from envs.errors import UsageError
from metrics.card import histogram, make_card
from metrics.card_html import render_card
from metrics.card_samples import sample_frames, sample_transcript
from metrics.card_text import card_lines
from tests.data.helpers import PIXELS, TEXT, make_episode, write

MIXED = [
    make_episode(level=level, episode=episode, length=2 + level + episode, source=source, metrics={"score": level / 4})
    for level in range(4)
    for episode in range(1 + level)
    for source in ("expert", "noisy")
]


def call(*words: str) -> dict[str, Any]:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return run(parser.parse_args(words))


def episodes_of(dataset: Dataset) -> list[Episode]:
    return [dataset.episode(position) for position in range(dataset.num_episodes)]


def test_counts_are_those_of_a_slow_count(tmp_path: Path) -> None:
    dataset = write(tmp_path / "set", MIXED)
    card, episodes = make_card(tmp_path / "set"), episodes_of(dataset)
    actions = Counter(int(action) for episode in episodes for action in episode.actions)
    total = sum(actions.values())
    shares = [count / total for count in actions.values()]
    assert card["actions"]["counts"] == {f"action {number}": actions[number] for number in sorted(actions)}
    assert card["actions"]["entropy"] == pytest.approx(-sum(share * math.log(share) for share in shares))
    assert card["actions"]["mean_surprise"] == pytest.approx(
        np.mean([-logp for episode in episodes for logp in episode.behavior_logp]), rel=1e-5
    )
    per_level = Counter(episode.level for episode in episodes)
    assert card["levels"]["episodes_per_level"]["max"] == max(per_level.values()) == 8
    assert card["levels"]["episodes_per_level"]["min"] == min(per_level.values()) == 2
    by_source = {entry["source"]: entry for entry in card["behavior"]}
    for source in ("expert", "noisy"):
        mine = [episode for episode in episodes if episode.source == source]
        assert by_source[source]["episodes"] == len(mine)
        assert by_source[source]["transitions"] == sum(map(len, mine))
        assert by_source[source]["mean_return"] == pytest.approx(np.mean([e.episode_return for e in mine]))
    assert card["metrics"]["score"]["mean"] == pytest.approx(np.mean([e.metrics["score"] for e in episodes]))
    assert card["ends"] == {"terminated": len(episodes), "truncated": 0}
    assert json.loads(json.dumps(card, allow_nan=False)) == card


@given(values=st.lists(st.one_of(st.floats(-1e6, 1e6), st.integers(-3, 3)), min_size=1, max_size=60))
def test_every_value_falls_into_one_bar(values: list[float]) -> None:
    bars = histogram(np.array(values), num_bins=5)
    assert sum(bar["count"] for bar in bars) == len(values)
    assert len(bars) <= 5
    assert min(bar["low"] for bar in bars) == min(values)
    assert max(bar["high"] for bar in bars) == max(values)


def test_unknown_log_probabilities_are_unknown(tmp_path: Path) -> None:
    import dataclasses

    unknown = dataclasses.replace(make_episode(), behavior_logp=np.full(5, np.nan, dtype=np.float32))
    write(tmp_path / "set", [unknown])
    card = make_card(tmp_path / "set")
    assert card["actions"]["mean_surprise"] is None
    assert "-log p" not in "\n".join(card_lines(card))
    assert "is unknown" in render_card(card, [], None)


def test_frames_are_those_of_the_dataset(tmp_path: Path) -> None:
    dataset = write(tmp_path / "set", MIXED)
    known = {frame.tobytes() for episode in episodes_of(dataset) for frame in np.asarray(episode.observations["image"])}
    frames = sample_frames(dataset, 7)
    assert len(frames) == 7
    for frame in frames:
        picture = np.asarray(Image.open(io.BytesIO(frame.png)))
        assert picture[::24, ::24].tobytes() in known
        assert re.fullmatch(r"level \d, step \d of \d, return [\d.]+", frame.caption)
    assert sample_transcript(dataset) is None


def test_a_transcript_shows_pages_and_what_was_chosen(tmp_path: Path) -> None:
    config = CollectConfig(env="quiz/default", source="quiz-expert", num_levels=4, min_transitions=10, num_actors=0)
    dataset = collect(config, tmp_path / "set")
    transcript = sample_transcript(dataset)
    assert transcript is not None
    assert sample_frames(dataset) == []
    for step in transcript.steps:
        assert step.columns["page"][0].endswith(f"Wanted: {step.action}")
        assert step.action in step.columns["candidates"]
    text = "\n".join(card_lines(make_card(tmp_path / "set"), transcript))
    assert f"[0] does {transcript.steps[0].action}, gets" in text


def test_bytes_that_are_no_text_do_not_stop_a_card(tmp_path: Path) -> None:
    dataset = write(tmp_path / "set", [make_episode(TEXT, level=level) for level in range(3)], TEXT)
    transcript = sample_transcript(dataset)
    assert transcript is not None
    assert all(char.isprintable() for line in card_lines(make_card(tmp_path / "set"), transcript) for char in line)


class Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.pictures = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.links += [str(values[name]) for name in ("src", "href") if name in values]
        self.pictures += tag == "img"
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_needs_nothing_else_and_escapes_what_was_recorded(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>"
    write(tmp_path / "set", [make_episode(source=evil)], PIXELS, {"note": evil})
    values = call("info", str(tmp_path / "set"), "--html", str(tmp_path / "pages" / "card.html"))
    text = (tmp_path / "pages" / "card.html").read_text()
    page = Page()
    page.feed(text)
    assert page.open == []
    assert page.pictures == 1
    assert all(link.startswith("data:image/png;base64,") for link in page.links)
    assert evil not in text
    assert "&lt;script&gt;" in text
    assert values["fingerprint"] in text
    with pytest.raises(UsageError, match="written as"):
        call("info", str(tmp_path / "set"), "--html", str(tmp_path / "card.pdf"))


def test_info_describes_a_packed_file_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dataset = write(tmp_path / "set", MIXED)
    pack_actions(Store(tmp_path / "set"), tmp_path / "file", checked=False)
    values = call("info", str(tmp_path / "file"))
    assert (values["kind"], values["fingerprint"], values["checked"]) == ("actions", dataset.fingerprint, False)
    assert "packed as actions" in capsys.readouterr().out
    with pytest.raises(UsageError, match="unpack it"):
        call("info", str(tmp_path / "file"), "--html", str(tmp_path / "card.html"))
