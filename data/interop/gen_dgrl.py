"""`gengap data import gen_dgrl`: the Procgen data of the benchmark's paper."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from data.dataset import Dataset
from data.episode import Episode
from data.interop.gen_dgrl_archive import Advance, Arrays, EpisodeFile, list_episodes, read_episodes
from data.writer import DatasetWriter
from envs.console import Progress, say
from envs.errors import RunError, UsageError, unknown_name
from envs.registry import make_spec
from envs.seeding import rng_for
from envs.spec import EnvSpec

ORDERS = ("random", "best_first")
LICENSE = "CC-BY-NC-4.0"
"""Of the project that published the data."""
COLUMN = "image"
_KEYS = ("observations", "actions", "rewards", "dones")
_ROUNDING = 0.01  # of the returns in the names


@dataclass(kw_only=True)
class ImportReport:
    """What became of an archive.

    Attributes:
        read: Episodes in the archive.
        imported: Those that were chosen.
        time_outs: Imported ones as long as the game's step limit; the archive calls them ended, they are truncated.
        other_length: Imported ones whose name states another length than they have.
        other_return: Imported ones whose name states another return than their rewards sum to.
    """

    read: int = 0
    imported: int = 0
    time_outs: int = 0
    other_length: int = 0
    other_return: int = 0


def import_gen_dgrl(
    archive: Path,
    env: str,
    out: Path,
    *,
    max_transitions: int | None = None,
    order: str = "random",
    seed: int = 0,
    source: str = "gen_dgrl",
    license: str = LICENSE,
    advance: Advance | None = None,
) -> tuple[Dataset, ImportReport]:
    """Write the episodes of an archive as a dataset. The archive is read as a stream; nothing else is written.

    Args:
        archive: A ``.tar`` or ``.tar.xz`` of one game.
        env: The game, for example ``"procgen/coinrun"``.
        out: Directory to create.
        max_transitions: Take at most so many; the archive is then read twice, because the choice needs all names.
        order: ``"random"``, or ``"best_first"`` for the highest returns, as the published loader takes them.
        seed: Of the random order.
        source: Name of origin of the episodes.
        license: SPDX identifier of their terms.
        advance: Progress, in bytes of the archive.

    Raises:
        UsageError: If an argument is wrong, or no episode fits into `max_transitions`.
        RunError: If the archive is damaged or holds anything but arrays, or the disk is full; nothing is left behind.
    """
    spec = check_game(env)
    if order not in ORDERS:
        raise unknown_name("order", order, ORDERS)
    chosen = None
    if max_transitions is not None:
        chosen = choose(list_episodes(archive, advance), max_transitions, order, seed)
    selection = {"max_transitions": max_transitions, "order": order, "seed": seed}
    provenance: dict[str, Any] = {"format": "gen_dgrl", "archive": archive.name, "bytes": _size(archive), **selection}
    report = ImportReport()
    with DatasetWriter(out, spec, provenance, license) as writer:
        for episode in _episodes(archive, spec, chosen, source, report, advance):
            writer.add(episode)
        if not report.imported:
            list_episodes(archive)  # says what is expected
        return writer.finish(), report


def check_game(env: str) -> EnvSpec:
    """The contract of a Procgen game.

    Raises:
        UsageError: If it is another environment.
    """
    spec = make_spec(env)
    if not env.startswith("procgen/"):
        raise UsageError(f"These archives hold Procgen games; {env!r} is none. Give for example procgen/coinrun.")
    return spec


def choose(episodes: Sequence[EpisodeFile], max_transitions: int, order: str, seed: int) -> set[int]:
    """The positions of the first episodes, in an order, that have at most `max_transitions` together.

    Raises:
        UsageError: If not even one fits.
    """
    if order == "random":
        ranked = rng_for(seed, "gen_dgrl", len(episodes)).permutation(len(episodes)).tolist()
    else:
        ranked = sorted(range(len(episodes)), key=lambda at: (-episodes[at].episode_return, episodes[at].name))
    totals = np.cumsum([episodes[at].length for at in ranked])
    count = int(np.searchsorted(totals, max_transitions, side="right"))
    if not count:
        raise UsageError(
            f"At most {max_transitions} transitions were asked for, but the first episode has {int(totals[0])}; ask "
            f"for more (the archive has {int(totals[-1])})."
        )
    return set(ranked[:count])


def _episodes(
    archive: Path,
    spec: EnvSpec,
    chosen: set[int] | None,
    source: str,
    report: ImportReport,
    advance: Advance | None,
) -> Iterator[Episode]:
    repeats: Counter[int] = Counter()  # counts all episodes of a level, so that one is named alike in any selection

    def wanted(file: EpisodeFile) -> bool:
        report.read += 1
        repeats[file.level] += 1
        return chosen is None or file.position in chosen

    for file, arrays in read_episodes(archive, wanted, advance):
        episode = episode_of(file, arrays, spec, repeats[file.level] - 1, source, f"{file.name} in {archive}")
        report.imported += 1
        report.time_outs += episode.truncated
        report.other_length += file.length != len(episode)
        report.other_return += abs(file.episode_return - episode.episode_return) > _ROUNDING
        yield episode


def episode_of(file: EpisodeFile, arrays: Arrays, spec: EnvSpec, episode: int, source: str, place: str) -> Episode:
    """One episode file as an episode.

    How likely its actions were is unknown, so their log-probabilities are NaN. Its last observation is the first of
    the next episode, as Procgen shows it, and is left out.

    Raises:
        RunError: If its arrays are not those of one whole episode, naming what is wrong.
    """
    missing = [name for name in _KEYS if name not in arrays]
    if missing:
        raise RunError(f"{place} has no {missing[0]!r}; it has {', '.join(sorted(arrays)) or 'nothing'}.")
    dones = arrays["dones"].reshape(-1)
    length = len(dones)
    if length == 0 or not dones[-1] or dones[:-1].any():
        raise RunError(f"{place} is not one whole episode: its 'dones' must be set at the end and only there.")
    truncated = length >= spec.max_episode_steps
    return Episode(
        env=spec.name,
        level=file.level,
        episode=episode,
        seed=0,
        source=source,
        policy_id="gen_dgrl",
        observations={COLUMN: _frames(arrays["observations"], length, spec, place)},
        actions=_whole_numbers(_vector(arrays, "actions", length, place), np.dtype(np.int32), "actions", place),
        rewards=_vector(arrays, "rewards", length, place).astype(np.float32),
        behavior_logp=np.full(length, np.nan, dtype=np.float32),
        terminated=not truncated,
        truncated=truncated,
        final_observation_known=False,
    )


def _vector(arrays: Arrays, name: str, length: int, place: str) -> npt.NDArray[Any]:
    values = arrays[name]
    if values.size != length or values.shape[:1] != (length,):
        raise RunError(f"{place} has {name!r} of shape {values.shape}; its {length} steps need ({length}, 1).")
    return values.reshape(-1)


def _frames(values: npt.NDArray[Any], length: int, spec: EnvSpec, place: str) -> npt.NDArray[np.uint8]:
    """[T, 64, 64, 3] from [T + 1, 3, 64, 64]; whole numbers whatever their type."""
    height, width, channels = spec.observation_columns[COLUMN].shape
    if values.shape not in ((length + 1, channels, height, width), (length, channels, height, width)):
        wanted = (length + 1, channels, height, width)
        raise RunError(f"{place} has 'observations' of shape {values.shape}; its {length} steps need {wanted}.")
    frames = _whole_numbers(values[:length], np.dtype(np.uint8), "observations", place)
    return np.ascontiguousarray(frames.transpose(0, 2, 3, 1))


def _whole_numbers(values: npt.NDArray[Any], dtype: np.dtype[Any], name: str, place: str) -> npt.NDArray[Any]:
    if values.dtype == dtype:
        return values
    with np.errstate(invalid="ignore"):
        whole = values.astype(dtype)
    if not np.array_equal(whole, values):
        low, high = values.min(), values.max()
        raise RunError(
            f"{place} has {name!r} that are not all whole numbers of {dtype} ({low:g}..{high:g}); data that was scaled "
            "cannot be turned back into frames."
        )
    return whole


def _size(archive: Path) -> int:
    return archive.stat().st_size if archive.is_file() else 0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("archive", type=Path, help=".tar or .tar.xz with one .npy or .npz file an episode")
    parser.add_argument("--env", required=True, metavar="NAME", help="the game, for example procgen/coinrun")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="dataset directory to create")
    parser.add_argument(
        "--max-transitions", type=int, metavar="N", help="take at most so many (the archive is then read twice)"
    )
    parser.add_argument(
        "--order", choices=ORDERS, default="random", help="which episodes come first under that bound (default random)"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="SEED", help="of the random order (default 0)")
    parser.add_argument("--source", default="gen_dgrl", metavar="NAME", help="origin of the episodes")
    parser.add_argument("--license", default=LICENSE, metavar="SPDX", help=f"terms of the data (default {LICENSE})")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Import; the result names the dataset and says what became of the archive."""
    if args.max_transitions is not None and args.max_transitions < 1:
        raise UsageError(f"--max-transitions is {args.max_transitions}; it must be at least 1.")
    if args.max_transitions is not None:
        say(f"{args.archive} is read twice: for the names, and for the episodes that are chosen")
    with Progress("import", _size(args.archive), "bytes") as progress:
        dataset, report = import_gen_dgrl(
            args.archive,
            args.env,
            args.out,
            max_transitions=args.max_transitions,
            order=args.order,
            seed=args.seed,
            source=args.source,
            license=args.license,
            advance=progress.update,
        )
    counts = asdict(report)
    mean = float(dataset.episodes["return"].mean())
    print(
        f"{report.imported} of {report.read} episodes are in {args.out}: {len(dataset)} transitions, return {mean:.4g}"
    )
    for name in ("time_outs", "other_length", "other_return"):
        if counts[name]:
            print(f"  {counts[name]} {name.replace('_', ' ')}")
    print(f"  `gengap data audit {args.out}` plays them again and compares the frames")
    values = {"path": str(args.out), "fingerprint": dataset.fingerprint, "num_transitions": len(dataset)}
    return {**values, "mean_return": mean, **counts}
