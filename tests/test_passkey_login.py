"""Tests of the log-in with a passkey."""

import asyncio
import json
import random
from collections.abc import Callable
from dataclasses import replace

import pytest

from db.sessions.claims import decode_claims
from db.sessions.sudo import read_confirmation
from tests.access.test_passkey_ceremonies import GARBAGE, WRONG_GET, mutate
from tests.browser_client import HTMX, IPHONE, Browser, read
from tests.conftest import TestApp
from tests.databases import DATABASE_TYPES
from tests.mail import enabled_outbox
from tests.passkeys import REFUSED, add_passkey, log_in_with, login_fields, passkey_form
from tests.soft_authenticator import SoftAuthenticator, encode

LIMITED = {"RATE_LIMITS": "enforce"}


@pytest.fixture
async def authenticator(alice: Browser) -> SoftAuthenticator:
    """Returns an authenticator with a passkey of Alice."""
    return await add_passkey(alice)


@pytest.fixture
async def laptop(app: TestApp) -> Browser:
    """Returns a browser of Alice that has not logged in."""
    return await app.browser("Alice")


async def test_a_passkey_logs_in(
    app: TestApp, alice: Browser, laptop: Browser, authenticator: SoftAuthenticator
) -> None:
    answer = await log_in_with(laptop, authenticator)
    assert (answer.status_code, answer.headers["location"]) == (303, "/dashboard")
    assert await laptop.is_logged_in()
    ((outcome, detail),) = await app.rows(
        "SELECT outcome, detail FROM audit WHERE event = 'login' ORDER BY number DESC LIMIT 1"
    )
    assert (outcome, json.loads(detail)) == ("done", {"with": "passkey"})


async def test_htmx_is_redirected_after_a_log_in(
    laptop: Browser, authenticator: SoftAuthenticator
) -> None:
    fields = await login_fields(laptop, authenticator)
    answer = await laptop.post_fragment("/login/passkey", fields)
    assert (answer.status_code, answer.headers["hx-redirect"]) == (204, "/dashboard")
    assert await laptop.is_logged_in()


async def test_a_log_in_with_a_passkey_returns_to_the_requested_page(
    laptop: Browser, authenticator: SoftAuthenticator
) -> None:
    url = (await laptop.get("/devices")).headers["location"]
    form = passkey_form(await laptop.get(url))
    assert form.one("input", name="next").attrs["value"] == "/devices"
    answer = await log_in_with(laptop, authenticator, next="/devices")
    assert answer.headers["location"] == "/devices"


async def test_a_log_in_with_a_passkey_leads_to_no_other_site(
    laptop: Browser, authenticator: SoftAuthenticator
) -> None:
    answer = await log_in_with(laptop, authenticator, next="https://evil.example/")
    assert answer.headers["location"] == "/dashboard"


async def test_a_log_in_with_a_passkey_confirms_the_identity(
    app: TestApp, laptop: Browser, authenticator: SoftAuthenticator
) -> None:
    await log_in_with(laptop, authenticator)
    cookie = laptop.client.cookies.get("sudo")
    confirmation = read_confirmation(app.store, decode_claims(app.store, laptop.cookie), cookie)
    assert confirmation is not None
    assert confirmation.method == "passkey"


async def test_a_log_in_with_a_passkey_records_its_time_and_language(
    app: TestApp, laptop: Browser, authenticator: SoftAuthenticator
) -> None:
    ((before,),) = await app.rows("SELECT last_login_at FROM users")
    app.clock.move(hours=1)
    laptop.headers["Accept-Language"] = "de"
    await log_in_with(laptop, authenticator)
    ((last, previous, language),) = await app.rows(
        "SELECT last_login_at, previous_login_at, browser_language FROM users"
    )
    assert (previous, language) == (before, "de")
    assert last > before
    ((used_at,),) = await app.rows("SELECT last_used_at FROM passkeys")
    assert used_at == last


