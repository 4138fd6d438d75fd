"""Contains the languages of the texts, and loads their catalogs at the first use.

English texts are in the code. `locale/<code>/LC_MESSAGES/messages.po` has the others, and
`scripts/messages` adds new texts to these files. The program reads them as they are, so nothing has
to be compiled: 1,000 messages take 40 ms.
"""

import io
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from gettext import GNUTranslations, NullTranslations
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import Final, Literal

from web.settings.paths import ROOT

LOCALE: Final = ROOT / "locale"


@dataclass(frozen=True, slots=True, eq=False)
class Language:
    """A language of the texts. It is a `db.messages.Catalog`.

    `name` is its name in itself. `locale` is its BCP 47 tag for `Intl` in browsers, with the digits
    and the order of dates that the server uses. `folders` contain its catalogs: a text in an
    earlier one replaces that of a later one. Tests may pass another `catalog`.
    """

    code: str
    name: str
    locale: str
    direction: Literal["ltr", "rtl"] = "ltr"
    folders: tuple[Path, ...] = (LOCALE,)
    catalog: NullTranslations | None = None

    def gettext(self, message: str) -> str:
        """Returns the translation of a text, or the text itself if there is none."""
        # The entry without a text is the header of the catalog.
        return self._find_catalog().gettext(message) if message else ""

    def ngettext(self, one: str, many: str, count: int) -> str:
        """Returns the translation for a number. `one` and `many` are the English texts."""
        return self._find_catalog().ngettext(one, many, count)

    def format_number(self, value: int) -> str:
        """Returns a whole number with the separators of the language."""
        if self.code == "en":
            return f"{value:,}"
        # Babel takes 8 MB of memory, which a site in English only does not need.
        from babel.numbers import format_decimal

        return format_decimal(value, locale=self.code)

    def _find_catalog(self) -> NullTranslations:
        return self.catalog or _load_catalog(self.code, self.folders)


ENGLISH: Final = Language("en", "English", "en-GB")
Languages = Mapping[str, Language]
LANGUAGES: Final[Languages] = MappingProxyType(
    {
        language.code: language
        for language in (
            ENGLISH,
            Language("de", "Deutsch", "de"),
            Language("ar", "العربية", "ar-u-nu-latn", "rtl"),
        )
    }
)


def with_folder(folder: Path | None) -> Languages:
    """Returns the languages with the catalogs of a product, whose folder is `folder`."""
    if folder is None:
        return LANGUAGES
    return {
        code: replace(language, folders=(folder, *language.folders))
        for code, language in LANGUAGES.items()
    }


@cache
def _load_catalog(code: str, folders: tuple[Path, ...]) -> NullTranslations:
    """Returns the catalog of a language. English has one only if a product replaces texts."""
    paths = (folder / code / "LC_MESSAGES" / "messages.po" for folder in folders)
    catalogs = [_read_catalog(path) for path in paths if path.is_file()]
    if not catalogs:
        return NullTranslations()
    for catalog, fallback in pairwise(catalogs):
        catalog.add_fallback(fallback)
    return catalogs[0]


def _read_catalog(path: Path) -> GNUTranslations:
    """Reads a catalog. Texts that are marked as fuzzy are left out."""
    from babel.messages.mofile import write_mo
    from babel.messages.pofile import read_po

    compiled = io.BytesIO()
    with path.open("rb") as file:
        write_mo(compiled, read_po(file))
    compiled.seek(0)
    return GNUTranslations(compiled)
