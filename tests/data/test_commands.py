from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import pytest

from data.commands import add_arguments, run
from data.pack.write import pack_actions, pack_frames
from data.store import Store
from envs.errors import UsageError
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


@pytest.mark.parametrize("kind", ["frames", "actions"])
def test_verify_reads_a_packed_file(path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str) -> None:
    file = tmp_path / "set.bin"
    if kind == "frames":
        pack_frames(Store(path), file)
    else:
        pack_actions(Store(path), file, checked=False)
    assert call("verify", str(file)) == {"path": str(file), "sound": True, "problems": [], "exit_code": 0}
    assert ("unpack" in capsys.readouterr().out) == (kind == "actions")
    whole = file.read_bytes()
    for place in range(12, len(whole), max(1, len(whole) // 60)):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        assert call("verify", str(file))["exit_code"] == 1, place
    with pytest.raises(UsageError, match="There is no file"):
        call("verify", str(tmp_path / "missing.pack"))
    with pytest.raises(UsageError, match="not a packed dataset"):
        call("verify", str(path / "manifest.json"))


def test_verify_fails_on_damage(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("verify", str(path)) == {"path": str(path), "sound": True, "problems": [], "exit_code": 0}
    content = bytearray((path / "actions.bin").read_bytes())
    content[5] ^= 1
    (path / "actions.bin").write_bytes(content)
    values = call("verify", str(path))
    assert values["exit_code"] == 1
    assert not values["sound"]
    assert "actions.bin" in capsys.readouterr().out
