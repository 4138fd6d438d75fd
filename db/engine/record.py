"""Contains a database row whose values are read by position, name, column or attribute."""

from collections.abc import Iterable, Mapping
from operator import itemgetter
from typing import Any, ClassVar

from databases import interfaces


class Record(tuple[Any, ...]):
    """A tuple of the row's values. `record_class` creates a subclass for each list of columns."""

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
        """Raises KeyError for an unknown name or column, and IndexError for an invalid position."""
        if isinstance(key, (int, slice)):
            return tuple.__getitem__(self, key)
        return tuple.__getitem__(self, self._position(key))

    @classmethod
    def _position(cls, key: Any) -> int:
        """Returns the position of a name or column.

        The columns of an equal clause are other objects, which are found by their full names.
        """
        position = cls._positions.get(key)
        return cls._positions[str(key)] if position is None else position

    def __repr__(self) -> str:
        """Returns the column names only, because the values may be too sensitive for a log."""
        return f"Record({', '.join(self._keys)})"


interfaces.Record.register(Record)

RESERVED_NAMES = frozenset(dir(Record)) - {"count", "index"}


def record_class(keys: Iterable[str], columns: Mapping[Any, int] | None = None) -> type[Record]:
    """Returns a subclass of Record with these column names.

    `columns` maps more keys to positions: column objects and their full names.
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
