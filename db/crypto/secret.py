"""A wrapper for values that must not be displayed, logged, stored or copied, and a context for
requests whose URLs contain one.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final, Generic, NoReturn, TypeVar

T = TypeVar("T")


class Secret(Generic[T]):
    """A hash, key or token that only `reveal()` returns.

    Other ways to show or store it raise TypeError: `str`, `repr`, `format`, Jinja, JSON, pickling
    and copying (the guide's `taintUniqueValue`, docs/guide.md, row D34). Two secrets of the same
    value are not equal, because secrets must be compared by `hmac.compare_digest`.
    """

    __slots__ = ("_value",)
    _value: T

    def __init__(self, value: T) -> None:
        object.__setattr__(self, "_value", value)

    def reveal(self) -> T:
        return self._value

    def _refuse(self, *_: object) -> NoReturn:
        raise TypeError("a Secret cannot be displayed, stored or copied")

    __str__ = __repr__ = __format__ = __html__ = __json__ = __bytes__ = _refuse
    __reduce__ = __reduce_ex__ = __getstate__ = __copy__ = __deepcopy__ = __setattr__ = _refuse


_is_unlogged: Final = ContextVar("is_unlogged", default=False)


def _is_logged(record: logging.LogRecord) -> bool:
    return not _is_unlogged.get()


@contextmanager
def unlogged_urls() -> Iterator[None]:
    """Keeps the URLs of the requests in this block out of the log.

    httpx logs each URL with the level INFO, which a parent application may have enabled.
    """
    logging.getLogger("httpx").addFilter(_is_logged)
    token = _is_unlogged.set(True)
    try:
        yield
    finally:
        _is_unlogged.reset(token)
