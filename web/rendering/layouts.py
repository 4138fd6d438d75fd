"""Contains the layouts around pages.

Each variant is rendered once, with placeholders for the title, the viewer and the page's fragment.
"""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from markupsafe import escape

from db.viewer import Me, Role
from web.forms.password_policy import PasswordPolicy
from web.languages import ENGLISH, Language
from web.rendering.formatting import initials
from web.rendering.templates import TemplatesByLanguage
from web.rendering.user_keys import key_path

# No partial contains these strings. `fill` inserts user text only after they have been replaced.
PLACEHOLDERS: Final = {
    placeholder: f"gap-{placeholder}-f84a1c"
    for placeholder in ("title", "id", "name", "slug", "key", "initials", "main")
}


# Administrators can add roles, so the number of variants needs a bound.
MAX_VARIANTS: Final = 1_000


class LayoutVariant(NamedTuple):
    """The values that a layout depends on: a few dozen combinations, none with user data.

    `path` is the path of a route up to its first parameter, or empty. `role` determines the menu.
    `panel` is the drawing beside a form.
    """

    layout: str
    panel: str
    path: str
    role: Role | None
    has_viewer: bool
    language: Language = ENGLISH


class Layouts:
    """Renders each variant once. Later pages only insert bytes into it."""

    def __init__(
        self, templates: TemplatesByLanguage, password_policy: PasswordPolicy, max_body: int
    ) -> None:
        self._templates = templates
        self._max_body = max_body
        self._password_policy = password_policy
        self._formats: dict[LayoutVariant, bytes] = {}

    def fill(self, variant: LayoutVariant, title: str, me: Me | None, main: str) -> bytes:
        """Returns the whole page as UTF-8.

        `main` is HTML. This method escapes the title and the values of `me`.
        """
        values = {b"title": _escaped(title), b"main": main.encode()}
        if me:
            values |= {
                b"id": _escaped(me.id),
                b"name": _escaped(me.name),
                b"slug": _escaped(me.slug),
                b"key": key_path(me.id).encode(),
                b"initials": _escaped(initials(me.name)),
            }
        return (self._formats.get(variant) or self._render(variant)) % values

    def _render(self, variant: LayoutVariant) -> bytes:
        """Returns the layout as a bytes format, with `%(name)b` for each placeholder."""
        me = (
            Me(
                PLACEHOLDERS["id"],
                PLACEHOLDERS["name"],
                variant.role or "user",
                PLACEHOLDERS["slug"],
            )
            if variant.has_viewer
            else None
        )
        context: Mapping[str, Any] = {
            "title": PLACEHOLDERS["title"],
            "main": PLACEHOLDERS["main"],
            "me": me,
            "key": PLACEHOLDERS["key"],
            "initials": PLACEHOLDERS["initials"],
            "rules": self._password_policy.rules,
            "max_body": self._max_body,
            **variant._asdict(),
        }
        html = (
            self._templates.of(variant.language)
            .get_cached("layout.html")
            .render(context)
            .replace("%", "%%")
        )
        for placeholder, mark in PLACEHOLDERS.items():
            html = html.replace(mark, f"%({placeholder})b")
        if len(self._formats) >= MAX_VARIANTS:
            self._formats.pop(next(iter(self._formats)))
        self._formats[variant] = html.encode()
        return self._formats[variant]


def _escaped(text: str) -> bytes:
    return escape(text).encode()
