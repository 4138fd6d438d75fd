"""Tests of the page of the recovery codes, and of the codes themselves."""

import asyncio
import re
from collections.abc import Callable
from urllib.parse import unquote

import pytest

from db.crypto.secret import Secret
from db.factors import recovery_codes
from tests.authenticator_app import AuthenticatorApp
from tests.browser_client import Browser, Element, read
from tests.conftest import TestApp

PATH = "/account/recovery-codes"
BOTH_REQUEST_TYPES = pytest.mark.parametrize("send", [Browser.post, Browser.post_fragment])
HASHES = "SELECT code_hash FROM recovery_codes ORDER BY 1"


@pytest.fixture
async def alice_with_app(app: TestApp) -> Browser:
    """Returns Alice, whose account has an authenticator app."""
    alice = await app.sign_up_user("Alice")
    form = read(await alice.get("/account/authenticator")).one("form", id="totp-form")
    key = form.one(data_totp_key=True).text.replace(" ", "")
    code = AuthenticatorApp(app.clock, key).code()
    fields = fields_of(form, code=code)
    assert (await alice.post("/account/authenticator", fields)).status_code == 303
    return alice


def fields_of(form: Element, **changes: str) -> dict[str, str]:
    """Returns the hidden fields of the form, the ticked box and the changes."""
    hidden = {field.attrs["name"]: field.attrs["value"] for field in form.all(type="hidden")}
    return {**hidden, "saved": "on", **changes}


def codes_of(form: Element) -> list[str]:
    return [item.text for item in form.all(data_code=True)]


async def open_form(user: Browser) -> Element:
    answer = await user.get(PATH)
    assert answer.status_code == 200
    return read(answer).one("form", id="codes-form")


async def use(app: TestApp, code: str) -> bool:
    """Uses a code of Alice in a transaction of its own."""
    ((user_id,),) = await app.rows("SELECT id FROM users")
    async with app.store.transaction():
        return await recovery_codes.use_code(app.store, user_id, Secret(code))


async def test_new_codes_replace_the_old_ones(app: TestApp, alice_with_app: Browser) -> None:
    before = await app.rows(HASHES)
    page = read(await alice_with_app.get(PATH))
    assert page.one(id="recovery-codes").attrs["data-left"] == "10"
    form = page.one("form", id="codes-form")
    codes = codes_of(form)
    assert len(set(codes)) == 10
    assert all(
        re.fullmatch(r"(?:[0-9A-HJKMNP-TV-Z]{4}-){5}[0-9A-HJKMNP-TV-Z]{4}", one) for one in codes
    )
    assert await app.rows(HASHES) == before  # The page alone changes nothing.
    answer = await alice_with_app.post(PATH, fields_of(form))
    assert (answer.status_code, answer.headers["location"]) == (303, "/account/security")
    page_after = await alice_with_app.get("/account/security")
    assert "New recovery codes: the old ones no longer work." in page_after.text
    stored = [row[0] for row in await app.rows(HASHES)]
    assert stored == sorted(recovery_codes.hash_code(Secret(code)) for code in codes)
    assert not {*stored} & {row[0] for row in before}
    events = await app.rows("SELECT event, detail FROM audit ORDER BY number DESC LIMIT 1")
    assert events == [("recovery.renew", "")]


async def test_the_link_downloads_the_codes(app: TestApp, alice_with_app: Browser) -> None:
    form = await open_form(alice_with_app)
    (link,) = form.all("a", download=True)
    start, _, text = link.attrs["href"].partition(",")
    assert start == "data:text/plain;charset=utf-8"
    title, *codes = unquote(text).splitlines()
    assert re.fullmatch(
        r"Recovery codes for alice@example\.com at http://\S+, \d+ \w+ 20\d\d\. Each works once\.",
        title,
    )
    assert codes == ["", *codes_of(form)]
    assert link.attrs["download"] == "latchkey-recovery-codes.txt"


@BOTH_REQUEST_TYPES
async def test_codes_must_be_saved(app: TestApp, alice_with_app: Browser, send: Callable) -> None:
    before = await app.rows(HASHES)
    form = await open_form(alice_with_app)
    answer = await send(alice_with_app, PATH, fields_of(form, saved=""))
    summary = read(answer).one(id="error-summary").text
    assert (answer.status_code, "Save the codes, then tick this box" in summary) == (422, True)
    assert codes_of(read(answer)) == codes_of(form)
    assert await app.rows(HASHES) == before


