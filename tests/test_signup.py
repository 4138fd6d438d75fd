"""Tests of sign-up: the form, the live check of one field, and the submit."""

import re
from collections.abc import Callable

import httpx
import pytest

from db.crypto.passwords import Passwords
from tests.browser_client import PASSWORD, Browser, Element, read, set_cookie_of
from tests.conftest import TestApp

OTHER_WAY = {"class": "other"}
FIELDS = {"name": "Charlie", "email": "charlie@example.com", "password": PASSWORD}
OTHER_PASSWORD = "another-No.7 to the sea"
NAME = "Name must be at least 2 characters long."
EMAIL = "Please enter a valid email."
LENGTH = "Be at least 8 characters long"
LETTER = "Contain at least one letter."
NUMBER = "Contain at least one number."
SPECIAL = "Contain at least one special character."
TAKEN = "An account with this email already exists."
NOT_CREATED = "An error occurred while creating your account."

MISTAKES = [
    pytest.param(
        "name", {text: [NAME] for text in ("", "A", "  ", " \tA ")}, marks=pytest.mark.guide("A6")
    ),
    pytest.param(
        "email",
        {
            text: [EMAIL]
            for text in (
                "",
                "a",
                "a@",
                "@example.com",
                "a b@example.com",
                "a@example",
                "a@b@example.com",
            )
        },
        marks=pytest.mark.guide("A7"),
    ),
    pytest.param(
        "password",
        {
            "": [LENGTH, LETTER, NUMBER, SPECIAL],
            "a": [LENGTH, NUMBER, SPECIAL],
            "a1!": [LENGTH],
            "1234567!": [LETTER],
            "abcdefg!": [NUMBER],
            "abcdefg1": [SPECIAL],
            "        ": [LETTER, NUMBER],
        },
        marks=pytest.mark.guide("A8"),
    ),
]


def errors_of(answer: httpx.Response, field: str) -> list[str]:
    """Returns the error messages beside a field of the page."""
    page = read(answer)
    if field == "password":
        rules = page.one(id="password-rules").all("li", data_met="false")
        return [rule.text.removeprefix("Missing: ") for rule in rules]
    return [
        message.text.removeprefix("Error: ")
        for message in page.one(id=f"{field}-message").all(**{"class": "err"})
    ]


async def is_database_empty(app: TestApp) -> bool:
    return (await app.count("users"), await app.count("sessions")) == (0, 0)


@pytest.mark.guide("A2", "A20", "B1")
async def test_the_form_creates_an_account_and_redirects_to_the_dashboard(
    app: TestApp, anonymous: Browser
) -> None:
    answer = await anonymous.sign_up()
    assert (answer.status_code, answer.headers["location"]) == (303, "/dashboard")
    assert read(await anonymous.get("/dashboard")).one(data_viewer_name=True).text == "Charlie"
    assert (await app.count("users"), await app.count("sessions")) == (1, 1)


@pytest.mark.guide("A2", "A20")
async def test_htmx_is_redirected_to_the_dashboard_by_a_header(anonymous: Browser) -> None:
    answer = await anonymous.post_fragment("/signup", FIELDS)
    assert (answer.status_code, answer.headers["hx-redirect"], answer.content) == (
        204,
        "/dashboard",
        b"",
    )
    assert (await anonymous.get("/dashboard")).status_code == 200


@pytest.mark.guide("A3")
@pytest.mark.asvs("S47")
async def test_every_input_has_a_label_and_the_autocomplete_of_its_purpose(
    anonymous: Browser,
) -> None:
    page = read(await anonymous.get("/signup"))
    inputs = page.one(id="signup-form").all("input")
    assert {
        (field.attrs["name"], field.attrs["type"], field.attrs["autocomplete"]) for field in inputs
    } == {
        ("name", "text", "name"),
        ("email", "email", "username"),
        ("password", "password", "new-password"),
    }
    assert all(page.one("label", **{"for": field.attrs["id"]}).text for field in inputs)
    assert page.one("input", id="email").attrs["inputmode"] == "email"


