"""Tests that input is treated as text: no markup, no SQL, no foreign redirect and no failure."""

from collections.abc import Callable
from urllib.parse import quote, urlencode, urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from db.crypto.passwords import Passwords
from tests.browser_client import PASSWORD, Browser, path_of, read
from tests.conftest import TestApp

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
CHARLIE = {"name": "Charlie", "email": "charlie@example.com", "password": PASSWORD}
MARKUP = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    '"><svg onload=alert(1)>',
    "' autofocus onfocus=alert(1) x='",
    '" data-hx-get="/logout" data-hx-trigger="load',
    "</title><script src=//evil.example></script>",
    "</bdi></main><form action=//evil.example>",
    "<hx-partial hx-target=body>x</hx-partial>",
    "{{ 7 * 7 }}{% include 'shell.html' %}",
    "&lt;b&gt;&#60;b&#62;",
    "<!--<b>",
    "\u202eecilA <b>\u2066",
]
INJECTIONS = [
    "' OR '1'='1",
    "x'; DROP TABLE users; --",
    '" OR 1=1 --',
    "\\'; SELECT 1",
    "1) UNION SELECT 1",
    "%' --",
    "?",
]
DISALLOWED_TARGETS = [
    "//evil.example",
    "///evil.example",
    "/\\evil.example",
    "\\\\evil.example",
    "/%5cevil.example",
    "/%2fevil.example",
    "/\t/evil.example",
    "\t//evil.example",
    " //evil.example",
    "https:evil.example",
    "https://evil.example/devices",
    "http:/evil.example",
    "javascript:alert(1)",
    "data:text/html,x",
    "@evil.example",
    "/@evil.example",
    "evil.example",
    "/devices/../..//evil.example",
    "/devices\r\nSet-Cookie: session=x",
    "/devices\nLocation: //evil.example",
    "/devices%0d%0aX: x",
    "/devices\0",
    "/devices#//evil.example",
    "/devices;//evil.example",
    "/ｄevices",
    "/login",
    "/logout",
    "/api/session",
    "/devices/x/revoke",
    "/nowhere",
    "",
    "?x",
    "x" * 5_000,
]


@pytest.fixture
async def fast_passwords_app(make_app: Callable, fast_passwords: Passwords) -> TestApp:
    return await make_app(hashing=fast_passwords)


@pytest.mark.asvs("S33")
@pytest.mark.guide("D35")
async def test_a_name_is_rendered_as_text_on_every_page(fast_passwords_app: TestApp) -> None:
    app = fast_passwords_app
    pages = ("/dashboard", "/devices", "/handbook")
    plain = await app.sign_up_user("Alice", email="alice@example.com")
    ada = await app.admin("Ada")
    shapes = [read(await plain.get(path)).shape for path in pages]
    for number, name in enumerate(MARKUP):
        app.clock.move(seconds=1)
        app.clock.move(seconds=1)
        user = await app.sign_up_user(name, email=f"guest{number}@example.com")
        assert [read(await user.get(path)).shape for path in pages] == shapes
        assert read(await user.get("/dashboard")).one(data_viewer_name=True).text == name
        await (await app.browser(name, email=user.email)).log_in("wrong")
        latest = read(await ada.get("/dashboard")).one("ol", id="latest")
        assert name in [found.text for found in latest.all("bdi")]


@pytest.mark.asvs("S33")
@pytest.mark.parametrize("path", ["/signup", "/login"])
async def test_typed_values_are_rendered_as_text(anonymous: Browser, path: str) -> None:
    for send in (anonymous.post, anonymous.post_fragment):
        plain = read(await send(path, {"name": "Charlie", "email": "x", "next": "/devices"}))
        for text in MARKUP:
            page = read(await send(path, {"name": text, "email": text, "next": text}))
            values = [
                field.attrs["value"]
                for field in page.all("input", value=True)
                if field.attrs.get("id") != "password" and field.attrs["name"] != "challenge"
            ]
            assert set(values) <= {text, "/dashboard"}
            assert page.shape == plain.shape


