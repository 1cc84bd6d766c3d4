"""Cloning and CQL on 64x64 frames on one CPU thread against other ways to train the same network.

The same frames, batch size and network for all: a plain fp32 loop with a loader that collates item by item (the
published way), d3rlpy's discrete BC and CQL, and TorchRL's discrete CQL. Every contender is a process; they take turns
of some learner steps, one at a time. d3rlpy and TorchRL are installed into ``runs/peers-venv``, which shares torch with
this environment. Bars: BC makes three times the frames/s of the plain loop, and ours is ahead of both libraries.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import venv
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from benchmarks.common import report
from benchmarks.data_batches import write_frames
from envs.console import say
from envs.errors import RunError

OURS = ("ours-bc", "ours-bc-float32", "ours-cql", "ours-cql-float32")
OTHERS = ("plain-bc", "d3rlpy-bc", "d3rlpy-cql", "torchrl-cql")
PACKAGES = ("d3rlpy==2.8.1", "torchrl==0.14.1")
BARS = {"plain-bc": 3.0, "d3rlpy-bc": 1.0, "d3rlpy-cql": 1.0, "torchrl-cql": 1.0}
"""How many times its frames/s ours must make."""


def prepare(folder: Path) -> Path:
    """The interpreter of an environment with the libraries, made at the first call."""
    python = folder / "bin" / "python"
    marker = folder / "complete"
    if not marker.exists():
        say(f"installing {', '.join(PACKAGES)} into {folder}")
        venv.create(folder, with_pip=False)
        site = folder / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
        # Its own packages come first, everything else, torch above all, is taken from here.
        (site / "shared.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
        subprocess.run([sys.executable, "-m", "pip", "--python", str(python), "install", "-q", *PACKAGES], check=True)
        marker.touch()
    return python


class Contender:
    """A process that trains when it is told to."""

    def __init__(self, name: str, python: Path, data: Path, args: argparse.Namespace) -> None:
        words = ["--encoder", args.encoder, "--batch-size", str(args.batch_size), "--window", str(args.window)]
        self.name, self.seconds = name, list[float]()
        self._process = subprocess.Popen(
            [str(python), "-m", "benchmarks.peers_worker", name, str(data), *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL if not args.verbose else None,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        self._answer()

    def turn(self) -> float:
        """One window; its seconds."""
        assert self._process.stdin is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()
        return self._answer()

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()

    def _answer(self) -> float:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            try:
                return float(line)
            except ValueError:  # what a library prints
                continue
        raise RunError(f"The contender {self.name} ended; run with --verbose to see why.")


def measure(args: argparse.Namespace) -> dict[str, list[float]]:
    """Seconds of every window of every contender, in turns."""
    python = prepare(args.venv)
    names = [name for name in (*OURS, *OTHERS) if not args.only or name in args.only]
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        data = Path(folder) / "data"
        write_frames(data, args.frames)
        contenders = []
        for name in names:
            here = Path(sys.executable) if name in OURS or name == "plain-bc" else python
            contenders.append(Contender(name, here, data, args))
            stack.callback(contenders[-1].close)
            contenders[-1].turn()  # warms up
        seconds: dict[str, list[float]] = {name: [] for name in names}
        for _ in range(args.turns):
            for contender in contenders:
                seconds[contender.name].append(contender.turn())
    return seconds


def compare(seconds: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """Frames/s of ours, in both number formats, over those of each other way: the median over the turns."""
    ratios = {}
    for other in BARS:
        kind = other.split("-")[1]
        for ours in (f"ours-{kind}", f"ours-{kind}-float32"):
            if other in seconds and ours in seconds:
                pairs = zip(seconds[other], seconds[ours], strict=True)
                ratios[f"{ours}/{other}"] = round(statistics.median(theirs / mine for theirs, mine in pairs), 2)
    return ratios


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoder", choices=("small", "impala"), default="impala")
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--window", type=int, default=3, help="learner steps of a turn")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--frames", type=int, default=6000)
    parser.add_argument("--only", nargs="*", metavar="CONTENDER", help=f"of {', '.join((*OURS, *OTHERS))}")
    parser.add_argument("--venv", type=Path, default=Path("runs/peers-venv"), help="environment of the libraries")
    parser.add_argument("--verbose", action="store_true", help="show what the libraries say")
    args = parser.parse_args()
    seconds = measure(args)
    frames = args.window * args.batch_size
    rates = {f"{name}_frames_per_s": round(frames / statistics.median(times)) for name, times in seconds.items()}
    ratios = compare(seconds)
    holds = all(ratios.get(f"ours-{other.split('-')[1]}/{other}", bar) >= bar for other, bar in BARS.items())
    value = ratios.get("ours-bc/plain-bc", 0.0)
    settings = {"encoder": args.encoder, "batch_size": args.batch_size, "threads": 1, "turns": args.turns}
    report("peers", value, "times the plain loop's frames/s", BARS["plain-bc"], holds, **settings, **ratios, **rates)


if __name__ == "__main__":
    main()
