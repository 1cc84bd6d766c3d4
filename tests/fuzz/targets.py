"""What is fuzzed: each target takes a folder and returns a function that tries one input.

Only `UsageError` and `RunError` may come out of one; anything else is a finding.
"""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import json
import logging
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from data.dataset import Dataset
from data.interop.gen_dgrl import import_gen_dgrl
from data.interop.safe_pickle import load_pickled_dict
from data.interop.webshop_demos import read_demonstrations
from data.pack.packed import Packed
from data.pack.write import pack_frames
from data.schema import MANIFEST, manifest_checksum
from data.store import read_episode
from data.training_record import TrainingRecord
from data.verify import verify
from envs.errors import RunError, UsageError
from envs.overrides import apply_overrides, config_from_json, field_names, parse_overrides
from envs.shop.session import Session
from search.config import SweepConfig
from search.recipes import RECIPES as SWEEPS
from tests.data.helpers import PIXELS, TEXT, make_episode, write
from tests.envs.shop.recordings import small_shop
from tests.fuzz.mutations import WORDS, spoil_bytes, spoil_text, spoil_value
from trainers.config import ExperimentConfig
from trainers.recipes import RECIPES

Attempt = Callable[[random.Random], None]
EXPECTED = (UsageError, RunError)


def overrides(folder: Path) -> Attempt:
    """``FIELD=VALUE`` words as a user types them."""
    configs: list[Any] = [recipe() for recipe in (*RECIPES.values(), *SWEEPS.values())]
    names = [field_names(config) for config in configs]

    def attempt(rng: random.Random) -> None:
        which = rng.randrange(len(configs))
        name, value = rng.choice(names[which]), rng.choice([*WORDS, "1", "0.5", "bc", "1,2,3", "x=1"])
        word = f"{name}={value}"
        apply_overrides(configs[which], parse_overrides([spoil_text(word, rng) if rng.random() < 0.6 else word]))

    return attempt


def configs(folder: Path) -> Attempt:
    """Configurations as files hold them."""
    kinds = [(ExperimentConfig, recipe()) for recipe in RECIPES.values()]
    kinds += [(SweepConfig, recipe()) for recipe in SWEEPS.values()]
    texts = [(kind, json.loads(json.dumps(dataclasses.asdict(config)))) for kind, config in kinds]

    def attempt(rng: random.Random) -> None:
        kind, value = rng.choice(texts)
        spoiled = spoil_value(value, rng)
        config_from_json(kind, spoiled)

    return attempt


def study_file(folder: Path) -> Attempt:
    """The configuration file of a study, byte by byte."""
    from search.study import CONFIG_FILE
    from search.sweep import read_config

    content = json.dumps(dataclasses.asdict(next(iter(SWEEPS.values()))())).encode()

    def attempt(rng: random.Random) -> None:
        (folder / CONFIG_FILE).write_bytes(spoil_bytes(content, rng))
        read_config(folder)

    return attempt


def dataset(folder: Path) -> Attempt:
    """A dataset directory with any of its files spoiled, its manifest under a checksum that fits."""
    kinds = {"pixels": PIXELS, "text": TEXT}
    for name, env in kinds.items():
        episodes = [make_episode(env, level, 0, 4, log_probs=True, metrics={"score": 0.5}) for level in range(3)]
        write(folder / name, episodes, env)
    place = folder / "spoiled"

    def attempt(rng: random.Random) -> None:
        name = rng.choice(list(kinds))
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(folder / name, place)
        _spoil_file(rng.choice(sorted(place.iterdir())), rng)
        verify(place)
        opened = Dataset.open(place)
        for store in opened._stores:
            for record in store.table:
                read_episode(store, record)

    return attempt


def _spoil_file(file: Path, rng: random.Random) -> None:
    if file.name == MANIFEST and rng.random() < 0.8:
        manifest = spoil_value(json.loads(file.read_text()), rng)
        if isinstance(manifest, dict) and rng.random() < 0.9:
            with contextlib.suppress(ValueError):  # what is no JSON has no checksum
                manifest["checksum"] = manifest_checksum(manifest)
        file.write_text(json.dumps(manifest))
        return
    content = file.read_bytes()
    spoiled = spoil_bytes(content, rng)
    if rng.random() < 0.7:  # of the length that the manifest states
        spoiled = spoiled[: len(content)].ljust(len(content), b"\x00")
    file.write_bytes(spoiled)


def packed(folder: Path) -> Attempt:
    """A packed dataset."""
    files = []
    for name, env in {"pixels": PIXELS, "text": TEXT}.items():
        data = write(folder / name, [make_episode(env, level, 0, 4) for level in range(3)], env)
        files.append(folder / f"{name}.pack")
        pack_frames(data._stores[0], files[-1])
    contents = [file.read_bytes() for file in files]
    place = folder / "spoiled.pack"

    def attempt(rng: random.Random) -> None:
        place.write_bytes(spoil_bytes(rng.choice(contents), rng))
        with Packed(place) as opened:
            for _ in opened.stored_episodes():
                pass

    return attempt


