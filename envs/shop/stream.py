"""Large JSON files one entry at a time: memory holds one piece of the file, never the file."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from envs.errors import RunError, UsageError
from envs.shop.checks import check_file

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
        yield from reader.entries()
        reader.finish()


def stream_rows(path: Path | str, under: str | None = None) -> Iterator[Any]:
    """The rows of a file: the entries of its one array, or its values, one a line.

    Args:
        path: The file; otherwise as in `stream_array`.
        under: A file of one object that has an array under this key holds the entries of that array.

    Raises:
        UsageError: If there is no such file.
        RunError: If it is empty, not UTF-8, not JSON or ends too early; names file and entry.
    """
    with _Reader(Path(path), "[{") as reader:
        if reader.stands_at("["):
            yield from reader.entries()
            reader.finish()
            return
        row, nested = {}, False
        for key in reader.names():
            if key == under and reader.stands_at("["):
                nested = True
                yield from reader.entries()
            else:
                row[key] = reader.value()
        if nested:
            reader.finish()
            return
        yield row
        yield from reader.lines()


def stream_object(path: Path | str) -> Iterator[tuple[str, Any]]:
    """The keys and values of a file that is one JSON object, in order; a repeated key comes again.

    Raises:
        UsageError: If there is no such file or it is not an object.
        RunError: If it is empty, not UTF-8, not JSON or ends too early; names file and entry.
    """
    return ((key, value) for _, key, value in stream_table(path))


def stream_table(path: Path | str, under: str | None = None) -> Iterator[tuple[bool, str, Any]]:
    """The keys and values of a file that is one JSON object, which may hold the table itself under a key.

    Args:
        path: The file; otherwise as in `stream_object`.
        under: An object under this key is not a value: its own keys and values come in its place.

    Yields:
        Whether it stood under the key, the key, the value.

    Raises:
        UsageError: If there is no such file or it is not an object.
        RunError: If it is empty, not UTF-8, not JSON or ends too early; names file and entry.
    """
    with _Reader(Path(path), "{") as reader:
        for key in reader.names():
            if key == under and reader.stands_at("{"):
                yield from ((True, inner, reader.value()) for inner in reader.names())
            else:
                yield False, key, reader.value()
        reader.finish()


class _Reader:
    """A window on the text of a JSON file.

    Args:
        path: The file.
        openings: With which brackets it may start.
    """

    def __init__(self, path: Path, openings: str) -> None:
        check_file(path)
        self._path = path
        self._file = _open_text(path)
        self._decoder = json.JSONDecoder()
        self._text = ""
        self._at = 0
        self._before = 0  # characters of the file in front of the window
        self._entries = 0
        self._lines = 0
        try:
            self._check_start(openings)
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> _Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def _check_start(self, openings: str) -> None:
        found = self._peek()
        expected = " or ".join(_NAMES[opening] for opening in openings)
        if not found:
            raise RunError(f"{self._path} is empty; a JSON {expected} was expected.")
        if found not in openings:
            kind = _NAMES.get(found)
            if kind is None:
                raise RunError(f"{self._path} is not a JSON file: it starts with {self._text[self._at :][:20]!r}.")
            raise UsageError(f"{self._path} holds a JSON {kind}; a JSON {expected} was expected.")

    def stands_at(self, opening: str) -> bool:
        """Whether a container of this kind comes next."""
        return self._peek() == opening

    def entries(self) -> Iterator[Any]:
        """The entries of the array that comes next."""
        outer, self._entries = self._entries, 0
        self._at += 1
        while not self._ends("]"):
            yield self.value()
        self._entries = outer

    def names(self) -> Iterator[str]:
        """The keys of the object that comes next; read the value of each before the next key."""
        outer, self._entries = self._entries, 0
        self._at += 1
        while not self._ends("}"):
            key = self.value()
            if not isinstance(key, str):
                raise self._broken(f"a key must be a text, found {key!r}")
            if self._peek() != ":":
                raise self._missing("':'")
            self._at += 1
            yield key
        self._entries = outer

    def lines(self) -> Iterator[Any]:
        """The values after a first one, each on a new line, to the end of the file."""
        self._entries = 1
        while True:
            line = self._lines
            if not self._peek():
                return
            if self._lines == line:
                raise self._broken(f"a line break is missing before {self._text[self._at :][:20]!r}")
            self._entries += 1
            yield self.value()

    def finish(self) -> None:
        """Check that nothing follows."""
        if self._peek():
            raise self._broken(f"text follows the end: {self._text[self._at :][:20]!r}")

    def _ends(self, closing: str) -> bool:
        """Whether the container ends here; otherwise moves to the next entry."""
        found = self._peek()
        if self._entries and found == ",":
            self._at += 1
            found = self._peek()
            if found == closing:
                raise self._broken("a comma is followed by no entry")
        elif self._entries and found != closing:
            raise self._missing("a comma")
        if not found:
            raise self._cut_short()
        if found == closing:
            self._at += 1
            return True
        self._entries += 1
        return False

    def _missing(self, expected: str) -> RunError:
        """The error for another character than the one that must come next."""
        if not self._peek():
            return self._cut_short()
        return self._broken(f"{expected} is missing before {self._text[self._at :][:20]!r}")

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
                raise self._broken(f"a value cannot be read ({error})") from error
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
            raise self._broken(f"{error.msg} near character {self._before + error.pos:,}")
        if not self._more():
            if in_string or error.pos >= len(self._text.rstrip()):
                raise self._cut_short()
            raise self._broken(f"{error.msg} near character {self._before + error.pos:,}")

    def _broken(self, reason: str) -> RunError:
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
                character = self._text[self._at]
                if character not in " \t\r\n":
                    return character
                self._lines += character == "\n"
                self._at += 1
            if not self._more():
                return ""

    def _more(self) -> bool:
        """Drop what was read and take in the next piece; False at the end of the file.

        An entry is read again from its start after every piece, so pieces grow with it.
        """
        try:
            piece = self._file.read(max(PIECE_CHARACTERS, len(self._text) - self._at))
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
