"""Change any field of a frozen configuration by its dotted name, with its type checked."""

from __future__ import annotations

import ast
import dataclasses
import math
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any, TypeVar

from envs.errors import UsageError, unknown_name

ConfigT = TypeVar("ConfigT")

_MOST_DIGITS = 19  # those of the largest 64-bit number


def parse_overrides(words: Sequence[str]) -> dict[str, str]:
    """``["train.learning_rate=1e-4"]`` as a mapping.

    Raises:
        UsageError: If a word has no ``=``.
    """
    pairs = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not name:
            raise UsageError(f"{word!r} is not an override; write FIELD=VALUE, for example train.learning_rate=1e-4.")
        pairs[name.strip()] = value.strip()
    return pairs


def apply_overrides(config: ConfigT, overrides: Mapping[str, str]) -> ConfigT:
    """A new configuration with the named fields changed.

    Args:
        config: A frozen dataclass, possibly nested.
        overrides: Dotted field name -> text of the value, as typed by a user.

    Raises:
        UsageError: For an unknown field (answered with the closest one) or a value of the wrong type.
    """
    for name, text in overrides.items():
        config = _replace(config, name.split("."), text, name)
    return config


def build_recipe(kind: str, recipes: Mapping[str, Callable[[], ConfigT]], name: str, words: Sequence[str]) -> ConfigT:
    """A named recipe's configuration with ``FIELD=VALUE`` words applied.

    Args:
        kind: What the recipes make, for the error message.
        recipes: Name -> function that returns a complete configuration.
        name: The recipe's name.
        words: Overrides as typed by a user.

    Raises:
        UsageError: For an unknown recipe or field, answered with the closest match.
    """
    if name not in recipes:
        raise unknown_name(f"{kind} recipe", name, recipes)
    return apply_overrides(recipes[name](), parse_overrides(words))


def field_names(config: Any, prefix: str = "") -> list[str]:
    """Every dotted name that `apply_overrides` accepts."""
    names = []
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            names += field_names(value, f"{prefix}{field.name}.")
        else:
            names.append(prefix + field.name)
    return names


def _replace(config: Any, path: list[str], text: str, full_name: str) -> Any:
    hints = typing.get_type_hints(type(config))
    head, rest = path[0], path[1:]
    if head not in {field.name for field in dataclasses.fields(config)}:
        prefix = full_name[: len(full_name) - len(".".join(path))]
        raise unknown_name("field", full_name, field_names(config, prefix))
    current = getattr(config, head)
    if rest and isinstance(current, dict):
        entry = _parse_entry(text, hints[head], full_name)
        return dataclasses.replace(config, **{head: {**current, ".".join(rest): entry}})
    if rest and dataclasses.is_dataclass(current):
        return dataclasses.replace(config, **{head: _replace(current, rest, text, full_name)})
    if rest or dataclasses.is_dataclass(current):
        raise UsageError(f"{full_name!r} does not name a single value; name one of its fields.")
    return dataclasses.replace(config, **{head: parse_value(text, hints[head], full_name)})


def parse_value(text: str, kind: Any, name: str) -> Any:
    """The text as a value of a type hint: numbers, booleans, strings, literals, tuples, dicts and optionals.

    Raises:
        UsageError: Naming the field, what was received and what is allowed; for a field of any other type, too.
    """
    origin = typing.get_origin(kind)
    if origin in (typing.Union, types.UnionType):
        return _parse_union(text, typing.get_args(kind), name)
    if origin is typing.Literal:
        if text not in typing.get_args(kind):
            raise unknown_name(f"value of {name}", text, [str(value) for value in typing.get_args(kind)])
        return text
    if origin is tuple:
        inner = typing.get_args(kind)[0]
        words = [word.strip(" '\"") for word in text.strip("()[]").split(",") if word.strip()]
        return tuple(parse_value(word, inner, name) for word in words)
    if origin is dict:
        return _parse_dict(text, kind, name)
    if kind is bool:
        return _parse_bool(text, name)
    if kind in (int, float):
        return _parse_number(text, kind, name)
    if kind is str:
        return text
    raise UsageError(
        f"{name} received {text!r}, but it cannot be written as text; set it from Python, or leave it out."
    )


def _parse_union(text: str, kinds: tuple[Any, ...], name: str) -> Any:
    if type(None) in kinds and text.lower() in ("none", "null", ""):
        return None
    return parse_value(text, next(kind for kind in kinds if kind is not type(None)), name)


