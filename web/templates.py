"""The templates: one Jinja environment, compiled once, which no secret can enter."""

from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, Final, get_args, get_type_hints

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.routing import Router

from db.secret import Secret
from db.viewer import Claims, Viewer
from web.assets import Assets
from web.words import FILTERS

PARTIALS: Final = Path(__file__).resolve().parent.parent / "partials"
HTMX_CONFIG: Final = (
    '{"noSwap":[204,304,401],"history":"reload","defaultTimeout":8000,"includeIndicatorCSS":false,"extensions":"none"}'
)


def make_environment(router: Router, assets: Assets) -> Environment:
    """Autoescaping always; a name that nobody gave is an error."""
    env = Environment(
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


PLAIN: Final = {"str", "int", "float", "bool", "datetime", "date", "NoneType"}


@cache
def _is_plain(kind: Any) -> bool:
    """Whether a DTO's fields are all declared as words, numbers and times, so that there is nothing to look into."""
    return all(_names(hint) <= PLAIN for hint in get_type_hints(kind).values())


def _names(hint: Any) -> set[str]:
    arguments = get_args(hint)
    if not arguments:
        return {hint.__name__ if isinstance(hint, type) else type(hint).__name__}
    return set().union(*(_names(argument) for argument in arguments))
