"""Large JSON files one entry at a time: memory holds one piece of the file, never the file."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from envs.errors import RunError, UsageError

PIECE_CHARACTERS = 1 << 20
LARGEST_ENTRY_CHARACTERS = 1 << 26
"""An entry that has not ended after this much text is broken, not long."""
_LONGEST_WORD = 16
"""Unfinished numbers, words and escapes are reported where they start, at most this far from the end."""
_NAMES = {"[": "array (a list of entries)", "{": "object (names with values)"}


def stream_array(path: Path | str) -> Iterator[Any]:
    """The entries of a file that is one JSON array, in order.

    Accepts what ``json.load`` accepts (``NaN`` included), a byte-order mark, and gzip.

    Raises:
        UsageError: If there is no such file or it is not an array.
        RunError: If it is empty, not UTF-8, not JSON or ends too early; names file and entry.
    """
    with _Reader(Path(path), "[") as reader:
        while not reader.ends("]"):
            yield reader.value()


def stream_object(path: Path | str) -> Iterator[tuple[str, Any]]:
    """The keys and values of a file that is one JSON object, in order; a repeated key comes again.

    Raises:
        UsageError: If there is no such file or it is not an object.
        RunError: If it is empty, not UTF-8, not JSON or ends too early; names file and entry.
    """
    with _Reader(Path(path), "{") as reader:
        while not reader.ends("}"):
            key = reader.value()
            if not isinstance(key, str):
                raise reader.broken(f"a key must be a text, found {key!r}")
            reader.expect(":")
            yield key, reader.value()


class _Reader:
    """A window on the text of one JSON container."""

    def __init__(self, path: Path, opening: str) -> None:
        if not path.is_file():
            raise UsageError(f"There is no file {path}. Check the path.")
        self._path = path
        self._file = _open_text(path)
        self._decoder = json.JSONDecoder()
        self._text = ""
        self._at = 0
        self._before = 0  # characters of the file in front of the window
        self._entries = 0
        try:
            self._open(opening)
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> _Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def _open(self, opening: str) -> None:
        found = self._peek()
        if not found:
            raise RunError(f"{self._path} is empty; a JSON {_NAMES[opening]} was expected.")
        if found != opening:
            kind = _NAMES.get(found)
            if kind is None:
                raise RunError(f"{self._path} is not a JSON file: it starts with {self._text[self._at :][:20]!r}.")
            raise UsageError(f"{self._path} holds a JSON {kind}; a JSON {_NAMES[opening]} was expected.")
        self._at += 1

    def ends(self, closing: str) -> bool:
        """Whether the container ends here; otherwise moves to the next entry."""
        found = self._peek()
        if self._entries and found == ",":
            self._at += 1
            found = self._peek()
            if found == closing:
                raise self.broken("a comma is followed by no entry")
        elif self._entries and found and found != closing:
            raise self.broken(f"a comma is missing before {self._text[self._at :][:20]!r}")
        if not found:
            raise self._cut_short()
        if found == closing:
            self._at += 1
            if self._peek():
                raise self.broken(f"text follows the end: {self._text[self._at :][:20]!r}")
            return True
        self._entries += 1
        return False

    def expect(self, character: str) -> None:
        """Move past `character`."""
        found = self._peek()
        if not found:
            raise self._cut_short()
        if found != character:
            raise self.broken(f"{character!r} is missing before {self._text[self._at :][:20]!r}")
        self._at += 1

    def value(self) -> Any:
        """The next value."""
        if not self._peek():
            raise self._cut_short()
        while True:
            try:
                value, end = self._decoder.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                self._take_in_more_after(error)
            except (ValueError, RecursionError) as error:
                raise self.broken(f"a value cannot be read ({error})") from error
            else:
                # A bare number near the end of the window may go on behind it: "0", ".", "5".
                closed = self._text[end - 1] in '}]"' or end <= len(self._text) - _LONGEST_WORD
                if closed or not self._more():
                    self._at = end
                    return value

    def _take_in_more_after(self, error: json.JSONDecodeError) -> None:
        """Widen the window if the entry may only be unfinished; otherwise it is broken."""
        in_string = error.msg.startswith("Unterminated string")  # reported where the string starts
        read = len(self._text) - self._at
        if (not in_string and error.pos < len(self._text) - _LONGEST_WORD) or read > LARGEST_ENTRY_CHARACTERS:
            raise self.broken(f"{error.msg} near character {self._before + error.pos:,}")
        if not self._more():
            if in_string or error.pos >= len(self._text.rstrip()):
                raise self._cut_short()
            raise self.broken(f"{error.msg} near character {self._before + error.pos:,}")

    def broken(self, reason: str) -> RunError:
        """The error for text that is not JSON."""
        return RunError(f"{self._path} is not valid JSON at entry {self._entries}: {reason}.")

    def _cut_short(self) -> RunError:
        return RunError(
            f"{self._path} ends in the middle, within or after entry {self._entries}; it is cut short. Fetch it again."
        )

    def _peek(self) -> str:
        """The next character that is not blank; empty at the end of the file."""
        while True:
            while self._at < len(self._text):
                if self._text[self._at] not in " \t\r\n":
                    return self._text[self._at]
                self._at += 1
            if not self._more():
                return ""

    def _more(self) -> bool:
        """Drop what was read and take in the next piece; False at the end of the file."""
        try:
            piece = self._file.read(PIECE_CHARACTERS)
        except UnicodeDecodeError as error:
            raise RunError(f"{self._path} is not UTF-8 text ({error.reason}, after entry {self._entries}).") from error
        except EOFError as error:
            raise self._cut_short() from error
        except (gzip.BadGzipFile, zlib.error) as error:
            raise RunError(f"{self._path} cannot be unpacked after entry {self._entries} ({error}).") from error
        if not piece:
            return False
        self._text = self._text[self._at :] + piece
        self._before += self._at
        self._at = 0
        return True


def _open_text(path: Path) -> TextIO:
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    return gzip.open(path, "rt", encoding="utf-8-sig") if packed else path.open(encoding="utf-8-sig")