async def test_the_log_in_page_runs_no_statement(app: TestApp, anonymous: Browser) -> None:
    await anonymous.get("/login")
    before = app.statements
    await anonymous.get("/login")
    await anonymous.get("/login/passkey")
    assert app.statements == before


async def test_a_log_in_with_a_passkey_runs_nine_statements(
    app: TestApp, laptop: Browser, authenticator: SoftAuthenticator
) -> None:
    fields = await login_fields(laptop, authenticator)
    before = app.statements
    assert (await laptop.post("/login/passkey", fields)).status_code == 303
    assert app.statements - before <= 9


@pytest.mark.asvs("S54")
async def test_the_options_of_a_log_in_name_no_account(
    anonymous: Browser, authenticator: SoftAuthenticator
) -> None:
    options = json.loads(passkey_form(await anonymous.get("/login")).attrs["data-options"])
    assert options["allowCredentials"] == []
    assert encode(authenticator.credential_id) not in (await anonymous.get("/login")).text


async def test_each_page_has_a_challenge_of_its_own(anonymous: Browser) -> None:
    pages = [await anonymous.get(path) for path in ("/login", "/login", "/login/passkey")]
    challenges = {passkey_form(page).attrs["data-options"] for page in pages}
    assert len(challenges) == 3
    assert all(page.headers["cache-control"] == "no-store" for page in pages)


@pytest.mark.asvs("S25")
@pytest.mark.parametrize("case", WRONG_GET)
@pytest.mark.parametrize("headers", [{}, HTMX], ids=["page", "htmx"])
async def test_a_wrong_passkey_is_refused(
    app: TestApp, laptop: Browser, authenticator: SoftAuthenticator, case: str, headers: dict
) -> None:
    wrong = replace_attributes(authenticator, WRONG_GET[case])
    fields = await login_fields(laptop, authenticator)
    answer = await laptop.post("/login/passkey", fields, **headers)
    assert answer.status_code == 422
    assert REFUSED in read(answer).one(id="error-summary").text
    assert laptop.cookie is None
    assert await app.count("used_tokens") == 2  # of the creation: the challenge and the codes
    replace_attributes(authenticator, wrong)
    assert (await log_in_with(laptop, authenticator)).status_code == 303


def replace_attributes(authenticator: SoftAuthenticator, values: dict) -> dict:
    """Sets the attributes and returns their former values."""
    before = {name: getattr(authenticator, name) for name in values}
    for name, value in values.items():
        setattr(authenticator, name, value)
    return before


@pytest.mark.asvs("S25")
async def test_a_sent_log_in_cannot_be_repeated(
    app: TestApp, laptop: Browser, authenticator: SoftAuthenticator
) -> None:
    fields = await login_fields(laptop, authenticator)
    assert (await laptop.post("/login/passkey", fields)).status_code == 303
    thief = await app.browser("Charlie")
    assert (await thief.post("/login/passkey", fields)).status_code == 422
    assert thief.cookie is None


async def test_a_passkey_of_a_disabled_account_is_refused(
    app: TestApp, laptop: Browser, authenticator: SoftAuthenticator
) -> None:
    await app.change("UPDATE users SET disabled_at = created_at")
    answer = await log_in_with(laptop, authenticator)
    assert (answer.status_code, REFUSED in read(answer).text, laptop.cookie) == (422, True, None)
    await app.change("UPDATE users SET disabled_at = NULL")
    assert (await log_in_with(laptop, authenticator)).status_code == 303


async def test_an_unconfirmed_account_is_refused_if_emails_must_be_confirmed(
    make_app: Callable,
) -> None:
    app = await make_app(mail=enabled_outbox(requires_verification=False))
    alice = await app.sign_up_user("Alice")
    authenticator = await add_passkey(alice)
    strict = await make_app(app.path, mail=enabled_outbox(requires_verification=True))
    laptop = await strict.browser("Alice")
    assert (await log_in_with(laptop, authenticator)).status_code == 422
    await app.change("UPDATE users SET verified_at = created_at")
    assert (await log_in_with(laptop, authenticator)).status_code == 303