@pytest.mark.guide("A4")
async def test_command_line_clients_get_the_same_errors_as_browsers(anonymous: Browser) -> None:
    wrong = {"name": "A", "email": "a", "password": "a"}
    by_browser = await anonymous.post("/signup", wrong)
    by_curl = await anonymous.client.post(
        "/signup", data=wrong, headers={"User-Agent": "curl/8.5.0"}
    )
    assert (by_curl.status_code, by_curl.text) == (422, by_browser.text)


@pytest.mark.guide("A5", "A12", "T15")
@pytest.mark.parametrize(("field", "mistakes"), MISTAKES)
async def test_the_live_check_and_the_submit_have_the_same_errors(
    app: TestApp, anonymous: Browser, field: str, mistakes: dict[str, list[str]]
) -> None:
    for text, sentences in mistakes.items():
        live = await anonymous.post(f"/signup/check/{field}", {field: text})
        submitted = await anonymous.post("/signup", {**FIELDS, field: text})
        assert (live.status_code, submitted.status_code) == (200, 422)
        assert errors_of(live, field) == errors_of(submitted, field) == sentences, repr(text)
    assert await is_database_empty(app)


@pytest.mark.guide("A5")
async def test_the_server_enforces_the_length_of_each_field(anonymous: Browser) -> None:
    page = read(await anonymous.get("/signup"))
    for field, pattern in (("name", "{}"), ("email", "{}@example.com")):
        longest = {"name": 100, "email": 254}[field]
        text = pattern.format("x" * (longest + 1 - len(pattern.format(""))))
        errors = errors_of(await anonymous.post(f"/signup/check/{field}", {field: text}), field)
        assert errors == [f"{field.title()} must be at most {longest} characters long."]
    # With maxlength, the browser would cut pasted text without a message.
    assert all("maxlength" not in field.attrs for field in page.all("input"))
    shortest = int(page.one("input", id="name").attrs["minlength"])
    assert (
        errors_of(await anonymous.post("/signup/check/name", {"name": "x" * shortest}), "name")
        == []
    )
    assert errors_of(
        await anonymous.post("/signup/check/name", {"name": "x" * (shortest - 1)}), "name"
    ) == [NAME]


@pytest.mark.guide("A6", "A7", "T15")
async def test_name_and_email_are_trimmed(app: TestApp, anonymous: Browser) -> None:
    answer = await anonymous.post(
        "/signup", {**FIELDS, "name": "  Charlie ", "email": "\tcharlie@example.com \n"}
    )
    assert answer.status_code == 303
    assert await app.rows("SELECT name, email FROM users") == [("Charlie", "charlie@example.com")]


@pytest.mark.guide("A9")
async def test_an_invalid_form_costs_no_query_and_no_hash(app: TestApp, anonymous: Browser) -> None:
    before = app.statements, app.hashes
    for field in FIELDS:
        assert (await anonymous.post("/signup", {**FIELDS, field: ""})).status_code == 422
    assert (app.statements, app.hashes) == before


@pytest.mark.guide("A10", "A12", "A13")
@pytest.mark.parametrize("send", [Browser.post, Browser.post_fragment])
async def test_a_refused_form_shows_all_errors_at_once(anonymous: Browser, send: Callable) -> None:
    page = read(await send(anonymous, "/signup", {"name": "A", "email": "a", "password": "a1"}))
    errors = [link.text for link in page.one(id="error-summary").all("a")]
    assert errors == [NAME, EMAIL, LENGTH, SPECIAL]
    assert "Password must:" in page.one(id="error-summary").text
    assert page.one("title").text.startswith("Error: ")
    for field in FIELDS:
        described_by = page.one("input", id=field).attrs["aria-describedby"].split()
        assert page.one("input", id=field).attrs["aria-invalid"] == "true"
        assert f"{field}-message" in described_by
        assert page.one(id=f"{field}-message").attrs["aria-live"] == "polite"


