"""One row: its values in order, found by position, by name, by column, and as attributes."""

from collections.abc import Iterable, Mapping
from operator import itemgetter
from typing import Any, ClassVar

from databases import interfaces


class Record(tuple[Any, ...]):
    """Iterates over its values.

    Each list of columns has a class of its own, made by `record_class`.
    """

    __slots__ = ()
    _keys: ClassVar[tuple[str, ...]] = ()
    _positions: ClassVar[dict[Any, int]] = {}

    @property
    def _mapping(self) -> Mapping[str, Any]:
        return dict(zip(self._keys, self, strict=True))

    def keys(self) -> Iterable[str]:
        return self._mapping.keys()

    def values(self) -> Iterable[Any]:
        return self._mapping.values()

    def __getitem__(self, key: Any) -> Any:
        """KeyError for a name that is not there, IndexError for a position."""
        if isinstance(key, (int, slice)):
            return tuple.__getitem__(self, key)
        return tuple.__getitem__(self, self._position(key))

    @classmethod
    def _position(cls, key: Any) -> int:
        """Returns the position of a column; an equal clause has other columns of the same names."""
        position = cls._positions.get(key)
        return cls._positions[str(key)] if position is None else position

    def __repr__(self) -> str:
        """The names alone: a row may hold what no log should."""
        return f"Record({', '.join(self._keys)})"


interfaces.Record.register(Record)

RESERVED_NAMES = frozenset(dir(Record)) - {"count", "index"}


def record_class(keys: Iterable[str], columns: Mapping[Any, int] | None = None) -> type[Record]:
    """A Record with these names.

    `columns` has further ways to a position: columns, and their full names.
    """
    names = tuple(keys)
    positions = {name: position for position, name in reversed([*enumerate(names)])}
    attributes = {
        name: property(itemgetter(at))
        for name, at in positions.items()
        if name not in RESERVED_NAMES
    }
    fixed = {"__slots__": (), "_keys": names, "_positions": {**(columns or {}), **positions}}
    return type("Record", (Record,), {**attributes, **fixed})
