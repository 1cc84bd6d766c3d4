"""How values are represented and fitted: as numbers, or as histograms (HL-Gauss, Farebrother et al. 2024)."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from envs.errors import UsageError

Fit = Literal["huber", "squared"]


class Values(nn.Module):
    """What the outputs of a value head mean.

    With 1 bin an output is the value itself, fitted by a Huber (beta 1) or squared loss. With N bins the outputs are
    logits of a histogram over [low, high] whose mean is the value; the target y becomes the histogram

        p_i = (cdf(e_{i+1}) - cdf(e_i)) / (cdf(e_N) - cdf(e_0)),    cdf that of Normal(y, sigma),

    with edges e and sigma = `spread` bins, and the loss is the cross-entropy. [low, high] is set from the data.

    Args:
        bins: N, 1 or at least 2.
        fit: The loss of a number.
        spread: sigma in bins, for example 0.75.

    Raises:
        UsageError: For a number of bins below 1 or a spread that is not positive.
    """

    bounds: Tensor  # float32 [2]

    def __init__(self, bins: int, fit: Fit, spread: float = 0.75) -> None:
        super().__init__()
        if bins < 1 or spread <= 0:
            raise UsageError(f"{bins} bins of spread {spread} were asked; allowed: 1 bin or more, a positive spread.")
        self.bins, self.fit, self.spread = bins, fit, spread
        self.register_buffer("bounds", torch.tensor([-1.0, 1.0]))

    def set_bounds(self, low: float, high: float) -> None:
        """The range of the histogram; widened by two bins on each side, so that no target is cut."""
        width = max(high - low, 1e-3)
        margin = 2 * width / self.bins
        self.bounds.copy_(torch.tensor([low - margin, high + margin]))

    def of(self, outputs: Tensor) -> Tensor:
        """Values [...] of outputs [...] (1 bin) or [..., N]; -inf where all outputs are (beyond the candidates)."""
        if self.bins == 1:
            return outputs
        missing = outputs[..., 0] == -torch.inf
        probabilities = torch.softmax(outputs.masked_fill(missing[..., None], 0.0), -1)
        edges = self._edges()
        values = (probabilities * (edges[1:] + edges[:-1]) / 2).sum(-1)
        return values.masked_fill(missing, -torch.inf)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The loss of each row [B] for outputs [B] or [B, N] and targets [B]."""
        if self.bins == 1:
            if self.fit == "huber":
                return F.smooth_l1_loss(outputs, targets, reduction="none")
            return (outputs - targets).square()
        return -(self.histogram(targets) * torch.log_softmax(outputs, -1)).sum(-1)

    def histogram(self, targets: Tensor) -> Tensor:
        """Targets [B] as histograms [B, N]."""
        edges = self._edges()
        sigma = self.spread * (edges[1] - edges[0])
        inside = targets.clamp(edges[0], edges[-1])
        cdf = torch.special.ndtr((edges - inside[:, None]) / sigma)
        return cdf.diff(dim=1) / (cdf[:, -1:] - cdf[:, :1])

    def _edges(self) -> Tensor:
        steps = torch.arange(self.bins + 1, device=self.bounds.device) / self.bins
        return self.bounds[0] + (self.bounds[1] - self.bounds[0]) * steps


def chosen(values: Tensor, actions: Tensor) -> Tensor:
    """The entries of the actions [B] in [B, A] or [B, A, N]."""
    return values[torch.arange(len(actions), device=actions.device), actions]


def bootstrapped(rewards: Tensor, terminated: Tensor, discount: float, following: Tensor) -> Tensor:
    """R + discount * v', and r alone where the episode terminated, whatever v' is there: [B].

    A truncated end is no termination: it bootstraps from the last observation that is known.
    """
    return rewards + discount * torch.where(terminated, torch.zeros_like(following), following)
