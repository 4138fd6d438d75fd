"""Tests of the page on which users confirm that it's them, and of the form that waits for it."""

import base64
from collections.abc import Callable

import httpx
import pyotp
import pytest

from db.crypto.secret import Secret
from db.factors import recovery_codes, totp
from db.sessions.claims import decode_claims
from db.sessions.drafts import MAX_DRAFT_CHARS, encode_draft
from tests.browser_client import HTMX, PASSWORD, Browser, read, set_cookie_of
from tests.conftest import Clock, TestApp
from tests.mail import enabled_outbox

APP_SECRET = Secret(b"12345678901234567890")
TOKEN = {"name": "Backup", "days": "30", "scope-account:read": "yes"}


@pytest.fixture(params=["database", "stateless"])
async def app(make_app: Callable, request: pytest.FixtureRequest) -> TestApp:
    return await make_app(mail=enabled_outbox(), SESSION_STRATEGY=request.param)


async def add_app(app: TestApp, user: Browser) -> list[str]:
    """Gives the account an authenticator app and recovery codes, and returns the codes."""
    viewer = await app.viewer_of(user)
    codes = recovery_codes.draw_codes()
    async with app.store.transaction():
        await totp.set_app(app.store, viewer.id, APP_SECRET, 0)
        hashes = [recovery_codes.hash_code(code) for code in codes]
        await recovery_codes.replace_codes(app.store, viewer.id, hashes)
    await app.change(f"UPDATE users SET has_factor = TRUE WHERE id = '{viewer.id}'")
    return [code.reveal() for code in codes]


def code_at(clock: Clock) -> str:
    secret = base64.b32encode(APP_SECRET.reveal()).decode()
    return pyotp.TOTP(secret).at(clock())


def hidden_fields(answer: httpx.Response) -> dict[str, str]:
    form = read(answer).one(id="confirm-form")
    return {e.attrs["name"]: e.attrs["value"] for e in form.all("input", type="hidden")}


async def interrupted(app: TestApp, user: Browser) -> dict[str, str]:
    """Sends the form of a new access token too late, and returns the fields of the page."""
    app.clock.move(minutes=11)
    answer = await user.post("/account/tokens", TOKEN)
    assert answer.status_code == 403
    return hidden_fields(answer)


async def confirm_entries(app: TestApp) -> list[tuple]:
    return await app.rows("SELECT event, outcome FROM audit WHERE event = 'confirm'")


@pytest.mark.asvs("S30")
async def test_the_password_confirms_an_account_without_a_second_step(
    app: TestApp, alice: Browser
) -> None:
    app.clock.move(minutes=11)
    page = read(await alice.get("/confirm?next=/account/data"))
    assert "To download your data, confirm that it's you." in page.text
    assert [field.attrs["name"] for field in page.one(id="confirm-form").all("input")] == [
        *("viewer", "next", "password")
    ]
    answer = await alice.confirm(next="/account/data")
    assert (answer.status_code, answer.headers["location"]) == (303, "/account/data")
    assert "sudo" in set_cookie_of(answer)
    assert (await alice.get("/account/data")).status_code == 200
    assert await confirm_entries(app) == [("confirm", "done")]


@pytest.mark.asvs("S30")
async def test_a_wrong_password_confirms_nothing_and_keeps_the_draft(
    app: TestApp, alice: Browser
) -> None:
    hidden = await interrupted(app, alice)
    answer = await alice.confirm("wrong-No.1 at all", **hidden)
    assert (answer.status_code, "sudo" in set_cookie_of(answer)) == (422, False)
    assert "This is not your current password." in read(answer).one(id="error-summary").text
    assert "To create an access token, confirm that it's you." in read(answer).text
    assert hidden_fields(answer) == hidden
    assert await app.count("access_tokens") == 0
    assert await confirm_entries(app) == [("confirm", "refused")]
    answer = await alice.confirm(**hidden)
    assert read(answer).one(id="new-token").text.startswith("lk_")
    assert await app.count("access_tokens") == 1


@pytest.mark.parametrize("headers", [{}, HTMX])
async def test_a_confirmation_opens_the_page_that_was_requested(
    app: TestApp, alice: Browser, headers: dict[str, str]
) -> None:
    app.clock.move(minutes=11)
    current = {"HX-Current-URL": f"{app.settings.base_url}/account/security"} if headers else {}
    answer = await alice.get("/account/recovery-codes", **headers, **current)
    location = answer.headers["hx-redirect" if headers else "location"]
    assert location == "/confirm?next=/account/recovery-codes"
    answer = await alice.confirm(next="/account/recovery-codes")
    assert answer.headers["location"] == "/account/recovery-codes"


