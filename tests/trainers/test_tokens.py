from __future__ import annotations

import math
import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from envs.text import SEPARATOR, encode_text
from trainers.networks import RaggedTensor, collate
from trainers.networks.tokens import SPELLED_BYTES, spell, split_words

PIECES = st.sampled_from([*"aZ09._-$ \n'", SEPARATOR, "é", "ß", "日", "12.5", "red"])
TEXTS = st.lists(st.lists(PIECES, max_size=12).map("".join), min_size=1, max_size=5)


def column(texts: list[str]) -> RaggedTensor:
    made = collate({"page": tuple(encode_text(text) for text in texts)})["page"]
    assert isinstance(made, RaggedTensor)
    return made


def slow_words(text: bytes) -> list[bytes]:
    return re.findall(rb"(?:[A-Za-z0-9\x80-\xff]|(?<=[0-9])\.(?=[0-9]))+", text)


@given(TEXTS)
@settings(deadline=None)
def test_words_are_those_of_a_regular_expression(texts: list[str]) -> None:
    rows = column(texts)
    words, raw = split_words(rows), rows.values.numpy().tobytes()
    found = [raw[a:b] for a, b in zip(words.starts.tolist(), words.ends.tolist(), strict=True)]
    expected = [(number, word) for number, text in enumerate(texts) for word in slow_words(text.encode())]
    assert list(zip(words.texts.tolist(), found, strict=True)) == expected
    lowered = [bytes(byte + 32 if 65 <= byte <= 90 else byte for byte in word) for word in found]
    codes = words.codes.tolist()
    assert len(set(zip(lowered, codes, strict=True))) == len(set(lowered)) == len(set(codes))


def test_codes_depend_on_nothing_but_the_word() -> None:
    alone = split_words(column(["Lamp"])).codes
    among = split_words(column(["5", "", "a red-lamp\n", ".5 LAMP"])).codes
    assert among[[3, 5]].tolist() == alone.tolist() * 2


def test_anagrams_and_long_words_differ() -> None:
    words = ["abc", "bca", "cab", "a" * 99, "a" * 100, "a" * 99 + "b", "aa", "a"]
    assert len(set(split_words(column([" ".join(words)])).codes.tolist())) == len(words)


def test_lines_end_with_newlines_and_with_texts() -> None:
    lines = split_words(column(["a b\n\nc", "d", "\ne"])).lines
    assert torch.unique(lines, return_inverse=True)[1].tolist() == [0, 0, 1, 2, 3]
    assert lines.tolist() == sorted(lines.tolist())


@pytest.mark.parametrize("texts", [[""], ["", " .-"], []])
def test_texts_without_words_have_none(texts: list[str]) -> None:
    rows = column(texts) if texts else RaggedTensor(torch.zeros(0, dtype=torch.uint8), torch.zeros(1).long())
    assert all(len(part) == 0 for part in split_words(rows))


def test_numbers_are_read_and_other_words_are_none() -> None:
    rows = column(["7 12.50 0.05 1000000 b12 1.2.3 red"])
    words = split_words(rows)
    numbers = spell(rows.values, words.starts, words.ends).numbers.tolist()
    np.testing.assert_allclose(numbers[:4], [7, 12.5, 0.05, 1e6], rtol=1e-6)
    assert all(math.isnan(number) for number in numbers[4:])


def test_trigrams_are_shared_by_words_spelled_alike() -> None:
    rows = column(["Mugs mug gum " + "x" * 99])
    words = split_words(rows)
    trigrams, offsets, _ = spell(rows.values, words.starts, words.ends)
    plural, mug, reverse, long = (
        set(trigrams[a:b].tolist()) for a, b in zip(offsets.tolist(), offsets.tolist()[1:], strict=False)
    )
    assert offsets.tolist() == [0, 4, 7, 10, 10 + SPELLED_BYTES]
    assert len(plural & mug) == 2  # the marked start and "mug"
    assert not mug & reverse
    assert len(long) == 3  # start, middle, and end of what is spelled
