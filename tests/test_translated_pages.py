"""Tests that every text of a page is in the catalog, with a language that marks its texts."""

import re
from collections.abc import Callable, Iterator
from gettext import NullTranslations
from pathlib import Path
from types import ModuleType

import httpx
import pytest

from tests.authenticator_app import set_up_app
from tests.browser_client import IPHONE, PASSWORD, Browser, Element, read
from tests.catalog_script import load_catalog_script
from tests.conftest import TestApp
from tests.mail import enabled_outbox, open_link, receive
from tests.passkeys import add_passkey
from web.languages import Language
from web.mail.samples import make_samples

ROOT = Path(__file__).parent.parent
START, END = "⟦⟧"
# Users choose the text of these elements, or it is no language: times, URLs and codes.
NO_TEXT = {"bdi", "time", "code", "kbd", "pre", "script", "style", "textarea"}
ATTRIBUTES = (
    "alt",
    "aria-label",
    "aria-roledescription",
    "placeholder",
    "title",
    "data-hx-confirm",
)
# The attributes of texts that scripts display.
DATA = (
    "data-wait",
    "data-caps",
    "data-count",
    "data-sum",
    "data-done",
    "data-missing",
    "data-found",
    "data-not-allowed-error",
    "data-invalid-state-error",
    "data-security-error",
    "data-other-error",
    "data-unsupported",
)
# Formatted times of CLDR, names of permissions, and URLs.
LOCALIZED = re.compile(
    r"\d+ (?:Oct|Nov|Dec)[a-z]*(?: \d{4})?|\b(?:Oct|Nov|Dec)\b|\d\d:\d\d UTC"
    r"|\b[a-z]+:[a-z]+\b|https?://\S+"
)
# Names and emails in attributes and options, which have no element for them.
NAMES = ("Latchkey", "Alice", "Bob", "Ada", "Grace", "Navy", "Editors", "@example.com", "CSV")
TOKEN = {"name": "Alice", "days": "7", "scope-account:read": "yes"}


class MarkingCatalog(NullTranslations):
    """Marks each text that the catalogs have, and leaves every other text as it is."""

    def __init__(self, texts: frozenset[tuple[str, ...]]) -> None:
        super().__init__()
        self.texts = {text[0] for text in texts}

    def gettext(self, message: str) -> str:
        return f"{START}{message}{END}" if message in self.texts else message

    def ngettext(self, one: str, many: str, count: int) -> str:
        text = one if count == 1 else many
        return f"{START}{text}{END}" if one in self.texts else text


def unmarked_texts(page: Element) -> Iterator[str]:
    """Yields each visible text of a page outside of the marks, and each such attribute."""
    depth = 0
    stack: list[tuple[Element | str, bool]] = [(page, True)]
    while stack:
        node, is_text = stack.pop()
        if isinstance(node, str):
            if is_text:
                depth, outside = split_marks(node, depth)
                if has_words(outside):
                    yield " ".join(outside.split())
            continue
        for name, value in node.attrs.items():
            is_checked = name in ATTRIBUTES or name in DATA or is_toast(node, name)
            if is_checked and has_words(split_marks(value, 0)[1]):
                yield f"{name}={value}"
        if node.tag != "html" and "lang" in node.attrs:
            continue  # the name of a language in itself
        is_code = "mono" in node.attrs.get("class", "").split() or "data-code" in node.attrs
        is_text = is_text and node.tag not in NO_TEXT and not is_code
        stack += [(child, is_text) for child in reversed(node.children)]


def is_toast(node: Element, name: str) -> bool:
    return node.attrs.get("id") == "toasts" and name.startswith("data-")


def split_marks(text: str, depth: int) -> tuple[int, str]:
    """Returns the depth of marks after the text, and its parts outside of marks."""
    outside = ""
    for character in text:
        depth += (character == START) - (character == END)
        if depth == 0 and character != END:
            outside += character
    return depth, outside


def has_words(text: str) -> bool:
    text = LOCALIZED.sub("", text)
    for name in NAMES:
        text = text.replace(name, "")
    return sum(character.isalpha() for character in text) > 1


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return load_catalog_script()


