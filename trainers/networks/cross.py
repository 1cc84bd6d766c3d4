"""The encoder "cross": words of the candidates look up what the page says about them, then vote for their candidate."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from envs.spec import EnvSpec
from trainers.networks.inputs import RaggedTensor, TensorObservations
from trainers.networks.texts import Encoded, ragged, required_candidates, split_candidates, text_columns
from trainers.networks.tokens import Words, spell, split_words

NUM_WORDS = 16_384
NUM_TRIGRAMS = 8_192
MAX_PAGE_WORDS = 512
MAX_CANDIDATE_WORDS = 64
NUM_PROBES = 4
_VOTE_SCALE = 1 / 8  # of the order of one over the words of a candidate
_NUMBER_STEPS = 24
_LARGEST_NUMBER = 1e6


class WordEmbedding(nn.Module):
    """A word as its own hashed vector, plus the mean of its trigrams', plus its place on the number scale.

    A word that was never trained on still has a vector of its own, equal wherever the word stands, near those of words
    spelled alike and, for a number, near those of numbers of the same size.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.words = nn.Embedding(NUM_WORDS, width)
        self.trigrams = nn.EmbeddingBag(NUM_TRIGRAMS, width, mode="mean", include_last_offset=True)
        self.numbers = nn.Linear(_NUMBER_STEPS + 1, width, bias=False)
        self.norm = nn.LayerNorm(width)
        nn.init.normal_(self.numbers.weight, std=_NUMBER_STEPS**-0.5)

    def forward(self, texts: Sequence[RaggedTensor], words: Sequence[Words]) -> tuple[Tensor, list[Tensor]]:
        """Embed the words of several columns of texts.

        Returns:
            The vectors of the U different words [U, D], and for each column the row of every word: int64 [W].
        """
        codes, rows = torch.unique(torch.cat([column.codes for column in words]), return_inverse=True)
        values = torch.cat([text.values for text in texts])
        shift = [0]
        for text in texts[:-1]:
            shift.append(shift[-1] + len(text.values))
        starts = torch.cat([column.starts + by for column, by in zip(words, shift, strict=True)])
        ends = torch.cat([column.ends + by for column, by in zip(words, shift, strict=True)])
        sample = torch.empty_like(codes).scatter_(0, rows, torch.arange(len(rows), device=rows.device))
        trigrams, offsets, numbers = spell(values, starts[sample], ends[sample])
        vectors = self.words(codes % NUM_WORDS) + self.trigrams(trigrams % NUM_TRIGRAMS, offsets)
        vectors = self.norm(vectors + self.numbers(number_scale(numbers)).float())
        return vectors, list(rows.split([len(column.codes) for column in words]))


def number_scale(numbers: Tensor) -> Tensor:
    """Numbers [U] as soft steps along a logarithmic scale [U, S + 1]: nearby numbers have nearby codes.

    What is no number (NaN) has 0 on all steps and 1 after them.
    """
    steps = torch.linspace(0, math.log1p(_LARGEST_NUMBER), _NUMBER_STEPS, device=numbers.device)
    codes = torch.tanh((torch.log1p(numbers)[:, None] - steps) / (steps[1] - steps[0]))
    return torch.cat([codes.nan_to_num(0.0), numbers.isnan()[:, None]], dim=1)