async def test_a_confirmed_user_is_redirected_from_the_page(alice: Browser) -> None:
    answer = await alice.get("/confirm?next=/account")
    assert (answer.status_code, answer.headers["location"]) == (303, "/account")


@pytest.mark.parametrize("target", ["https://evil.example", "//evil.example", "/nowhere", "/login"])
async def test_a_confirmation_leads_to_no_other_site(alice: Browser, target: str) -> None:
    assert (await alice.confirm(next=target)).headers["location"] == "/dashboard"


@pytest.mark.asvs("S30", "S115")
async def test_the_password_does_not_confirm_an_account_with_a_second_step(
    app: TestApp, alice: Browser
) -> None:
    await add_app(app, alice)
    hidden = await interrupted(app, alice)
    answer = await alice.confirm(**hidden)
    assert (answer.status_code, "sudo" in set_cookie_of(answer)) == (422, False)
    assert await app.count("access_tokens") == 0
    page = read(await alice.get("/confirm"))
    names = [field.attrs["name"] for field in page.one(id="confirm-form").all("input")]
    assert names == ["viewer", "code", "recovery_code"]


@pytest.mark.asvs("S30")
async def test_a_code_of_the_app_confirms_once(app: TestApp, alice: Browser) -> None:
    await add_app(app, alice)
    hidden = await interrupted(app, alice)
    wrong = await alice.post("/confirm", {"code": "000000", **hidden})
    assert (wrong.status_code, hidden_fields(wrong)) == (422, hidden)
    code = code_at(app.clock)
    answer = await alice.post("/confirm", {"code": code, **hidden})
    assert (answer.status_code, "sudo" in set_cookie_of(answer)) == (200, True)
    assert await app.count("access_tokens") == 1
    again = await alice.post("/confirm", {"code": code})
    assert (again.status_code, "sudo" in set_cookie_of(again)) == (422, False)


async def test_a_confirmation_without_a_code_is_not_an_attempt(
    app: TestApp, alice: Browser
) -> None:
    await add_app(app, alice)
    hidden = await interrupted(app, alice)
    answer = await alice.post("/confirm", {"code": "", "recovery_code": "", **hidden})
    assert (answer.status_code, hidden_fields(answer)) == (422, hidden)
    summary = read(answer).one(id="error-summary")
    assert "Type a code or a recovery code." in summary.text
    assert await confirm_entries(app) == []


@pytest.mark.asvs("S29")
async def test_a_recovery_code_confirms_once(app: TestApp, alice: Browser) -> None:
    code, *_ = await add_app(app, alice)
    app.clock.move(minutes=11)
    answer = await alice.post("/confirm", {"recovery_code": code, "next": "/account/data"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/account/data")
    assert await app.count("recovery_codes") == 9
    assert await app.count("audit WHERE event = 'recovery.use'") == 1
    again = await alice.post("/confirm", {"recovery_code": code})
    assert (again.status_code, "sudo" in set_cookie_of(again)) == (422, False)


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"code": "", "recovery_code": ""},
        {"code": "1" * 5000},
        {"recovery_code": "x" * 5000},
        {"credential": "{}", "challenge": "x"},
        {"credential": "[" * 3000},
        {"password": PASSWORD},
    ],
)
async def test_anything_else_confirms_nothing(
    app: TestApp, alice: Browser, given: dict[str, str]
) -> None:
    await add_app(app, alice)
    app.clock.move(minutes=11)
    answer = await alice.post("/confirm", given)
    assert (answer.status_code, "sudo" in set_cookie_of(answer)) == (422, False)
    assert (await alice.get("/account/data")).status_code == 303


async def test_an_account_with_nothing_to_confirm_with_is_told_how_to_get_it(
    app: TestApp, alice: Browser
) -> None:
    await app.change("UPDATE users SET password_hash = '!'")
    app.clock.move(minutes=11)
    page = read(await alice.get("/confirm?next=/account/data"))
    assert "Your account has no password yet" in page.one(id="confirm-form").text
    answer = await alice.confirm()
    assert (answer.status_code, "sudo" in set_cookie_of(answer)) == (422, False)


# The draft


