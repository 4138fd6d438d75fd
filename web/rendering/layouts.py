"""The layout around a page: rendered once per variant, with gaps for the title, the viewer and the
page's fragment.
"""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from markupsafe import escape

from db.viewer import Me, Role
from web.forms.password_policy import PasswordPolicy
from web.rendering.templates import Templates

# No partial contains these, and no user text is rendered beside them: `fill` inserts it afterwards.
PLACEHOLDERS: Final = {
    placeholder: f"gap-{placeholder}-f84a1c"
    for placeholder in ("title", "id", "name", "slug", "main")
}


class LayoutVariant(NamedTuple):
    """What a layout depends on: a few dozen combinations, none of them a user's own.

    `path` is that of a row without parameters, or empty; `role` shapes the menu; `panel` is the
    drawing beside a form.
    """

    layout: str
    panel: str
    path: str
    role: Role | None
    has_viewer: bool


class Layouts:
    """Renders each variant once, and then only joins bytes."""

    def __init__(self, templates: Templates, password_policy: PasswordPolicy) -> None:
        self._templates = templates
        self._password_policy = password_policy
        self._formats: dict[LayoutVariant, bytes] = {}

    def fill(self, variant: LayoutVariant, title: str, me: Me | None, main: str) -> bytes:
        """Returns the whole page as UTF-8.

        `main` is HTML; the title and the viewer's name are escaped here.
        """
        values = {b"title": _escaped(title), b"main": main.encode()}
        if me:
            values |= {
                b"id": _escaped(me.id),
                b"name": _escaped(me.name),
                b"slug": _escaped(me.slug),
            }
        return (self._formats.get(variant) or self._render(variant)) % values

    def _render(self, variant: LayoutVariant) -> bytes:
        """Returns the layout as a format of the bytes type: `%(name)b` for each gap."""
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
            "rules": self._password_policy.rules,
            **variant._asdict(),
        }
        html = self._templates.get_cached("layout.html").render(context).replace("%", "%%")
        for placeholder, mark in PLACEHOLDERS.items():
            html = html.replace(mark, f"%({placeholder})b")
        self._formats[variant] = html.encode()
        return self._formats[variant]


def _escaped(text: str) -> bytes:
    return escape(text).encode()
