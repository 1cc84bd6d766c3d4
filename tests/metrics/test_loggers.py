from __future__ import annotations

import io
import json
import logging
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from envs.errors import RunError
from metrics.history import read_history, replay, series
from metrics.loggers import ConsoleLogger, JsonLinesLogger, MultiLogger, NullLogger, TensorBoardLogger, decode, encode


class Recorder:
    def __init__(self, fail_at: int | None = None) -> None:
        self.rows: list[tuple[int, dict[str, Any]]] = []
        self.fail_at = fail_at
        self.closed = False

    def write(self, step: int, values: Any) -> None:
        if step == self.fail_at:
            raise ConnectionError("tracker is gone")
        self.rows.append((step, dict(values)))

    def close(self) -> None:
        self.closed = True
        if self.fail_at is not None:
            raise ConnectionError("still gone")


def write_rows(path: Path, steps: range, resume_from: int | None = None, scale: float = 1.0) -> None:
    logger = JsonLinesLogger(path, resume_from)
    for step in steps:
        logger.write(step, {"train/loss/total": step * scale})
    logger.close()


def test_rows_read_back_equal(tmp_path: Path) -> None:
    path = tmp_path / "run" / "metrics.jsonl"
    logger = JsonLinesLogger(path)
    logger.write(int(np.int64(20)), {"a": np.float32(0.5), "b": 3, "c": True, "d": "text", "e": 0.1 + 0.2})
    logger.close()
    logger.close()
    assert read_history(path) == [{"learner_step": 20, "a": 0.5, "b": 3, "c": True, "d": "text", "e": 0.1 + 0.2}]


def test_numbers_that_are_not_finite_stay_strict_json(tmp_path: Path) -> None:
    line = encode({"a": math.nan, "b": math.inf, "c": -math.inf, "d": 1.0})
    assert json.loads(line) == {"a": "NaN", "b": "Infinity", "c": "-Infinity", "d": 1.0}
    back = decode(line)
    assert math.isnan(back.pop("a"))
    assert back == {"b": math.inf, "c": -math.inf, "d": 1.0}