@pytest.mark.guide("A13")
async def test_the_password_rules_are_shown_before_anything_is_typed(
    anonymous: Browser,
) -> None:
    field = read(await anonymous.get("/signup")).one(data_field="password")
    rules = field.one(id="password-rules").all("li", data_rule=True)
    assert "Password must:" in field.text
    assert [(rule.text, rule.attrs["data-met"]) for rule in rules] == [
        (sentence, "false") for sentence in (LENGTH, LETTER, NUMBER, SPECIAL)
    ]


@pytest.mark.guide("A11")
@pytest.mark.parametrize("send", [Browser.post, Browser.post_fragment])
async def test_a_refused_form_keeps_the_values_except_the_password(
    anonymous: Browser, send: Callable
) -> None:
    answer = await send(anonymous, "/signup", {**FIELDS, "email": "not yet"})
    page = read(answer)
    typed = {
        field.attrs["id"]: field.attrs.get("value", "")
        for field in page.one(id="signup-form").all("input")
    }
    assert (answer.status_code, typed) == (
        422,
        {"name": "Charlie", "email": "not yet", "password": ""},
    )
    assert PASSWORD not in answer.text


@pytest.mark.guide("A22")
@pytest.mark.parametrize("send", [Browser.post, Browser.post_fragment])
async def test_an_unchecked_email_is_not_shown_as_good(
    alice: Browser, anonymous: Browser, send: Callable
) -> None:
    answer = read(
        await send(anonymous, "/signup", {**FIELDS, "email": "alice@example.com", "name": ""})
    )
    assert answer.one(id="email-message").text == "We'll check this when you send the form."


@pytest.mark.guide("A22", "T10")
async def test_a_taken_email_is_refused_by_the_live_check_and_the_submit(
    app: TestApp, alice: Browser, anonymous: Browser
) -> None:
    live = await anonymous.post("/signup/check/email", {"email": " Alice@Example.com"})
    submitted = await anonymous.post(
        "/signup", {**FIELDS, "email": "ALICE@example.com", "password": OTHER_PASSWORD}
    )
    assert (live.status_code, submitted.status_code) == (200, 422)
    assert errors_of(live, "email") == errors_of(submitted, "email") == [TAKEN]
    assert anonymous.cookie is None
    assert await app.count("users") == 1


@pytest.mark.guide("A22")
async def test_a_free_email_looks_good(anonymous: Browser) -> None:
    field = read(await anonymous.post("/signup/check/email", {"email": "charlie@example.com"})).one(
        data_field="email"
    )
    assert field.one(id="email-message").text == "Looks good"
    assert field.one("input").attrs["aria-invalid"] == "false"


@pytest.mark.guide("A22")
async def test_a_live_check_answers_with_the_same_fragment_with_and_without_htmx(
    anonymous: Browser,
) -> None:
    plain = await anonymous.post("/signup/check/email", {"email": "charlie"})
    assert (
        plain.text
        == (await anonymous.post_fragment("/signup/check/email", {"email": "charlie"})).text
    )
    assert [child.tag for child in read(plain).children if isinstance(child, Element)] == ["div"]


async def test_a_live_check_costs_at_most_one_query(app: TestApp, anonymous: Browser) -> None:
    for field, text, cost in (
        ("name", "Charlie", 0),
        ("email", "charlie@example.com", 1),
        ("email", "charlie", 0),
    ):
        before = app.statements, app.hashes
        await anonymous.post(f"/signup/check/{field}", {field: text})
        assert (app.statements, app.hashes) == (before[0] + cost, before[1])


async def test_a_live_check_of_the_password_costs_nothing_and_hides_it(
    app: TestApp, anonymous: Browser
) -> None:
    before = app.statements, app.hashes
    answer = await anonymous.post("/signup/check/password", FIELDS)
    assert errors_of(answer, "password") == []
    assert PASSWORD not in answer.text
    assert (app.statements, app.hashes) == before


