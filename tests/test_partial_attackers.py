"""Tests of attackers who have parts of an account: the password, a copy of the session cookie, the
mailbox, or two of them. docs/security.md has a row for each combination.

Alice has confirmed her email. With a second step, she has an authenticator app and recovery codes.
An attacker who has the session has no other cookie of her browser.
"""

from collections.abc import Callable, Mapping
from typing import Final

import pytest

from tests.authenticator_app import AuthenticatorApp, set_up_app
from tests.browser_client import PASSWORD, Browser, set_cookie_of
from tests.conftest import TestApp
from tests.mail import (
    Message,
    confirm_email,
    deliver,
    enabled_outbox,
    link_field,
    open_link,
    receive,
)

CHOSEN = "chosen-No.7 by an attacker"
SENSITIVE: Final[Mapping[str, Mapping[str, str]]] = {
    "/account/email": {"email": "mallory@example.com"},
    "/account/tokens": {"name": "Backup", "days": "30", "scope-account:read": "yes"},
    "/account/data": {},
    "/account/delete": {},
    "/account/passkeys": {"credential": "{}", "challenge": "x"},
    "/account/authenticator": {"code": "123456", "enrolment": "x", "saved": "on"},
    "/account/authenticator/remove": {},
    "/account/recovery-codes": {"enrolment": "x", "saved": "on"},
}
PAGES_WITH_SECRETS: Final = (
    "/account/data",
    "/account/passkeys",
    "/account/authenticator",
    "/account/recovery-codes",
)


@pytest.fixture(params=["database", "stateless"])
def environ(environ: dict[str, str], request: pytest.FixtureRequest) -> dict[str, str]:
    """Runs the tests with both session strategies."""
    return environ | {"SESSION_STRATEGY": request.param}


@pytest.fixture
async def app(make_app: Callable) -> TestApp:
    return await make_app(mail=enabled_outbox())


@pytest.fixture
async def owner(app: TestApp, alice: Browser) -> Browser:
    """Returns the browser of Alice, whose account has no second step."""
    await confirm_email(app, alice)
    app.clock.move(seconds=1)
    return alice


@pytest.fixture
async def factor(app: TestApp, owner: Browser) -> AuthenticatorApp:
    """Adds a second step to the account, with which Alice logs in again."""
    factor = await set_up_app(app, owner)
    owner.client.cookies.clear()
    assert (await factor.log_in(owner)).status_code == 303
    await deliver(app)
    app.clock.move(seconds=1)
    return factor


async def attacker_of(app: TestApp) -> Browser:
    """Returns a browser of the attacker, which types the email of Alice."""
    return await app.browser("Alice")


async def protected_state(app: TestApp) -> list[list[tuple]]:
    """Returns what only a confirmed user may change."""
    return [
        await app.rows(sql)
        for sql in (
            "SELECT email, delete_at, has_factor FROM users",
            "SELECT user_id FROM access_tokens",
            "SELECT id FROM passkeys",
            "SELECT secret FROM totp",
            "SELECT code_hash FROM recovery_codes ORDER BY code_hash",
            "SELECT purpose FROM tokens WHERE purpose = 'change'",
        )
    ]


async def assert_unconfirmed(app: TestApp, attacker: Browser) -> None:
    """Checks that the browser has a session, and can neither change nor read what is sensitive."""
    assert await attacker.is_logged_in()
    before = await protected_state(app)
    for path, fields in SENSITIVE.items():
        assert (await attacker.post(path, dict(fields))).status_code == 403, path
    for path in PAGES_WITH_SECRETS:
        answer = await attacker.get(path)
        assert answer.headers["location"] == f"/confirm?next={path}"
    assert await protected_state(app) == before


