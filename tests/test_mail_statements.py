"""Tests of how many SQL statements the requests need that write mails or use their links."""

from collections.abc import Awaitable, Callable

import httpx
import pytest

from tests.browser_client import PASSWORD
from tests.mail import confirm_email, enabled_outbox, link_field, open_link, receive, url_of

NEW = "another-No.7 by the sea"
MOST_STATEMENTS = {
    "sign-up": 8,
    "dashboard": 2,
    "account": 2,
    "log-in at a known browser": 7,
    "log-in at a new browser": 9,
    "password change": 19,
    "request for a reset": 1,
    "link of a mail": 0,
    "page of the reset": 1,
    "reset": 17,
    "confirmation": 9,
}


@pytest.mark.asvs("S51")
async def test_requests_about_mails_need_few_statements(make_app: Callable) -> None:
    app, needed = await make_app(mail=enabled_outbox()), {}

    async def measure(name: str, request: Awaitable[httpx.Response]) -> None:
        before = app.statements
        assert (await request).status_code in (200, 303), name
        needed[name] = app.statements - before

    alice, charlie = await app.browser("Alice"), await app.browser("Charlie")
    await measure("sign-up", alice.sign_up())
    await confirm_email(app, alice)
    await measure("dashboard", alice.get("/dashboard"))
    await measure("account", alice.get("/account"))
    await alice.post("/logout")
    await measure("log-in at a known browser", alice.log_in())
    await measure("log-in at a new browser", (await app.browser("Alice")).log_in())
    fields = {"current_password": PASSWORD, "password": NEW}
    await measure("password change", alice.post("/account/password", fields))
    await measure("request for a reset", charlie.post("/forgot", {"email": alice.email}))
    message = await receive(app, "reset")
    await measure("link of a mail", charlie.get(url_of(message)))
    await measure("page of the reset", charlie.get("/reset"))
    fields = {"password": PASSWORD, **link_field(message)}
    await measure("reset", charlie.post("/reset", fields))
    bob = await app.sign_up_user("Bob")
    message = await receive(app, "verify", bob.email)
    await open_link(bob, message)
    await measure("confirmation", bob.post("/verify", link_field(message)))
    assert needed == MOST_STATEMENTS
