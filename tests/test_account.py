"""Tests of the account page: profile, password and live checks."""

import asyncio
from collections.abc import Callable
from urllib.parse import urlencode

import pytest

from db.access import operator
from db.crypto.passwords import Passwords
from db.crypto.secret import Secret
from db.viewer import Operator
from tests.browser_client import HTMX, PASSWORD, Browser, Element, path_of, read, set_cookie_of
from tests.conftest import TestApp
from tests.hashing import HeldHasher
from tests.mail import enabled_outbox
from web.brand import SITE_NAME

TAKEN = "This profile URL is taken. Please choose another."
SHORT_NAME = "Name must be at least 2 characters long."
BAD_SLUG = "Use 2 to 40 characters: lowercase letters (a–z), digits and hyphens."
LONG_PHONE = "Phone must be at most 40 characters long."
WRONG = "This is not your current password. Please type it again."
NEW = "another-No.7 by the sea"
UNSTORABLE = "This contains a character we can't store. Please type it again."
RULES = [
    "Be at least 8 characters long",
    "Contain at least one letter.",
    "Contain at least one number.",
    "Contain at least one special character.",
]
BOTH_REQUEST_TYPES = pytest.mark.parametrize("send", [Browser.post, Browser.post_fragment])


@pytest.fixture
def passwords(fast_passwords: Passwords) -> Passwords:
    return fast_passwords


async def profile_of(app: TestApp, user: Browser) -> tuple[str, str, str]:
    """Returns the stored name, slug and phone."""
    sql = f"SELECT name, slug, phone FROM users WHERE email = '{user.email}'"
    return (await app.rows(sql))[0]


async def all_rows(app: TestApp) -> list[list[tuple]]:
    """Returns all rows of `users` and `sessions`, which a refused request must not change."""
    return [await app.rows(f"SELECT * FROM {table} ORDER BY id") for table in ("users", "sessions")]


async def id_of(app: TestApp, user: Browser) -> str:
    return (await app.rows(f"SELECT id FROM users WHERE email = '{user.email}'"))[0][0]


def message(page: Element, id: str) -> str:
    return page.one(id=f"{id}-message").text.removeprefix("Error: ")


def value(page: Element, id: str) -> str:
    return page.one("input", id=id).attrs.get("value", "")


def toast(page: Element) -> str:
    return page.one(data_hx_swap_oob="beforeend:#toasts").one("p").text


async def change_password(
    user: Browser, current: str, new: str, send: Callable = Browser.post, **fields: str
):
    return await send(
        user, "/account/password", {"current_password": current, "password": new, **fields}
    )


# The page


async def test_the_account_page_shows_profile_email_and_team(
    app: TestApp, alice: Browser, bob: Browser
) -> None:
    await app.change(
        "UPDATE users SET phone = '+49 30 1234', team = 'Harbour' WHERE name = 'Alice'"
    )
    page = read(await alice.get("/account"))
    assert [value(page, f"account-{name}") for name in ("name", "slug", "phone")] == [
        "Alice",
        "alice",
        "+49 30 1234",
    ]
    assert {"alice@example.com", "Harbour"} <= {
        found.text for found in page.one(id="main").all("bdi")
    }
    assert "bob" not in page.one(id="main").text.lower()


async def test_both_account_forms_contain_the_viewer_id(app: TestApp, alice: Browser) -> None:
    page = read(await alice.get("/account"))
    for form in ("account-form", "password-form"):
        assert page.one(id=form).one(name="viewer").attrs["value"] == await id_of(app, alice)


async def test_every_account_field_has_a_label_and_a_live_region(alice: Browser) -> None:
    page = read(await alice.get("/account"))
    ids = [
        "account-name",
        "account-slug",
        "account-phone",
        "password-current_password",
        "password-password",
    ]
    for id in ids:
        assert page.one("label", **{"for": id})
        assert page.one(id=f"{id}-message").attrs["aria-live"] == "polite"
        assert f"{id}-message" in page.one("input", id=id).attrs["aria-describedby"].split()
    assert [page.one(id=id).attrs["autocomplete"] for id in ids[3:]] == [
        "current-password",
        "new-password",
    ]


