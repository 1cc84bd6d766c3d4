"""Controllers that move the weights of a mixture while a policy learns, by name.

Each sees losses or gradients on training levels and on a target of training or validation levels, never the test. To
add one: a file with a config and a class that is a `data.schedule.MixtureController`, and a line here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from data.schedule import MixtureController, Weights
from envs.errors import unknown_name
from trainers.mixtures.gradient_alignment import GradientAlignment
from trainers.mixtures.group_dro import GroupDRO
from trainers.mixtures.linear_law import LinearLaw

CONTROLLERS: dict[str, Callable[[Weights, Mapping[str, Any]], MixtureController]] = {
    "group-dro": GroupDRO,
    "gradient-alignment": GradientAlignment,
    "linear-law": LinearLaw,
}
"""Name -> what makes one from the initial weights [S] and its options."""

NO_CONTROLLER = "none"


def build_controller(name: str, initial: Weights, options: Mapping[str, Any]) -> MixtureController:
    """The controller of that name.

    Args:
        name: In `CONTROLLERS`.
        initial: [S] the mixture's own weights.
        options: Fields of its config.

    Raises:
        UsageError: For an unknown name or option, answered with the closest match.
    """
    if name not in CONTROLLERS:
        raise unknown_name("mixture controller", name, [NO_CONTROLLER, *CONTROLLERS])
    return CONTROLLERS[name](initial, options)
