"""Errors a user can cause, and the closest-match sentence that answers a misspelt name."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UsageError(ValueError):
    """Wrong use: what was received, what is allowed, what to do next. The command line exits with code 2."""


class RunError(RuntimeError):
    """A run failed for a reason outside the program (disk, damaged file, dead machine). Exit code 1."""


def unknown_name(kind: str, received: str, allowed: Iterable[str]) -> UsageError:
    """The error for a name that is in no table, answered with the closest match.

    Args:
        kind: What the name should have been, for example ``"environment"``.
        received: The name the user gave.
        allowed: Every name that would have been accepted.
    """
    names = sorted(allowed)
    close = difflib.get_close_matches(received, names, n=1, cutoff=0.4)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    shown = ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
    return UsageError(f"Unknown {kind} {received!r}.{hint} Allowed: {shown}.")