async def test_a_live_check_reads_only_its_own_field(anonymous: Browser) -> None:
    alone = await anonymous.post("/signup/check/name", {"name": "Charlie"})
    with_others = await anonymous.post(
        "/signup/check/name", {"name": "Charlie", "email": "x", "password": "x"}
    )
    assert with_others.text == alone.text


async def test_an_unknown_field_has_no_live_check(app: TestApp, anonymous: Browser) -> None:
    before = app.statements
    answer = await anonymous.post("/signup/check/role", {"role": "admin"})
    assert (answer.status_code, app.statements) == (404, before)


@pytest.mark.guide("A17", "T13")
async def test_a_password_is_stored_as_an_argon2id_hash(make_app: Callable) -> None:
    app = await make_app(hashing=Passwords())
    await app.sign_up_user("Alice")
    ((stored,),) = await app.rows("SELECT password_hash FROM users")
    assert stored.startswith("$argon2id$v=19$m=19456,t=2,p=1$")


@pytest.mark.asvs("S42")
@pytest.mark.parametrize(
    "password", ["a1!" + "x" * 253, "a1!" + "🔑" * 253], ids=["ascii", "emoji"]
)
async def test_a_password_of_256_characters_is_accepted(app: TestApp, password: str) -> None:
    charlie = await app.sign_up_user("Charlie", password=password)
    await charlie.post("/logout")
    assert (await charlie.log_in()).status_code == 303


@pytest.mark.asvs("S42", "S98")
@pytest.mark.parametrize("length", [257, 60_000])
async def test_a_longer_password_is_refused_before_it_is_hashed(
    app: TestApp, anonymous: Browser, length: int
) -> None:
    before = app.hashes
    answer = await anonymous.post("/signup", {**FIELDS, "password": "a1!" + "x" * (length - 3)})
    assert answer.status_code == 422
    assert (
        "Password must be at most 256 characters long."
        in read(answer).one(id="password-message").text
    )
    assert app.hashes == before
    assert await is_database_empty(app)


@pytest.mark.asvs("S98")
async def test_a_value_that_is_too_long_is_refused_before_it_is_parsed(
    app: TestApp, anonymous: Browser
) -> None:
    too_long = {
        "name": ["x" * 60_000],
        "email": ["a@" + "a." * 29_000 + "com", "@" * 20_000, "ﷺ" * 7_000],
    }
    for field, limit in (("name", 100), ("email", 254)):
        for text in too_long[field]:
            answer = await anonymous.post("/signup", {**FIELDS, field: text})
            assert errors_of(answer, field) == [
                f"{field.title()} must be at most {limit} characters long."
            ]
    assert await is_database_empty(app)


@pytest.mark.guide("A8")
@pytest.mark.asvs("S44")
async def test_the_length_policy_requires_only_length(make_app: Callable) -> None:
    app = await make_app(PASSWORD_POLICY="length")
    charlie = await app.browser("Charlie")
    rules = read(await charlie.get("/signup")).one(id="password-rules").all("li")
    assert [rule.text for rule in rules] == [LENGTH]
    assert (await charlie.post("/signup", {**FIELDS, "password": "short 1"})).status_code == 422
    assert (
        await charlie.post("/signup", {**FIELDS, "password": "twentylowercasewords"})
    ).status_code == 303


@pytest.mark.asvs("S36")
async def test_fields_that_the_form_does_not_have_are_ignored(
    app: TestApp, anonymous: Browser
) -> None:
    extra = {
        "role": "admin",
        "is_admin": "1",
        "id": "1",
        "slug": "boss",
        "team": "board",
        "password_hash": "x",
    }
    extra |= {"email_verified": "1", "created_at": "1999-01-01", "disabled_at": "", "totp": "x"}
    assert (await anonymous.post("/signup", {**FIELDS, **extra})).status_code == 303
    ((user_id, role, slug, team, stored),) = await app.rows(
        "SELECT id, role, slug, team, password_hash FROM users"
    )
    assert (role, slug, team) == ("user", "charlie", "")
    assert user_id != "1"
    assert stored != "x"
    assert (
        read(await anonymous.get("/dashboard")).one(data_dashboard=True).attrs["data-dashboard"]
        == "user"
    )