@pytest.mark.asvs("S33")
async def test_a_live_check_renders_the_value_as_text(anonymous: Browser) -> None:
    plain = read(await anonymous.post("/signup/check/email", {"email": "x"}))
    for text in MARKUP:
        field = read(await anonymous.post("/signup/check/email", {"email": text}))
        assert (field.shape, field.one("input").attrs["value"]) == (plain.shape, text)


@pytest.mark.asvs("S33")
async def test_a_user_agent_is_rendered_as_text(fast_passwords_app: TestApp) -> None:
    app = fast_passwords_app
    alice = await app.sign_up_user("Alice", user_agent="curl/8.5.0")
    shape = read(await alice.get("/devices")).shape
    user_agents = [text.encode("ascii", "ignore").decode() for text in MARKUP]
    user_agents += [
        f"Mozilla/5.0 (compatible; {text}Bot/1.0; +http://x)" for text in user_agents
    ] + [f"{text}/1.0" for text in user_agents]
    for number, user_agent in enumerate(
        [*user_agents, "x" * 9_000, "<b>" * 3_000, "Mozilla/5.0 (Windows NT 10.0)" * 200]
    ):
        user = await app.sign_up_user(
            "Guest", email=f"guest{number}@example.com", user_agent=user_agent
        )
        page = read(await user.get("/devices"))
        assert page.shape == shape
        assert len(page.one(data_current="true").one("h2").text) < 100
    assert (
        max(row[0] for row in await app.rows("SELECT max(length(user_agent)) AS n FROM sessions"))
        <= 512
    )


@pytest.mark.asvs("S33")
async def test_the_next_parameter_is_rendered_as_text(anonymous: Browser) -> None:
    plain = read(await anonymous.get("/login?next=/devices")).shape
    for text in MARKUP:
        for target in (text, f"/devices?q={text}"):
            page = read(await anonymous.get(f"/login?next={quote(target)}"))
            assert page.shape == plain
            # The form for a passkey has the same value.
            (found,) = {field.attrs["value"] for field in page.all("input", name="next")}
            assert path_of(found) in ("/dashboard", "/devices")


@pytest.mark.asvs("S34")
@pytest.mark.guide("D9")
async def test_login_redirects_only_to_protected_pages(fast_passwords_app: TestApp) -> None:
    alice = await fast_passwords_app.sign_up_user("Alice")
    for target in DISALLOWED_TARGETS:
        await alice.post("/logout")
        answer = await alice.log_in(next=target)
        assert (answer.status_code, answer.headers["location"]) == (303, "/dashboard"), target
        await alice.post("/logout")
        fragment = await alice.post_fragment(
            "/login", {"email": alice.email, "password": PASSWORD, "next": target}
        )
        assert fragment.headers["hx-redirect"] == "/dashboard", target


@pytest.mark.asvs("S34")
async def test_the_login_form_contains_only_urls_of_protected_pages(anonymous: Browser) -> None:
    for target in DISALLOWED_TARGETS:
        for answer in (
            await anonymous.get(f"/login?next={quote(target)}"),
            await anonymous.post("/login", {"next": target}),
            await anonymous.post_fragment("/login", {"next": target}),
        ):
            found = {field.attrs["value"] for field in read(answer).all("input", name="next")}
            assert found <= {"/dashboard"}, target


@pytest.mark.asvs("S34")
async def test_a_foreign_referer_is_not_used_as_the_next_page(anonymous: Browser) -> None:
    own_urls = [
        f"http://localhost:8000{url}"
        for url in DISALLOWED_TARGETS
        if url.isprintable() and "#" not in url
    ]
    foreign_urls = [url for url in DISALLOWED_TARGETS if url.isprintable() and "#" not in url]
    foreign_urls += [
        "http://evil.example/devices",
        "https://localhost:8000/devices",
        "http://localhost:8000@evil.example/devices",
    ]
    foreign_urls += [
        "http://localhost/devices",
        "http://localhost:8000.evil.example/devices",
        "http://[",
        "/devices",
        "null",
    ]
    for name in ("HX-Current-URL", "Referer"):
        for url in [*own_urls, *foreign_urls]:
            headers = {name: url.encode()}
            for answer in (
                await anonymous.get_fragment("/dashboard", **headers),
                await anonymous.post("/devices/revoke-all", **headers),
            ):
                target = answer.headers.get("location") or answer.headers["hx-redirect"]
                assert target in ("/login?next=/dashboard", "/login?next=/dashboard&cookies=1"), url


