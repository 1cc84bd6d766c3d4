"""How far apart the sources of a data set are, and whether a policy can tell them apart by what it sees."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]


def energy_coefficient(first: npt.ArrayLike, second: npt.ArrayLike) -> float:
    r"""How differently two sets of rows are distributed: 0 (alike) to 1.

    .. math:: H = \frac{2 E|X - Y| - E|X - X'| - E|Y - Y'|}{2 E|X - Y|}

    Source: Szekely and Rizzo 2013, "Energy statistics", Eq. 6.1, with averages over different rows, so that two samples
    of one distribution give 0 on average; what comes out negative by chance is 0.

    Args:
        first: [n, d], n at least 2.
        second: [m, d], m at least 2.
    """
    left, right = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    between = _distances(left, right).mean()
    if between == 0:
        return 0.0
    within = sum(_distances(rows, rows).sum() / (len(rows) * (len(rows) - 1)) for rows in (left, right))
    return float(max(0.0, (2 * between - within) / (2 * between)))


def disparity(rows: npt.ArrayLike, labels: npt.ArrayLike) -> float:
    """Mean energy coefficient over the pairs of groups that have two rows or more; 0 with fewer than two groups.

    Args:
        rows: [n, d].
        labels: [n] group of each row.
    """
    given, groups = np.asarray(rows, dtype=np.float64), _large_groups(labels)
    pairs = [energy_coefficient(given[left], given[right]) for left, right in combinations(groups, 2)]
    return float(np.mean(pairs)) if pairs else 0.0


def predictability(rows: npt.ArrayLike, labels: npt.ArrayLike) -> float:
    """How well the nearest class mean tells the group of a row: 0 (no better than the most frequent group) to 1.

    Means are taken over the even rows to judge the odd ones, and the other way round.

    Args:
        rows: [n, d] in random order.
        labels: [n] group of each row.
    """
    given, kinds = np.asarray(rows, dtype=np.float64), np.unique(np.asarray(labels), return_inverse=True)[1]
    folds = np.arange(len(given)) % 2
    right, chance = 0, 0
    for fold in (0, 1):
        seen, judged = folds != fold, folds == fold
        known = np.unique(kinds[seen])
        if len(known) == 0 or not judged.any():
            return 0.0
        means = np.stack([given[seen & (kinds == kind)].mean(axis=0) for kind in known])
        nearest = known[_distances(given[judged], means).argmin(axis=1)]
        right += int((nearest == kinds[judged]).sum())
        chance += int((kinds[judged] == np.bincount(kinds[seen]).argmax()).sum())
    return max(0.0, (right - chance) / (len(given) - chance)) if chance < len(given) else 0.0


def shortcut_index(predictable: float, within: float, pooled: float) -> float:
    r"""The risk that a policy learns where its data came from: sources that are narrow and easily told apart.

    .. math:: \text{predictability} \cdot \Big(1 - \frac{\text{diversity within}}{\text{pooled diversity}}\Big)

    The two causes are those of "Shortcut Learning in Generalist Robot Policies" (2025): little diversity within each
    source, much disparity between them. The formula is ours. Buckets drawn from one distribution give 0.

    Args:
        predictable: From `predictability`.
        within: Mean Vendi score of the sources.
        pooled: Vendi score of as many rows of all sources together.
    """
    return predictable * max(0.0, 1.0 - within / pooled)


def _large_groups(labels: npt.ArrayLike) -> list[Labels]:
    kinds = np.asarray(labels)
    members = [np.flatnonzero(kinds == kind) for kind in np.unique(kinds)]
    return [rows for rows in members if len(rows) > 1]


def _distances(left: Rows, right: Rows) -> Rows:
    squares = (left**2).sum(axis=1)[:, None] + (right**2).sum(axis=1)[None, :] - 2 * left @ right.T
    distances: Rows = np.sqrt(np.clip(squares, 0.0, None))
    if left is right:
        np.fill_diagonal(distances, 0.0)
    return distances