def archives(folder: Path) -> Attempt:
    """Archives of the offline Procgen benchmark: plain and compressed, of both kinds of members."""
    from tests.data.test_gen_dgrl import GAME, build, make

    made = [make(7, 3), make(3, 2)]
    contents = [
        (name, build(folder / name, made, kind).read_bytes())
        for kind in ("npy", "npz")
        for name in (f"{kind}.tar", f"{kind}.tar.xz", f"{kind}.tar.gz")
    ]

    def attempt(rng: random.Random) -> None:
        name, content = rng.choice(contents)
        archive, out = folder / f"spoiled-{name}", folder / "imported"
        archive.write_bytes(spoil_bytes(content, rng))
        shutil.rmtree(out, ignore_errors=True)
        for left in folder.glob("imported.partial*"):
            shutil.rmtree(left)
        import_gen_dgrl(archive, GAME, out)

    return attempt


def pickles(folder: Path) -> Attempt:
    """Pickled dictionaries of arrays."""
    import pickle

    value = np.array({"a": np.arange(20, dtype=np.float32), "b": np.ones((2, 3)), "c": np.float32(1)}, dtype=object)
    contents = [pickle.dumps(value, protocol=protocol) for protocol in range(2, 6)]

    def attempt(rng: random.Random) -> None:
        load_pickled_dict(spoil_bytes(rng.choice(contents), rng), "here")

    return attempt


def records(folder: Path) -> Attempt:
    """The record of an online training."""
    from tests.data.test_training_record import write as write_record

    write_record(folder / "record", (0, [1, 2, 3]), (1, [4, 5]))
    content = (folder / "record").read_bytes()

    def attempt(rng: random.Random) -> None:
        (folder / "spoiled").write_bytes(spoil_bytes(content, rng))
        for _ in TrainingRecord(folder / "spoiled"):
            pass

    return attempt


def demonstrations(folder: Path) -> Attempt:
    """Recorded shopping demonstrations: JSON lines."""
    from tests.data.test_webshop_demos import row

    def attempt(rng: random.Random) -> None:
        line = json.dumps(spoil_value(row(), rng)).encode()
        (folder / "rows.jsonl").write_bytes(line if rng.random() < 0.7 else spoil_bytes(line, rng))
        for _ in read_demonstrations(folder / "rows.jsonl"):
            pass

    return attempt


def shop_actions(folder: Path) -> Attempt:
    """Actions that are typed in the shop, on any page."""
    from envs.shop.rules import COMPAT, STRICT

    sessions = [Session(small_shop(rules), mode) for rules in (STRICT, COMPAT) for mode in ("text", "text_rich")]

    def attempt(rng: random.Random) -> None:
        session = rng.choice(sessions)
        turn = session.reset(rng.randrange(5))
        for _ in range(rng.randrange(1, 8)):
            if turn.terminated:
                break
            possible = [f"click[{name}]" for name in turn.clickables] + ["search[red shoes]"]
            action = rng.choice(possible)
            turn = session.act(spoil_text(action, rng) if rng.random() < 0.5 else action)

    return attempt


def cluster_files(folder: Path) -> Attempt:
    """Cluster files, as values and as text."""
    import yaml

    from search.clusters.check import cluster_problems

    root = Path(__file__).resolve().parents[2]
    logging.getLogger("ray").setLevel(logging.ERROR)
    texts = [path.read_text() for path in (root / "cluster.yaml", *sorted((root / "deploy").glob("*.yaml")))]

    def attempt(rng: random.Random) -> None:
        text = rng.choice(texts)
        if rng.random() < 0.5:
            text = yaml.safe_dump_all([spoil_value(value, rng) for value in yaml.safe_load_all(text)])
        else:
            text = spoil_text(text, rng)
        (folder / "cluster.yaml").write_text(text, errors="replace")
        cluster_problems(folder / "cluster.yaml")

    return attempt


TARGETS: dict[str, Callable[[Path], Attempt]] = {
    "overrides": overrides, "configs": configs, "study-file": study_file, "dataset": dataset, "packed": packed,
    "archives": archives, "pickles": pickles, "records": records, "demonstrations": demonstrations,
    "shop-actions": shop_actions, "cluster-files": cluster_files,
}  # fmt: skip


def try_one(attempt: Attempt, seed: int) -> bool:
    """One input; whether it was refused.

    Raises:
        Exception: Whatever came out that should not, naming the seed.
    """
    try:
        attempt(random.Random(seed))
    except EXPECTED:
        return True
    except Exception as error:
        error.add_note(f"seed {seed}")
        raise
    finally:
        if seed % 256 == 0:
            gc.collect()  # maps of files that are gone
    return False
