"""Texts as words without a vocabulary: found, hashed and spelled for a whole batch at once."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from trainers.networks.inputs import RaggedTensor

SPELLED_BYTES = 24
"""Bytes of a word that its trigrams are made from; later ones count only in its code."""
_MULTIPLIER = 0x9E3779B97F4A7C15  # odd, its powers mod 2**64 look random
_NUM_POWERS = 64
_MIXERS = (0x2545F4914F6CDD1D, 0x5851F42D4C957F2D)
_NEWLINE, _POINT, _ZERO, _NINE = ord("\n"), ord("."), ord("0"), ord("9")


def _letter(byte: int) -> int:
    """What a byte counts as inside a word; 0 separates words. Case is ignored, and any non-ASCII byte is a letter."""
    return ord(chr(byte).lower()) if byte < 128 and chr(byte).isalnum() else byte if byte >= 128 else 0


def _signed(number: int) -> int:
    number %= 2**64
    return number - 2**64 if number >= 2**63 else number


_LETTERS = tuple(_letter(byte) for byte in range(256))
_POWERS = tuple(_signed(pow(_MULTIPLIER, place + 1, 2**64)) for place in range(_NUM_POWERS))


class Words(NamedTuple):
    """The W words of M texts, in order.

    Attributes:
        starts: Place of the first byte, ``int64`` [W].
        ends: Place after the last byte, ``int64`` [W].
        codes: 64 bits per word, ``int64`` [W]; equal words have equal codes, different ones practically never.
        texts: Which text a word belongs to, ascending, ``int64`` [W].
        lines: Number of the line, ascending over all texts, ``int64`` [W]; two texts never share a line.
    """

    starts: Tensor
    ends: Tensor
    codes: Tensor
    texts: Tensor
    lines: Tensor


def split_words(texts: RaggedTensor) -> Words:
    """Find the words of all texts.

    A word is a run of ASCII letters, digits and non-ASCII bytes, whatever its case; a point between two digits belongs
    to it, so that ``12.50`` is one word. A word never reaches into the next text.

    Args:
        texts: M texts as ``uint8`` bytes; they need not be valid UTF-8.
    """
    values, offsets = texts
    letters, first = _letters(values, offsets)
    inside = letters > 0
    before = F.pad(inside[:-1], (min(1, len(inside)), 0))
    opens = inside & (~before | first)
    closes = inside & F.pad(~inside[1:] | first[1:], (0, min(1, len(inside))), value=True)
    starts, ends = opens.nonzero().squeeze(1), closes.nonzero().squeeze(1) + 1
    owners = torch.searchsorted(offsets, starts, right=True) - 1
    newlines = (values == _NEWLINE).cumsum(0)[starts]
    return Words(starts, ends, _codes(letters, opens, starts, ends), owners, newlines + owners)


def _letters(values: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
    """Each byte as a letter (0: none), ``int64`` [N], and whether it is the first of its text, bool [N]."""
    first = torch.zeros(len(values) + 1, dtype=torch.bool, device=values.device)
    first[offsets] = True
    first = first[:-1]
    letters = torch.tensor(_LETTERS, device=values.device).index_select(0, values.int())
    points = (values == _POINT).nonzero().squeeze(1)
    points = points[(points > 0) & (points < len(values) - 1)]
    decimal = is_digit(values[points - 1]) & is_digit(values[points + 1]) & ~first[points] & ~first[points + 1]
    letters[points[decimal]] = _POINT
    return letters, first


def _codes(letters: Tensor, opens: Tensor, starts: Tensor, ends: Tensor) -> Tensor:
    """The sum of letter times power of its place in the word, mod 2**64, with its bits mixed: [W]."""
    if not len(starts):
        return starts
    place = torch.arange(len(letters), device=letters.device)
    place = place - starts[(opens.cumsum(0) - 1).clamp_(min=0)]
    powers = torch.tensor(_POWERS, device=letters.device)
    sums = (letters * powers[place.clamp_(0, _NUM_POWERS - 1)]).cumsum(0)  # wraps, and so do the differences
    codes = sums[ends - 1] - F.pad(sums, (1, 0))[starts]
    for mixer in _MIXERS:
        codes = (codes ^ (codes >> 32)) * _signed(mixer)
    return codes ^ (codes >> 29)


def is_digit(values: Tensor) -> Tensor:
    """Which bytes are ASCII digits."""
    return (values >= _ZERO) & (values <= _NINE)


class Spelling(NamedTuple):
    """What can be seen of U words beside their identity.

    Attributes:
        trigrams: 64-bit codes of the byte trigrams of all words, word after word; both ends of a word are marked.
        offsets: Where each word's trigrams start, and their number: [U + 1].
        numbers: The value of a word of digits (with at most one point), NaN for other words: float32 [U].
    """

    trigrams: Tensor
    offsets: Tensor
    numbers: Tensor


def spell(values: Tensor, starts: Tensor, ends: Tensor) -> Spelling:
    """The trigrams and values of words.

    Args:
        values: Bytes that the words lie in, ``uint8`` [N].
        starts: Place of the first byte of each word [U].
        ends: Place after its last byte [U].
    """
    place = torch.arange(SPELLED_BYTES, device=values.device)
    lengths = (ends - starts).clamp_(max=SPELLED_BYTES)
    shown = place < lengths[:, None]  # [U, S]
    letters = torch.tensor(_LETTERS, device=values.device)
    letters[_POINT] = _POINT
    table = letters[values[torch.where(shown, starts[:, None] + place, 0)].int()] * shown
    marked = F.pad(table, (1, 1))
    trigrams = marked[:, :-2] * _POWERS[0] + marked[:, 1:-1] * _POWERS[1] + marked[:, 2:] * _POWERS[2]
    trigrams = (trigrams ^ (trigrams >> 32)) * _signed(_MIXERS[0])
    return Spelling(trigrams[shown], F.pad(lengths.cumsum(0), (1, 0)), _values(table, lengths))


def _values(table: Tensor, lengths: Tensor) -> Tensor:
    digits, points = is_digit(table), table == _POINT
    is_number = (digits.sum(1) + points.sum(1) == lengths) & digits.any(1) & (points.sum(1) <= 1)
    place = torch.arange(table.shape[1], device=table.device)
    point = torch.where(points.any(1), points.int().argmax(1), lengths)[:, None]
    power = torch.where(place < point, point - 1 - place, point - place).double()
    value = ((table - _ZERO) * digits * 10.0 ** power.clamp(-SPELLED_BYTES, SPELLED_BYTES)).sum(1)
    return torch.where(is_number, value, torch.nan).float()
