"""How instructions begin and how they are built: template families with their openings and frames."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Family:
    """One way to ask. A paraphrase is one opening with one frame."""

    name: str
    weight: float
    openings: tuple[tuple[str, str, float], ...]
    """Written out, informal, weight."""
    frames: tuple[tuple[str, float], ...]
    """Name of the frame (see `language`), weight."""

    @property
    def paraphrases(self) -> int:
        """How many paraphrases it has."""
        return len(self.openings) * len(self.frames)

    def paraphrase(self, number: int) -> tuple[tuple[str, str, float], str]:
        """Opening and frame of a paraphrase."""
        opening, frame = divmod(number, len(self.frames))
        return self.openings[opening], self.frames[frame][0]


_FREE = (("pre", 0.42), ("that", 0.24), ("second", 0.2), ("tail", 0.14))

FAMILIES: tuple[Family, ...] = (
    Family(
        "seek",
        0.46,
        (
            ("i am looking for", "im looking for", 0.88),
            ("i am searching for", "im searching for", 0.02),
            ("looking for", "looking for", 0.02),
            ("i am looking to buy", "im looking to buy", 0.05),
            ("i am trying to find", "im trying to find", 0.03),
        ),
        _FREE,
    ),
    Family(
        "need",
        0.14,
        (
            ("i need", "i need", 0.86),
            ("i need to buy", "need to buy", 0.05),
            ("i need to find", "i need to find", 0.05),
            ("i need to get", "i gotta get", 0.04),
        ),
        _FREE,
    ),
    Family(
        "want",
        0.14,
        (
            ("i want", "i want", 0.55),
            ("i want to buy", "i wanna buy", 0.25),
            ("i want to find", "i want to find", 0.12),
            ("i want to get", "i wanna get", 0.08),
        ),
        _FREE,
    ),
    Family(
        "wish",
        0.15,
        (
            ("i would like", "i would like", 0.6),
            ("i would like to buy", "id like to buy", 0.2),
            ("i would like to find", "id like to find", 0.12),
            ("i would like to order", "id love to order", 0.08),
        ),
        _FREE,
    ),
    Family(
        "interest",
        0.04,
        (
            ("i am interested in", "im interested in", 0.6),
            ("i am in need of", "im in need of", 0.2),
            ("i am hoping to find", "im hoping to find", 0.1),
            ("i am in the market for", "im in the market for", 0.1),
        ),
        (("pre", 0.4), ("which", 0.35), ("wishes", 0.25)),
    ),
    Family(
        "command",
        0.045,
        (
            ("find me", "find me", 0.35),
            ("get me", "get me", 0.25),
            ("buy me", "buy me", 0.15),
            ("show me", "show me", 0.1),
            ("look for", "look for", 0.15),
        ),
        (("pre", 0.5), ("which", 0.25), ("wishes", 0.25)),
    ),
    Family(
        "question",
        0.025,
        (
            ("can you find me", "can u find me", 0.4),
            ("can i get", "can i get", 0.2),
            ("could you help me find", "could u help me find", 0.2),
            ("do you have", "do you guys have", 0.2),
        ),
        (("ask", 0.6), ("ask then", 0.4)),
    ),
    Family("keywords", 0.02, (("", "", 1.0),), (("keys", 0.6), ("list", 0.4))),
    Family(
        "story",
        0.01,
        (
            ("my old one broke, now i am after", "my old one broke so now im after", 0.25),
            ("a friend told me to get", "my buddy told me to get", 0.25),
            ("there is a birthday coming up and i have to find", "bday coming up and i gotta find", 0.25),
            ("we just moved and still miss", "just moved, still missing", 0.25),
        ),
        (("story", 0.6), ("ask then", 0.4)),
    ),
)

FAMILY_NAMES = tuple(family.name for family in FAMILIES)

OPTION_PHRASES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "color": (
        ("in {v}", "in {v}", "{v}"),
        ("in the color {v}", "in {v} color", "color {v}", "in color {v}"),
    ),
    "size": (("in {v}", "in a {v}", "size {v}", "{v}"), ("in size {v}", "size {v}", "in a size {v}", "{v} size")),
    "pack": (("in a {v}", "{v}"), ("that comes in a {v}", "as a {v}")),
    "flavor": (("in {v}", "{v}"), ("in {v} flavor", "{v} flavored", "with the {v} flavor", "flavor {v}")),
    "scent": (("in {v}", "{v}"), ("in {v} scent", "{v} scented", "with a {v} scent", "scent {v}")),
    "volume": (("in {v}", "{v}", "of {v}"), ("in the {v} size", "that holds {v}", "volume {v}")),
    "width": (("{v} width", "in {v} width"), ("with a {v} width", "width {v}")),
    "length": (("{v}", "{v} long"), ("with a length of {v}", "length {v}")),
}
"""Option group -> phrases without and with its name; others use `OTHER_PHRASES`."""

OTHER_PHRASES = (("in {v}", "with {v}", "{v}"), ("with {v} {n}", "in {v} {n}", "{n} {v}", "with the {n} {v}"))

PRE_OPTIONS: dict[str, tuple[str, str]] = {
    "color": ("{v}", "{v} colored"),
    "size": ("{v}", "{v} size"),
    "material": ("{v}", "{v}"),
    "flavor": ("{v}", "{v} flavored"),
    "scent": ("{v}", "{v} scented"),
    "volume": ("{v}", "{v} sized"),
    "finish": ("{v}", "{v} finish"),
    "capacity": ("{v}", "{v} capacity"),
    "shade": ("{v}", "{v} shade"),
    "style": ("{v}", "{v} style"),
}
"""Option group -> how its value stands before the noun, without and with the name."""

VALUE_WORDINGS: dict[str, tuple[str, ...]] = {
    "x-small": ("xs", "extra small"),
    "small": ("s", "smaller"),
    "medium": ("m", "mid"),
    "large": ("l", "larger"),
    "x-large": ("xl", "extra large"),
    "xx-large": ("2xl", "xxl", "double extra large"),
    "3x-large": ("3xl", "xxxl", "triple extra large"),
    "4x-large": ("4xl", "quadruple extra large"),
    "navy blue": ("navy",),
    "dark green": ("deep green", "darker green"),
    "light blue": ("pale blue", "sky colored"),
    "olive green": ("olive",),
    "burgundy": ("wine colored", "maroon"),
    "black | white": ("black and white", "white and black"),
    "blue | yellow": ("blue and yellow",),
    "grey | red": ("red and grey", "gray and red"),
    "grey": ("gray",),
    "espresso": ("coffee colored",),
    "beige": ("cream colored",),
    "multicolor": ("many colors", "colorful"),
    "california king": ("cal king",),
    "full": ("double",),
    "barbecue": ("bbq",),
    "jalapeno": ("hot pepper",),
    "sea salt": ("salted",),
    "1.5 feet": ("18 inch",),
    "1tb": ("1 terabyte",),
    "2tb": ("2 terabyte",),
    "solid": ("one colored", "plain"),
    "striped": ("stripes",),
    "floral print": ("flowers",),
    "polka dot": ("dotted",),
    "plaid": ("checkered",),
}
"""Option value -> other wordings of it."""

_NUMBERS = r"(\d+(?:\.\d+)?)"
VALUE_PATTERNS: tuple[tuple[str, tuple[str, ...]], ...] = (
    (rf"pack of {_NUMBERS}", (r"\1 pack", r"\1 count", r"set of \1")),
    (rf"{_NUMBERS} ounce", (r"\1 oz", r"\1oz")),
    (rf"{_NUMBERS} fl oz", (r"\1 fluid ounces", r"\1 fluid oz")),
    (rf"{_NUMBERS} pound", (r"\1 lb", r"\1lbs")),
    (rf"{_NUMBERS} inch", (r"\1in", r"\1 inches", r"\1-inch")),
    (rf"{_NUMBERS} inch high", (r"\1 inches high", r"\1in tall")),
    (rf"{_NUMBERS} feet", (r"\1 ft", r"\1ft", r"\1-foot")),
    (rf"{_NUMBERS} x {_NUMBERS} ft", (r"\1 by \2 feet", r"\1ft by \2ft")),
    (rf"{_NUMBERS}x{_NUMBERS} inch", (r"\1 by \2 inches", r"\1 x \2 in")),
    (rf"{_NUMBERS}w x {_NUMBERS}l", (r"\1w by \2l", r"\1 wide and \2 long")),
    (rf"{_NUMBERS} liter", (r"\1l", r"\1 litre")),
    (rf"{_NUMBERS} mah", (r"\1mah", r"\1 milliamp")),
    (rf"{_NUMBERS}gb", (r"\1 gb", r"\1 gigabyte")),
    (rf"{_NUMBERS}mm", (r"\1 mm", r"\1 millimeter")),
)
"""Pattern of an option value -> how else it is written."""

SECOND_OPTIONS = (
    ("pick {p}", "choose {p}", "i want {o} {p}", "make sure it comes {p}", "also choose {p}", "get {o} {p}"),
    ("i prefer {o} {p}", "i will take {o} {p}", "only {p} will do", "best would be {p}"),
)
"""Second sentences about an option, for the frames of frequent and of rare families; {o}: it or them."""

DUTIES = (("should", "must", "needs to", "has to", "should also"), ("ought to", "is expected to", "is supposed to"))
GREETINGS = ("hello, ", "hi, ", "hey, ", "good morning, ", "hi there, ", "hello there, ", "dear shop, ", "please, ")
FAREWELLS = (
    " please",
    " thanks",
    " thank you",
    " for my friend",
    " for my family",
    " as a present",
    " today",
    " if possible",
)
