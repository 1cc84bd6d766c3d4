"""Judging one policy in several environments that it learned from."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from actors.policy import Policy
from metrics.protocol import Role

MEAN_OVER_ENVS = "mean_over_envs"


class EveryEnvEvaluation:
    """Judges a policy in several environments, one after the other.

    Metrics of the first one have their plain names. For every environment there are
    ``eval/<split>/normalized_return/<environment>`` and ``.../episode_return/<environment>``, and for all of them
    together ``eval/<split>/normalized_return/mean_over_envs``: each counts the same.
    """

    def __init__(self, first: str, evaluations: Mapping[str, Callable[[Policy, int], dict[str, float]]]) -> None:
        self._first, self._evaluations = first, evaluations

    def __call__(self, policy: Policy, learner_step: int) -> dict[str, float]:
        """Flat metrics, the same on every worker. Collective."""
        found = {env: evaluate(policy, learner_step) for env, evaluate in self._evaluations.items()}
        metrics = dict(found[self._first])
        for role in (Role.TRAIN, Role.VALIDATION):
            for statistic in ("normalized_return", "episode_return"):
                name = f"eval/{role.value}/{statistic}"
                metrics |= {f"{name}/{slug_of(env)}": values[name] for env, values in found.items()}
            name = f"eval/{role.value}/normalized_return"
            metrics[f"{name}/{MEAN_OVER_ENVS}"] = sum(values[name] for values in found.values()) / len(found)
        return metrics


def slug_of(env: str) -> str:
    """The name of an environment as the end of a metric's name."""
    return env.replace("/", "-")
