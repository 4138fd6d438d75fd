"""Takes pictures of every page in every state, for people who judge the design.

`scripts/pictures all DIR` runs it.
"""

import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from html import escape
from itertools import product
from pathlib import Path

from playwright.sync_api import Browser, Error, sync_playwright

from db.mail.outbox import MAIL_TYPES
from tests.browser.conftest import CHROMIUM, FLAGS, BrowserUser, new_user, opened_pages
from tests.browser.live import Live, serve
from tests.browser.pages import ADMIN_STATES, STATES, USER_STATES, State, goto
from tests.conftest import SECRET
from tests.dns_server import serving_dns

SIZES = ({"width": 1280, "height": 900}, {"width": 320, "height": 700})
SCHEMES = ("light", "dark")
CODES = ("en", "ar")
OTHER_STATES: dict[str, State] = {
    "mailbox, one mail": partial(goto, path="/dev/mailbox/sample-verify"),
    "mailbox, samples": partial(goto, path="/dev/mails"),
    **{
        f"mail, {message_type}": partial(goto, path=f"/dev/mailbox/sample-{message_type}/html")
        for message_type in MAIL_TYPES
    },
}
INDEX = """<!doctype html><meta charset="utf-8"><title>Pictures</title><style>
body {{ font: 14px sans-serif }} th {{ text-align: start; vertical-align: top; max-width: 12em }}
img {{ width: 220px; height: 240px; object-fit: cover; object-position: top; outline: 1px solid }}
</style><table><tr><th>State</th>{heads}</tr>{rows}</table>"""


def draw_states(folder: Path, text: str, fill: Callable[[Path], None]) -> list[str]:
    """Draws the states whose name contains a text, and writes a page with all pictures.

    `fill` creates a database with users at a path. Returns the errors.
    """
    errors: list[str] = []
    with tempfile.TemporaryDirectory() as temporary:
        database, broken = Path(temporary) / "latchkey.db", Path(temporary) / "broken"
        fill(database)
        broken.mkdir()
        with (
            serving_dns() as dns,
            serve(database, SECRET, ORGANIZATIONS="on", DNS_SERVER=dns.address) as live,
            serve(broken, SECRET) as unavailable,
            sync_playwright() as playwright,
        ):
            chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
            states = STATES | OTHER_STATES
            states["503"] = partial(goto, path=f"{unavailable.url}/dashboard")
            states["mailbox"] = partial(goto, path="/dev/mailbox")
            expected = [f"requested {unavailable.url}"]
            for code, (name, state) in product(CODES, states.items()):
                # Some states are in a language of their own.
                if text not in name or (code != CODES[0] and re.search(r" in [A-Z]", name)):
                    continue
                with reported(f"{name} ({code})", errors):
                    draw(chromium, live, code, name, state, folder, expected)
    write_index(folder)
    return errors


@contextmanager
def reported(name: str, errors: list[str]) -> Iterator[None]:
    """Prints an error instead of raising it, because the other states are drawn nevertheless."""
    try:
        yield
    except (AssertionError, Error) as error:
        errors.append(f"{name}: {error}")
        print(errors[-1])


def draw(
    chromium: Browser,
    live: Live,
    code: str,
    name: str,
    state: State,
    folder: Path,
    expected_errors: list[str],
) -> None:
    """Opens a state once and draws it in each size and color scheme."""
    with opened_pages(chromium, live, expected_errors) as open_page:
        admin = name in ADMIN_STATES
        signed_up = name in USER_STATES or name == "503"
        options = {"viewport": SIZES[0], "reduced_motion": "reduce", "timezone_id": "UTC"}
        user = new_user(
            open_page,
            live,
            "Ada" if admin else "Alice",
            signed_up=signed_up,
            admin=admin,
            **options,
        )
        user.choose_language(code)
        state(user)
        for size, scheme in product(SIZES, SCHEMES):
            draw_page(user, folder / f"{size['width']}-{scheme}-{code}", name, size, scheme)


def draw_page(
    user: BrowserUser, folder: Path, name: str, size: dict[str, int], scheme: str
) -> None:
    user.page.set_viewport_size(size)
    user.page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    # A sticky element would be drawn where the page is scrolled to.
    user.page.evaluate("scrollTo(0, 0)")
    file_name = re.sub(r"\W+", "-", name) + ".png"
    user.page.screenshot(path=folder / file_name, full_page=True)


def write_index(folder: Path) -> None:
    """Writes index.html, a table of all pictures in a folder."""
    variants = sorted(path.name for path in folder.glob("*-*-*"))
    names = sorted({path.name for path in folder.glob("*-*-*/*.png")})
    rows = (
        f"<tr><th>{escape(name.removesuffix('.png'))}</th>{''.join(map(partial(cell, name), variants))}"
        for name in names
    )
    heads = "".join(f"<th>{variant}</th>" for variant in variants)
    (folder / "index.html").write_text(INDEX.format(heads=heads, rows="\n".join(rows)))


def cell(name: str, variant: str) -> str:
    path = f"{variant}/{name}"
    return f'<td><a href="{path}"><img src="{path}" loading="lazy" alt="{variant}"></a>'
