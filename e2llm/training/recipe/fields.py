"""Dataclasses from plain data, as YAML and JSON hold it, and back."""

import dataclasses
from dataclasses import fields
from typing import Any, get_args, get_type_hints

from e2llm.checks import check_choice, name_some
from e2llm.errors import UserError

_WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a word"}


def build(kind: Any, data: Any, where: str) -> Any:
    """Build a dataclass from plain data, with errors that name the field."""
    if not isinstance(data, dict):
        names = name_some(
            (item.name for item in fields(kind)),
            f"`python -m pydoc {kind.__module__}.{kind.__name__}` describes them",
        )
        raise UserError(f"`{where}` must be a mapping of {names}; it is {data!r:.60}.")
    hints = get_type_hints(kind)
    for name in data:
        check_choice(where, str(name), list(hints), "docs/guides/train.md has all")
    missing = [
        item.name
        for item in fields(kind)
        if item.default is dataclasses.MISSING
        and item.default_factory is dataclasses.MISSING
        and item.name not in data
    ]
    if missing:
        raise UserError(f"`{where}` must say `{missing[0]}`.")
    return kind(
        **{name: _convert(hints[name], value, f"{where}.{name}") for name, value in data.items()}
    )


def _convert(hint: Any, value: Any, where: str) -> Any:
    """Convert plain data to what a field's type hint asks for."""
    arguments = [argument for argument in get_args(hint) if argument is not type(None)]
    origin = getattr(hint, "__origin__", None)
    if value is None:
        if type(None) in get_args(hint):
            return None
        raise UserError(f"`{where}` is empty; give it a value, or leave the line out.")
    if type(None) in get_args(hint) and len(arguments) == 1:
        return _convert(arguments[0], value, where)
    if origin is tuple:
        # One item needs no brackets in YAML.
        items = value if isinstance(value, list | tuple) else [value]
        return tuple(
            _convert(arguments[0], item, f"{where}[{index}]") for index, item in enumerate(items)
        )
    if origin is dict:
        if not isinstance(value, dict):
            raise UserError(f"`{where}` must be a mapping; it is {value!r:.60}.")
        return {
            str(key): _convert(arguments[1], item, f"{where}.{key}") for key, item in value.items()
        }
    if dataclasses.is_dataclass(hint):
        return build(hint, value, where)
    if hint is float or hint is int or hint is bool or hint is str:
        return _scalar(hint, value, where)
    return value


def _scalar(hint: Any, value: Any, where: str) -> Any:
    """Convert a number, a word or a truth value."""
    if hint is bool:
        fits = isinstance(value, bool)
    else:  # a word too: YAML 1.1 reads 1e-4 as one
        fits = isinstance(value, int | float | str) and not isinstance(value, bool)
    try:
        converted = hint(value) if fits else None
    except (ValueError, OverflowError):
        converted = None
    if converted is None or (hint is int and float(value) != converted):
        raise UserError(f"`{where}` (={value!r:.60}) must be {_WORDS[hint]}.")
    return converted


def plain(value: Any) -> Any:
    """Return a value with lists for tuples, as JSON gives it back."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def flatten(value: Any, prefix: str = "") -> list[tuple[str, Any]]:
    """List what stands in plain data, each with its path, such as `stages[0].steps`."""
    if isinstance(value, dict) and value:
        return [
            pair
            for key, item in value.items()
            for pair in flatten(item, f"{prefix}.{key}" if prefix else str(key))
        ]
    if isinstance(value, list) and any(isinstance(item, dict) for item in value):
        return [
            pair for index, item in enumerate(value) for pair in flatten(item, f"{prefix}[{index}]")
        ]
    return [(prefix, value)]
