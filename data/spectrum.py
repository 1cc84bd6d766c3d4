"""How many different things a kernel holds: Vendi scores, and how far gradients pull the same way."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from data.diversity import effective_number

Rows = npt.NDArray[np.float64]


def cosine_kernel(rows: npt.ArrayLike) -> Rows:
    """Similarities [n, n] of rows [n, d]; a row of zeros is like every other row of zeros and nothing else."""
    given = np.asarray(rows, dtype=np.float64)
    lengths = np.linalg.norm(given, axis=1)
    unit = given / np.where(lengths > 0, lengths, 1.0)[:, None]
    kernel: Rows = unit @ unit.T
    empty = lengths == 0
    kernel[np.ix_(empty, empty)] = 1.0
    return kernel


def vendi_score(kernel: npt.ArrayLike, order: float = 1.0) -> float:
    r"""How many entirely different rows would be as diverse: 1 (all alike) to n (all orthogonal).

    .. math:: \exp\Big(-\sum_i \lambda_i \ln \lambda_i\Big), \qquad \lambda = \mathrm{eig}(K / n)

    Source: Friedman and Dieng 2023, "The Vendi Score", Eq. 2; other orders: Pasarkar and Dieng 2024, Eq. 3. It grows
    with n, so compare at equal n only.

    Args:
        kernel: [n, n], positive semi-definite with ones on the diagonal.
        order: Of the Hill number; the larger, the less rare rows count.
    """
    similarities = np.asarray(kernel, dtype=np.float64)
    eigenvalues = np.linalg.eigvalsh(similarities / len(similarities))
    return effective_number(np.clip(eigenvalues, 0.0, None), order)


def coherence(gram: npt.ArrayLike) -> float:
    r"""m-coherence: how many of n rows a step along one row helps; 1 where they are orthogonal, n where identical.

    .. math:: n \, \frac{\|\bar g\|^2}{\overline{\|g\|^2}}

    Source: Chatterjee and Zielinski 2020, "Making Coherence Out of Nothing At All", Eq. 4.

    Args:
        gram: [n, n] products of the rows; all zeros count as orthogonal.
    """
    products = np.asarray(gram, dtype=np.float64)
    power = float(np.trace(products))
    return float(products.sum()) / power if power > 0 else 1.0