@BOTH_REQUEST_TYPES
@pytest.mark.parametrize("enrolment", ["", "a.b.c.d.e", "x" * 50_000])
async def test_an_invalid_enrollment_changes_nothing(
    app: TestApp, alice_with_app: Browser, send: Callable, enrolment: str
) -> None:
    before = await app.rows(HASHES)
    form = await open_form(alice_with_app)
    answer = await send(alice_with_app, PATH, fields_of(form, enrolment=enrolment))
    assert answer.status_code == 422
    assert "This page was open for too long" in read(answer).one(id="error-summary").text
    assert not {*codes_of(read(answer))} & {*codes_of(form)}
    assert await app.rows(HASHES) == before


async def test_an_enrollment_of_another_session_changes_nothing(
    app: TestApp, alice_with_app: Browser
) -> None:
    form = await open_form(alice_with_app)
    assert (await alice_with_app.post(PATH, fields_of(form))).status_code == 303
    before = await app.rows(HASHES)
    # The first form has started another session, so its enrollment cannot be sent again.
    assert (await alice_with_app.post(PATH, fields_of(form))).status_code == 422
    assert await app.rows(HASHES) == before


async def test_an_account_without_second_step_has_no_codes(app: TestApp, alice: Browser) -> None:
    answer = await alice.get(PATH)
    assert (answer.status_code, answer.headers["location"]) == (303, "/account/security")
    form = read(await alice.get("/account/authenticator")).one("form", id="totp-form")
    answer = await alice.post(PATH, fields_of(form))
    assert (answer.status_code, await app.count("recovery_codes")) == (409, 0)


async def test_renewals_are_rate_limited(make_app: Callable) -> None:
    app = await make_app(LIMIT_FACTOR_CHANGE="1/1h", RATE_LIMITS="enforce")
    alice = await app.sign_up_user("Alice")
    form = read(await alice.get("/account/authenticator")).one("form", id="totp-form")
    key = form.one(data_totp_key=True).text.replace(" ", "")
    fields = fields_of(form, code=AuthenticatorApp(app.clock, key).code())
    assert (await alice.post("/account/authenticator", fields)).status_code == 303
    before = await app.rows(HASHES)
    answer = await alice.post(PATH, fields_of(await open_form(alice)))
    assert (answer.status_code, "Too many changes." in answer.text) == (429, True)
    assert await app.rows(HASHES) == before


# The codes


@pytest.mark.asvs("S29")
@pytest.mark.parametrize(
    "typed",
    [
        str,
        str.lower,
        lambda code: code.replace("-", ""),
        lambda code: f"  {code.replace('-', ' ')}\n",
        lambda code: code.replace("1", "i").replace("0", "o"),
        lambda code: code.replace("1", "L").replace("0", "O"),
    ],
)
async def test_a_code_works_once_in_any_spelling(
    app: TestApp, alice_with_app: Browser, typed: Callable[[str], str]
) -> None:
    form = await open_form(alice_with_app)
    await alice_with_app.post(PATH, fields_of(form))
    code = codes_of(form)[0]
    assert await use(app, typed(code))
    assert not await use(app, typed(code))
    assert not await use(app, code)
    assert (await app.count("recovery_codes")) == 9


@pytest.mark.asvs("S29")
async def test_a_renewal_ends_the_old_codes(app: TestApp, alice_with_app: Browser) -> None:
    first = await open_form(alice_with_app)
    await alice_with_app.post(PATH, fields_of(first))
    await alice_with_app.post(PATH, fields_of(await open_form(alice_with_app)))
    assert [code for code in codes_of(first) if await use(app, code)] == []
    assert (await app.count("recovery_codes")) == 10


@pytest.mark.asvs("S29")
@pytest.mark.parametrize("length", [65, 1_000_000])
async def test_an_overlong_code_is_refused(
    app: TestApp, alice_with_app: Browser, length: int
) -> None:
    form = await open_form(alice_with_app)
    await alice_with_app.post(PATH, fields_of(form))
    assert not await use(app, codes_of(form)[0].ljust(length))
    assert (await app.count("recovery_codes")) == 10


@pytest.mark.asvs("S12", "S29")
@pytest.mark.parametrize("database_type", ["sqlite", "postgresql"])
async def test_fifty_concurrent_uses_of_a_code_have_one_success(
    app: TestApp, alice_with_app: Browser
) -> None:
    form = await open_form(alice_with_app)
    await alice_with_app.post(PATH, fields_of(form))
    code = codes_of(form)[0]
    assert sum(await asyncio.gather(*(use(app, code) for _ in range(50)))) == 1
    assert (await app.count("recovery_codes")) == 9