async def test_the_fragment_is_the_main_part_of_the_page(alice: Browser) -> None:
    page, fragment = await alice.get("/account"), await alice.get_fragment("/account")
    assert fragment.text.startswith(f"<title>Account · {SITE_NAME}</title>")
    assert fragment.text.partition("</title>\n")[2].strip() in page.text
    assert read(fragment).all("html") == []


PAGES = {
    "/account": "Profile",
    "/devices": "Devices",
    "/account/tokens": "Access tokens",
    "/account/activity": "Activity",
    "/account/data": "Data",
    "/account/delete": "Data",
}


def current_items(page: Element) -> dict[str, list[str]]:
    """Returns the marked items of each navigation by its label."""
    return {
        nav.attrs["aria-label"]: [link.text for link in nav.all("a", aria_current="page")]
        for nav in page.all("nav")
    }


@pytest.mark.parametrize(("path", "item"), PAGES.items())
async def test_each_page_of_the_account_marks_its_place(
    alice: Browser, path: str, item: str
) -> None:
    page = read(await alice.get(path))
    main = "Devices" if path == "/devices" else "Account"
    assert current_items(page) == {"Main": [main], "Account": [item]}
    assert len(page.all("h1")) == 1
    fragment = await alice.get_fragment(path)
    assert current_items(read(fragment)) == {"Account": [item]}


@pytest.mark.parametrize("strategy", ["database", "stateless"])
async def test_every_link_of_the_local_navigation_works(make_app: Callable, strategy: str) -> None:
    app = await make_app(SESSION_STRATEGY=strategy)
    alice = await app.sign_up_user("Alice")
    page = read(await alice.get("/account/activity"))
    links = {
        link.text: link.attrs["href"] for link in page.one("nav", aria_label="Account").all("a")
    }
    assert ("Devices" in links) == (strategy == "database")
    assert {"Profile", "Email", "Password", "Access tokens", "Activity", "Data"} <= set(links)
    for href in links.values():
        path, _, section = href.partition("#")
        target = read(await alice.get(path))
        assert target.one("h1")
        if section:
            assert target.one("h2", id=section).attrs["tabindex"] == "-1"


def email_state(page: Element) -> list[str]:
    form = page.one(id="email-change")
    return [tag.text for tag in form.one("dl").all("span") if "tag" in tag.attrs["class"]]


async def test_the_account_page_shows_the_state_of_the_email(make_app: Callable) -> None:
    app = await make_app(mail=enabled_outbox())
    alice = await app.sign_up_user("Alice")
    await app.change("UPDATE users SET verified_at = NULL")
    assert email_state(read(await alice.get("/account"))) == ["Not confirmed"]
    await app.change("UPDATE users SET verified_at = created_at")
    assert email_state(read(await alice.get("/account"))) == ["Confirmed"]
    change = {"email": "new@example.com"}
    fragment = read(await alice.post_fragment("/account/email", change))
    assert email_state(fragment) == ["Confirmed", "Waiting for the link"]
    assert "new@example.com" in fragment.one(id="pending-email").text
    fragment = read(await alice.post_fragment("/account/email/cancel"))
    assert email_state(fragment) == ["Confirmed"]


async def test_the_account_page_shows_when_the_password_was_changed(
    app: TestApp, alice: Browser
) -> None:
    def last_change(page: Element) -> str:
        return page.one(id="password-form").one("dl").one("dd").text

    await app.change("UPDATE users SET password_changed_at = NULL")
    assert last_change(read(await alice.get("/account"))) == "Not known"
    await app.change("UPDATE users SET password_changed_at = '2026-11-20T09:12:00.000000+00:00'")
    assert last_change(read(await alice.get("/account"))) == "20 Nov"
    answer = await alice.post_fragment(
        "/account/password", {"current_password": PASSWORD, "password": NEW}
    )
    assert last_change(read(answer)) == "just now"