FAULTS = {
    "the account is not stored": ("users", True),
    "the account is refused": ("users", False),
    "the session is refused": ("sessions", False),
}


@pytest.mark.guide("A19", "C4")
@pytest.mark.parametrize(("table", "silently"), FAULTS.values(), ids=FAULTS)
@pytest.mark.parametrize("send", [Browser.post, Browser.post_fragment])
async def test_a_failed_insert_shows_an_error_and_changes_nothing(
    app: TestApp,
    anonymous: Browser,
    caplog: pytest.LogCaptureFixture,
    table: str,
    silently: bool,
    send: Callable,
) -> None:
    await app.break_inserts(table, silently=silently)
    answer = await send(anonymous, "/signup", FIELDS)
    page = read(answer)
    assert (answer.status_code, NOT_CREATED in page.one(id="error-summary").text) == (500, True)
    assert page.one("input", id="name").attrs["value"] == "Charlie"
    assert page.one("input", id="email").attrs["value"] == "charlie@example.com"
    assert PASSWORD not in answer.text
    assert set_cookie_of(answer) == {}
    assert await is_database_empty(app)
    assert re.search("POST /signup failed, reference [0-9a-f]{16}", caplog.text)
    await app.restore_inserts(table)
    assert (await anonymous.sign_up()).status_code == 303


@pytest.mark.guide("A19")
async def test_htmx_shows_the_error_of_a_failed_insert(app: TestApp, anonymous: Browser) -> None:
    await app.break_inserts("users", silently=True)
    partial = read(await anonymous.post_fragment("/signup", FIELDS)).one("hx-partial")
    assert partial.attrs == {"hx-target": "#signup-form", "hx-swap": "outerMorph"}
    assert NOT_CREATED in partial.one("form", id="signup-form").text


SPELLINGS = [
    "ALICE@EXAMPLE.COM",
    "Alice@example.com",
    "alice@EXAMPLE.com",
    " alice@example.com\t",
    "\ufeffalice@example.com",
    "alice@example.com\u200b",
    "\u202aalice@example.com\u202c\u3164",
    "alice@ｅxample.com",
]
LOOKALIKES = {
    "a full-width at": "alice＠example.com",
    "a small at": "alice﹫example.com",
    "a Kelvin sign": "ali\u212ae@example.com",
    "a ligature": "ﬁona@example.com",
    "a dotted capital I": "alİce@example.com",
    "a zero-width space": "ali\u200bce@example.com",
    "a Cyrillic letter": "аlice@example.com",
    "a trailing dot": "alice@example.com.",
    "two dots": "al..ice@example.com",
    "quotes": '"alice"@example.com',
    "a comment": "alice(x)@example.com",
    "a line break": "alice@example.com\nBcc: bob@example.com",
}


@pytest.mark.asvs("S19", "S18")
@pytest.mark.guide("A7")
async def test_every_spelling_of_an_email_belongs_to_one_account(
    app: TestApp, alice: Browser
) -> None:
    for spelling in SPELLINGS:
        anonymous = await app.browser("Charlie")
        fields = {**FIELDS, "email": spelling, "password": OTHER_PASSWORD}
        assert errors_of(await anonymous.post("/signup", fields), "email") == [TAKEN]
        assert (
            await anonymous.post("/login", {"email": spelling, "password": PASSWORD})
        ).status_code == 303
    assert await app.rows("SELECT email FROM users") == [("alice@example.com",)]


@pytest.mark.asvs("S19")
@pytest.mark.guide("A7")
async def test_lookalike_emails_create_no_account(
    app: TestApp, alice: Browser, anonymous: Browser
) -> None:
    for label, spelling in LOOKALIKES.items():
        typed = {**FIELDS, "email": spelling, "password": OTHER_PASSWORD}
        errors = errors_of(await anonymous.post("/signup", typed), "email")
        assert errors in ([EMAIL], [TAKEN]), label
        assert (
            await anonymous.post("/login", {"email": spelling, "password": PASSWORD + "!"})
        ).status_code == 422
    assert await app.rows("SELECT email FROM users") == [("alice@example.com",)]


