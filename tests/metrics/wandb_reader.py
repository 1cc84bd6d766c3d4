"""Reads W&B's local log: a 7-byte header, then 32 KiB blocks of length-prefixed records, as LevelDB writes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from wandb.proto.wandb_internal_pb2 import Record

_BLOCK = 32_768
_HEADER = 7  # checksum (4), length (2), type (1)
_LAST_PARTS = (1, 4)  # a whole record, the last part of one


def read_records(path: Path) -> list[Any]:
    """Every complete record of a ``.wandb`` file, in order."""
    data, at, parts, records = path.read_bytes(), 7, b"", []
    assert data.startswith(b":W&B")
    while at + _HEADER <= len(data):
        left_in_block = _BLOCK - at % _BLOCK
        if left_in_block < _HEADER:
            at += left_in_block
            continue
        length, kind = int.from_bytes(data[at + 4 : at + 6], "little"), data[at + 6]
        parts += data[at + _HEADER : at + _HEADER + length]
        at += _HEADER + length
        if kind in _LAST_PARTS:
            records.append(Record.FromString(parts))
            parts = b""
    return records


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The history rows, without W&B's own columns."""
    rows = []
    for record in read_records(path):
        if record.HasField("history"):
            items = {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
            rows.append({name: value for name, value in items.items() if not name.startswith("_")})
    return rows
