"""Tests of how emails with an international domain are displayed."""

import idna
import pytest

from tests.browser_client import Browser, read
from tests.conftest import TestApp
from web.rendering.display_email import display_email

DISPLAYED = [
    "bücher.example",
    "faß.de",
    "пример.рф",
    "παράδειγμα.gr",
    "日本語ラー.jp",
    "한국.kr",
    "देवनागरी.in",
    "עברית.il",
]
LOOKALIKES = {
    "Cyrillic and Latin": "раypal.com",
    "Cyrillic letters that all look like Latin": "аррӏе.com",
    "a phonetic letter": "ɡoogle.com",
    "Greek and Cyrillic": "αбв.com",
    "an invisible joiner": "نامه‌ای.com",
}
UNDECODABLE = ["xn--a", "xn--bcher-KVA", "xn--0", "xn--fa-hia-", "xn--ls8h", "xn--"]


@pytest.mark.parametrize("domain", DISPLAYED)
def test_an_international_domain_is_shown_in_unicode(domain: str) -> None:
    assert display_email(f"zoe@{idna.encode(domain).decode()}") == f"zoe@{domain}"


@pytest.mark.parametrize("domain", LOOKALIKES.values(), ids=LOOKALIKES)
def test_a_lookalike_domain_is_shown_in_ascii(domain: str) -> None:
    stored = f"zoe@mail.{idna.encode(domain).decode()}"
    assert display_email(stored) == stored


@pytest.mark.parametrize("label", UNDECODABLE)
def test_an_undecodable_domain_label_is_shown_as_stored(label: str) -> None:
    assert display_email(f"zoe@{label}.example") == f"zoe@{label}.example"


async def test_pages_show_unicode_domains_and_the_api_returns_ascii(
    app: TestApp, ada: Browser
) -> None:
    zoe = await app.sign_up_user("Zoe", email="zoe@bücher.example")
    stored, shown = "zoe@xn--bcher-kva.example", "zoe@bücher.example"
    assert await app.rows("SELECT email FROM users WHERE name = 'Zoe'") == [(stored,)]
    for user, path in (
        (zoe, "/account"),
        (zoe, "/dashboard"),
        (zoe, "/users/zoe"),
        (ada, "/admin/users"),
    ):
        text = read(await user.get(path)).one("main").text
        assert (shown in text, stored in text) == (True, False), path
    assert (await zoe.get("/api/users/zoe")).json()["email"] == stored
    assert (await zoe.post("/login", {"email": shown, "password": zoe.password})).status_code == 303