# The profile


@BOTH_REQUEST_TYPES
async def test_a_profile_change_affects_no_other_user(
    app: TestApp, alice: Browser, bob: Browser, send: Callable
) -> None:
    bob_profile = await profile_of(app, bob)
    await send(
        alice,
        "/account",
        {"name": " Alice Liddell ", "slug": "alice-l", "phone": "+44 (0)20 7946-0958"},
    )
    assert await profile_of(app, alice) == ("Alice Liddell", "alice-l", "+44 (0)20 7946-0958")
    assert await profile_of(app, bob) == bob_profile


async def test_a_profile_form_without_htmx_redirects_to_the_page(alice: Browser) -> None:
    answer = await alice.post("/account", {"name": "Alice Liddell"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/account")


async def test_a_name_change_by_htmx_returns_form_toast_and_navigation(alice: Browser) -> None:
    answer = await alice.post_fragment("/account", {"name": "Alice Liddell", "slug": "alice-l"})
    fragment = read(answer)
    assert (answer.status_code, toast(fragment)) == (200, "Profile saved.")
    assert value(fragment.one(id="account-form"), "account-name") == "Alice Liddell"
    assert fragment.all(id="password-form") == fragment.all(id="main") == []
    navigation = fragment.one(id="nav", data_hx_swap_oob=True)
    assert navigation.one(id="me").one("bdi").text == "Alice Liddell"
    assert navigation.one(id="me").one("a").attrs["href"] == "/users/alice-l"


async def test_the_navigation_is_not_sent_if_the_name_is_unchanged(alice: Browser) -> None:
    fragment = read(await alice.post_fragment("/account", {"name": "Alice", "phone": "1"}))
    assert fragment.all(id="nav") == []


async def test_a_slug_change_by_htmx_returns_the_navigation(
    alice: Browser,
) -> None:
    fragment = read(await alice.post_fragment("/account", {"slug": "wonderland"}))
    assert fragment.one(id="nav").one(id="me").one("a").attrs["href"] == "/users/wonderland"


@pytest.mark.parametrize("sent", ["name", "slug", "phone"])
async def test_absent_profile_fields_stay_unchanged(
    app: TestApp, alice: Browser, sent: str
) -> None:
    before = {"name": "Alice", "slug": "alice", "phone": "+49 30 1234"}
    await alice.post("/account", before)
    assert (await alice.post("/account", {sent: "new-one"})).status_code == 303
    assert await profile_of(app, alice) == tuple((before | {sent: "new-one"}).values())


async def test_an_empty_profile_form_changes_nothing(app: TestApp, alice: Browser) -> None:
    before = await all_rows(app)
    assert (await alice.post("/account")).status_code == 303
    assert await all_rows(app) == before


async def test_an_empty_phone_removes_the_phone(app: TestApp, alice: Browser) -> None:
    await alice.post("/account", {"phone": "+49 30 1234"})
    assert (await alice.post("/account", {"phone": ""})).status_code == 303
    assert await profile_of(app, alice) == ("Alice", "alice", "")


INVALID = [
    ("name", "", SHORT_NAME),
    ("name", "   ", SHORT_NAME),
    ("name", " A ", SHORT_NAME),
    ("name", "A" * 101, "Name must be at most 100 characters long."),
    ("slug", "", BAD_SLUG),
    ("slug", "a", BAD_SLUG),
    ("slug", "Alice", BAD_SLUG),
    ("slug", "alice liddell", BAD_SLUG),
    ("slug", "älice", BAD_SLUG),
    ("slug", "../admin", BAD_SLUG),
    ("slug", "a" * 41, BAD_SLUG),
    ("slug", "alice\nx", BAD_SLUG),
    ("phone", "1" * 41, LONG_PHONE),
    ("phone", "+1\r\n2", UNSTORABLE),
    ("name", "Alice\x1b[2K", UNSTORABLE),
]


@BOTH_REQUEST_TYPES
async def test_an_invalid_profile_field_shows_its_error_and_saves_nothing(
    app: TestApp, alice: Browser, send: Callable
) -> None:
    before = await all_rows(app)
    for field, typed, sentence in INVALID:
        fields = {"name": "Alice Liddell", "slug": "alice-l", "phone": "+1"} | {field: typed}
        answer = await send(alice, "/account", fields)
        page = read(answer)
        assert (answer.status_code, message(page, f"account-{field}")) == (422, sentence), typed
        assert page.one("input", id=f"account-{field}").attrs["aria-invalid"] == "true"
        assert {name: value(page, f"account-{name}") for name in fields} == fields
        assert sentence in page.one(id="error-summary").text
        assert answer.text.count("<title>Error: ") == 1
    assert await all_rows(app) == before


async def test_profile_fields_of_maximum_length_are_accepted(app: TestApp, alice: Browser) -> None:
    longest = {"name": "A" * 100, "slug": "a" * 40, "phone": "☎" * 40}
    assert (await alice.post("/account", longest)).status_code == 303
    assert await profile_of(app, alice) == tuple(longest.values())
    await alice.post("/account", {"name": "Al", "slug": "-9"})
    assert (await profile_of(app, alice))[:2] == ("Al", "-9")


async def test_a_phone_is_shown_as_it_was_typed(alice: Browser) -> None:
    typed = " <b>030</b> ' \" & 12-34  ext. 5"
    await alice.post("/account", {"phone": typed})
    assert value(read(await alice.get("/account")), "account-phone") == typed
    assert typed.strip() in [
        found.text.strip() for found in read(await alice.get("/users/alice")).all("bdi")
    ]
    assert (await alice.get("/api/users/alice")).json()["phone"] == typed
    await alice.post("/account", {"phone": "   "})
    assert (await alice.get("/api/users/alice")).json()["phone"] == ""


@BOTH_REQUEST_TYPES
async def test_an_unchecked_slug_is_not_reported_as_available(
    alice: Browser, bob: Browser, send: Callable
) -> None:
    answer = read(await send(alice, "/account", {"name": "A", "slug": "bob"}))
    assert message(answer, "account-slug") == "We'll check this when you save."
    assert (
        message(read(await send(alice, "/account", {"name": "A", "slug": "alice"})), "account-slug")
        == "Looks good"
    )


async def test_an_invalid_profile_form_renders_the_page_with_both_forms(alice: Browser) -> None:
    page = read(await alice.post("/account", {"name": "", "phone": "+1"}))
    assert page.one("html").one(id="nav").one("bdi").text == "Alice"
    assert (value(page, "account-phone"), value(page, "account-slug")) == ("+1", "alice")
    assert page.one(id="password-form").all(aria_invalid="true") == []


async def test_an_invalid_profile_form_by_htmx_returns_that_form_alone(alice: Browser) -> None:
    fragment = read(await alice.post_fragment("/account", {"name": ""}))
    assert fragment.one(id="account-form")
    assert fragment.all(id="password-form") == fragment.all("html") == fragment.all(id="nav") == []


@BOTH_REQUEST_TYPES
async def test_a_taken_slug_is_refused_and_nothing_is_saved(
    app: TestApp, alice: Browser, bob: Browser, send: Callable
) -> None:
    before = await all_rows(app)
    answer = await send(alice, "/account", {"name": "Alice Liddell", "slug": "bob"})
    page = read(answer)
    assert (answer.status_code, message(page, "account-slug")) == (422, TAKEN)
    assert (value(page, "account-slug"), value(page, "account-name")) == ("bob", "Alice Liddell")
    assert await all_rows(app) == before


async def test_the_users_current_slug_is_accepted(app: TestApp, alice: Browser) -> None:
    assert (await alice.post("/account", {"slug": "alice"})).status_code == 303
    assert (
        message(read(await alice.post("/account/check/slug", {"slug": "alice"})), "account-slug")
        == "Looks good"
    )


@pytest.mark.asvs("S97")
async def test_the_first_value_of_a_repeated_profile_field_counts(
    app: TestApp, alice: Browser
) -> None:
    """A component that reads the last value, or both, would interpret this form differently."""
    body = urlencode([("name", "First"), ("name", "Second"), ("phone", "1"), ("phone", "2")])
    answer = await alice.client.post(
        "/account?name=Query",
        content=body,
        headers={"Content-Type": "application/x-www-form-urlencoded"},
    )
    assert answer.status_code == 303
    assert await profile_of(app, alice) == ("First", "alice", "1")


async def test_an_account_form_that_is_not_utf_8_is_refused(app: TestApp, alice: Browser) -> None:
    before = await all_rows(app)
    for path in ("/account", "/account/password"):
        answer = await alice.client.post(
            path,
            content=b"name=\xff\xfe&phone=1",
            headers={"Content-Type": "application/x-www-form-urlencoded"},
        )
        assert (answer.status_code, "We couldn't read part of this form." in read(answer).text) == (
            422,
            True,
        )
    assert await all_rows(app) == before


@pytest.mark.asvs("S102")
async def test_concurrent_changes_to_one_slug_succeed_once(
    make_app: Callable,
) -> None:
    app = await make_app()
    browsers = [await app.sign_up_user("Guest", email=f"guest{n}@example.com") for n in range(20)]
    answers = await asyncio.gather(
        *[user.post("/account", {"slug": "wonderland"}) for user in browsers]
    )
    assert sorted(answer.status_code for answer in answers) == [303] + [422] * 19
    for answer in answers:
        if answer.status_code == 422:
            page = read(answer)
            assert (message(page, "account-slug"), value(page, "account-slug")) == (
                TAKEN,
                "wonderland",
            )
    assert await app.rows("SELECT count(*) AS n FROM users WHERE slug = 'wonderland'") == [(1,)]
    assert await app.count("users") == 20


@pytest.mark.asvs("S102")
async def test_a_double_submit_of_the_profile_succeeds(app: TestApp, alice: Browser) -> None:
    fields = {"name": "Alice Liddell", "slug": "alice-l", "phone": "1"}
    answers = await asyncio.gather(*[alice.post("/account", fields) for _ in range(2)])
    assert [answer.status_code for answer in answers] == [303, 303]
    assert await profile_of(app, alice) == tuple(fields.values())


@pytest.mark.asvs("S102")
@pytest.mark.parametrize(
    ("path", "target"), [("/devices/revoke-others", "/devices"), ("/devices/revoke-all", "/login")]
)
async def test_a_double_submit_of_a_revocation_redirects_both_times(
    app: TestApp, alice: Browser, alices_phone: Browser, bob: Browser, path: str, target: str
) -> None:
    answers = await asyncio.gather(*[alice.post(path) for _ in range(2)])
    assert [(answer.status_code, path_of(answer.headers["location"])) for answer in answers] == [
        (303, target)
    ] * 2
    assert [await user.is_logged_in() for user in (alice, alices_phone, bob)] == [
        target == "/devices",
        False,
        True,
    ]


# Live checks


@pytest.mark.guide("A22")
async def test_a_live_check_shows_the_error_of_the_form(alice: Browser) -> None:
    for field, typed, sentence in INVALID:
        answer = await alice.post_fragment(f"/account/check/{field}", {field: typed})
        found = read(answer).one(data_field=True)
        assert (answer.status_code, found.attrs["data-field"]) == (200, field)
        assert (message(found, f"account-{field}"), value(found, f"account-{field}")) == (
            sentence,
            typed,
        )


@pytest.mark.guide("A22")
async def test_a_live_check_reports_a_taken_slug(alice: Browser, bob: Browser) -> None:
    for typed, expected in (("bob", TAKEN), ("rob", "Looks good")):
        assert (
            message(read(await alice.post("/account/check/slug", {"slug": typed})), "account-slug")
            == expected
        )


@pytest.mark.guide("A9")
async def test_an_invalid_slug_is_not_looked_up(app: TestApp, alice: Browser) -> None:
    await alice.get("/account")
    before = app.statements
    await alice.post("/account/check/slug", {"slug": "NO"})
    assert app.statements == before + 1, "the session alone"


async def test_a_live_check_validates_one_field_and_saves_nothing(
    app: TestApp, alice: Browser, bob: Browser
) -> None:
    before = await all_rows(app)
    for headers in ({}, HTMX):
        answer = await alice.post(
            "/account/check/phone", {"phone": "1", "name": "", "slug": "bob"}, **headers
        )
        found = read(answer)
        assert (answer.status_code, len(found.all(data_field=True))) == (200, 1)
        assert message(found, "account-phone") == "Looks good"
    assert await all_rows(app) == before


async def test_a_live_check_of_an_unknown_account_field_is_not_found(alice: Browser) -> None:
    for field in ("email", "password", "role", "team", "id", "name%00", "__class__"):
        assert (await alice.post(f"/account/check/{field}", {field: "x"})).status_code == 404, field


# The password


@pytest.mark.guide("B15", "C3")
@pytest.mark.asvs("S16", "S46", "S06")
@BOTH_REQUEST_TYPES
async def test_a_new_password_ends_every_other_session_and_renews_this_one(
    app: TestApp, alice: Browser, alices_phone: Browser, bob: Browser, send: Callable
) -> None:
    old_cookie, phone_cookie = alice.cookie, alices_phone.cookie
    hashes = dict(await app.rows("SELECT email, password_hash FROM users"))
    answer = await change_password(alice, PASSWORD, NEW, send)
    renewed = set_cookie_of(answer)["session"]
    assert (answer.status_code, renewed["max-age"]) == (
        303 if send is Browser.post else 200,
        "604800",
    )
    assert alice.cookie == renewed.value != old_cookie
    assert [await user.is_logged_in() for user in (alice, alices_phone, bob)] == [True, False, True]
    for copy in (old_cookie, phone_cookie):
        alices_phone.cookie = copy
        assert not await alices_phone.is_logged_in()
    changed = dict(await app.rows("SELECT email, password_hash FROM users"))
    assert changed[alice.email] != hashes[alice.email]
    assert changed[bob.email] == hashes[bob.email]
    assert [(await alices_phone.log_in(password)).status_code for password in (PASSWORD, NEW)] == [
        422,
        303,
    ]


async def test_a_password_form_without_htmx_redirects_to_the_page(alice: Browser) -> None:
    answer = await change_password(alice, PASSWORD, NEW)
    assert (answer.status_code, path_of(answer.headers["location"])) == (303, "/account")


@pytest.mark.parametrize(
    ("other_devices", "suffix"), [(0, ""), (1, " 1 other device was logged out.")]
)
async def test_a_password_change_by_htmx_returns_an_empty_form_and_a_toast(
    app: TestApp, alice: Browser, other_devices: int, suffix: str
) -> None:
    for _ in range(other_devices):
        await (await app.browser("Alice")).log_in()
    answer = await change_password(alice, PASSWORD, NEW, Browser.post_fragment)
    fragment = read(answer)
    assert toast(fragment) == f"Password changed.{suffix}"
    assert [value(fragment, f"password-{name}") for name in ("current_password", "password")] == [
        "",
        "",
    ]
    assert fragment.one(id="password-form").one(name="username").attrs["value"] == alice.email
    assert fragment.all(id="account-form") == fragment.all(id="nav") == []
    assert PASSWORD not in answer.text
    assert NEW not in answer.text


@pytest.mark.asvs("S46", "S48")
@BOTH_REQUEST_TYPES
async def test_a_wrong_current_password_is_an_error_and_changes_nothing(
    app: TestApp, alice: Browser, alices_phone: Browser, send: Callable
) -> None:
    before, cookie = await all_rows(app), alice.cookie
    for typed in ("wrong-No.9 to the sea", PASSWORD.upper(), f" {PASSWORD}", f"{PASSWORD} "):
        answer = await change_password(alice, typed, NEW, send)
        page = read(answer)
        assert (answer.status_code, message(page, "password-current_password")) == (422, WRONG), (
            typed
        )
        assert message(page, "password-password") == ""
        assert (set_cookie_of(answer), alice.cookie) == ({}, cookie)
        assert not any(password in answer.text for password in (typed, NEW, PASSWORD))
    assert await all_rows(app) == before
    assert [await user.is_logged_in() for user in (alice, alices_phone)] == [True, True]


@pytest.mark.asvs("S46")
async def test_a_missing_current_password_is_an_error(app: TestApp, alice: Browser) -> None:
    before = await all_rows(app)
    for fields in ({"password": NEW}, {"current_password": "", "password": NEW}):
        answer = await alice.post("/account/password", fields)
        page = read(answer)
        assert (answer.status_code, message(page, "password-current_password")) == (
            422,
            "Please enter your password.",
        )
    assert await all_rows(app) == before


@pytest.mark.guide("A8", "A13")
async def test_a_new_password_must_meet_the_password_policy(app: TestApp, alice: Browser) -> None:
    before, hashes = await all_rows(app), app.hashes
    for typed, unmet in [
        ("", RULES),
        ("a1!", RULES[:1]),
        ("12345678", RULES[1::2]),
        ("abcdefg!", RULES[2:3]),
    ]:
        answer = await change_password(alice, PASSWORD, typed)
        page = read(answer)
        assert answer.status_code == 422
        rules = page.one(id="password-rules").all("li", data_met="false")
        assert [rule.text.removeprefix("Missing: ") for rule in rules] == unmet
        assert [link.text for link in page.one(id="error-summary").all("a")] == unmet
    assert (await all_rows(app), app.hashes) == (before, hashes)


@pytest.mark.asvs("S42", "S43")
async def test_a_new_password_is_neither_trimmed_nor_truncated(
    app: TestApp, alice: Browser
) -> None:
    exact = " No.7 é" + "x" * 248 + " "
    assert (await change_password(alice, PASSWORD, exact + "y")).status_code == 422
    assert (await change_password(alice, PASSWORD, exact)).status_code == 303
    laptop = await app.browser("Alice")
    for typed in (exact.strip(), exact[:-1] + "y", exact.upper()):
        assert (await laptop.log_in(typed)).status_code == 422
    assert (await laptop.log_in(exact)).status_code == 303


@pytest.mark.asvs("S48")
async def test_an_invalid_password_form_renders_the_page_without_passwords(
    alice: Browser,
) -> None:
    answer = await change_password(alice, "typed-No.1", "typed-no", name="Typed")
    page = read(answer)
    assert value(page, "account-name") == "Alice"
    assert [value(page, f"password-{name}") for name in ("current_password", "password")] == [
        "",
        "",
    ]
    assert "typed-" not in answer.text


@pytest.mark.asvs("S102")
async def test_a_double_submit_of_a_password_change_keeps_one_session(
    app: TestApp, alice: Browser
) -> None:
    answers = await asyncio.gather(*[change_password(alice, PASSWORD, NEW) for _ in range(2)])
    assert 303 in [answer.status_code for answer in answers]
    assert {answer.status_code for answer in answers} <= {303, 422}
    assert await app.count("sessions") == 1
    assert (await (await app.browser("Alice")).log_in(NEW)).status_code == 303


@pytest.mark.asvs("S46", "S16")
async def test_of_two_concurrent_password_changes_one_succeeds(
    app: TestApp, alice: Browser, alices_phone: Browser
) -> None:
    """Otherwise an attacker who knows the old password could undo the change that was meant to lock
    them out.
    """
    answers = await asyncio.gather(
        change_password(alice, PASSWORD, "from-the-laptop-No.1"),
        change_password(alices_phone, PASSWORD, "from-the-phone-No.2"),
    )
    targets = [path_of(answer.headers.get("location", "")) for answer in answers]
    assert targets.count("/account") == 1
    assert sorted([await alice.is_logged_in(), await alices_phone.is_logged_in()]) == [False, True]


@pytest.mark.asvs("S16", "S37")
async def test_a_password_change_does_not_restore_an_ended_session(
    make_app: Callable, app: TestApp, alice: Browser, alices_phone: Browser
) -> None:
    """The attacker has Alice's phone and her password, and changes it while she logs out
    everywhere.
    """
    hasher = HeldHasher()
    slow = await make_app(app.path, hashing=Passwords(hasher=hasher))
    attacker = await slow.attacker_with_cookie_of(alices_phone)
    async with hasher.held("hash", change_password(attacker, PASSWORD, NEW)) as change:
        await alice.post("/devices/revoke-all")
    await change
    assert [await alice.is_logged_in(), await attacker.is_logged_in()] == [False, False]
    assert (await alice.log_in()).status_code == 303


@pytest.mark.asvs("S16")
async def test_a_login_with_the_old_password_fails_after_a_concurrent_change(
    make_app: Callable, fast_passwords: Passwords
) -> None:
    hasher = HeldHasher()
    slow = await make_app(hashing=Passwords(hasher=hasher))
    await slow.sign_up_user("Alice")
    fast, attacker = await make_app(slow.path, hashing=fast_passwords), await slow.browser("Alice")
    async with hasher.held("verify", attacker.log_in(PASSWORD)) as login:
        await operator.set_user_password(Operator(fast.store), "alice@example.com", Secret(NEW))
    await login
    assert not await attacker.is_logged_in()
    assert await fast.count("sessions") == 0


# Forms of other viewers


@pytest.mark.parametrize("path", ["/account", "/account/check/name", "/account/password"])
async def test_an_account_form_of_another_viewer_changes_nothing(
    app: TestApp, alice: Browser, bob: Browser, path: str
) -> None:
    before, fields = (
        await all_rows(app),
        {"name": "Bob", "current_password": PASSWORD, "password": NEW},
    )
    for send in (bob.post, bob.post_fragment):
        answer = await send(path, {**fields, "viewer": await id_of(app, alice)})
        assert (answer.status_code, "You are logged in as <bdi>Bob</bdi>" in answer.text) == (
            409,
            True,
        )
    assert await all_rows(app) == before
    own = await bob.post(path, {**fields, "viewer": await id_of(app, bob)})
    assert own.status_code in (200, 303)


async def test_invisible_characters_are_removed_from_phone_and_slug(
    app: TestApp, alice: Browser
) -> None:
    answer = await alice.post(
        "/account", {"phone": "\u200b\u202a\u202c", "slug": "\ufeffalice-l\u200b"}
    )
    assert answer.status_code == 303
    assert await app.rows("SELECT slug, phone FROM users") == [("alice-l", "")]


async def test_name_and_phone_allow_few_combining_marks_per_letter(
    app: TestApp, alice: Browser
) -> None:
    for field in ("name", "phone"):
        assert (await alice.post("/account", {field: "ab" + "\u0301" * 9})).status_code == 422
    assert await app.rows("SELECT name, phone FROM users") == [("Alice", "")]
