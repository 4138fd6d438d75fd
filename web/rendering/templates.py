"""Contains the Jinja environments of the partials: one for each language, made at its first use.

Each template is compiled once for each language.
"""

import json
import re
from collections.abc import Callable, MutableMapping, Sequence
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, Final

import jinja2
from jinja2 import (
    BaseLoader,
    ChoiceLoader,
    FileSystemLoader,
    PrefixLoader,
    StrictUndefined,
    Template,
)
from jinja2.ext import Extension, InternationalizationExtension
from starlette.routing import NoMatchFound, Router

from web.brand import LATCHKEY, Brand
from web.languages import ENGLISH, LANGUAGES, Language, Languages
from web.menu import MENU, MenuItem
from web.rendering.assets import Assets
from web.rendering.display_email import display_email
from web.rendering.local_formats import make_filters
from web.rendering.translation import TranslatingCodeGenerator
from web.rendering.user_keys import key_path
from web.settings.paths import ROOT

PARTIALS: Final = ROOT / "partials"
HTMX_CONFIG: Final = (
    '{"noSwap":[204,304,401],"history":"reload",'
    '"defaultTimeout":8000,"includeIndicatorCSS":false,"extensions":"none"}'
)


class Templates(jinja2.Environment):
    """Jinja's environment without work that it repeats at each rendering.

    That work takes half of the rendering time of a small page.
    """

    code_generator_class = TranslatingCodeGenerator

    def make_globals(self, d: MutableMapping[str, Any] | None) -> MutableMapping[str, Any]:
        """Returns one dict instead of a chain of dicts, because each rendering copies it."""
        return {**self.globals, **(d or {})}

    @cache  # noqa: B019  (the only instance is never released)
    def get_cached(self, partial: str) -> Template:
        """Returns the template without checking whether its file has changed."""
        return self.get_template(partial)


class ConstantUrls(Extension):
    """Replaces each call of `url` and `asset` without parameters by its result at compile time."""

    def preprocess(self, source: str, name: str | None, filename: str | None = None) -> str:
        return re.sub(r"\b(url|asset)\(\"([\w.-]+)\"\)", self._literal, source)

    def _literal(self, call: re.Match[str]) -> str:
        function: Any = self.environment.globals[call[1]]
        try:
            return json.dumps(function(call[2]))
        except NoMatchFound:
            # The settings disable this route. The template tests `in urls` before the call.
            return call[0]


class TemplatesByLanguage:
    """The environments of all languages. That of English is made at the start."""

    def __init__(self, make: Callable[[Language], Templates], first: Language = ENGLISH) -> None:
        self._make = make
        self._made = {first.code: make(first)}

    def of(self, language: Language) -> Templates:
        """Returns the environment of a language. The first call for it takes about 100 ms."""
        templates = self._made.get(language.code)
        if templates is None:
            templates = self._made[language.code] = self._make(language)
        return templates


def make_environment(
    router: Router,
    assets: Assets,
    brand: Brand = LATCHKEY,
    menu: Sequence[MenuItem] = MENU,
    product_partials: Path | None = None,
    languages: Languages = LANGUAGES,
    language: Language = ENGLISH,
) -> Templates:
    """Returns the environment. It always escapes, and an undefined name is an error."""
    env = Templates(
        extensions=[ConstantUrls, InternationalizationExtension],
        loader=_make_loader(product_partials),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    env.policies["ext.i18n.trimmed"] = True
    env.install_gettext_translations(language, newstyle=True)  # type: ignore[attr-defined]
    env.filters.update(make_filters(language), email=display_email, key_path=key_path)
    names = {route.name for route in router.routes if hasattr(route, "name")}
    env.globals.update(
        language=language,
        languages=list(languages.values()),
        asset=assets.url,
        url=lru_cache(1024)(lambda name, **params: str(router.url_path_for(name, **params))),
        urls=names,
        htmx_config=HTMX_CONFIG,
        brand=brand,
        menu=menu,
        stylesheets=assets.stylesheets,
        product_script=assets.product_script,
        # The attributes of a field are constant.
        attributes=lru_cache(256)(lambda field: ui.pairs(field.attrs)),
    )
    ui: Any = env.get_template("ui/macros.html").module
    env.globals["ui"] = ui
    return env


def _make_loader(product_partials: Path | None) -> BaseLoader:
    """Returns the loader of the partials. One of the product replaces that of the same name.

    The name `latchkey/…` always loads the partial of the program, which a replacement may include.
    """
    own = FileSystemLoader(PARTIALS)
    if product_partials is None:
        return own
    return ChoiceLoader([FileSystemLoader(product_partials), own, PrefixLoader({"latchkey": own})])
