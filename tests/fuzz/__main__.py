"""Fuzzes for as long as you like: `python -m tests.fuzz --seconds 60 [--target NAME ...] [--seed N]`.

Prints, for each target, how many inputs were tried, how many of them were refused, and what came out that must not; one
JSON object as the last line. Exit code 1 if anything did.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any

from tests.fuzz.targets import TARGETS, try_one


def fuzz(name: str, seconds: float, seed: int, most_findings: int = 20) -> dict[str, Any]:
    """Try inputs of consecutive seeds until the time is over."""
    findings: dict[str, int] = {}
    tried = refused = 0
    with tempfile.TemporaryDirectory() as folder:
        attempt = TARGETS[name](Path(folder))
        end_s = time.monotonic() + seconds
        while time.monotonic() < end_s and len(findings) < most_findings:
            try:
                refused += try_one(attempt, seed + tried)
            except Exception as error:
                findings.setdefault(_where(error), seed + tried)
            tried += 1
    return {"tried": tried, "refused": refused, "findings": findings}


def _where(error: Exception) -> str:
    """The error and the line that raised it, the same for the same defect."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    ours = [f for f in traceback.extract_tb(error.__traceback__) if "site-packages" not in f.filename][-1]
    return f"{type(error).__name__}: {str(error)[:120]} ({ours.filename}:{ours.lineno}, {frame.name})"


def main() -> int:
    """Fuzz the targets one after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0, help="for each target; default 60")
    parser.add_argument("--target", action="append", choices=list(TARGETS), help="default: all")
    parser.add_argument("--seed", type=int, default=1_000_000, help="of the first input")
    args = parser.parse_args()
    results = {}
    for name in args.target or TARGETS:
        results[name] = fuzz(name, args.seconds, args.seed)
        print(f"{name:<16} {results[name]['tried']:>9,} tried, {results[name]['refused']:>9,} refused", flush=True)
        for where, seed in results[name]["findings"].items():
            print(f"    seed {seed}: {where}", flush=True)
    print(json.dumps(results))
    return 1 if any(result["findings"] for result in results.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