@pytest.mark.asvs("S19")
async def test_a_domain_in_unicode_and_in_punycode_is_the_same(
    make_app: Callable, fast_passwords: Passwords
) -> None:
    app = await make_app(hashing=fast_passwords)
    fields = {**FIELDS, "email": "charlie@bücher.example.com"}
    assert (await (await app.browser("Charlie")).post("/signup", fields)).status_code == 303
    repeated = await (await app.browser("Charlie")).post(
        "/signup",
        {**FIELDS, "email": "charlie@XN--bcher-kva.example.com", "password": OTHER_PASSWORD},
    )
    assert errors_of(repeated, "email") == [TAKEN]
    assert await app.rows("SELECT email FROM users") == [("charlie@xn--bcher-kva.example.com",)]


async def list_audit_events(app: TestApp) -> list[tuple]:
    return await app.rows("SELECT event, outcome FROM audit ORDER BY number")


@pytest.mark.parametrize("send", [Browser.post, Browser.post_fragment])
async def test_a_repeated_sign_up_logs_in_to_the_existing_account(
    app: TestApp, anonymous: Browser, send: Callable
) -> None:
    await anonymous.sign_up()
    browser = await app.browser("Charlie")
    answer = await send(browser, "/signup", {**FIELDS, "name": "Charlie Babbage"})
    target = answer.headers.get("location") or answer.headers["hx-redirect"]
    assert (answer.status_code, target) == (303 if send is Browser.post else 204, "/dashboard")
    assert await browser.is_logged_in()
    assert await app.rows("SELECT name FROM users") == [("Charlie",)]
    assert await list_audit_events(app) == [("signup", "done"), ("login", "done")]


async def test_a_taken_email_with_another_password_does_not_log_in(
    app: TestApp, alice: Browser
) -> None:
    browser = await app.browser("Charlie", email=alice.email, password=OTHER_PASSWORD)
    assert errors_of(await browser.sign_up(), "email") == [TAKEN]
    assert browser.cookie is None
    assert await app.count("sessions") == 1
    assert await list_audit_events(app) == [
        ("signup", "done"),
        ("login", "refused"),
        ("signup", "refused"),
    ]


async def test_a_sign_up_does_not_log_in_to_a_disabled_account(
    app: TestApp, alice: Browser
) -> None:
    await app.change("UPDATE users SET disabled_at = created_at")
    browser = await app.browser("Alice")
    assert errors_of(await browser.sign_up(), "email") == [TAKEN]
    assert browser.cookie is None
    assert await app.count("sessions") == 1


async def test_every_failure_at_a_taken_email_does_the_same_work(
    app: TestApp, alice: Browser, bob: Browser
) -> None:
    await app.change("UPDATE users SET disabled_at = created_at WHERE email = 'bob@example.com'")
    work = []
    for email, password in (
        (alice.email, OTHER_PASSWORD),
        (bob.email, OTHER_PASSWORD),
        (bob.email, PASSWORD),
    ):
        before = app.statements, app.hashes
        browser = await app.browser("Charlie", email=email, password=password)
        assert (await browser.sign_up()).status_code == 422
        work.append((app.statements - before[0], app.hashes - before[1]))
    assert work == [work[0]] * 3
    assert work[0][1] == 2


def login_links(answer: httpx.Response) -> list[str]:
    """Returns the targets of the links beside the email field."""
    return [link.attrs["href"] for link in read(answer).one(id="email-message").all("a")]


