"""Plain JSON or TOML data to frozen dataclasses, strictly, and back.

A missing, unknown or mistyped key is an error that names the file and the key: a default that
nobody asked for is how wrong numbers get into a report.
"""

from __future__ import annotations

import dataclasses
import math
import sys
import types
import typing
from typing import Any, TypeVar

from edge_sdk.errors import EdgeError

T = TypeVar("T")


def from_plain(kind: type[T], data: Any, where: str, error: type[EdgeError]) -> T:
    """`data` as the dataclass `kind`; raises `error`, which names `where` and the key."""
    value: T = _read(kind, data, where, error)
    return value


def to_plain(value: Any) -> Any:
    """Dataclasses, tuples and dicts as JSON data, fields in their order of definition."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {k: to_plain(v) for k, v in value.items()}
    if isinstance(value, (tuple, list)):
        return [to_plain(v) for v in value]
    return value


def _read(kind: Any, data: Any, where: str, error: type[EdgeError]) -> Any:
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return _read_dataclass(kind, data, where, error)
    if origin in (types.UnionType, typing.Union):
        if data is None and type(None) in args:
            return None
        return _read(next(a for a in args if a is not type(None)), data, where, error)
    if origin is typing.Literal:
        if data not in args:
            raise error(f"{where}: {data!r} is not one of {', '.join(map(repr, args))}")
        return data
    if origin is tuple:
        return _read_tuple(args, data, where, error)
    if origin is dict:
        if not isinstance(data, dict):
            raise error(f"{where}: {data!r} must be a table")
        return {k: _read(args[1], v, f"{where}.{k}", error) for k, v in data.items()}
    if kind is float and type(data) is int:
        data = float(data) if abs(data) <= sys.float_info.max else math.inf
    if type(data) is not kind:
        raise error(f"{where}: {data!r} must be of type {kind.__name__}")
    if kind is float and not math.isfinite(data):
        raise error(f"{where}: {data!r} must be a finite number")
    return data


def _read_dataclass(kind: type[Any], data: Any, where: str, error: type[EdgeError]) -> Any:
    if not isinstance(data, dict):
        raise error(f"{where}: {data!r} must be a table")
    fields = {f.name: f for f in dataclasses.fields(kind)}
    if unknown := [k for k in data if k not in fields]:
        raise error(f"{where}: unknown key '{unknown[0]}'; valid: {', '.join(fields)}")
    optional = {
        n
        for n, f in fields.items()
        if f.default is not dataclasses.MISSING or f.default_factory is not dataclasses.MISSING
    }
    if missing := [n for n in fields if n not in data and n not in optional]:
        raise error(f"{where}: missing key '{missing[0]}'")
    hints = typing.get_type_hints(kind)
    values = {k: _read(hints[k], v, f"{where}.{k}", error) for k, v in data.items()}
    try:
        return kind(**values)
    except EdgeError as e:  # the class's own check: it knows neither the file nor what it is for
        raise error(f"{where}: {e}") from e


def _read_tuple(args: tuple[Any, ...], data: Any, where: str, error: type[EdgeError]) -> Any:
    if not isinstance(data, list):
        raise error(f"{where}: {data!r} must be a list")
    if len(args) == 2 and args[1] is Ellipsis:
        return tuple(_read(args[0], v, f"{where}[{i}]", error) for i, v in enumerate(data))
    if len(data) != len(args):
        raise error(f"{where}: {data!r} must have {len(args)} entries")
    pairs = zip(args, data, strict=True)
    return tuple(_read(a, v, f"{where}[{i}]", error) for i, (a, v) in enumerate(pairs))
