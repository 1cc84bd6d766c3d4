"""A tiny Hugging Face model of random parameters, with a tokenizer of single signs; nothing is downloaded."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

SIGNS = "abcdefghijklmnopqrstuvwxyz0123456789$."
MAX_TOKENS = 48


def tiny_bert(folder: Path, *, layers: int = 1, dropout: float = 0.1) -> str:
    """The folder that holds it."""
    transformers = pytest.importorskip("transformers")
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *SIGNS, *("##" + sign for sign in SIGNS)]
    (folder / "vocab.txt").write_text("\n".join(vocabulary))
    transformers.BertTokenizerFast(str(folder / "vocab.txt"), do_lower_case=True).save_pretrained(folder)
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=16,
        num_hidden_layers=layers,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=MAX_TOKENS,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
    )
    transformers.BertModel(config).save_pretrained(folder)
    return str(folder)
