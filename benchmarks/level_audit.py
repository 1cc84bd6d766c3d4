"""How many unseen Procgen levels are training levels under another number, as a table.

For each game and mode: the share of 1,000 levels of the test range (from 2,000,000) whose picture of the whole level
occurs among the first 200, 1,000 and 10,000 training levels, and the share that repeats another test level.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from benchmarks.common import machine
from envs.audit import level_hashes
from envs.console import Progress, say
from envs.procgen import MODES, spec_name
from envs.procgen_tables import GAMES
from envs.spec import LevelSet
from metrics.protocol import FIRST_TEST_LEVEL

TRAIN_SIZES = (200, 1_000, 10_000)


def audit(env: str, num_test: int, sizes: tuple[int, ...]) -> dict[str, float]:
    """Shares of the test levels of one environment."""
    with Progress(f"audit {env}", sizes[-1] + num_test, "levels") as progress:
        train = level_hashes(LevelSet.range(env, 0, sizes[-1]), progress.update)
        levels = LevelSet.range(env, FIRST_TEST_LEVEL, FIRST_TEST_LEVEL + num_test)
        test = level_hashes(levels, lambda done: progress.update(sizes[-1] + done))
    seen = {f"seen_in_{size}": len([look for look in test if look in set(train[:size])]) / num_test for size in sizes}
    return {**seen, "repeated": 1 - len(set(test)) / num_test}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--games", nargs="+", default=list(GAMES), choices=list(GAMES))
    parser.add_argument("--test", type=int, default=1_000, help="test levels per game and mode")
    parser.add_argument("--out", type=Path, default=Path("runs/level_audit.jsonl"), help="rows that are there are kept")
    args = parser.parse_args()
    args.out.parent.mkdir(parents=True, exist_ok=True)
    rows = read_rows(args.out)
    for env in (spec_name(game, mode) for game in args.games for mode in MODES):
        if env not in rows:
            rows[env] = audit(env, args.test, TRAIN_SIZES)
            with args.out.open("a") as stream:
                stream.write(json.dumps({"env": env, **rows[env]}) + "\n")
    say(f"Rows: {args.out}")
    print(markdown(rows))
    print(json.dumps({"name": "level_audit", "rows": rows, "machine": machine()}))


def read_rows(path: Path) -> dict[str, dict[str, float]]:
    """What earlier runs found."""
    rows = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return {row.pop("env"): row for row in rows}


def markdown(rows: dict[str, dict[str, float]]) -> str:
    """The table of the docs."""
    lines = ["| environment | " + " | ".join(f"seen in {size:,}" for size in TRAIN_SIZES) + " | repeats a test level |"]
    lines.append("|---" * (len(TRAIN_SIZES) + 2) + "|")
    for env, row in rows.items():
        shares = [row[f"seen_in_{size}"] for size in TRAIN_SIZES] + [row["repeated"]]
        lines.append(f"| `{env}` | " + " | ".join(f"{share:.1%}" for share in shares) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