def _parse_bool(text: str, name: str) -> bool:
    values = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
    if text.lower() not in values:
        raise UsageError(f"{name} received {text!r}; it is true or false.")
    return values[text.lower()]


def _parse_number(text: str, kind: type[int] | type[float], name: str) -> int | float:
    try:
        number = Decimal(text)
    except InvalidOperation:
        raise UsageError(f"{name} received {text!r}; it is a number ({kind.__name__}).") from None
    if kind is float:
        return _finite(float(number), text, name)
    # The digits are counted first: a number such as 1e999999999 must not be written out.
    if not number.is_finite() or number.adjusted() >= _MOST_DIGITS or number != number.to_integral_value():
        raise UsageError(f"{name} received {text!r}; it is a whole number of at most {_MOST_DIGITS} digits.")
    return int(number)


def _finite(number: float, text: str, name: str) -> float:
    if not math.isfinite(number):
        raise UsageError(f"{name} received {text!r}; it is a finite number, at most 1.8e308.")
    return number


def _parse_dict(text: str, kind: Any, name: str) -> dict[str, Any]:
    value = read_literal(text)
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise UsageError(f"{name} received {text!r}; set one entry with {name}.KEY=VALUE.")
    return {key: _parse_entry(str(entry), kind, f"{name}.{key}") for key, entry in value.items()}


def _parse_entry(text: str, kind: Any, name: str) -> Any:
    """The value of one key: of the type that all values have, or whichever of several types it reads as."""
    allowed = typing.get_args(kind)[1]
    if typing.get_origin(allowed) not in (typing.Union, types.UnionType):
        return parse_value(text, allowed, name)
    value = read_literal(text)
    if not isinstance(value, typing.get_args(allowed)):
        raise UsageError(f"{name} received {text!r}; it is a number, true, false or a word.")
    return _finite(value, text, name) if isinstance(value, float) else value


def read_literal(text: str) -> Any:
    """A number, truth value or other Python literal if it reads as one, else the text; nothing is evaluated."""
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return text


def config_from_json(kind: type[ConfigT], value: Any) -> ConfigT:
    """The inverse of ``json.dumps(dataclasses.asdict(config))`` for nested frozen dataclasses.

    Raises:
        UsageError: For a field that the configuration does not have or that is missing, or a value of another type.
    """
    if not isinstance(value, Mapping):
        raise UsageError(f"A {kind.__name__} must be an object with fields, found {_short(value)}.")
    hints = typing.get_type_hints(kind)
    unknown = [name for name in value if name not in hints]
    if unknown:
        raise unknown_name(f"field of {kind.__name__}", unknown[0], hints)
    fields = {name: _from_json(hints[name], item, f"{kind.__name__}.{name}") for name, item in value.items()}
    try:
        return kind(**fields)
    except TypeError as error:  # a field without default is missing
        raise UsageError(f"A {kind.__name__} cannot be made of {', '.join(value) or 'nothing'}: {error}.") from None


def _from_json(kind: Any, value: Any, name: str) -> Any:
    if dataclasses.is_dataclass(kind):
        return config_from_json(typing.cast(type[Any], kind), value)
    tuples = [each for each in _alternatives(kind) if typing.get_origin(each) is tuple]
    if isinstance(value, list) and tuples:
        value = tuple(_from_json(typing.get_args(tuples[0])[0], item, name) for item in value)
    if not _is_of(kind, value):
        raise UsageError(f"{name} is {_short(value)}; it must be of type {getattr(kind, '__name__', kind)}.")
    return value


def _alternatives(kind: Any) -> tuple[Any, ...]:
    """The types of a union; the type itself where it is none."""
    return typing.get_args(kind) if typing.get_origin(kind) in (typing.Union, types.UnionType) else (kind,)


def _is_of(kind: Any, value: Any) -> bool:
    """Whether a value read from JSON is one of a type hint; whole numbers count as floats, truth values as neither."""
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return any(_is_of(each, value) for each in _alternatives(kind))
    if origin is typing.Literal:
        return value in inner
    if origin is tuple:
        return isinstance(value, tuple) and all(_is_of(inner[0], item) for item in value)
    if origin is dict:
        return isinstance(value, dict) and all(_is_of(inner[1], item) for item in value.values())
    if kind in (int, float):
        return isinstance(value, int if kind is int else int | float) and not isinstance(value, bool)
    return isinstance(value, kind)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}..."
