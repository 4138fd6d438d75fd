"""The templates: one Jinja environment, compiled once, which no secret can enter."""

import json
import re
from collections.abc import Callable, Iterable, Mapping, MutableMapping
from dataclasses import fields, is_dataclass
from datetime import date, datetime
from functools import cache, lru_cache
from pathlib import Path
from types import UnionType
from typing import Any, Final, Literal, NoReturn, Union, get_args, get_origin, get_type_hints

import jinja2
from jinja2 import FileSystemLoader, StrictUndefined, Template
from jinja2.ext import Extension
from starlette.routing import NoMatchFound, Router

from db.crypto.secret import Secret
from db.viewer import Claims, Viewer
from web.rendering.assets import Assets
from web.rendering.display_email import display_email
from web.rendering.formatting import FILTERS

PARTIALS: Final = Path(__file__).resolve().parent.parent.parent / "partials"
HTMX_CONFIG: Final = (
    '{"noSwap":[204,304,401],"history":"reload","defaultTimeout":8000,"includeIndicatorCSS":false,"extensions":"none"}'
)


class Templates(jinja2.Environment):
    """Jinja's, but for what it does anew with each rendering, and need not: half the time of a small page."""

    def make_globals(self, d: MutableMapping[str, Any] | None) -> MutableMapping[str, Any]:
        """One dict, not a chain of them: it is copied each time."""
        return {**self.globals, **(d or {})}

    @cache  # noqa: B019  (there is one, which lives as long as the program)
    def find(self, partial: str) -> Template:
        """As `get_template`, without asking whether the file has changed."""
        return self.get_template(partial)


class Constants(Extension):
    """An address without parameters never changes: it is written into a template when that is compiled."""

    def preprocess(self, source: str, name: str | None, filename: str | None = None) -> str:
        return re.sub(r"\b(url|asset)\(\"([\w.-]+)\"\)", self._literal, source)

    def _literal(self, call: re.Match[str]) -> str:
        ask: Any = self.environment.globals[call[1]]
        try:
            return json.dumps(ask(call[2]))
        except NoMatchFound:  # a row that these settings leave out, behind an `{% if … in urls %}`
            return call[0]


def make_environment(router: Router, assets: Assets) -> Templates:
    """Autoescaping always; a name that nobody gave is an error."""
    env = Templates(
        extensions=[Constants],
        loader=FileSystemLoader(PARTIALS),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    env.filters.update(FILTERS, email=display_email)
    names = {route.name for route in router.routes if hasattr(route, "name")}
    env.globals.update(
        asset=assets.url,
        url=lru_cache(1024)(lambda name, **params: str(router.url_path_for(name, **params))),
        urls=names,
        htmx_config=HTMX_CONFIG,
        attributes=lru_cache(256)(lambda field: ui.pairs(field.attrs)),  # constant per field
    )
    ui: Any = env.get_template("ui/macros.html").module
    env.globals["ui"] = ui
    return env


def require_presentable(value: object) -> None:
    """Raises TypeError where a Viewer, a Store, Claims or a Secret is about to reach a template, at any depth.

    `{{ viewer.store.keys }}` would print the key ring: templates get `Me`.
    """
    kind: Any = type(value)
    parts_of = _parts_getter(kind)
    if parts_of is not None:
        for part in parts_of(value):
            require_presentable(part)


@cache
def _parts_getter(kind: Any) -> Callable[[Any], Iterable[Any]] | None:
    """Returns a function from a value of this type to the parts to check; None where no part needs a check."""
    if issubclass(kind, (Viewer, Claims, Secret)) or kind.__name__ == "Store":
        return _refuse
    if _is_plain(kind):
        return None
    if issubclass(kind, Mapping):
        return lambda value: value.values()
    if issubclass(kind, (list, tuple, set, frozenset)):
        return iter
    names = [field.name for field in fields(kind)] if is_dataclass(kind) else []
    return (lambda value: [getattr(value, name) for name in names]) if names else None


def _refuse(value: object) -> NoReturn:
    raise TypeError(f"a template must not be given a {type(value).__name__}")


PLAIN: Final = frozenset({str, int, float, bool, datetime, date, type(None)})


@cache
def _is_plain(kind: Any) -> bool:
    """Whether it is words, numbers and times: by itself, or as a DTO whose fields are all declared so."""
    if kind in PLAIN or not is_dataclass(kind):
        return kind in PLAIN
    types = set().union(*(_types(hint) for hint in get_type_hints(kind).values()))
    return all(_is_plain(each) for each in types - {type(...), tuple})


def _types(hint: Any) -> set[type]:
    """Every type that a hint names, the outer one too; of a Literal's values, theirs."""
    arguments, outer = get_args(hint), get_origin(hint)
    if not arguments:
        return {hint if isinstance(hint, type) else type(hint)}
    own = {outer} if outer not in (Literal, Union, UnionType) else set()
    return own.union(*(_types(argument) for argument in arguments))
