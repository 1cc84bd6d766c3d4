"""Datasets that travel as actions: pack them, and audit what others recorded."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from actors.replaying import Comparison, Workers, compare_all
from data.pack.patches import Patch
from data.pack.write import FRAME_LEVEL, PackReport, pack_actions, pack_frames
from data.store import Store
from envs.errors import UsageError

Advance = Callable[[int], None]
"""Told the transitions done so far."""

_ENOUGH_ROWS = 5000  # rendered before a dataset may be refused because its actions do not fit its frames


def pack(
    directory: Path,
    file: Path,
    *,
    frames: bool = False,
    check: bool = True,
    half: bool = False,
    level: int = FRAME_LEVEL,
    workers: Workers | None = None,
    advance: Advance | None = None,
) -> PackReport:
    """Write a dataset as one file.

    Args:
        directory: The dataset.
        file: The file; it must not exist.
        frames: Keep the observations, compressed, in place of the recipe for rendering them.
        check: Render every episode, and keep the rows that come out otherwise. Without it only unpacking tells.
        half: Round the log-probabilities of the actions to half precision: two bytes less each, another fingerprint.
        level: Of zstd for frames, 1 (fast) to 19 (small).
        workers: Who renders.
        advance: Progress.

    Raises:
        UsageError: If the file exists, or actions do not determine this dataset's frames.
        RunError: If the dataset is damaged or the file cannot be written; nothing is left behind.
    """
    store = Store(Path(directory))
    if frames:
        return pack_frames(store, file, half=half, level=level, advance=advance)
    _refuse_labels(store)
    patches = _patches(store, workers or Workers(), advance) if check else iter(())
    return pack_actions(store, file, patches, checked=check, half=half, level=level)


def _refuse_labels(store: Store) -> None:
    """Where an expert's label is stored in place of the action taken, the action is lost.

    Raises:
        UsageError: If this is such a dataset.
    """
    config = store.info.provenance.get("config", {})
    options = config.get("options", {}) if isinstance(config, Mapping) else {}
    named = [name for name in store.info.sources if name.endswith("-relabeled")]
    if named or (isinstance(options, Mapping) and options.get("relabel")):
        raise UsageError(
            f"{store.path} stores an expert's label in place of the action taken (source "
            f"{(named or store.info.sources)[0]!r}), so its frames cannot be rendered again. Pack it with --frames."
        )


def _patches(store: Store, workers: Workers, advance: Advance | None) -> Iterator[Patch]:
    comparison = None
    for comparison, patch in compare_all(store, workers, advance):
        if patch is not None:
            yield patch
        if comparison.num_rows > _ENOUGH_ROWS:
            _refuse_mismatch(store, comparison)
    if comparison is not None:
        _refuse_mismatch(store, comparison)


def _refuse_mismatch(store: Store, comparison: Comparison) -> None:
    if 2 * comparison.num_same_rows < comparison.num_rows:
        raise UsageError(
            f"{comparison.num_rows - comparison.num_same_rows} of {comparison.num_rows} frames of {store.path} are not "
            "what its levels and actions lead to here (actions that were not the ones taken, wrong levels, or another "
            "build of the environment). `gengap data audit` shows where; pack it with --frames."
        )


def audit(directory: Path, *, workers: Workers | None = None, advance: Advance | None = None) -> dict[str, Any]:
    """Render a dataset from its levels and actions and say how much of it agrees with what is stored.

    Returns:
        ``num_episodes``, ``num_same_episodes``, ``num_rows``, ``num_same_rows``, ``num_other_ends``, the two shares
        (0 to 1) ``same_episodes`` and ``same_rows``, and ``different``: the first episodes that differ.

    Raises:
        UsageError: If there is no dataset, or its environment is unknown or another one here.
        RunError: If the dataset is damaged.
    """
    comparison = Comparison()
    for comparison, _ in compare_all(Store(Path(directory)), workers or Workers(), advance):  # noqa: B007
        pass
    counts = ("num_episodes", "num_same_episodes", "num_rows", "num_same_rows", "num_other_ends")
    return {
        **{name: int(getattr(comparison, name)) for name in counts},
        "same_episodes": comparison.num_same_episodes / comparison.num_episodes,
        "same_rows": comparison.num_same_rows / comparison.num_rows,
        "different": comparison.different,
    }
