"""Contains the brand: the name, the drawings, the colors and the texts that users see."""

import re
import unicodedata
from dataclasses import dataclass, field, fields, replace
from typing import Final

from db.messages import Message

SITE_NAME: Final = "Latchkey"
# The name of a color in `Palette`, and its variable in static/app.css.
CSS_VARIABLES: Final = {
    "page": "--paper",
    "surface": "--sheet",
    "text": "--ink",
    "secondary_text": "--ink-2",
    "separator": "--line",
    "border": "--edge",
    "accent": "--brass",
    "on_accent": "--on-brass",
    "drawing": "--key",
    "panel": "--panel",
    "band": "--night",
    "error": "--err",
    "error_background": "--err-wash",
}


class InvalidBrand(ValueError):
    """Raised for a value that a page cannot display. The message names the value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Palette:
    """The colors of one color scheme, each as #rrggbb. The defaults are those of LIGHT.

    `page` is the background of pages, `surface` that of inputs and cards. `border` is the color of
    the borders of controls. `accent` is the background of primary buttons, and `on_accent` the text
    on it. `panel` is the area beside a form, and `band` the dark part of the landing page.
    """

    page: str = "#f5f2ea"
    surface: str = "#fffdf8"
    text: str = "#16181c"
    secondary_text: str = "#56534b"
    separator: str = "#d9d3c4"
    border: str = "#827c6f"
    accent: str = "#f5b921"
    on_accent: str = "#16181c"
    drawing: str = "#16181c"
    panel: str = "#f5b921"
    band: str = "#16181c"
    error: str = "#b3200f"
    error_background: str = "#fbe9e3"

    def __post_init__(self) -> None:
        for color in fields(self):
            value = getattr(self, color.name)
            if not isinstance(value, str) or not re.fullmatch(r"#[0-9a-fA-F]{6}", value):
                raise InvalidBrand(f"the color {color.name} must be #rrggbb, not {value!r}")


LIGHT: Final = Palette()
DARK: Final = Palette(
    page="#11141a",
    surface="#191d24",
    text="#ece7db",
    secondary_text="#aaa699",
    separator="#2c313a",
    border="#777c85",
    accent="#f0b737",
    on_accent="#16181c",
    drawing="#f0b737",
    panel="#090b0e",
    band="#090b0e",
    error="#ff9b8c",
    error_background="#2f1d1e",
)


@dataclass(frozen=True, slots=True)
class Mark:
    """The mark of the site as lines in the current color: an SVG path in a box."""

    path: str
    width: int = 24
    height: int = 24

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[MmLlHhVvCcSsQqTtAaZz0-9eE ,.\-]+", self.path):
            raise InvalidBrand(f"the path of the mark is not an SVG path: {self.path[:40]!r}")


KEY: Final = Mark(
    "M14 7.5a5.5 5.5 0 1 1-11 0 5.5 5.5 0 1 1 11 0zM8.5 13v12.5H19M8.5 19.5H15", 24, 28
)


@dataclass(frozen=True, slots=True)
class Step:
    """A heading and a paragraph in the list of the landing page.

    A step about sign-up is left out if not everyone may sign up (SIGNUP).
    """

    heading: str
    text: str
    is_about_sign_up: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Landing:
    """The texts of the landing page. `{name}` stands for the name of the site.

    A section whose heading is empty is left out. The closing section links to sign-up and is left
    out if not everyone may sign up. A product that needs another page altogether
    overrides the partial `home/page.html`.
    """

    title: str = Message("Your own key to your own door")
    headline: str = Message("Your own key to your own door.")
    lead: str = Message(
        "{name} manages accounts for a web application. You have one account, log in anywhere, "
        "see every device that is logged in, and log out any of them."
    )
    steps_heading: str = Message("What it does")
    steps: tuple[Step, ...] = (
        Step(
            Message("You sign up"),
            Message(
                "Each field is checked while you type, with the result right below it. You see "
                "what to fix before you send the form."
            ),
            is_about_sign_up=True,
        ),
        Step(
            Message("You log in"),
            Message(
                "One email, one password. Pasting works, password managers work, and there is no "
                "CAPTCHA."
            ),
        ),
        Step(
            Message("You see your devices"),
            Message(
                "Every browser that is logged in to your account, when it was last used, and from "
                "which IP address."
            ),
        ),
        Step(
            Message("Access follows your role"),
            Message(
                "Every page with your data checks your session and your role in the database. "
                "When an administrator changes a role, the change takes effect with the next page."
            ),
        ),
    )
    devices_heading: str = Message("Take a key back")
    devices_lead: str = Message(
        "Lost a phone, or forgot to log out on a library computer? Log out that one device from "
        "any other. Your password and your other devices stay as they are."
    )
    privacy_heading: str = Message("Privacy and security")
    closing_heading: str = Message("Cut your own key")
    closing_lead: str = Message(
        "It takes a name, an email and a password. You can delete your account at any time."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Brand:
    """How the site presents itself. Every value has a default, which is Latchkey's.

    `{name}` in a text stands for the name. `sender_name` is the sender of mails unless MAIL_FROM
    has one; by default it is the name. `has_key_drawings` is false if the pages show the mark in
    place of Latchkey's drawings of a key.
    """

    name: str = SITE_NAME
    description: str = Message(
        "{name} manages accounts for a web application: sign up, log in, see your devices, "
        "and log out any of them."
    )
    footer: str = Message("Accounts by {name}.")
    sender_name: str = "{name}"
    mark: Mark = KEY
    has_key_drawings: bool = True
    light: Palette = LIGHT
    dark: Palette = DARK
    landing: Landing = field(default_factory=Landing)

    def __post_init__(self) -> None:
        # A sender's name with a line break could add a header to a mail.
        if not self.name.strip() or not self.name.isprintable():
            raise InvalidBrand("the name must be printable text on one line")
        for name in ("description", "footer", "sender_name"):
            object.__setattr__(self, name, self._fill_in(getattr(self, name)))
        if not self.sender_name.isprintable():
            raise InvalidBrand("the name of the sender must be printable text on one line")
        landing = replace(
            self.landing,
            title=self._fill_in(self.landing.title),
            headline=self._fill_in(self.landing.headline),
            lead=self._fill_in(self.landing.lead),
            devices_lead=self._fill_in(self.landing.devices_lead),
            closing_lead=self._fill_in(self.landing.closing_lead),
        )
        object.__setattr__(self, "landing", landing)

    def _fill_in(self, text: str) -> str:
        """Returns the text with the name. The default texts stay messages, so that pages can be
        translated.
        """
        if isinstance(text, Message):
            return text.format(name=self.name) if "{name}" in text.template else text
        return text.replace("{name}", self.name)

    @property
    def file_name(self) -> str:
        """Returns the start of the names of downloaded files: the name in lower-case ASCII."""
        ascii_name = unicodedata.normalize("NFKD", self.name).encode("ascii", "ignore").decode()
        return re.sub(r"[^a-z0-9]+", "-", ascii_name.lower()).strip("-") or "site"

    @property
    def stylesheet(self) -> str:
        """Returns the CSS of the colors that differ from Latchkey's, or an empty string.

        It is a file of its own, because the CSP forbids styles in the HTML.
        """
        lines = [
            f"{variable}: light-dark({getattr(self.light, name)}, {getattr(self.dark, name)});"
            for name, variable in CSS_VARIABLES.items()
            if (getattr(self.light, name), getattr(self.dark, name))
            != (getattr(LIGHT, name), getattr(DARK, name))
        ]
        if not lines:
            return ""
        return "\n".join(("@layer tokens {", ":root {", *lines, "}", MORE_CONTRAST, "}"))

    @property
    def icon(self) -> str:
        """Returns the mark as an SVG file for the tab of the browser."""
        mark = self.mark
        # The box of the mark is centered in a square, whose margin is a sixth of the box.
        size = max(mark.width, mark.height)
        margin = size / 6
        side = size + 2 * margin
        x, y = (side - mark.width) / 2, (side - mark.height) / 2
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {side:g} {side:g}">'
            f'<rect width="{side:g}" height="{side:g}" rx="{side / 8:g}" '
            f'fill="{self.light.accent}"/>'
            f'<path transform="translate({x:g} {y:g})" d="{mark.path}" fill="none" '
            f'stroke="{self.light.on_accent}" stroke-width="{side / 11:.2g}"/></svg>'
        )


# static/app.css has the same rule, which the colors of a brand would otherwise replace.
MORE_CONTRAST: Final = (
    "@media (prefers-contrast: more) "
    "{ :root { --ink-2: var(--ink); --edge: var(--ink); --line: var(--ink); } }"
)


LATCHKEY: Final = Brand()
