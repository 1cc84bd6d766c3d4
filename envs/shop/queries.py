"""Search queries made from what an agent can read: the instruction and nothing else."""

from __future__ import annotations

import re

_PRICE = re.compile(
    r"[,.;]?\s*(?:and\s+)?(?:with\s+a\s+)?price\s+(?:lower|less|under|below)\s+than\s+\$?\d[\d.,]*\s*(?:dollars?)?",
    re.I,
)
_OPENINGS = re.compile(
    r"^(?:(?:hello|hi|hey|please|good\s+morning|dear\s+shop)(?:\s+there)?\s*,?\s+)*"
    r"(?:(?:i\s+am|i'm|i\u2019m|im|we\s+are|were)\s+(?:looking|searching|shopping|hoping|trying|interested|in\s+need"
    r"|in\s+the\s+market)"
    r"(?:\s+(?:for|to|in|of|buy|find|get|order|purchase))*"
    r"|(?:i\s+would|i'd|i\u2019d|id)\s+(?:like|love|prefer)(?:\s+(?:to|buy|find|get|order|have|purchase|see))*"
    r"|(?:i\s+)?(?:also\s+)?(?:need|want|wanna|gotta)(?:\s+(?:to|buy|find|get|order|have|purchase))*"
    r"|(?:can|could|would|will)\s+(?:you|u|i)(?:\s+(?:please|help|me|find|get|buy|show|order|have))*"
    r"|do\s+you(?:\s+guys)?\s+(?:have|sell)|help\s+me\s+find"
    r"|(?:looking|searching|look|search|shop|shopping)\s+for"
    r"|(?:find|get|buy|show|give|bring|order|fetch)(?:\s+(?:me|us|for\s+me))?)\s+"
    r"(?:a\s+pair\s+of\s+|an?\s+|some\s+|the\s+|one\s+|me\s+)*",
    re.I,
)
_LINKS = re.compile(
    r"\s*[,;:]\s*|\s+(?:that|thats|which|who|with|without|having|in|for|of|being|made|suitable"
    r"|and\s+(?:is|are|has|have|it|they|this|that))\b",
    re.I,
)
_SENTENCE_END = re.compile(r"(?<=[a-z\d])[.?!;]+\s+|(?<=[a-z])[.?!]+$")
_EMPTY_TEXT = (
    "a an the and or of in on at to for from by as is are be been am it its they them this that these those there "
    "with without which who what i im id we you u my our your me us should must needs need has have had want wants "
    "would like looking look find get buy also please thanks thank size color colored colour price lower than "
    "dollars pick choose make sure comes come one some any pair so do does can could will only prefer "
)
_EMPTY_WORDS = frozenset(_EMPTY_TEXT.split())
_MAX_HEAD_WORDS = 3


def visible_queries(instruction: str) -> tuple[str, ...]:
    """Up to eight different searches, the whole instruction first; a pure function of the visible text.

    In order: the whole instruction; without its price clause; without its opening too; its content words; the first
    noun phrase; the end of that phrase (the head words); the phrase with the second sentence or half; the last phrase.
    Equal ones are listed once, so that short instructions give fewer.

    Args:
        instruction: What the page shows, with or without price clause.

    Returns:
        One to eight queries, none of them empty (a blank instruction gives itself, stripped).
    """
    whole = " ".join(instruction.split())
    unpriced = _PRICE.sub("", whole).strip(" .,;")
    plain = _OPENINGS.sub("", unpriced).strip(" .,;?")
    sentences = [part.strip(" .,;?") for part in _SENTENCE_END.split(plain) if part.strip(" .,;?")] or [plain]
    phrases = [part.strip() for part in _LINKS.split(sentences[0]) if part.strip()] or [plain]
    head = " ".join(_content(phrases[0])[-_MAX_HEAD_WORDS:])
    rest = " ".join(_content(" ".join([*phrases[1:], *sentences[1:]])))
    candidates = (
        whole,
        unpriced,
        plain,
        " ".join(_content(plain)),
        phrases[0],
        head,
        " ".join(head.split()[-1:]),
        f"{head} {rest}",
    )
    found = dict.fromkeys(text for text in (" ".join(candidate.split()) for candidate in candidates) if text)
    return tuple(found) or (whole,)


def _content(text: str) -> list[str]:
    """The words that say something about a product."""
    words = (word.strip(".,;:?!()\"'") for word in text.split())
    return [word for word in words if word and word.lower() not in _EMPTY_WORDS]
