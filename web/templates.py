"""The templates: one Jinja environment, compiled once, which no secret can enter."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from datetime import date, datetime
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, Final, get_args, get_type_hints

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from jinja2.ext import Extension
from starlette.routing import NoMatchFound, Router

from db.secret import Secret
from db.viewer import Claims, Viewer
from web.assets import Assets
from web.words import FILTERS

PARTIALS: Final = Path(__file__).resolve().parent.parent / "partials"
HTMX_CONFIG: Final = (
    '{"noSwap":[204,304,401],"history":"reload","defaultTimeout":8000,"includeIndicatorCSS":false,"extensions":"none"}'
)


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


def make_environment(router: Router, assets: Assets) -> Environment:
    """Autoescaping always; a name that nobody gave is an error."""
    env = Environment(
        extensions=[Constants],
        loader=FileSystemLoader(PARTIALS),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    env.filters.update(FILTERS)
    names = {route.name for route in router.routes if hasattr(route, "name")}
    env.globals.update(
        asset=assets.url,
        url=lru_cache(1024)(lambda name, **params: str(router.url_path_for(name, **params))),
        urls=names,
        htmx_config=HTMX_CONFIG,
    )
    env.globals["ui"] = env.get_template("ui/macros.html").module
    return env


def require_presentable(value: object) -> None:
    """Raises TypeError where a Viewer, a Store, Claims or a Secret is about to reach a template, at any depth.

    `{{ viewer.store.keys }}` would print the key ring: templates get `Me`.
    """
    if type(value) in PLAIN:
        return
    if isinstance(value, (Viewer, Claims, Secret)) or type(value).__name__ == "Store":
        raise TypeError(f"a template must not be given a {type(value).__name__}")
    if isinstance(value, Mapping):
        _require_each(value.values())
    elif isinstance(value, (list, tuple, set, frozenset)):
        _require_each(value)
    elif is_dataclass(value) and not isinstance(value, type) and not _is_plain(type(value)):
        _require_each(getattr(value, field.name) for field in fields(value))


def _require_each(values: Iterable[Any]) -> None:
    for value in values:
        require_presentable(value)


PLAIN: Final = frozenset({str, int, float, bool, datetime, date, type(None)})


@cache
def _is_plain(kind: Any) -> bool:
    """Whether a DTO's fields are all declared as words, numbers and times, so that there is nothing to look into."""
    types = set().union(*(_types(hint) for hint in get_type_hints(kind).values()))
    return all(each in PLAIN or (is_dataclass(each) and _is_plain(each)) for each in types - {type(...)})


def _types(hint: Any) -> set[type]:
    """Every type that a hint names; of a Literal's values, theirs."""
    arguments = get_args(hint)
    if not arguments:
        return {hint if isinstance(hint, type) else type(hint)}
    return set().union(*(_types(argument) for argument in arguments))
