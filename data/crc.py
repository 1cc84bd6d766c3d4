"""The CRC-32 of a file whose parts were written, and checked, by several processes."""

from __future__ import annotations

import functools

import numpy as np
import numpy.typing as npt

Words = npt.NDArray[np.uint32]

_POLYNOMIAL = 0xEDB88320  # of zlib and gzip, reflected
_MAX_BITS = 63  # of a length in bytes


def combined_crc32(parts: Words, sizes: npt.NDArray[np.int64]) -> int:
    """What `zlib.crc32` says of parts one after the other.

    Appending n zero bytes to a message is a linear map of its CRC over GF(2), and the CRC of a whole is the sum (XOR)
    of its parts' CRCs, each moved by as many bytes as follow it. Powers of two of the map serve all parts at once.

    Args:
        parts: [P] CRC-32 of each.
        sizes: [P] bytes of each.
    """
    following = np.cumsum(sizes[::-1])[::-1] - sizes
    moved = parts.astype(np.uint32)
    for bit in range(int(following.max(initial=0)).bit_length()):
        chosen = np.flatnonzero(following >> bit & 1)
        moved[chosen] = _apply(_zero_bytes(bit), moved[chosen])
    return int(np.bitwise_xor.reduce(moved, initial=0))


def _apply(matrix: Words, words: Words) -> Words:
    """Multiply [32] columns of a matrix with words [P]."""
    product = np.zeros_like(words)
    for bit in range(32):
        product ^= np.where(words >> np.uint32(bit) & np.uint32(1), matrix[bit], np.uint32(0))
    return product


@functools.lru_cache(maxsize=_MAX_BITS)
def _zero_bytes(power: int) -> Words:
    """The map of 2 ** power zero bytes, [32] columns."""
    if power > 0:
        half = _zero_bytes(power - 1)
        return _apply(half, half)
    matrix = np.array([_POLYNOMIAL, *(1 << bit for bit in range(31))], dtype=np.uint32)  # of one zero bit
    for _ in range(3):
        matrix = _apply(matrix, matrix)
    return matrix