async def test_a_taken_email_offers_to_log_in_instead(alice: Browser, anonymous: Browser) -> None:
    taken = {**FIELDS, "email": alice.email, "password": OTHER_PASSWORD}
    current_url = {"HX_Current_URL": "http://localhost:8000/signup?next=/devices"}
    for answer, link in (
        (await anonymous.post("/signup", taken), "/login"),
        (
            await anonymous.post_fragment("/signup", {**taken, "next": "/devices"}),
            "/login?next=/devices",
        ),
        (await anonymous.post_fragment("/signup/check/email", taken), "/login"),
        (
            await anonymous.post_fragment("/signup/check/email", taken, **current_url),
            "/login?next=/devices",
        ),
    ):
        assert login_links(answer) == [link]
    for email in ("charlie@example.com", "charlie"):
        assert login_links(await anonymous.post("/signup/check/email", {"email": email})) == []


async def test_the_requested_page_is_kept_between_log_in_and_sign_up(
    anonymous: Browser,
) -> None:
    login_url = (await anonymous.get("/devices?from=mail")).headers["location"]
    signup_url = read(await anonymous.get(login_url)).one(**OTHER_WAY).one("a").attrs["href"]
    page = read(await anonymous.get(signup_url))
    assert page.one(**OTHER_WAY).one("a").attrs["href"] == "/login?next=/devices%3Ffrom%3Dmail"
    target = page.one("input", name="next").attrs["value"]
    refused = read(await anonymous.post("/signup", {**FIELDS, "name": "", "next": target}))
    assert refused.one("input", name="next").attrs["value"] == target
    assert (await anonymous.post("/signup", {**FIELDS, "next": target})).headers[
        "location"
    ] == "/devices?from=mail"


async def test_a_sign_up_redirects_only_to_pages_of_this_site(anonymous: Browser) -> None:
    for target in ("https://evil.example/", "//evil.example", "/nowhere", "/api/session"):
        field = read(await anonymous.get(f"/signup?next={target}")).one("input", name="next")
        assert field.attrs["value"] == "/dashboard"
    answer = await anonymous.post("/signup", {**FIELDS, "next": "https://evil.example/"})
    assert answer.headers["location"] == "/dashboard"


INVISIBLE_NAMES = {
    "zero-width spaces": "\u200b\u200b\u200b",
    "bidirectional controls": "\u202e\u202d",
    "Hangul fillers": "\u3164\u3164",
    "blank braille": "\u2800\u2800",
    "tags": "\U000e0041\U000e0042",
    "one letter and invisible ones": "A\u200b\ufeff\u2800",
    "one letter with an accent": "e\u0301",
}


@pytest.mark.parametrize("name", INVISIBLE_NAMES.values(), ids=INVISIBLE_NAMES)
async def test_a_name_needs_two_visible_characters(
    app: TestApp, anonymous: Browser, name: str
) -> None:
    live = await anonymous.post("/signup/check/name", {"name": name})
    submitted = await anonymous.post("/signup", {**FIELDS, "name": name})
    assert submitted.status_code == 422
    assert (
        errors_of(live, "name")
        == errors_of(submitted, "name")
        == ["Name must be at least 2 characters long."]
    )
    assert await is_database_empty(app)


async def test_a_name_with_many_marks_on_one_letter_is_refused(
    app: TestApp, anonymous: Browser
) -> None:
    for name in ("Ch" + "\u0301" * 98, "Ch" + "\u0e49" * 98):
        answer = await anonymous.post("/signup", {**FIELDS, "name": name})
        sentence = "There are too many accents on one letter. Please remove some."
        assert (answer.status_code, errors_of(answer, "name")) == (422, [sentence])
    assert await is_database_empty(app)


async def test_names_that_need_joiners_are_stored_as_typed(app: TestApp) -> None:
    names = ["مه‌سا", "मोहन क्‍षमा", "👩‍🚀 Zoë ❤️", "🏴󠁧󠁢󠁳󠁣󠁴󠁿 Ann"]
    for number, name in enumerate(names):
        await app.sign_up_user(name, email=f"guest{number}@example.com")
    assert {row[0] for row in await app.rows("SELECT name FROM users")} == set(names)