@pytest.mark.guide("D9")
async def test_a_redirect_to_login_remembers_the_page_of_the_form(
    anonymous: Browser,
) -> None:
    page = "http://localhost:8000/devices?sort=name&q=a%20b"
    for headers in (
        {"HX-Current-URL": page},
        {"Referer": page},
        {"HX-Current-URL": page, "Referer": "http://evil.example/"},
    ):
        answer = await anonymous.post("/devices/revoke-all", **headers)
        assert answer.headers["location"] == "/login?next=/devices%3Fsort%3Dname%26q%3Da%2520b"


@pytest.mark.asvs("S34")
async def test_redirects_ignore_the_host_header(alice: Browser, anonymous: Browser) -> None:
    for host in ("evil.example", "evil.example/x?", "a@evil.example", ""):
        for answer in (
            await anonymous.get("/dashboard", Host=host),
            await anonymous.get("/devices/", Host=host),
            await alice.get("/login", Host=host),
            await anonymous.post("/logout", Host=host),
        ):
            location = answer.headers.get("location", "/")
            assert (urlsplit(location).netloc, location[:1]) == ("", "/")
            assert "evil" not in answer.text + location


@pytest.mark.asvs("S35")
async def test_sql_in_a_field_is_treated_as_text(
    app: TestApp, alice: Browser, anonymous: Browser
) -> None:
    for text in INJECTIONS:
        assert (
            await anonymous.post("/login", {"email": text, "password": text})
        ).status_code == 422
        assert (
            await anonymous.post("/login", {"email": alice.email, "password": text})
        ).status_code == 422
        assert (await anonymous.post("/signup/check/email", {"email": text})).status_code == 200
        assert (await alice.post(f"/devices/{quote(text, safe='')}/revoke")).status_code == 404
        assert (await alice.post("/devices/revoke-all", {"viewer": text})).status_code == 409
        assert (await anonymous.get("/dashboard", Cookie=f"session={text}")).status_code == 303
    user = await app.sign_up_user(INJECTIONS[1], email="guest@example.com")
    assert read(await user.get("/dashboard")).one(data_viewer_name=True).text == INJECTIONS[1]
    assert (await app.count("users"), await alice.is_logged_in(), anonymous.cookie) == (
        2,
        True,
        None,
    )


@pytest.mark.asvs("S97")
async def test_the_first_value_of_a_repeated_login_field_counts(
    app: TestApp, alice: Browser, bob: Browser
) -> None:
    laptop, password = await app.browser("Alice"), quote(PASSWORD)
    body = f"email=alice%40example.com&email=bob%40example.com&password={password}&password=x"
    answer = await laptop.client.post(
        "/login?email=bob%40example.com&password=y", content=body, headers=FORM
    )
    assert answer.status_code == 303
    assert read(await laptop.get("/dashboard")).one(data_viewer_name=True).text == "Alice"


@pytest.mark.asvs("S85")
@pytest.mark.parametrize("field", ["name", "email", "password"])
async def test_unstorable_text_is_refused(app: TestApp, anonymous: Browser, field: str) -> None:
    before = app.statements, app.hashes
    for bad in (
        b"a%00b",
        b"%ED%A0%80%ED%A0%80",
        b"%FF%FE",
        b"ab%C3",
        b"\xff\xfe",
        b"%ED%B0%80x@example.com",
    ):
        fields = {name: quote(value).encode() for name, value in CHARLIE.items()} | {field: bad}
        body = b"&".join(name.encode() + b"=" + value for name, value in fields.items())
        for path in ("/signup", "/login") if field != "name" else ("/signup",):
            answer = await anonymous.client.post(path, content=body, headers=FORM)
            assert (answer.status_code, "again" in read(answer).one(id="error-summary").text) == (
                422,
                True,
            ), bad
        checked = await anonymous.client.post(f"/signup/check/{field}", content=body, headers=FORM)
        assert (checked.status_code, read(checked).all(**{"class": "ok"})) == (200, []), bad
    assert (app.statements, app.hashes) == before