@pytest.fixture(scope="module")
def marking(script: ModuleType) -> Language:
    catalog = MarkingCatalog(frozenset(script.find_texts()))
    return Language("en", "English", "en-GB", catalog=catalog)


@pytest.fixture
async def app(make_app: Callable, marking: Language) -> TestApp:
    return await make_app(
        mail=enabled_outbox(), languages={"en": marking}, SESSION_REMEMBER_IDLE="30d"
    )


def report(found: dict[str, str]) -> str:
    return "\n".join(f"{request}: {text}" for text, request in found.items())


class Collected:
    """The texts of responses that are not marked, each with its first request."""

    def __init__(self) -> None:
        self.found: dict[str, str] = {}

    def add(self, request: str, answer: httpx.Response) -> None:
        for text in unmarked_texts(read(answer)):
            self.found.setdefault(text, request)

    async def get(self, user: Browser, *paths: str) -> None:
        for path in paths:
            self.add(f"GET {path}", await user.get(path))

    async def post(self, user: Browser, path: str, *forms: dict[str, str], **headers: str) -> None:
        for fields in forms:
            answer = await user.post_fragment(path, fields, **headers)
            self.add(f"POST {path}", answer)


async def test_every_text_of_the_pages_before_the_login_is_in_the_catalog(app: TestApp) -> None:
    anonymous, collected = await app.browser("Grace"), Collected()
    await app.create("Alice")
    await collected.get(
        anonymous,
        *("/", "/signup", "/login", "/login?next=/devices&ended=1", "/login?cookies=1", "/forgot"),
        *("/login?next=/account&guessed=1", "/forgot?sent=1", "/reset?done=1", "/not-me?done=1"),
        *(
            "/reset",
            "/join",
            "/keep",
            "/keep?done=1",
            "/not-me",
            "/nowhere",
            "/verify",
            "/login?left=1",
        ),
    )
    weak = {"name": "A", "email": "a", "password": "a"}
    common = {"name": "Grace", "email": "grace@gmial.com", "password": "password1!"}
    taken = {"name": "Grace", "email": "alice@example.com", "password": PASSWORD}
    await collected.post(anonymous, "/signup", {}, weak, common, taken)
    await collected.post(anonymous, "/login", {}, {"email": "a"}, taken | {"password": "x"})
    for name in ("name", "email", "password"):
        await collected.post(anonymous, f"/signup/check/{name}", weak, common, taken)
    await collected.post(anonymous, "/forgot", {}, {"email": "alice@example.com"})
    await collected.post(anonymous, "/login", weak, **{"Sec-Fetch-Site": "cross-site"})
    await collected.post(anonymous, "/login", weak, **{"Content-Type": "text/plain"})
    await collected.post(anonymous, "/login", {"email": "a" * 70_000})
    await anonymous.post("/forgot", {"email": "alice@example.com"})
    await open_link(anonymous, await receive(app, "reset"))
    await collected.get(anonymous, "/reset")
    await collected.post(anonymous, "/reset", {"password": "a"})
    assert report(collected.found) == ""


