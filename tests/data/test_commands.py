from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import pytest

from data.commands import add_arguments, run
from tests.data.helpers import make_episode, write


def call(*words: str) -> dict[str, Any]:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return run(parser.parse_args(words))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write(tmp_path / "set", [make_episode(level=level) for level in range(4)], provenance={"command": "by hand"})
    return tmp_path / "set"


def test_info_says_what_a_dataset_holds(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    values = call("info", str(path))
    assert values["num_transitions"] == 20
    assert values["num_levels"] == 4
    assert values["license"] == "MIT"
    assert values["provenance"] == {"command": "by hand"}
    assert json.loads(json.dumps(values, allow_nan=False)) == values
    out = capsys.readouterr().out
    assert "20 transitions in 4 episodes on levels 0..3 (4)" in out
    assert values["fingerprint"] in out


def test_verify_fails_on_damage(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("verify", str(path)) == {"path": str(path), "sound": True, "problems": [], "exit_code": 0}
    content = bytearray((path / "actions.bin").read_bytes())
    content[5] ^= 1
    (path / "actions.bin").write_bytes(content)
    values = call("verify", str(path))
    assert values["exit_code"] == 1
    assert not values["sound"]
    assert "actions.bin" in capsys.readouterr().out
