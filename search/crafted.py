"""Crafted shifts: trials judged on changed frames of held-out episodes of their own training levels.

Nothing is played and no unseen level is needed. After Efthymiadis et al., "Crafting Distribution Shifts for Validation
and Training in Single Source Domain Generalization" (WACV 2025): changes come in two folds, and what a policy was
trained with one fold of is judged by the other one. Adapted to agents: the score is the probability of the recorded
action instead of classification accuracy, and changes that would make another action right are left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

import numpy as np

from actors.agreement import agreement
from data.dataset import Dataset
from data.files import atomic_write_json
from envs.console import Progress
from envs.errors import UsageError
from envs.seeding import rng_for
from envs.visual import FOLDS, changed_frames, image_columns
from search.config import SweepConfig
from search.phases import EXTRA_DATA, StudyPolicy
from search.space import TrialSpec, dataset_path, experiment_of
from search.study import read_json
from trainers.checkpoint import load_policy
from trainers.config import AugmentationConfig
from trainers.training_data import open_training_data

CRAFTED_FILE = "crafted.json"
STRENGTH = 2
MAX_TRANSITIONS = 2_000
"""Held-out transitions that each policy is asked about, per change."""


def crafted_scores(
    config: SweepConfig, study_dir: Path, policies: Mapping[str, tuple[TrialSpec, StudyPolicy]]
) -> dict[str, float]:
    """Trial -> its score, between 0 and 1; what was computed before is read from the study.

    Args:
        config: The study.
        study_dir: Holds its data; ``crafted.json`` is written there.
        policies: Trial id -> its point of the grid, and its judged checkpoint.

    Raises:
        UsageError: If the environment shows no image, or no recorded episode was held out.
    """
    path = study_dir / CRAFTED_FILE
    by_family: dict[str, dict[str, float]] = read_json(path)["agreement"] if path.exists() else {}
    pending = [name for name in policies if name not in by_family]
    with Progress("crafted shifts", len(policies), "policies") as progress:
        for name in pending:
            progress.update(len(by_family), note=name)
            spec, policy = policies[name]
            by_family[name] = _agreements(heldout_episodes(config, study_dir, spec), policy)
            atomic_write_json(path, {"strength": STRENGTH, "folds": FOLDS, "agreement": by_family})
        progress.update(len(policies))
    trained_with = families_of(config.experiment.augmentation)
    return {name: fold_score(by_family[name], trained_with) for name in policies}


def fold_score(by_family: Mapping[str, float], trained_with: frozenset[str]) -> float:
    """The mean over folds of the mean over their families.

    A fold that a policy was trained with does not count; where that leaves none, only the families themselves do not.

    Args:
        by_family: Change -> agreement.
        trained_with: Changes that the policy saw in training.

    Raises:
        UsageError: If it was trained with every change.
    """
    folds = [fold for fold in FOLDS.values() if not trained_with & set(fold)]
    if not folds:
        folds = [tuple(family for family in fold if family not in trained_with) for fold in FOLDS.values()]
    scores = [np.mean([by_family[family] for family in fold]) for fold in folds if fold]
    if not scores:
        raise UsageError("The policy was trained with every change there is, so none is left to judge it by.")
    return float(np.mean(scores))


def families_of(augmentation: AugmentationConfig) -> frozenset[str]:
    """The changes of `envs.visual` that resemble those of an experiment's augmentation (moving the image is none)."""
    names = {"color": augmentation.color > 0, "contrast": augmentation.color > 0, "cutout": augmentation.cutout > 0}
    return frozenset(name for name, used in names.items() if used)


def heldout_episodes(config: SweepConfig, study_dir: Path, spec: TrialSpec) -> Dataset:
    """Episodes that were recorded on a trial's training levels and are not trained on, spread over the levels.

    Raises:
        UsageError: If there is none.
    """
    view = open_training_data(experiment_of(config, spec, study_dir)).view
    recorded = Dataset.open(dataset_path(study_dir, spec)).select(view.levels.tolist())
    trained = set(_keys(view))
    free = [position for position, key in enumerate(_keys(recorded)) if key not in trained]
    if not free:
        raise UsageError(
            f"Every recorded episode of {spec.data_id} is trained on, so none is held out for crafted shifts. Record "
            f"more than num_transitions: sweep with selection_rule=crafted-shifts, which records {EXTRA_DATA:g} times "
            "as much, or lower num_transitions."
        )
    levels = recorded.episodes["level"][free]
    order = rng_for("crafted shifts", spec.data_id).permutation(len(free))
    turn = np.zeros(len(free), dtype=np.int64)  # how many episodes of the level come before
    seen: dict[int, int] = {}
    for index in order:
        turn[index] = seen.get(int(levels[index]), 0)
        seen[int(levels[index])] = int(turn[index]) + 1
    ranked = order[np.argsort(turn[order], kind="stable")]
    lengths = recorded.episodes["length"][np.array(free)[ranked]]
    count = max(1, int(np.searchsorted(np.cumsum(lengths), MAX_TRANSITIONS, side="right")))
    return recorded.select(episodes=[free[index] for index in ranked[:count]])


def _keys(dataset: Dataset) -> Iterator[tuple[int, int, int, str]]:
    columns = (dataset.episodes[name].tolist() for name in ("level", "episode", "seed", "source"))
    return zip(*columns, strict=True)


def _agreements(heldout: Dataset, policy: StudyPolicy) -> dict[str, float]:
    assert policy.checkpoint is not None
    network = load_policy(policy.checkpoint)
    columns = image_columns(heldout.env)
    episodes = [heldout.episode(position) for position in range(heldout.num_episodes)]
    return {
        family: float(
            agreement(network, episodes, columns, partial(changed_frames, change=family, strength=STRENGTH)).mean()
        )
        for fold in FOLDS.values()
        for family in fold
    }
