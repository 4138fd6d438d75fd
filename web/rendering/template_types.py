"""Contains the check that keeps secrets and viewers out of templates."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields, is_dataclass
from datetime import date, datetime
from functools import cache
from types import UnionType
from typing import Any, Final, Literal, NoReturn, Union, get_args, get_origin, get_type_hints

from db.crypto.secret import Secret
from db.viewer import Claims, Viewer


def require_presentable(value: object) -> None:
    """Raises TypeError if the value is or contains a Viewer, a Store, Claims or a Secret.

    `{{ viewer.store.keys }}` would print the key ring. Templates therefore receive `Me`.
    """
    value_type: Any = type(value)
    parts_of = _parts_getter(value_type)
    if parts_of is not None:
        for part in parts_of(value):
            require_presentable(part)


@cache
def _parts_getter(value_type: Any) -> Callable[[Any], Iterable[Any]] | None:
    """Returns a function that returns the parts of a value that need a check.

    Returns None if no part needs one.
    """
    if issubclass(value_type, (Viewer, Claims, Secret)) or value_type.__name__ == "Store":
        return _raise_type_error
    if _is_plain(value_type):
        return None
    if issubclass(value_type, Mapping):
        return lambda value: value.values()
    if issubclass(value_type, (list, tuple, set, frozenset)):
        return iter
    names = [field.name for field in fields(value_type)] if is_dataclass(value_type) else []
    return (lambda value: [getattr(value, name) for name in names]) if names else None


def _raise_type_error(value: object) -> NoReturn:
    raise TypeError(f"a template must not receive a {type(value).__name__}")


PLAIN: Final = frozenset({str, int, float, bool, datetime, date, type(None)})


@cache
def _is_plain(value_type: Any) -> bool:
    """Returns whether the type is in PLAIN, or is a DTO whose fields are all declared as plain."""
    if value_type in PLAIN or not is_dataclass(value_type):
        return value_type in PLAIN
    types = set().union(*(_types(hint) for hint in get_type_hints(value_type).values()))
    return all(_is_plain(each) for each in types - {type(...), tuple})


def _types(hint: Any) -> set[type]:
    """Returns every type in a type hint: the outer type, its arguments, and types of literals."""
    arguments = get_args(hint)
    outer = get_origin(hint)
    if not arguments:
        return {hint if isinstance(hint, type) else type(hint)}
    own = {outer} if outer not in (Literal, Union, UnionType) else set()
    return own.union(*(_types(argument) for argument in arguments))
