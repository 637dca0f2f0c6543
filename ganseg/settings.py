"""Settings as they are typed: the field that a name means, and its value in the field's type."""

from __future__ import annotations

import dataclasses
import difflib
import math
import types
import typing
from typing import Any, Literal

from ganseg.files import UserError

BOOLEANS = {"true": True, "false": False, "1": True, "0": False}


def field_type(config: Any, name: str) -> Any:
    """The type of the field that `name` (section.field, or seed) is in the dataclass `config`; UserError for none."""
    section, _, key = name.rpartition(".")
    owner = config if not section else getattr(config, section, None)
    hints = typing.get_type_hints(type(owner)) if dataclasses.is_dataclass(owner) else {}
    if key not in hints or (not section and key != "seed"):
        known = [
            f"{s.name}.{f.name}"
            for s in dataclasses.fields(config)
            if s.name != "seed"
            for f in dataclasses.fields(getattr(config, s.name))
        ]
        moved = [k for k in known if k.rpartition(".")[2] == key]
        near = moved or difflib.get_close_matches(name, known, n=5, cutoff=0.5) or known
        raise UserError(f"unknown setting {name!r}; known ones are: {', '.join([*near, 'seed'])}")
    return hints[key]


def convert(name: str, value: Any, kind: Any) -> Any:
    """Convert `value` (a string from the command line, or JSON) to the field's type, or refuse it."""
    try:
        return _cast(value, kind)
    except (TypeError, ValueError):
        wanted = " | ".join(map(str, typing.get_args(kind))) if typing.get_origin(kind) is Literal else _type_name(kind)
        raise UserError(f"{name}={value!r} is not valid; expected {wanted}") from None


def _cast(value: Any, kind: Any) -> Any:
    origin = typing.get_origin(kind)
    if origin is Literal:
        return _one_of(value, typing.get_args(kind))
    if origin is tuple:
        items = [v for v in (value.strip("()[] ").split(",") if isinstance(value, str) else value) if v != ""]
        first, *rest = typing.get_args(kind)
        if not items or (rest != [...] and len(items) != 1 + len(rest)):
            raise ValueError
        return tuple(_cast(v, first) for v in items)
    if kind is bool:
        return value if isinstance(value, bool) else BOOLEANS[_one_of(str(value).lower(), tuple(BOOLEANS))]
    if isinstance(value, bool) or (kind is int and isinstance(value, float) and value != int(value)):
        raise TypeError
    if kind is str and not isinstance(value, str):
        raise TypeError
    value = kind(value)
    if kind is float and not math.isfinite(value):
        raise ValueError
    return value


def _one_of(value: Any, allowed: tuple[Any, ...]) -> Any:
    if value not in allowed:
        raise ValueError
    return value


def _type_name(kind: Any) -> str:
    return kind.__name__ if isinstance(kind, type) and not isinstance(kind, types.GenericAlias) else str(kind)