any_text = st.text(max_size=120) | st.text("aZ1é🔑 \t\r\n\0'\"<>&%+=@.-\u200b\u202e", max_size=40)
fuzz_settings = settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.mark.asvs("S85", "S33")
@fuzz_settings
@given(name=any_text)
async def test_any_name_is_refused_with_an_error_or_shown_unchanged(
    fast_passwords_app: TestApp, name: str
) -> None:
    count = await fast_passwords_app.count("users")
    user = await fast_passwords_app.browser(name, email=f"guest{count}@example.com")
    answer = await user.sign_up()
    if answer.status_code == 303:
        assert read(await user.get("/dashboard")).one(data_viewer_name=True).text == name.strip()
    else:
        assert answer.status_code == 422
        assert read(answer).one(id="name-message").text.startswith("Error: ")
        assert await fast_passwords_app.count("users") == count


@pytest.mark.asvs("S85")
@fuzz_settings
@given(field=st.sampled_from(["email", "password"]), text=any_text | st.emails())
async def test_any_email_or_password_is_refused_with_an_error_or_works(
    fast_passwords_app: TestApp, field: str, text: str
) -> None:
    count = await fast_passwords_app.count("users")
    user = await fast_passwords_app.browser("Guest", email=f"guest{count}@example.com")
    fields = {"name": "Guest", "email": user.email, "password": PASSWORD, field: text}
    answer = await user.post("/signup", fields)
    if answer.status_code == 303:
        await user.post("/logout")
        assert (await user.post("/login", fields)).status_code == 303
    else:
        assert answer.status_code == 422
        assert read(answer).one("input", id=field).attrs["aria-invalid"] == "true"
        assert await fast_passwords_app.count("users") == count


@pytest.mark.asvs("S85")
@fuzz_settings
@given(
    path=st.sampled_from(
        ["/login", "/signup", "/signup/check/name", "/signup/check/email", "/signup/check/password"]
    ),
    body=st.binary(max_size=80)
    | st.dictionaries(st.sampled_from([*CHARLIE, "next", "viewer"]), any_text).map(urlencode),
)
async def test_any_request_body_gets_a_regular_response(
    fast_passwords_app: TestApp, path: str, body: bytes | str
) -> None:
    user = await fast_passwords_app.browser("Guest")
    answer = await user.client.post(path, content=body, headers=FORM)
    assert answer.status_code in (200, 422)
    assert user.cookie is None


@pytest.mark.asvs("S48")
async def test_a_password_is_neither_stored_nor_logged_nor_shown(
    app: TestApp, alice: Browser, anonymous: Browser, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    canary = "canary-No.1 in the mine"
    typed = {"name": "Charlie", "email": "charlie@example.com", "password": canary}
    answers = []
    for send in (anonymous.post, anonymous.post_fragment):
        answers += [
            await send("/signup", {**typed, "name": ""}),
            await send("/signup", {**typed, "email": alice.email}),
        ]
        answers += [await send("/login", typed), await send("/login", {**typed, "email": "x"})]
        answers += [
            await send("/signup/check/password", typed),
            await send("/signup/check/email", typed),
        ]
    await app.break_inserts("users")
    answers.append(await anonymous.post("/signup", typed))
    await app.restore_inserts("users")
    answers += [await anonymous.post("/signup", typed), await anonymous.get("/dashboard")]
    assert answers[-1].status_code == 200
    stored = app.stored()
    assert b"charlie@example.com" in stored
    assert "failed, reference" in caplog.text
    assert canary.encode() not in stored
    assert canary not in caplog.text
    assert not any(canary in answer.text or canary in str(answer.headers) for answer in answers)


async def test_log_injection_is_prevented(
    app: TestApp, alice: Browser, caplog: pytest.LogCaptureFixture
) -> None:
    await app.change("ALTER TABLE sessions RENAME TO renamed_sessions")
    answer = await alice.post("/devices/x%0AERROR forged%1B[31m/revoke", **{"User-Agent": "forged"})
    assert answer.status_code == 500
    (record,) = [record for record in caplog.records if record.name == "latchkey"]
    assert "\n" not in record.getMessage()
    assert "\x1b" not in record.getMessage()
