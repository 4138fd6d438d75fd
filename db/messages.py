"""Contains `Message`, a sentence for users that can be translated."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, Protocol, Self

NO_VALUES: Final[Mapping[str, Any]] = MappingProxyType({})


class Catalog(Protocol):
    """The translations of one language, as `web.languages.Language` has them."""

    def gettext(self, message: str, /) -> str: ...

    def ngettext(self, one: str, many: str, count: int, /) -> str: ...

    def format_number(self, value: int, /) -> str: ...


class Message(str):
    """A sentence for users: its English text, and what is needed to translate it.

    Code that knows no language, such as logs and the API, uses it as a str. `|tr` in templates
    translates it. Texts in braces are placeholders, which `format` fills in:
    `Message("Try again in {wait}.").format(wait=wait(60))`.
    """

    template: str
    plural_template: str
    number: int
    values: Mapping[str, Any]

    def __new__(
        cls,
        template: str,
        plural_template: str = "",
        count: int = 1,
        values: Mapping[str, Any] = NO_VALUES,
    ) -> Self:
        english = plural_template if plural_template and count != 1 else template
        message = super().__new__(cls, english.format_map(values) if values else english)
        message.template = template
        message.plural_template = plural_template
        message.number = count
        message.values = values
        return message

    @classmethod
    def plural(cls, one: str, many: str, count: int, **values: Any) -> Self:
        """Returns the message for a number, which both texts may contain as `{count}`."""
        return cls(one, many, count, {"count": f"{count:,}", **values})

    def format(self, *args: object, **values: Any) -> Self:
        """Returns the message with its placeholders filled in. A value may be a Message."""
        filled = {**self.values, **values}
        return type(self)(self.template, self.plural_template, self.number, filled)

    def in_language_of(self, catalog: Catalog) -> str:
        """Returns the text in the language of the catalog."""
        if self.plural_template:
            text = catalog.ngettext(self.template, self.plural_template, self.number)
        else:
            text = catalog.gettext(self.template)
        if not self.values:
            return text
        values = {
            name: value.in_language_of(catalog) if isinstance(value, Message) else value
            for name, value in self.values.items()
        }
        if self.plural_template and values.get("count") == f"{self.number:,}":
            values["count"] = catalog.format_number(self.number)
        try:
            return text.format_map(values)
        except (LookupError, ValueError):
            return str(self)  # A wrong catalog must not break the page.


def translate(text: str, catalog: Catalog) -> str:
    """Returns a message or a constant text in the language of the catalog."""
    if isinstance(text, Message):
        return text.in_language_of(catalog)
    return catalog.gettext(text) if text else text
