"""Contains `Message`, a sentence for users that can be translated."""

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple, Protocol, Self

PLACEHOLDER: Final = re.compile(r"{(\w+)}")
NO_VALUES: Final[Mapping[str, Any]] = MappingProxyType({})


class Catalog(Protocol):
    """The translations of one language, as `web.languages.Language` has them."""

    def gettext(self, message: str, /) -> str: ...

    def ngettext(self, one: str, many: str, count: int, /) -> str: ...

    def format_number(self, value: int, /) -> str: ...


class UserText(str):
    """A value of a message that a user has chosen, such as a name. Templates put it into `<bdi>`,
    so that its bidirectional characters cannot reorder the rest.
    """


class Part(NamedTuple):
    """A part of a sentence. `is_user_text` is true for a UserText."""

    text: str
    is_user_text: bool


class Message(str):
    """A sentence for users: its English text, and what is needed to translate it.

    Code without a language, such as logs and the API, uses it as a str. `|tr` in templates
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

    def __deepcopy__(self, memo: object) -> Self:
        return self

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
        return "".join(part.text for part in self.parts_in(catalog))

    def parts_in(self, catalog: Catalog) -> list[Part]:
        """Returns the text in the language of the catalog, with user texts as separate parts."""
        text = self._translate(catalog)
        if not self.values:
            return [Part(text, False)] if text else []
        parts: list[Part] = []
        for number, piece in enumerate(PLACEHOLDER.split(text)):
            value = self._format_value(piece, catalog) if number % 2 else piece
            if isinstance(value, Message):
                parts += value.parts_in(catalog)
            elif value != "":
                parts.append(Part(str(value), isinstance(value, UserText)))
        return parts

    def _translate(self, catalog: Catalog) -> str:
        if self.plural_template:
            text = catalog.ngettext(self.template, self.plural_template, self.number)
        else:
            text = catalog.gettext(self.template)
        if self.values and set(PLACEHOLDER.findall(text)) - set(self.values):
            # A wrong catalog must not break the page.
            is_plural = self.plural_template and self.number != 1
            return self.plural_template if is_plural else self.template
        return text

    def _format_value(self, name: str, catalog: Catalog) -> Any:
        value = self.values[name]
        is_number = name == "count" and value == f"{self.number:,}"
        return catalog.format_number(self.number) if is_number else value


def translate(text: str, catalog: Catalog) -> str:
    """Returns a message or a constant text in the language of the catalog."""
    if isinstance(text, Message):
        return text.in_language_of(catalog)
    return catalog.gettext(text) if text and not isinstance(text, UserText) else text


def parts_of(text: str, catalog: Catalog) -> list[Part]:
    """Returns a message or a constant text as `Message.parts_in` does."""
    if isinstance(text, Message):
        return text.parts_in(catalog)
    is_user_text = isinstance(text, UserText)
    return [Part(translate(text, catalog), is_user_text)] if text else []
