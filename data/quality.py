"""How much single transitions move a policy, how hard they are, and how to rank by several measures at once."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.cluster.vq import kmeans2

from envs.errors import UsageError
from envs.seeding import derive_seed

Values = npt.NDArray[np.float64]


def norm_changes(features: npt.ArrayLike, errors: npt.ArrayLike, weights: npt.ArrayLike) -> tuple[Values, Values]:
    r"""DON and NOD of one gradient step of size 1 on each transition, for a softmax head W.

    .. math:: \text{DON} \approx -\frac{\langle W, \phi \, e^\top \rangle}{\|W\|_F}, \qquad
              \text{NOD} = \|e\| \, \|\phi\|

    DON is the change of the norm, to first order, NOD the norm of the change. After "DONOD" (2025), whose formulas
    could not be read; this reading of the names is ours.

    Args:
        features: phi [n, d].
        errors: e = p - y [n, A], probabilities less the action taken.
        weights: W [d, A], not all zero.

    Returns:
        (DON [n], NOD [n]).
    """
    phi, error, head = (np.asarray(given, dtype=np.float64) for given in (features, errors, weights))
    nod: Values = np.linalg.norm(error, axis=1) * np.linalg.norm(phi, axis=1)
    don: Values = -np.einsum("nd,da,na->n", phi, head, error) / np.linalg.norm(head)
    return don, nod


def topsis(criteria: npt.ArrayLike, benefits: Sequence[bool], weights: Sequence[float] | None = None) -> Values:
    """Closeness to the best of all columns: 0 (the worst in each) to 1 (the best in each).

    Source: Hwang and Yoon 1981, "Multiple Attribute Decision Making". Where all rows are alike every one gets 0.5.

    Args:
        criteria: [n, k].
        benefits: [k] whether more is better.
        weights: [k]; None weighs all the same.

    Raises:
        UsageError: If there is not one entry for each column.
    """
    table = np.asarray(criteria, dtype=np.float64)
    shares = np.ones(table.shape[1]) if weights is None else np.asarray(weights, dtype=np.float64)
    if not len(benefits) == len(shares) == table.shape[1]:
        raise UsageError(
            f"TOPSIS of {table.shape[1]} columns got {len(benefits)} directions and {len(shares)} weights; one each."
        )
    lengths = np.linalg.norm(table, axis=0)
    scaled = table / np.where(lengths > 0, lengths, 1.0) * shares
    more = np.asarray(benefits, dtype=np.bool_)
    best = np.where(more, scaled.max(axis=0), scaled.min(axis=0))
    worst = np.where(more, scaled.min(axis=0), scaled.max(axis=0))
    to_best, to_worst = np.linalg.norm(scaled - best, axis=1), np.linalg.norm(scaled - worst, axis=1)
    total = to_best + to_worst
    return np.where(total > 0, to_worst / np.where(total > 0, total, 1.0), 0.5)


def difficulty(rows: npt.ArrayLike, num_clusters: int = 16, seed: int = 0) -> Values:
    """Distance of each row to the mean of its k-means cluster, in units of the mean distance: odd rows are hard.

    After the k-means difficulty of "Data Factors for Better Compositional Generalization" (2023), whose feature space
    is not known; the distance is ours.

    Args:
        rows: [n, d].
        num_clusters: Fewer where there are fewer distinct rows.
        seed: Of the first centers.
    """
    given = np.asarray(rows, dtype=np.float64)
    rng = np.random.Generator(np.random.PCG64(derive_seed(seed, "difficulty")))
    count = min(num_clusters, len(np.unique(given, axis=0)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # an empty cluster keeps its center and harms nothing
        centers, labels = kmeans2(given, count, minit="++", rng=rng)
    distances: Values = np.linalg.norm(given - centers[labels], axis=1)
    mean = float(distances.mean())
    return distances / mean if mean > 0 else distances


def quartiles(values: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """Which quarter of all values each belongs to, 0 (least) to 3; equal ones in the order given."""
    given = np.asarray(values)
    ranks = np.argsort(np.argsort(given, kind="stable"), kind="stable")
    return (4 * ranks // len(given)).astype(np.int64)