async def assert_outside(app: TestApp, attacker: Browser) -> None:
    """Checks that the browser is not logged in and gets nothing from the API."""
    for path in ("/dashboard", "/account", "/account/security", *PAGES_WITH_SECRETS):
        answer = await attacker.get(path)
        assert (answer.status_code, answer.headers["location"][:6]) == (303, "/login")
    assert (await attacker.get("/api/forward")).status_code == 401
    assert (await attacker.get("/api/account")).status_code == 401
    assert (await attacker.post("/api/token", {"audience": ""})).status_code == 401


async def assert_stopped_at_the_second_step(
    app: TestApp, attacker: Browser, factor: AuthenticatorApp
) -> None:
    """Checks that the password leads to the second step, and that this one keeps them out."""
    answer = await attacker.log_in()
    assert (answer.status_code, answer.headers["location"]) == (303, "/login/factor")
    assert set(set_cookie_of(answer)) == {"claim"}
    for fields in (
        {"code": factor.wrong_code()},
        {"recovery_code": "0000-0000-0000-0000-0000-0000"},
        {"credential": "{}", "challenge": "x"},
        {"password": attacker.password},
    ):
        assert (await attacker.post("/login/factor", fields)).status_code == 422
    await assert_outside(app, attacker)


async def reset(app: TestApp, mail: Message) -> Browser:
    """Chooses a password by the link of a mail, and returns the browser of the attacker."""
    attacker = await app.browser("Alice", password=CHOSEN)
    await open_link(attacker, mail)
    answer = await attacker.post("/reset", {"password": CHOSEN, **link_field(mail)})
    assert (answer.status_code, "session" in set_cookie_of(answer)) == (303, False)
    app.clock.move(seconds=1)
    return attacker


async def reset_by_mail(app: TestApp) -> Browser:
    """Asks for a mail, and chooses a password by its link."""
    attacker = await app.browser("Alice")
    await attacker.post("/forgot", {"email": attacker.email})
    return await reset(app, await receive(app, "reset"))


async def lock(app: TestApp, attacker: Browser, mail: Message) -> None:
    """Locks the account by the "this wasn't me" link of a mail."""
    await open_link(attacker, mail)
    answer = await attacker.post("/not-me", {"sure": "yes", **link_field(mail)})
    assert answer.headers["location"] == "/not-me?done=1"


# An account without a second step


@pytest.mark.asvs("A01")
async def test_the_password_opens_an_account_without_a_second_step(
    app: TestApp, owner: Browser
) -> None:
    attacker = await attacker_of(app)
    assert (await attacker.log_in()).headers["location"] == "/dashboard"
    assert "alice@example.com" in (await attacker.post("/account/data")).text
    assert (await attacker.post("/account/delete")).status_code == 303
    assert (await app.rows("SELECT delete_at FROM users"))[0][0] is not None


@pytest.mark.asvs("A01")
async def test_the_mail_about_a_log_in_ends_what_an_attacker_has_added(
    app: TestApp, owner: Browser
) -> None:
    attacker = await attacker_of(app)
    await attacker.log_in()
    mail = await receive(app, "new-device")
    await set_up_app(app, attacker)
    await lock(app, owner, mail)
    assert await app.rows("SELECT password_hash, has_factor FROM users") == [("!", False)]
    assert (await app.count("totp"), await app.count("recovery_codes")) == (0, 0)
    assert (await attacker.log_in()).status_code == 422
    assert not await attacker.is_logged_in()


@pytest.mark.asvs("A02", "S30")
async def test_a_session_alone_makes_no_sensitive_change(app: TestApp, owner: Browser) -> None:
    attacker = await app.attacker_with_cookie_of(owner)
    await assert_unconfirmed(app, attacker)
    assert (await attacker.confirm("guessed-No.1 at all")).status_code == 422
    passwords = {"current_password": "guessed-No.1 at all", "password": CHOSEN}
    assert (await attacker.post("/account/password", passwords)).status_code == 422
    await assert_unconfirmed(app, attacker)
    profile = {"name": "Mallory", "slug": "mallory", "phone": ""}
    assert (await attacker.post("/account", profile)).status_code == 303
    assert await app.rows("SELECT name FROM users") == [("Mallory",)]
    assert (await attacker.post("/devices/revoke-all")).status_code == 303
    assert not await owner.is_logged_in()
    app.clock.move(seconds=1)
    assert (await owner.log_in()).status_code == 303


