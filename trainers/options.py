"""Options of what is chosen by name: a mapping into a frozen dataclass, with names and types checked."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from envs.errors import UsageError, unknown_name

OptionsT = TypeVar("OptionsT")


def read_options(kind: type[OptionsT], options: Mapping[str, Any], what: str, name: str) -> OptionsT:
    """The config of a named thing from its options.

    Args:
        kind: A dataclass in which every field has a default.
        options: Field -> value.
        what: What the thing is, for error messages: "algorithm", "mixture controller".
        name: Its name.

    Raises:
        UsageError: For an option that it does not read, or a value of another type.
    """
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    hints = typing.get_type_hints(kind)
    for key, value in options.items():
        if not fields:
            raise UsageError(f"The {what} {name!r} has no options, but {key!r} was given; leave it out.")
        if key not in fields:
            raise unknown_name(f"option of the {what} {name!r}", key, fields)
        default = fields[key].default
        if not isinstance(value, type(default)) and not (isinstance(default, float) and type(value) is int):
            raise UsageError(
                f"The option {key!r} of {name!r} is {value!r}; it must be of type {type(default).__name__}."
            )
        if typing.get_origin(hints[key]) is typing.Literal and value not in typing.get_args(hints[key]):
            raise unknown_name(f"value of the option {key!r} of {name!r}", str(value), typing.get_args(hints[key]))
    return kind(**options)