def test_a_resumed_run_has_each_step_once_with_the_later_values(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    write_rows(path, range(1, 8))
    write_rows(path, range(5, 10), resume_from=4, scale=100.0)
    history = read_history(path)
    assert [row["learner_step"] for row in history] == list(range(1, 10))
    assert [row["train/loss/total"] for row in history] == [1, 2, 3, 4, 500, 600, 700, 800, 900]


def test_steps_beyond_the_checkpoint_vanish_even_if_they_are_not_replayed(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    write_rows(path, range(1, 8))
    write_rows(path, range(5, 6), resume_from=4)
    assert [row["learner_step"] for row in read_history(path)] == [1, 2, 3, 4, 5]


def test_a_run_that_starts_over_supersedes_everything(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    write_rows(path, range(0, 5))
    write_rows(path, range(0, 2), scale=7.0)
    assert read_history(path) == [{"learner_step": s, "train/loss/total": s * 7.0} for s in (0, 1)]


def test_rows_of_one_step_are_merged() -> None:
    rows = [{"learner_step": 5, "a": 1}, {"learner_step": 5, "b": 2}, {"learner_step": 5, "a": 3}]
    assert replay(rows) == [{"learner_step": 5, "a": 3, "b": 2}]
    assert series([*replay(rows), {"learner_step": 6, "a": None}], "a") == ([5], [3.0])


def test_a_torn_last_line_is_ignored_and_then_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    write_rows(path, range(1, 4))
    with path.open("a") as file:
        file.write('{"learner_step": 4, "train/lo')
    assert [row["learner_step"] for row in read_history(path)] == [1, 2, 3]
    write_rows(path, range(4, 6), resume_from=3)
    assert [row["learner_step"] for row in read_history(path)] == [1, 2, 3, 4, 5]


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"learner_step": 1}\n{"learner\n{"learner_step": 3}\n')
    with pytest.raises(RunError, match="Line 2"):
        read_history(path)
    with pytest.raises(RunError, match="cannot be read"):
        read_history(tmp_path / "missing.jsonl")


@pytest.mark.parametrize("size", [0, 1, 65_535, 65_536, 65_537, 200_000])
def test_a_torn_line_of_any_length_is_cut_off(size: int, tmp_path: Path) -> None:
    for rows in (0, 2):
        path = tmp_path / f"{rows}.jsonl"
        path.write_text('{"learner_step": 1}\n' * rows + "x" * size)
        JsonLinesLogger(path, resume_from=1).close()
        resumed = ['{"event": "resume", "from_step": 1}'] if rows else []
        assert path.read_text().splitlines() == ['{"learner_step": 1}'] * rows + resumed


@pytest.mark.chaos
def test_a_killed_process_loses_no_row(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    script = (
        "import os, signal, sys\nfrom pathlib import Path\nfrom metrics.loggers import JsonLinesLogger\n"
        "logger = JsonLinesLogger(Path(sys.argv[1]))\n"
        "for step in range(1, 101): logger.write(step, {'x': step})\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    root = Path(__file__).resolve().parents[2]
    subprocess.run([sys.executable, "-c", script, str(path)], cwd=root, timeout=60, check=False)
    assert [row["x"] for row in read_history(path)] == list(range(1, 101))


def test_a_failing_copy_is_dropped_with_one_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "metrics.jsonl"
    broken, healthy = Recorder(fail_at=2), Recorder()
    logger = MultiLogger([broken, JsonLinesLogger(path), healthy])
    with caplog.at_level(logging.WARNING):
        for step in range(1, 5):
            logger.write(step, {"x": step})
        logger.close()
    assert [row["x"] for row in read_history(path)] == [1, 2, 3, 4]
    assert [step for step, _ in broken.rows] == [1]
    assert [step for step, _ in healthy.rows] == [1, 2, 3, 4]
    assert healthy.closed
    assert [record.message for record in caplog.records] == [
        "Recorder failed at step 2 and is dropped: tracker is gone"
    ]


def test_a_copy_that_cannot_close_does_not_keep_the_others_open(caplog: pytest.LogCaptureFixture) -> None:
    broken, healthy = Recorder(fail_at=99), Recorder()
    logger = MultiLogger([broken, healthy])
    logger.close()
    logger.close()
    assert healthy.closed
    assert len(caplog.records) == 1


def test_json_lines_are_written_before_any_copy(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    seen = []

    class Reader(NullLogger):
        def write(self, step: int, values: Any) -> None:
            seen.append(read_history(path)[-1]["learner_step"])

    MultiLogger([Reader(), JsonLinesLogger(path)]).write(3, {})
    assert seen == [3]


def test_a_record_that_cannot_be_written_stops_the_run(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(RunError, match="cannot be opened"):
        JsonLinesLogger(tmp_path / "file" / "metrics.jsonl")
    if Path("/dev/full").exists():
        (tmp_path / "full.jsonl").symlink_to("/dev/full")
        with pytest.raises(RunError, match="No space left"):
            MultiLogger([JsonLinesLogger(tmp_path / "full.jsonl")]).write(1, {"x": 1})


def test_console_prints_what_is_shown() -> None:
    stream = io.StringIO()
    logger = ConsoleLogger(stream, show=lambda name: name.startswith("train"))
    logger.write(20, {"train/loss/total": 1.23456, "eval/x": 2, "train/n": 7})
    logger.write(40, {"eval/x": 2})
    assert stream.getvalue() == "step 20  train/loss/total 1.235  train/n 7\n"


def test_tensorboard_files_hold_the_numbers(tmp_path: Path) -> None:
    pytest.importorskip("tensorboardX")
    logger = TensorBoardLogger(tmp_path)
    logger.write(20, {"train/loss/total": 0.5, "note": "text"})
    logger.close()
    (file,) = tmp_path.iterdir()
    data = file.read_bytes()
    assert b"train/loss/total" in data
    assert b"note" not in data
