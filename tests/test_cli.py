"""The command line: instant help, helpful errors, exit codes."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from gengap import COMMANDS

ROOT = Path(__file__).resolve().parents[1]


def gengap(*words: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "gengap.py"), *words],
        capture_output=True,
        text=True,
        cwd=cwd,
        timeout=120,
        check=False,
    )


def test_help_names_every_command() -> None:
    done = gengap("--help")
    assert done.returncode == 0
    for name in COMMANDS:
        assert f"\n    {name} " in done.stdout


def test_help_states_the_exit_codes() -> None:
    shown = " ".join(gengap("--help").stdout.split())
    assert "0 done, 1 failed, 2 wrong use, 130 interrupted" in shown


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_command_exits_with_130(number: signal.Signals) -> None:
    code = (
        "import os, signal, sys, gengap, envs.commands\n"
        # As in a terminal, even where the tests themselves were started with Ctrl-C ignored.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        f"envs.commands.bench = lambda *settings: os.kill(os.getpid(), {int(number)})\n"
        "gengap.main(['envs', 'bench', 'grid/default'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 130
    assert done.stderr.startswith("gengap: Interrupted.")


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys, gengap\n"
        "try:\n    gengap.main(['--help'])\nexcept SystemExit: pass\n"
        "assert not {'torch', 'ray', 'numpy', 'pandas'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, stdout=subprocess.DEVNULL)


@pytest.mark.parametrize(
    "command", ["envs", "collect", "data", "train", "evaluate", "sweep", "report", "watch", "doctor"]
)
def test_every_command_has_help(command: str) -> None:
    done = gengap(command, "--help")
    assert done.returncode == 0, done.stderr
    assert "usage: gengap" in done.stdout


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (("colect", "x"), "Did you mean 'collect'?"),
        (("sweep", "maze-diversty"), "Did you mean 'maze-diversity'?"),
        (
            ("sweep", "maze-diversity", "experiment.train.lerner_steps=3"),
            "Did you mean 'experiment.train.learner_steps'?",
        ),
        (("sweep", "maze-diversity", "num_transitions=many"), "it is a number (int)"),
        (("sweep", "maze-diversity", "level_counts=10,5"), "increasing order"),
        (("sweep", "maze-diversity", "nonsense"), "write FIELD=VALUE"),
        (("sweep", "grid-diversity", "seeds=0,0"), "none twice"),
        (("sweep", "grid-diversity", "learning_rates=1e-3,0.001"), "none twice"),
        (("train", "grid-bc", "--data", "d", "train.learning_rate=nan"), "it is a finite number"),
        (("envs", "reward", "procgen/jumper", "nan", "--json"), "give finite numbers"),
    ],
)
def test_wrong_use_gets_one_clear_line_and_exit_code_2(words: tuple[str, ...], answer: str) -> None:
    done = gengap(*words)
    assert done.returncode == 2, done.stderr
    assert answer in done.stderr
    assert "Traceback" not in done.stderr
    assert (done.stdout, len(done.stderr.splitlines())) == ("", 1)
