"""Both kinds of studies by what lies in their directory: the grid over level counts, and the mixture search."""

from __future__ import annotations

from pathlib import Path

from metrics.wandb_logger import Mode
from search.config import SweepConfig
from search.level_scores import Bootstrap
from search.mixture_config import MixtureSearchConfig
from search.storage import EVERY_S, stored
from search.study import STUDY_FILE, read_json, study_file

KIND = "mixture search"


def is_mixture_search(study_dir: Path) -> bool:
    """Whether a study is a mixture search; False where there is no study."""
    return (study_dir / STUDY_FILE).exists() and read_json(study_dir / STUDY_FILE).get("kind") == KIND


def read_any_config(study_dir: Path) -> SweepConfig | MixtureSearchConfig:
    """The configuration of a study on disk.

    Raises:
        UsageError: If the directory holds none.
    """
    from search.mixture_sweep import read_mixture_config
    from search.sweep import read_config

    return read_mixture_config(study_dir) if is_mixture_search(study_dir) else read_config(study_dir)


def sweep_any(
    config: SweepConfig | MixtureSearchConfig,
    out: Path,
    *,
    address: str | None = None,
    command: str = "",
    storage: str | None = None,
    storage_every_s: float = EVERY_S,
) -> Path:
    """Run a study of either kind; see `search.sweep.sweep` and `search.mixture_sweep.sweep_mixtures`.

    Args:
        config: The study.
        out: Its directory.
        address: Ray cluster to join; None starts a local one.
        command: How it was started, for the report.
        storage: Where a copy of the study is kept while it runs; None keeps the one that it has, if any.
        storage_every_s: Seconds between two looks at what changed.
    """
    from search.mixture_sweep import sweep_mixtures
    from search.sweep import sweep

    with stored(out, storage, storage_every_s):
        if isinstance(config, MixtureSearchConfig):
            return sweep_mixtures(config, out, address=address, command=command)
        return sweep(config, out, address=address, command=command)


def report_any(study_dir: Path, bootstrap: Bootstrap | None = None, *, wandb: Mode = "disabled") -> Path:
    """Write the report of a study of either kind.

    Raises:
        UsageError: If the directory is no study.
        RunError: If the study is unfinished or damaged.
    """
    from search.mixture_report import write_mixture_report
    from search.report import write_report

    study_file(study_dir)
    if is_mixture_search(study_dir):
        return write_mixture_report(study_dir, bootstrap, wandb=wandb)
    return write_report(study_dir, bootstrap, wandb=wandb)