async def test_an_unknown_browser_is_reported_by_mail(make_app: Callable) -> None:
    app = await make_app(mail=enabled_outbox())
    alice = await app.sign_up_user("Alice")
    await app.change("UPDATE users SET verified_at = created_at")
    authenticator = await add_passkey(alice)
    kinds = "SELECT count(*) AS n FROM outbox WHERE kind = 'new-device'"
    phone = replace(await app.browser("Alice"), user_agent=IPHONE)
    assert (await log_in_with(phone, authenticator)).status_code == 303
    assert await app.rows(kinds) == [(1,)]
    await phone.post("/logout")
    assert (await log_in_with(phone, authenticator)).status_code == 303
    assert await app.rows(kinds) == [(1,)]


async def test_keep_me_logged_in_applies_to_a_passkey(make_app: Callable) -> None:
    app = await make_app(SESSION_IDLE="1d", SESSION_REMEMBER_IDLE="30d")
    alice = await app.sign_up_user("Alice")
    authenticator = await add_passkey(alice)
    laptop = await app.browser("Alice")
    await log_in_with(laptop, authenticator, remember="on")
    ((remembered,),) = await app.rows(
        "SELECT is_remembered FROM sessions ORDER BY created_at DESC, is_remembered DESC LIMIT 1"
    )
    assert remembered


async def test_a_passkey_of_another_domain_is_kept_and_not_accepted(
    app: TestApp, alice: Browser, laptop: Browser, authenticator: SoftAuthenticator
) -> None:
    await app.change("UPDATE passkeys SET rp_id = 'old.example.com'")
    answer = await log_in_with(laptop, authenticator)
    assert (answer.status_code, laptop.cookie) == (422, None)
    assert await app.count("passkeys") == 1
    page = await alice.get("/account/passkeys")
    assert "Made for old.example.com: it doesn't work here." in page.text
    assert passkey_form(page).attrs["data-options"].count('excludeCredentials": []') == 1


async def test_a_passkey_that_no_account_has_is_named_for_its_removal(
    app: TestApp, laptop: Browser, authenticator: SoftAuthenticator
) -> None:
    fields = await login_fields(laptop, authenticator)
    wrong = await laptop.post("/login/passkey", fields | {"challenge": "x"})
    assert "data-unknown" not in passkey_form(wrong).attrs
    await app.change("DELETE FROM passkeys")
    answer = await log_in_with(laptop, authenticator)
    assert passkey_form(answer).attrs["data-unknown"] == encode(authenticator.credential_id)


@pytest.mark.asvs("S25")
async def test_mutations_of_a_log_in_never_log_in_or_fail(
    app: TestApp, laptop: Browser, authenticator: SoftAuthenticator
) -> None:
    fields = await login_fields(laptop, authenticator)
    drawn = random.Random(25)
    for _ in range(100):
        mutated = dict(fields)
        name = drawn.choice(["credential", "credential", "credential", "challenge"])
        at = drawn.randrange(len(fields[name]))
        if name == "credential":
            mutated[name] = mutate(fields[name], drawn).replace('"platform"', '"other"')
            if json_of(mutated[name]) == json_of(fields[name]):
                continue
        else:
            mutated[name] = fields[name][:at] + chr(drawn.randrange(1, 0x250)) + fields[name][at:]
        answer = await laptop.post("/login/passkey", mutated)
        assert answer.status_code == 422, mutated
    assert laptop.cookie is None
    assert (await laptop.post("/login/passkey", fields)).status_code == 303


def json_of(text: str) -> object:
    """Returns the parts of a credential that are verified."""
    try:
        given = json.loads(text)
        return {name: given.get(name) for name in ("id", "rawId", "type", "response")}
    except ValueError:
        return text


