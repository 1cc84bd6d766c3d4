"""Sentences of product pages.

Slots: {noun} {brand} {word} {attr}; {other} {third} {claim} {values} are things that this product is not.
"""

from __future__ import annotations

_WORD_TEXT = (
    "modern elegant classic cozy stylish trusted reliable perfect lovely smart simple practical popular charming "
    "versatile careful generous refined sturdy fresh bright bold calm gentle honest neat polished quiet rich solid "
    "steady timeless useful warm welcoming clever delightful graceful handy ideal"
)
WORDS = tuple(_WORD_TEXT.split())

TITLE_EXTRAS = (
    "", "", "", "", "New Arrival", "Gift Idea", "Limited Edition", "Updated Version", "Women", "Men", "Kids",
    "Set", "Essential", "Best Seller",
)  # fmt: skip

ATTRIBUTE_FEATURES = {
    "a": (
        "{attr}: this {noun} was made to be {attr}",
        "{attr} and {word}, season after season",
        "our {noun} is {attr}",
    ),
    "w": ("with {attr}", "comes with {attr} for a {word} result", "{word} detail: {noun} with {attr}"),
    "f": ("great for {attr}", "designed for {attr}", "a {word} choice for {attr}"),
}
ATTRIBUTE_SENTENCES = {
    "a": ("The {noun} is {attr}.", "{brand} keeps it {attr} and {word}.", "Customers like that it is {attr}."),
    "w": ("It comes with {attr}.", "You get a {word} product with {attr}.", "Each one is finished with {attr}."),
    "f": ("It is meant for {attr}.", "Many people use it for {attr}.", "A {word} companion for {attr}."),
}

FEATURES = (
    "{word} look that fits every {word} taste",
    "package content: 1 x {noun}, 1 x thank you card",
    "please check the measurements before you place the order",
    "{brand} service: write to us at any time and we answer within one day",
    "a {word} present for mother, father, friends and neighbors",
    "colors may differ a little between screens",
    "checked twice by our {word} team before shipping",
    "what you receive: one {word} {noun} in a {word} box",
    "thirty days to return it, no questions asked",
    "made in small batches by people who care",
)

SENTENCES = (
    "About {brand}: we are a {word} team that loves what it makes.",
    "This {noun} brings a {word} touch to your day.",
    "Our designers spent two years on a {word} and {word} result.",
    "Whether at home, at the office or on the road, it stays {word}.",
    "Please allow a small difference because everything is measured by hand.",
    "Give it to someone you love and see a {word} smile.",
    "The {word} shape makes this {noun} stand out.",
    "If anything is wrong, contact us and we will find a {word} solution.",
    "Every {noun} of {brand} leaves our workshop in {word} condition.",
    "A {word} product at an honest price, that is our promise.",
    "It arrives in a {word} package that can be used again.",
    "Choose your color, size, style, flavor, scent or model above, then look at the price.",
    "Whatever finish, material, length, volume or capacity you need, you would like the {word} price.",
    "Not sure which one to choose? Take a look at the pictures and the options above.",
    "Keep out of reach of small children and store it in a dry place.",
    "Thousands of {word} customers cannot be wrong.",
)

CROSS_SENTENCES = (
    "It goes well with our {other}.",
    "Also have a look at the {word} {other} of {brand}.",
    "Often bought together with {other}.",
    "Do not confuse it with a {other}, which we sell as well.",
    "The perfect partner of your {word} {other}.",
    "Need something {claim}? Look at our {other}.",
    "If you search for {claim}, we have a {word} {other} too.",
    "Other people bought {other}, {third} or {claim} things.",
    "Tags: {other}, {third}, {claim}.",
    "New in our shop: a {claim} {other} and a {third}.",
    "Our {other} can be had in {values}.",
    "Most wanted this week: {values}.",
    "Customers also searched for {values}.",
    "We have a {third} in {values} as well.",
)