@pytest.mark.asvs("A03")
async def test_the_mailbox_opens_an_account_without_a_second_step(
    app: TestApp, owner: Browser
) -> None:
    attacker = await reset_by_mail(app)
    assert (await attacker.log_in()).headers["location"] == "/dashboard"
    assert not await owner.is_logged_in()
    assert "alice@example.com" in (await attacker.post("/account/data")).text


@pytest.mark.asvs("A04")
async def test_session_and_password_take_over_without_a_second_step(
    app: TestApp, owner: Browser
) -> None:
    attacker = await app.attacker_with_cookie_of(owner)
    assert (await attacker.confirm(PASSWORD)).status_code == 303
    assert (await attacker.post("/account/tokens", dict(SENSITIVE["/account/tokens"]))).is_success
    assert await app.count("access_tokens") == 1
    passwords = {"current_password": PASSWORD, "password": CHOSEN}
    assert (await attacker.post("/account/password", passwords)).status_code == 303
    assert (await owner.is_logged_in(), await attacker.is_logged_in()) == (False, True)
    owner_again = await reset_by_mail(app)
    assert (await owner_again.log_in()).status_code == 303
    assert (await attacker.is_logged_in(), await app.count("access_tokens")) == (False, 0)


@pytest.mark.asvs("A05")
async def test_password_and_mailbox_take_over_without_a_second_step(
    app: TestApp, owner: Browser
) -> None:
    attacker = await attacker_of(app)
    assert (await attacker.log_in()).headers["location"] == "/dashboard"
    await attacker.post("/account/email", dict(SENSITIVE["/account/email"]))
    mail = await receive(app, "change", "mallory@example.com")
    await open_link(attacker, mail)
    assert (await attacker.post("/change-email", link_field(mail))).status_code == 303
    moved = await receive(app, "moved")
    assert moved.recipient == "alice@example.com"
    await lock(app, owner, moved)
    assert await app.rows("SELECT email FROM users") == [("alice@example.com",)]


@pytest.mark.asvs("A06")
async def test_session_and_mailbox_take_over_without_a_second_step(
    app: TestApp, owner: Browser
) -> None:
    thief = await app.attacker_with_cookie_of(owner)
    await assert_unconfirmed(app, thief)
    attacker = await reset_by_mail(app)
    assert not await thief.is_logged_in()
    assert (await attacker.log_in()).headers["location"] == "/dashboard"


# An account with a second step


@pytest.mark.asvs("A07", "S09", "S115")
async def test_the_password_alone_stops_at_the_second_step(
    app: TestApp, owner: Browser, factor: AuthenticatorApp
) -> None:
    before = await protected_state(app)
    attacker = await attacker_of(app)
    await assert_stopped_at_the_second_step(app, attacker, factor)
    signed_up = await attacker.sign_up()
    assert signed_up.headers["location"] == "/login/factor"
    assert await owner.is_logged_in()
    assert await protected_state(app) == before
    assert (await receive(app, "second-step")).recipient == "alice@example.com"


@pytest.mark.asvs("A08", "S30")
async def test_a_session_alone_removes_no_second_step(
    app: TestApp, owner: Browser, factor: AuthenticatorApp
) -> None:
    attacker = await app.attacker_with_cookie_of(owner)
    await assert_unconfirmed(app, attacker)
    assert (await attacker.post("/confirm", {"code": factor.wrong_code()})).status_code == 422
    app.clock.move(seconds=30)
    assert (await owner.post("/confirm", {"code": factor.code()})).status_code == 303
    await assert_unconfirmed(app, attacker)
    assert (await owner.post("/logout")).status_code == 303
    if app.store.strategy == "database":
        await assert_outside(app, attacker)