async def test_every_text_of_the_pages_of_a_user_is_in_the_catalog(app: TestApp) -> None:
    alice, collected = await app.sign_up_user("Alice"), Collected()
    await app.sign_up_user("Bob")
    await alice.post("/logout")
    collected.add("after log-out", await alice.get("/login"))
    await alice.log_in()
    phone = await app.browser("Alice", user_agent=IPHONE)
    await phone.log_in("wrong password")
    await phone.log_in()
    paths = (
        *("/dashboard", "/devices", "/account", "/account/activity", "/account/tokens"),
        *("/account/data", "/account/delete", "/handbook", "/users/alice", "/users/bob", "/verify"),
        *("/nowhere", "/admin/users"),
    )
    await collected.get(alice, *paths)
    pages = [route.path for route in app.asgi_app.router.routes if route.access.value == "members"]
    extra = {"/account/security", "/account/passkeys", "/account/authenticator"} & set(pages)
    await collected.get(alice, *extra)
    new = {"current_password": PASSWORD, "password": f"{PASSWORD} 2"}
    await collected.post(
        alice, "/account", {"name": "A", "slug": "a"}, {"slug": "bob"}, {"name": "Alice"}
    )
    await collected.post(
        alice, "/account/check/slug", {"slug": "a"}, {"slug": "bob"}, {"slug": "alice-2"}
    )
    await collected.post(alice, "/account/email", {}, {"email": "alice@example.com"})
    await collected.post(alice, "/account/email", {"email": "new@example.com"})
    await collected.get(alice, "/account")
    await collected.post(alice, "/account/email/cancel", {})
    await collected.post(alice, "/account/verify", {})
    await collected.post(alice, "/account/tokens", {}, TOKEN)
    await collected.get(alice, "/account/tokens", "/account/activity")
    await collected.post(alice, "/account/password", {}, new | {"current_password": "x"}, new)
    await collected.post(alice, "/devices/revoke-others", {})
    await collected.post(alice, "/devices/unknown/revoke", {})
    await app.change("UPDATE users SET verified_at = created_at")
    await collected.get(alice, *paths)
    await collected.post(alice, "/account/delete", {})
    alice.password = f"{PASSWORD} 2"
    await alice.log_in()
    await collected.get(alice, *paths)
    app.clock.move(days=2)
    await collected.get(alice, "/dashboard", "/devices", "/account/activity")
    assert report(collected.found) == ""


async def test_every_text_of_the_pages_of_administrators_is_in_the_catalog(app: TestApp) -> None:
    ada, collected = await app.admin(), Collected()
    await collected.get(
        ada, "/dashboard", "/admin/users", "/admin/invitations", "/admin/roles", "/admin/audit"
    )
    bob = await app.sign_up_user("Bob")
    [(bob_id,)] = await app.rows("SELECT id FROM users WHERE name = 'Bob'")
    of_bob = f"/admin/users/{bob_id}"
    await bob.get("/admin/users")
    await bob.log_in("wrong")
    await collected.post(
        ada, "/admin/add", {}, {"name": "Grace", "email": "grace@example.com", "role": "user"}
    )
    await collected.post(
        ada, "/admin/invitations", {}, {"email": "a@example.com", "role": "user", "team": "Navy"}
    )
    await collected.post(
        ada, "/admin/roles", {}, {"name": "editor", "label": "Editors", "permissions": ""}
    )
    for action, fields in (
        ("role", {"role": "admin"}),
        ("role", {"role": "nothing"}),
        ("role", {"role": "editor"}),
        ("team", {"team": "Navy"}),
        ("disable", {}),
        ("enable", {}),
        ("end-sessions", {}),
        ("delete", {}),
        ("delete", {"sure": "yes"}),
        ("keep", {}),
    ):
        await collected.post(ada, f"{of_bob}/{action}", fields)
    [(ada_id,)] = await app.rows("SELECT id FROM users WHERE name = 'Ada'")
    await collected.post(ada, f"/admin/users/{ada_id}/disable", {})
    pages = (
        *(
            "/dashboard",
            "/admin/users",
            "/admin/users?q=nobody",
            "/admin/invitations",
            "/admin/add",
        ),
        *("/admin/roles", "/admin/roles/editor", "/admin/roles/admin", "/admin/audit", of_bob),
        *(f"{of_bob}?show=data", f"{of_bob}?show=delete", "/admin/audit?event=login", "/users/bob"),
        *("/admin/audit?outcome=refused", "/admin/users/unknown", "/account/activity"),
    )
    await collected.get(ada, *pages)
    await collected.post(
        ada, "/admin/roles/editor", {"label": ""}, {"label": "Editors", "permissions": "a:b"}
    )
    await collected.post(ada, "/admin/roles/editor/delete", {})
    app.clock.move(days=2)
    await collected.get(ada, *pages)
    await collected.get(bob, "/account/activity", "/dashboard")
    assert report(collected.found) == ""