@pytest.mark.parametrize("garbage", GARBAGE, ids=range(len(GARBAGE)))
async def test_garbage_gets_the_plain_answer(anonymous: Browser, garbage: str) -> None:
    form = passkey_form(await anonymous.get("/login"))
    challenge = form.one("input", name="challenge").attrs["value"]
    for fields in (
        {"credential": garbage, "challenge": challenge},
        {"credential": "{}", "challenge": garbage},
    ):
        answer = await anonymous.post("/login/passkey", fields)
        assert (answer.status_code, REFUSED in read(answer).text) == (422, True)
    assert (await anonymous.post("/login/passkey")).status_code == 422


async def test_wrong_passkeys_are_limited_per_client(make_app: Callable) -> None:
    app = await make_app(**LIMITED)
    alice = await app.sign_up_user("Alice")
    authenticator = await add_passkey(alice)
    laptop = await app.browser("Alice")
    for _ in range(10):
        assert (await laptop.post("/login/passkey", {"credential": "{}"})).status_code == 422
    answer = await laptop.post("/login/passkey", {"credential": "{}"})
    assert (answer.status_code, "retry-after" in answer.headers) == (429, True)
    refused = await log_in_with(laptop, authenticator)
    assert (refused.status_code, laptop.cookie) == (429, None)
    app.clock.move(minutes=2)
    assert (await log_in_with(laptop, authenticator)).status_code == 303


async def test_right_passkeys_do_not_use_up_the_limit_of_wrong_ones(make_app: Callable) -> None:
    app = await make_app(**LIMITED)
    authenticator = await add_passkey(await app.sign_up_user("Alice"))
    for _ in range(15):
        assert (await log_in_with(await app.browser("Alice"), authenticator)).status_code == 303


async def test_a_logged_in_user_is_redirected_from_the_form(alice: Browser) -> None:
    for answer in (await alice.get("/login/passkey"), await alice.post("/login/passkey")):
        assert (answer.status_code, answer.headers["location"]) == (303, "/dashboard")


async def test_a_site_at_an_ip_address_has_no_passkey_form(make_app: Callable) -> None:
    app = await make_app(BASE_URL="http://127.0.0.1:8000")
    anonymous = await app.browser("Charlie")
    assert "passkey-form" not in (await anonymous.get("/login")).text
    page = await anonymous.get("/login/passkey")
    assert "Passkeys need a domain name" in page.text
    answer = await anonymous.post("/login/passkey", {"credential": "{}"})
    assert (answer.status_code, anonymous.cookie) == (422, None)


async def test_a_passkey_of_a_parent_domain_logs_in(make_app: Callable) -> None:
    app = await make_app(BASE_URL="https://app.example.com", PASSKEY_RP_ID="example.com")
    alice = await app.sign_up_user("Alice")
    authenticator = SoftAuthenticator(origin="https://app.example.com")
    await add_passkey(alice, authenticator)
    laptop = await app.browser("Alice")
    authenticator.origin = "https://evil.example.com"
    assert (await log_in_with(laptop, authenticator)).status_code == 422
    authenticator.origin = "https://app.example.com"
    assert (await log_in_with(laptop, authenticator)).status_code == 303


@pytest.mark.parametrize("strategy", ["database", "stateless"])
@pytest.mark.parametrize("database_type", DATABASE_TYPES)
@pytest.mark.asvs("S12")
async def test_fifty_log_ins_with_one_challenge_start_one_session(
    make_app: Callable, strategy: str
) -> None:
    app = await make_app(SESSION_STRATEGY=strategy)
    authenticator = await add_passkey(await app.sign_up_user("Alice"))
    browsers = [await app.browser("Alice") for _ in range(50)]
    fields = await login_fields(browsers[0], authenticator)
    answers = await asyncio.gather(
        *(browser.post("/login/passkey", fields) for browser in browsers)
    )
    assert sorted(answer.status_code for answer in answers) == [303] + [422] * 49
    assert sum(browser.cookie is not None for browser in browsers) == 1