@pytest.mark.asvs("A09", "S15", "S115")
async def test_the_mailbox_alone_changes_the_password_and_logs_nobody_in(
    app: TestApp, owner: Browser, factor: AuthenticatorApp
) -> None:
    before = await protected_state(app)
    attacker = await reset_by_mail(app)
    await assert_stopped_at_the_second_step(app, attacker, factor)
    assert not await owner.is_logged_in()
    assert await protected_state(app) == before
    owner_again = await reset_by_mail(app)
    assert (await factor.log_in(owner_again)).status_code == 303


@pytest.mark.asvs("A09")
async def test_a_link_that_is_newer_than_the_second_step_keeps_it(
    app: TestApp, owner: Browser, factor: AuthenticatorApp
) -> None:
    app.clock.move(minutes=1)
    attacker = await reset_by_mail(app)
    await lock(app, attacker, await receive(app, "password"))
    attacker = await reset(app, await receive(app, "locked"))
    await assert_stopped_at_the_second_step(app, attacker, factor)


@pytest.mark.asvs("A10")
@pytest.mark.parametrize("days", [6, 7])
async def test_an_older_link_removes_the_second_step_for_seven_days(
    app: TestApp, owner: Browser, days: int
) -> None:
    """The limit: the mailbox alone undoes a second step while such a link works."""
    other = await app.browser("Alice")
    assert (await other.log_in()).status_code == 303
    mail = await receive(app, "new-device")
    app.clock.move(minutes=1)
    await set_up_app(app, owner)
    app.clock.move(days=days)
    attacker = await app.browser("Alice")
    assert mail.token is not None
    await attacker.get(f"/not-me/{mail.token.reveal()}")
    await attacker.post("/not-me", {"sure": "yes", **link_field(mail)})
    assert await app.count("totp") == (0 if days < 7 else 1)
    if days < 7:
        attacker = await reset(app, await receive(app, "locked"))
        assert (await attacker.log_in()).headers["location"] == "/dashboard"


@pytest.mark.asvs("A11", "S30", "S115")
async def test_session_and_password_remove_no_second_step(
    app: TestApp, owner: Browser, factor: AuthenticatorApp
) -> None:
    attacker = await app.attacker_with_cookie_of(owner)
    assert (await attacker.confirm(PASSWORD)).status_code == 422
    await assert_unconfirmed(app, attacker)
    passwords = {"current_password": PASSWORD, "password": CHOSEN}
    answer = await attacker.post("/account/password", passwords)
    assert (answer.status_code, "sudo" in set_cookie_of(answer)) == (303, False)
    assert not await owner.is_logged_in()
    await assert_unconfirmed(app, attacker)
    owner_again = await reset_by_mail(app)
    assert (await factor.log_in(owner_again)).status_code == 303
    assert not await attacker.is_logged_in()


@pytest.mark.asvs("A12", "S15", "S115")
async def test_password_and_mailbox_stop_at_the_second_step(
    app: TestApp, owner: Browser, factor: AuthenticatorApp
) -> None:
    await assert_stopped_at_the_second_step(app, await attacker_of(app), factor)
    attacker = await reset_by_mail(app)
    await assert_stopped_at_the_second_step(app, attacker, factor)
    await lock(app, attacker, await receive(app, "second-step"))
    attacker = await reset(app, await receive(app, "locked"))
    await assert_stopped_at_the_second_step(app, attacker, factor)


@pytest.mark.asvs("A13", "S15", "S30")
async def test_session_and_mailbox_remove_no_second_step(
    app: TestApp, owner: Browser, factor: AuthenticatorApp
) -> None:
    thief = await app.attacker_with_cookie_of(owner)
    await assert_unconfirmed(app, thief)
    attacker = await reset_by_mail(app)
    await assert_outside(app, thief)
    await assert_stopped_at_the_second_step(app, attacker, factor)