async def test_every_text_of_confirmations_is_in_the_catalog(app: TestApp) -> None:
    alice, collected = await app.sign_up_user("Alice"), Collected()
    app.clock.move(minutes=11)
    await collected.get(alice, "/confirm", "/confirm?next=/account/data")
    await collected.post(alice, "/confirm", {}, {"password": "x"}, {"password": "x", "draft": "x"})
    for path in ("/account/tokens", "/account/data", "/account/authenticator/remove"):
        await collected.post(alice, path, TOKEN)
    await collected.post(alice, "/account/tokens", {"name": "x" * 5_000})
    await alice.confirm()
    authenticator = await set_up_app(app, alice)
    await authenticator.log_in(alice)
    await add_passkey(alice)
    app.clock.move(minutes=11)
    wrong = {"credential": "x", "challenge": "x"}
    codes = ({"code": "x"}, {"code": authenticator.wrong_code()}, {"recovery_code": "x"})
    await collected.get(alice, "/confirm?next=/account/data")
    await collected.post(alice, "/confirm", {}, wrong, *codes)
    await collected.post(alice, "/account/tokens", TOKEN)
    await collected.get(alice, "/account/activity")
    assert report(collected.found) == ""


async def test_every_text_of_second_steps_is_in_the_catalog(app: TestApp) -> None:
    alice, collected = await app.sign_up_user("Alice"), Collected()
    ada, wrong = await app.admin(), {"credential": "x", "challenge": "x"}
    await collected.post(alice, "/account/passkeys", {}, wrong, wrong | {"saved": "on"})
    await collected.post(alice, "/account/authenticator", {}, {"code": "123456", "saved": "on"})
    authenticator = await set_up_app(app, alice)
    await alice.log_in()
    await collected.get(alice, "/login/factor", "/login?again=1", "/login/passkey")
    await collected.post(alice, "/login/passkey", {}, wrong)
    codes = ({"code": "x"}, {"code": authenticator.wrong_code()}, {"recovery_code": "x"})
    await collected.post(alice, "/login/factor", {}, wrong, *codes)
    await authenticator.log_in(alice)
    await collected.get(alice, "/dashboard", "/account/security", "/account/authenticator")
    await add_passkey(alice)
    pages = ("/account/passkeys", "/account/security", "/account/recovery-codes", "/dashboard")
    await collected.get(alice, *pages, "/account/activity")
    ((passkey,),) = await app.rows("SELECT id FROM passkeys")
    await collected.post(alice, f"/account/passkeys/{passkey}", {"name": ""}, {"name": "Alice"})
    await collected.post(alice, "/account/passkeys", {}, wrong)
    await collected.post(alice, "/account/recovery-codes", {}, {"saved": "on"})
    ((alice_id,),) = await app.rows("SELECT id FROM users WHERE name = 'Alice'")
    await collected.get(ada, f"/admin/users/{alice_id}", "/admin/audit")
    await collected.post(alice, f"/account/passkeys/{passkey}/remove", {})
    assert report(collected.found) == ""


async def test_every_text_of_mails_is_in_the_catalog(app: TestApp) -> None:
    found = []
    renderer = app.asgi_app.state.mail_renderer
    for sample in make_samples("en"):
        content = renderer.render(sample)
        found += [f"{sample.message_type}: {text}" for text in unmarked_texts(read(content.html))]
    assert "\n".join(found) == ""


async def test_names_of_devices_have_the_language_of_the_page(app: TestApp) -> None:
    alice, ada = await app.sign_up_user("Alice"), await app.admin()
    phone = await app.browser("Alice", user_agent=IPHONE)
    await phone.log_in()
    alice_id = (await app.viewer_of(alice)).id
    for user, paths in (
        (alice, ("/dashboard", "/devices", "/account/activity", "/account/security")),
        (ada, (f"/admin/users/{alice_id}", "/admin/audit")),
    ):
        for path in paths:
            text = read(await user.get(path)).text
            assert f"{START}Safari on iPhone{END}" in text, path
            assert "Safari on iPhone" not in text.replace(f"{START}Safari on iPhone{END}", ""), path


def test_an_unmarked_text_is_found() -> None:
    page = f'<p>{START}Hello, <bdi>Zoe</bdi>{END} <b title="Old">12 · {START}x{END}</b> Bye</p>'
    assert list(unmarked_texts(read(page))) == ["title=Old", "Bye"]
