"""How diverse a set of episodes is: pure functions of arrays."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from data.dataset import Dataset


def effective_number(shares: npt.ArrayLike, order: float = 1.0) -> float:
    r"""Hill number of a distribution: how many equally common kinds would be as diverse.

    .. math:: D_q = \left(\sum_i p_i^q\right)^{1 / (1 - q)}, \qquad D_1 = \exp\left(-\sum_i p_i \ln p_i\right)

    Source: Hill 1973, "Diversity and Evenness". Order 0 counts kinds, 1 is exp(entropy), 2 is inverse Simpson.

    Args:
        shares: [n] non-negative amounts, not all zero; they are normalized.
        order: q >= 0; the larger, the less rare kinds count.
    """
    amounts = np.asarray(shares, dtype=np.float64)
    present = amounts[amounts > 0] / amounts.sum()
    if order == 1.0:
        return float(np.exp(-(present * np.log(present)).sum()))
    return float((present**order).sum() ** (1.0 / (1.0 - order)))


def amount_per_kind(kinds: npt.ArrayLike, amounts: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """The amounts [n] summed over each distinct kind [n], kinds ascending."""
    _, kind = np.unique(np.asarray(kinds), return_inverse=True)
    sums: npt.NDArray[np.float64] = np.bincount(kind, weights=np.asarray(amounts)).astype(np.float64)
    return sums


def summarize_returns(returns: npt.ArrayLike) -> dict[str, float]:
    """Mean, standard deviation, extremes and quartiles of episode returns [E]."""
    values = np.asarray(returns, dtype=np.float64)
    low, median, high = np.quantile(values, [0.25, 0.5, 0.75])
    return {
        "mean": float(values.mean()),
        "std": float(values.std()),
        "min": float(values.min()),
        "quartile_1": float(low),
        "median": float(median),
        "quartile_3": float(high),
        "max": float(values.max()),
    }


def describe(dataset: Dataset, episode_weights: npt.ArrayLike | None = None) -> dict[str, float]:
    """Counts and effective numbers of levels, sources and episodes of a view.

    Args:
        dataset: The view.
        episode_weights: [E] probability with which a drawn transition comes from each episode; None draws every
            transition equally often.
    """
    episodes = dataset.episodes
    drawn = episodes["length"] if episode_weights is None else np.asarray(episode_weights)
    return {
        "num_levels": len(np.unique(dataset.level_index)),
        "num_sources": len(dataset.sources),
        "num_episodes": dataset.num_episodes,
        "num_transitions": dataset.num_transitions,
        "effective_levels": effective_number(amount_per_kind(dataset.level_index, drawn)),
        "effective_sources": effective_number(amount_per_kind(episodes["source"], drawn)),
        "effective_episodes": effective_number(drawn),
        "mean_return": float(np.mean(episodes["return"])),
        "mean_length": float(np.mean(episodes["length"])),
    }
