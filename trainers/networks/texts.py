"""Texts as bags of hashed byte trigrams, and the scoring of a varying number of candidate texts."""

from __future__ import annotations

from typing import NamedTuple, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from envs.errors import UsageError
from envs.spec import EnvSpec
from envs.text import SEPARATOR
from trainers.networks.inputs import RaggedTensor, TensorObservations

NUM_BUCKETS = 8192
_SEPARATOR_BYTE = ord(SEPARATOR)
_MULTIPLIERS = (1, 31_337, 52_711)  # odd, so that the low bits of every byte of a trigram reach the bucket


class Encoded(NamedTuple):
    """What `CandidateHead` scores.

    Attributes:
        state: Features of each row, [B, H].
        candidates: Features of all M candidates, row after row, [M, H]; they may depend on the row's state.
        counts: Candidates per row [B]; their sum is M.
    """

    state: Tensor
    candidates: Tensor
    counts: Tensor


@runtime_checkable
class CandidateEncoder(Protocol):
    """An encoder that also embeds the candidate texts of an environment that lists them."""

    def encode(self, observations: TensorObservations) -> Encoded:
        """Features of the rows and of their candidates; a row's depend on no other row."""


def text_columns(spec: EnvSpec, encoder: str) -> tuple[str, ...]:
    """The names of the text columns (ragged ``uint8``) beside the candidates.

    Raises:
        UsageError: If there is none.
    """
    names = [
        name
        for name, column in spec.observation_columns.items()
        if column.ragged and column.dtype == "uint8" and name != spec.candidate_column
    ]
    if not names:
        columns = ", ".join(spec.observation_columns)
        raise UsageError(
            f"The encoder {encoder!r} needs a text column (ragged uint8); {spec.name!r} has only: {columns}. "
            "Use 'small' or 'impala' for images."
        )
    return tuple(names)


def required_candidates(spec: EnvSpec, encoder: str) -> str:
    """The name of the candidate column.

    Raises:
        UsageError: If the environment has a fixed action space.
    """
    if spec.candidate_column is None:
        raise UsageError(
            f"The encoder {encoder!r} scores candidate texts, but {spec.name!r} has a fixed action space. Use 'bytes' "
            "for texts and 'small' or 'impala' for images."
        )
    return spec.candidate_column


def ragged(observations: TensorObservations, column: str) -> RaggedTensor:
    """A text column of the observations."""
    rows = observations[column]
    assert isinstance(rows, RaggedTensor)
    return rows


def trigram_buckets(values: Tensor, offsets: Tensor) -> Tensor:
    """The bucket of the trigram that starts at each byte.

    A trigram never reaches into the next text; the last two of a text are padded.

    Args:
        values: Bytes of all texts, ``uint8`` [N].
        offsets: Where each text starts, and N: [M + 1].

    Returns:
        Buckets in [0, NUM_BUCKETS), ``int64`` [N].
    """
    codes = values.long() + 1  # 0 pads
    text = torch.repeat_interleave(offsets.diff())  # [N] which text a byte belongs to
    buckets = codes * _MULTIPLIERS[0]
    for distance in (1, 2):
        following = F.pad(codes[distance:], (0, min(distance, len(codes))))
        same = F.pad(text[distance:], (0, min(distance, len(codes))), value=-1) == text
        buckets = buckets + torch.where(same, following, 0) * _MULTIPLIERS[distance]
    return buckets % NUM_BUCKETS


def split_candidates(rows: RaggedTensor) -> tuple[RaggedTensor, Tensor]:
    """Take rows of texts joined by the separator apart.

    Args:
        rows: B rows of ``uint8`` bytes.

    Returns:
        The M candidates of all rows as M rows (each keeps the separator that ends it, so that nothing is copied), and
        the number of candidates of each row, ``int64`` [B]; an empty row has none.
    """
    ends_text = rows.values == _SEPARATOR_BYTE  # [N]
    separators_before = F.pad(ends_text.long().cumsum(0), (1, 0))[rows.offsets]  # [B + 1]
    counts = separators_before.diff() + (rows.offsets.diff() > 0)
    inner = ends_text.nonzero().squeeze(1) + 1  # a candidate starts after each separator ...
    outer = rows.offsets[:-1][rows.offsets.diff() > 0]  # ... and at the start of each row that holds any
    starts = torch.cat([inner, outer]).sort().values
    return RaggedTensor(rows.values, torch.cat([starts, rows.offsets[-1:]])), counts


class BytesEmbedding(nn.Module):
    """Mean of the embeddings of a text's byte trigrams, normalized so that long texts do not fade."""

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.bag = nn.EmbeddingBag(NUM_BUCKETS, hidden_size, mode="mean", include_last_offset=True)
        self.norm = nn.LayerNorm(hidden_size)

    def forward(self, texts: RaggedTensor) -> Tensor:
        """Features [M, H] of M texts; an empty text gets those of no trigram at all."""
        bags: Tensor = self.norm(self.bag(trigram_buckets(texts.values, texts.offsets), texts.offsets))
        return bags


class CandidateHead(nn.Module):
    """Scores each candidate text of a row against the row's features.

    Args:
        hidden_size: H, width of the features.
        outputs: N, numbers per candidate.
    """

    def __init__(self, hidden_size: int, outputs: int = 1) -> None:
        super().__init__()
        self.mix = nn.Linear(3 * hidden_size, hidden_size)
        self.score = nn.Linear(hidden_size, outputs)

    def forward(self, features: Tensor, candidates: Tensor, counts: Tensor) -> Tensor:
        """Logits, -inf beyond a row's candidates.

        Args:
            features: [B, H].
            candidates: Features of all M candidates, row after row: [M, H].
            counts: Candidates per row [B]; their sum is M.

        Returns:
            [B, A] with A the largest count; with several outputs [B, A, N].
        """
        row = torch.repeat_interleave(counts)  # [M]
        context = features[row]
        mixed = torch.relu(self.mix(torch.cat([context, candidates, context * candidates], dim=1)))
        scores = self.score(mixed).squeeze(1).float()  # [M], or [M, N]
        place = torch.arange(len(row), device=row.device) - (counts.cumsum(0) - counts)[row]
        width = max(1, int(counts.max()))  # a batch of ended episodes may offer nothing at all
        logits = torch.full((len(counts), width, *scores.shape[1:]), -torch.inf, device=scores.device)
        return logits.index_put((row, place), scores)