class CrossEncoder(nn.Module):
    """Cross-attention from the words of the candidates to the words of the page.

    A page word is its vector plus a summary of its line and of the line before, which tells an instruction from a title
    and a chosen option from an open one. Each word of a candidate attends to the page; what it finds and the word
    itself make its vote, and a candidate is the sum of the votes of its words. The state is what `NUM_PROBES` learned
    questions find on the page. Words have no order and candidates no place, so scores permute with the candidates.

    Only the first `MAX_PAGE_WORDS` of a page and `MAX_CANDIDATE_WORDS` of a candidate are read.

    Args:
        spec: An environment with text columns and candidates.
        hidden_size: Width of all vectors; 64 is enough for a page of the shop.

    Raises:
        UsageError: If the environment has no text or no candidates.
    """

    def __init__(self, spec: EnvSpec, hidden_size: int) -> None:
        super().__init__()
        self.columns = text_columns(spec, "cross")
        self.candidate_column = required_candidates(spec, "cross")
        self.embedding = WordEmbedding(hidden_size)
        self.context = nn.ModuleList([nn.Linear(2 * hidden_size, hidden_size) for _ in self.columns])
        self.nothing = nn.Parameter(torch.randn(hidden_size))
        self.probes = nn.Parameter(torch.randn(NUM_PROBES, hidden_size))
        self.query = nn.Linear(hidden_size, hidden_size)
        self.vote = nn.Linear(3 * hidden_size, hidden_size)
        self.state = nn.Linear(NUM_PROBES * hidden_size, hidden_size)
        with torch.no_grad():  # at first a word finds itself
            nn.init.eye_(self.query.weight)
            nn.init.zeros_(self.query.bias)

    def forward(self, observations: TensorObservations) -> Tensor:
        """Features of the state [B, H]."""
        return self.encode(observations).state

    def encode(self, observations: TensorObservations) -> Encoded:
        """Features of the rows and of their candidates."""
        kind = self.nothing.device.type
        # On a CPU the casts to bfloat16 take a third of the time and gain nothing at this width.
        enabled = kind != "cpu" and torch.is_autocast_enabled(kind)
        with torch.autocast(kind, enabled=enabled):
            return self._encode(observations)

    def _encode(self, observations: TensorObservations) -> Encoded:
        texts, counts = split_candidates(ragged(observations, self.candidate_column))
        columns = [ragged(observations, name) for name in self.columns]
        pages = [_first(split_words(column), len(column), MAX_PAGE_WORDS) for column in columns]
        offered = _first(split_words(texts), len(texts), MAX_CANDIDATE_WORDS)
        vectors, rows = self.embedding([*columns, texts], [*pages, offered])
        keys, mask = self._keys(vectors, pages, rows[:-1], len(counts))

        owners = torch.repeat_interleave(counts)[offered.texts]  # the row that a candidate's word stands in
        asked, places = torch.unique(owners * len(vectors) + rows[-1], return_inverse=True)
        row, word = asked // max(1, len(vectors)), asked % max(1, len(vectors))
        place, _ = _places(row, len(counts))
        queries = self._queries(vectors, row, word, place, len(counts))
        found = _attend(queries, keys, mask)
        state = F.relu(self.state(found[:, :NUM_PROBES].flatten(1)))
        own = vectors.index_select(0, word)
        answers = found.flatten(0, 1).index_select(0, row * found.shape[1] + NUM_PROBES + place)
        votes = F.relu(self.vote(torch.cat([own, answers, own * answers], dim=1))).float()
        ends = torch.bincount(offered.texts, minlength=len(texts)).cumsum(0)
        sums = F.embedding_bag(places, votes, F.pad(ends, (1, 0)), mode="sum", include_last_offset=True)
        return Encoded(state, sums * _VOTE_SCALE, counts)

    def _keys(
        self, vectors: Tensor, pages: Sequence[Words], rows: Sequence[Tensor], size: int
    ) -> tuple[Tensor, Tensor]:
        """Page words with their context, and after them "nothing" [B, L, D]; and which of them exist [B, L]."""
        table = torch.cat([vectors, self.nothing[None]])
        keys, masks = [], []
        for words, word, context in zip(pages, rows, self.context, strict=True):
            place, lengths = _places(words.texts, size)
            width = int(lengths.max()) + 1
            index = torch.full((size, width), len(vectors), device=word.device)
            index[words.texts, place] = word
            lines, starts = _lines(words)
            about = torch.full((size, width), len(starts), device=word.device)
            about[words.texts, place] = lines
            keys.append(F.embedding(index, table) + F.embedding(about, self._about(vectors, words, word, context)))
            masks.append(torch.arange(width, device=word.device) <= lengths[:, None])
        return torch.cat(keys, dim=1), torch.cat(masks, dim=1)

    def _about(self, vectors: Tensor, words: Words, word: Tensor, context: nn.Module) -> Tensor:
        """What each line of the pages, and the one before it, is about; a row of zeros ends them: [lines + 1, D]."""
        _, starts = _lines(words)
        means = F.embedding_bag(word, vectors, starts, mode="mean") if len(starts) else vectors[:0]
        owner = words.texts[starts]
        same = F.pad(owner[1:] == owner[:-1], (min(1, len(owner)), 0))
        before = F.pad(means[:-1], (0, 0, min(1, len(means)), 0)) * same[:, None]
        about: Tensor = context(torch.cat([means, before], dim=1)).float()
        return F.pad(about, (0, 0, 0, 1))

    def _queries(self, vectors: Tensor, row: Tensor, word: Tensor, place: Tensor, size: int) -> Tensor:
        """The probes, then the different words of each row's candidates: [B, P + J, D]."""
        width = int(place.max()) + 1 if len(place) else 0
        index = torch.full((size, width), len(vectors), device=word.device)
        index[row, place] = word
        asked = F.pad(self.query(vectors).float(), (0, 0, 0, 1))
        return torch.cat([self.probes.expand(size, -1, -1), F.embedding(index, asked)], dim=1)


def _attend(queries: Tensor, keys: Tensor, exists: Tensor) -> Tensor:
    """What queries [B, Q, D] find among the keys [B, L, D] that exist [B, L]: [B, Q, D]."""
    heads = F.scaled_dot_product_attention(  # its fast kernel takes four dimensions
        queries[:, None], keys[:, None], keys[:, None], attn_mask=exists[:, None, None]
    )
    return heads.squeeze(1)


def _first(words: Words, texts: int, limit: int) -> Words:
    """The first `limit` words of every text."""
    place, lengths = _places(words.texts, texts)
    if not len(place) or int(lengths.max()) <= limit:
        return words
    kept = place < limit
    return Words(*(column[kept] for column in words))


def _places(owners: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """The place of each item within its owner (ascending, below `size`), and the number of items of each owner."""
    lengths = torch.bincount(owners, minlength=size)
    firsts = lengths.cumsum(0) - lengths
    return torch.arange(len(owners), device=owners.device) - firsts[owners], lengths


def _lines(words: Words) -> tuple[Tensor, Tensor]:
    """The line of each word, counted from 0 without gaps, and the first word of each line."""
    lines, lengths = torch.unique_consecutive(words.lines, return_inverse=True, return_counts=True)[1:]
    return lines, lengths.cumsum(0) - lengths