@pytest.mark.asvs("S30")
async def test_a_tampered_draft_is_not_sent(app: TestApp, alice: Browser) -> None:
    hidden = await interrupted(app, alice)
    head, _, tail = hidden["draft"].rpartition(".")
    for draft in (f"{head}.{tail[::-1]}", "x", "a.b.c.d.e", "x" * 50_000, ""):
        answer = await alice.confirm(**hidden | {"draft": draft})
        assert (answer.status_code, answer.headers["location"]) == (303, hidden["next"])
    assert await app.count("access_tokens") == 0


@pytest.mark.asvs("S30")
async def test_a_draft_of_another_session_or_account_is_not_sent(
    app: TestApp, alice: Browser, bob: Browser
) -> None:
    hidden = await interrupted(app, alice)
    phone = await app.browser("Alice")
    await phone.log_in()
    assert (await phone.confirm(draft=hidden["draft"])).status_code == 303
    assert (await bob.confirm(draft=hidden["draft"])).status_code == 303
    assert await app.count("access_tokens") == 0


@pytest.mark.asvs("S30")
async def test_an_expired_draft_is_not_sent(app: TestApp, alice: Browser) -> None:
    hidden = await interrupted(app, alice)
    app.clock.move(minutes=10)
    assert (await alice.confirm(**hidden)).status_code == 303
    assert await app.count("access_tokens") == 0


@pytest.mark.asvs("S30")
@pytest.mark.parametrize(
    "path", ["/logout", "/account", "/devices/revoke-all", "/nowhere", "/api/token"]
)
async def test_a_draft_for_a_row_without_a_confirmation_is_not_sent(
    app: TestApp, alice: Browser, path: str
) -> None:
    claims = decode_claims(app.store, alice.cookie)
    draft = encode_draft(app.store, claims, path, "", {"name": "Changed"})
    answer = await alice.confirm(draft=draft.reveal())
    assert (answer.status_code, answer.headers["location"]) == (303, "/dashboard")
    assert await alice.is_logged_in()
    assert await app.rows("SELECT name FROM users") == [("Alice",)]


@pytest.mark.asvs("S11")
@pytest.mark.parametrize("purpose", ["claim", "sudo", "challenge", "enrollment"])
async def test_a_token_of_another_purpose_is_no_draft(
    app: TestApp, alice: Browser, purpose: str
) -> None:
    claims = decode_claims(app.store, alice.cookie)
    draft = encode_draft(app.store, claims, "/account/tokens", "", TOKEN)
    content = dict(app.store.encrypted_tokens.decrypt("draft", draft.reveal()))
    other = app.store.encrypted_tokens.encrypt(purpose, content)
    assert (await alice.confirm(draft=other.reveal())).status_code == 303
    assert await app.count("access_tokens") == 0


@pytest.mark.parametrize(
    "fields",
    [{"email": "new@example.com", "password": "x"}, {"email": "x" * MAX_DRAFT_CHARS}],
    ids=["password", "long"],
)
async def test_passwords_and_long_forms_are_typed_again(
    app: TestApp, alice: Browser, fields: dict[str, str]
) -> None:
    app.clock.move(minutes=11)
    referer = f"{app.settings.base_url}/account"
    answer = await alice.post("/account/email", fields, Referer=referer)
    assert answer.status_code == 403
    hidden = hidden_fields(answer)
    assert ("draft" in hidden, hidden["next"]) == (False, "/account")
    assert "fill in the form again" in answer.text
    assert fields["email"] not in answer.text


@pytest.mark.asvs("S30")
async def test_headers_of_htmx_do_not_reach_the_form_that_waits(
    app: TestApp, alice: Browser
) -> None:
    hidden = await interrupted(app, alice)
    fields = {"password": PASSWORD, **hidden}
    answer = await alice.post_fragment("/confirm", fields)
    assert answer.status_code == 200
    assert answer.text.lower().startswith("<!doctype html>")
    assert await app.count("access_tokens") == 1


async def test_a_form_that_waits_is_sent_below_the_base_path(make_app: Callable) -> None:
    app = await make_app(BASE_PATH="/members")
    alice = await app.sign_up_user("Alice")
    app.clock.move(minutes=11)
    answer = await alice.get("/account/data")
    assert answer.headers["location"] == "/members/confirm?next=/members/account/data"
    page = read(await alice.get("/confirm?next=/members/account/data"))
    assert "To download your data, confirm that it's you." in page.text
    hidden = hidden_fields(await alice.post("/account/tokens", TOKEN))
    answer = await alice.confirm(**hidden)
    assert read(answer).one(id="new-token").text.startswith("lk_")
    assert await app.count("access_tokens") == 1


