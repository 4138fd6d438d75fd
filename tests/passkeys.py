"""Steps with passkeys over HTTP, with an authenticator in software."""

import httpx

from tests.browser_client import Browser, Element, read
from tests.soft_authenticator import SoftAuthenticator

PAGE = "/account/passkeys"
REFUSED = "This passkey doesn't open an account here."


def passkey_form(answer: httpx.Response | str) -> Element:
    return read(answer).one("form", id="passkey-form")


def hidden_fields(form: Element) -> dict[str, str]:
    return {
        field.attrs["name"]: field.attrs.get("value", "")
        for field in form.all("input")
        if field.attrs.get("type") == "hidden"
    }


async def creation_fields(
    user: Browser, authenticator: SoftAuthenticator, **fields: str
) -> dict[str, str]:
    """Returns the fields that a browser sends to add a passkey, with the ticked checkbox."""
    answer = await user.get(PAGE)
    assert answer.status_code == 200, answer.text
    form = passkey_form(answer)
    sent = hidden_fields(form) | {"credential": authenticator.create(form.attrs["data-options"])}
    if form.all(id="saved"):
        sent["saved"] = "on"
    return sent | fields


async def add_passkey(
    user: Browser, authenticator: SoftAuthenticator | None = None, **fields: str
) -> SoftAuthenticator:
    """Adds a passkey with the form and returns its authenticator."""
    authenticator = authenticator or SoftAuthenticator()
    answer = await user.post(PAGE, await creation_fields(user, authenticator, **fields))
    assert answer.status_code == 303, answer.text
    return authenticator


async def login_fields(browser: Browser, authenticator: SoftAuthenticator) -> dict[str, str]:
    """Returns the fields that a browser sends from the log-in page."""
    form = passkey_form(await browser.get("/login"))
    return hidden_fields(form) | {"credential": authenticator.get(form.attrs["data-options"])}


async def log_in_with(
    browser: Browser, authenticator: SoftAuthenticator, **fields: str
) -> httpx.Response:
    return await browser.post("/login/passkey", await login_fields(browser, authenticator) | fields)
