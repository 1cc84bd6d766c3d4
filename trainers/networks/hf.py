"""The encoder "hf": a Hugging Face encoder reads the page and every candidate (Yao et al. 2022, appendix on BERT)."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from envs.errors import UsageError
from envs.spec import EnvSpec
from envs.text import SEPARATOR
from trainers.networks.inputs import RaggedTensor, TensorObservations
from trainers.networks.texts import Encoded, ragged, required_candidates, split_candidates, text_columns

MARKS = ("[button]", "[button_]", "[clicked button]", "[clicked button_]")
"""Each becomes one token."""
MAX_PAGE_TOKENS = 512
MAX_CANDIDATE_TOKENS = 128
_WITHOUT_QUOTES = str.maketrans("", "", "\"'")


class HuggingFaceEncoder(nn.Module):
    """A pretrained encoder shared by pages and candidates, and attention between their tokens.

    Texts lose their quote characters; what is longer than `MAX_PAGE_TOKENS` or `MAX_CANDIDATE_TOKENS` loses its
    beginning, as in the original agent. With a token c of a candidate, p of the page and s(c, p) their similarity, and

        found = sum over p of softmax_p(s) p        asked = sum over c of softmax_c(max_p s) c,

    a candidate is the mean over its tokens of relu(linear([c, found, c * found, c * asked])), and the state
    relu(linear(mean of p)).

    Args:
        spec: An environment with text columns and candidates.
        hidden_size: Width of the features that it returns; the model keeps its own.
        pretrained: Name on the hub, or a folder with a model and its tokenizer.

    Raises:
        UsageError: If transformers is missing, there is no such model, or the environment has no texts or candidates.
    """

    def __init__(self, spec: EnvSpec, hidden_size: int, pretrained: str) -> None:
        super().__init__()
        self.columns = text_columns(spec, "hf")
        self.candidate_column = required_candidates(spec, "hf")
        self.model, self.tokenizer = load_pretrained(pretrained)
        width = int(self.model.config.hidden_size)
        self.similarity = nn.Linear(3 * width, 1, bias=False)
        self.candidate = nn.Linear(4 * width, hidden_size)
        self.state = nn.Linear(width, hidden_size)

    def forward(self, observations: TensorObservations) -> Tensor:
        """Features of the state [B, H]."""
        return self._state(*self._pages(observations))

    def encode(self, observations: TensorObservations) -> Encoded:
        """Features of the rows and of their candidates."""
        pages, shown = self._pages(observations)
        texts, counts = split_candidates(ragged(observations, self.candidate_column))
        tokens, read = self._read(decoded(texts), MAX_CANDIDATE_TOKENS)
        row = torch.repeat_interleave(counts)
        features = self._meet(tokens, read, pages[row], shown[row])
        return Encoded(self._state(pages, shown), features, counts)

    def _pages(self, observations: TensorObservations) -> tuple[Tensor, Tensor]:
        columns = [decoded(ragged(observations, name)) for name in self.columns]
        return self._read(["\n".join(parts) for parts in zip(*columns, strict=True)], MAX_PAGE_TOKENS)

    def _read(self, texts: list[str], limit: int) -> tuple[Tensor, Tensor]:
        """The last layer of M texts [M, L, W] and which tokens exist [M, L]."""
        limit = min(limit, int(getattr(self.model.config, "max_position_embeddings", limit)))
        encoded = self.tokenizer(
            [text.translate(_WITHOUT_QUOTES) for text in texts],
            padding=True,
            truncation=True,
            max_length=limit,
            return_tensors="pt",
        ).to(self.state.weight.device)
        tokens: Tensor = self.model(**encoded).last_hidden_state
        return tokens, encoded["attention_mask"].bool()

    def _state(self, pages: Tensor, shown: Tensor) -> Tensor:
        return F.relu(self.state(_mean(pages, shown)))

    def _meet(self, tokens: Tensor, read: Tensor, pages: Tensor, shown: Tensor) -> Tensor:
        """Candidates [M, H] from their tokens [M, A, W] and those of their pages [M, L, W]."""
        own, other, both = self.similarity.weight.view(3, -1)
        scores = (tokens @ own)[:, :, None] + (pages @ other)[:, None] + (tokens * both) @ pages.transpose(1, 2)
        scores = scores.float().masked_fill(~shown[:, None], -torch.inf)  # [M, A, L]
        found = scores.softmax(2).to(pages.dtype) @ pages
        weights = scores.amax(2).masked_fill(~read, -torch.inf).softmax(1).to(tokens.dtype)
        asked = (weights[:, None] @ tokens).expand_as(tokens)
        mixed = F.relu(self.candidate(torch.cat([tokens, found, tokens * found, tokens * asked], dim=2)))
        return _mean(mixed, read)


def load_pretrained(name: str) -> tuple[Any, Any]:
    """A model without its pooler, and its tokenizer with `MARKS`, whose vectors are drawn from torch's generator.

    Raises:
        UsageError: If transformers is missing or there is no such model.
    """
    try:
        from transformers import AutoModel, AutoTokenizer
    except ImportError as error:
        raise UsageError("The encoder 'hf' needs transformers; install it: pip install 'gengap[hf]'") from error
    try:
        tokenizer = AutoTokenizer.from_pretrained(name, truncation_side="left")
        model = AutoModel.from_pretrained(name)
    except (OSError, ValueError) as error:
        raise UsageError(
            f"The Hugging Face model {name!r} could not be loaded ({error}). Set network.pretrained to the name of an "
            "encoder on the hub, or to a folder that holds one with its tokenizer."
        ) from error
    tokenizer.add_tokens(list(MARKS), special_tokens=True)
    model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    model.pooler = None  # never used here: it would be trained by nothing
    return model, tokenizer


def decoded(texts: RaggedTensor) -> list[str]:
    """M texts without the separators that end candidates; bytes that are not UTF-8 become replacement characters."""
    raw, offsets = texts.values.cpu().numpy().tobytes(), texts.offsets.tolist()
    return [raw[start:end].decode(errors="replace").removesuffix(SEPARATOR) for start, end in pairwise(offsets)]


def _mean(tokens: Tensor, exist: Tensor) -> Tensor:
    """Mean over the tokens that exist: [M, L, W] and [M, L] to [M, W]."""
    weights = exist[:, :, None].to(tokens.dtype)
    return (tokens * weights).sum(1) / weights.sum(1).clamp(min=1)