async def test_a_refused_form_that_waited_is_shown_with_its_errors(
    app: TestApp, alice: Browser
) -> None:
    app.clock.move(minutes=11)
    hidden = hidden_fields(await alice.post("/account/tokens", TOKEN | {"name": ""}))
    answer = await alice.confirm(**hidden)
    assert (answer.status_code, "sudo" in set_cookie_of(answer)) == (422, True)
    assert read(answer).one(id="token-form")
    assert await app.count("access_tokens") == 0
    assert (await alice.post("/account/tokens", TOKEN)).status_code == 200


async def test_a_form_that_logs_out_takes_the_confirmation_with_it(
    app: TestApp, alice: Browser
) -> None:
    app.clock.move(minutes=11)
    hidden = hidden_fields(await alice.post("/account/delete"))
    answer = await alice.confirm(**hidden)
    cookies = set_cookie_of(answer)
    assert (cookies["session"]["max-age"], cookies["sudo"]["max-age"]) == ("0", "0")
    assert not await alice.is_logged_in()


# The cookie


@pytest.mark.asvs("S30")
async def test_a_stolen_session_is_not_confirmed_by_its_user(app: TestApp, alice: Browser) -> None:
    app.clock.move(minutes=11)
    thief = await app.attacker_with_cookie_of(alice)
    assert (await alice.confirm()).status_code == 303
    assert (await thief.post("/account/tokens", TOKEN)).status_code == 403
    assert await app.count("access_tokens") == 0


@pytest.mark.asvs("S30")
async def test_a_confirmation_counts_for_one_session_only(app: TestApp, alice: Browser) -> None:
    app.clock.move(minutes=11)
    sudo = set_cookie_of(await alice.confirm())["sudo"].value
    phone = await app.browser("Alice")
    await phone.log_in()
    app.clock.move(minutes=9)
    phone.client.cookies.set("sudo", sudo, domain="localhost.local", path="/")
    session = phone.cookie
    phone.cookie = session
    phone.client.cookies.set("sudo", sudo, domain="localhost.local", path="/")
    assert (await phone.post("/account/tokens", TOKEN)).status_code == 403


async def test_a_log_out_deletes_the_cookie(alice: Browser) -> None:
    answer = await alice.post("/logout")
    assert set_cookie_of(answer)["sudo"]["max-age"] == "0"


@pytest.mark.asvs("S06")
async def test_a_replaced_session_keeps_the_time_of_the_confirmation(
    app: TestApp, alice: Browser
) -> None:
    await add_app(app, alice)
    app.clock.move(minutes=6)
    new = "another-No.7 by the sea"
    answer = await alice.post("/account/password", {"current_password": PASSWORD, "password": new})
    assert "sudo" in set_cookie_of(answer)
    app.clock.move(minutes=3)
    assert (await alice.get("/account/data")).status_code == 200
    app.clock.move(minutes=1)
    assert (await alice.get("/account/data")).status_code == 303


# Limits


@pytest.mark.asvs("S30", "S28")
async def test_passwords_and_codes_are_rate_limited(make_app: Callable) -> None:
    app = await make_app(RATE_LIMITS="enforce")
    alice, bob = await app.sign_up_user("Alice"), await app.sign_up_user("Bob")
    await add_app(app, bob)
    app.clock.move(minutes=11)
    statuses = [(await alice.confirm("wrong-No.1 at all")).status_code for _ in range(6)]
    assert statuses == [422] * 5 + [429]
    answer = await alice.confirm()
    assert (answer.status_code, "retry-after" in answer.headers) == (429, True)
    statuses = [(await bob.post("/confirm", {"code": "000000"})).status_code for _ in range(6)]
    assert statuses == [422] * 5 + [429]
    answer = await bob.post("/confirm", {"code": code_at(app.clock)})
    assert (answer.status_code, "sudo" in set_cookie_of(answer)) == (429, False)


async def test_a_confirmation_needs_at_most_seven_statements(make_app: Callable) -> None:
    app = await make_app()
    alice = await app.sign_up_user("Alice")
    await add_app(app, alice)
    app.clock.move(minutes=11)
    await alice.get("/confirm")  # This updates the time when the session was last seen.
    before = app.statements
    assert (await alice.post("/confirm", {"code": code_at(app.clock)})).status_code == 303
    assert app.statements - before <= 7
