"""Tests of request limits, of a locked or missing database, and of busy hash threads."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from db.crypto.passwords import Passwords
from tests.browser_client import PASSWORD, Browser, read, set_cookie_of
from tests.conftest import TestApp
from tests.hashing import HeldHasher

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
CHARLIE = {"name": "Charlie", "email": "charlie@example.com", "password": PASSWORD}
MAX_BODY_BYTES = 64 * 1024


async def in_pieces(body: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(body), 1000):
        yield body[start : start + 1000]


@pytest.mark.asvs("S81")
async def test_a_body_over_64_kib_is_refused_for_every_content_type(anonymous: Browser) -> None:
    body = b"name=" + b"x" * (MAX_BODY_BYTES - 4)
    for content_type in (
        *FORM.values(),
        "multipart/form-data; boundary=x",
        "text/plain",
        "application/json",
    ):
        for content in (body, in_pieces(body)):
            answer = await anonymous.client.post(
                "/signup", content=content, headers={"Content-Type": content_type}
            )
            assert (answer.status_code, answer.headers["connection"]) == (413, "close")


@pytest.mark.asvs("S81", "S42")
async def test_a_body_of_ten_megabytes_is_refused_before_it_is_read(
    app: TestApp, anonymous: Browser
) -> None:
    sent = 0

    async def password() -> AsyncIterator[bytes]:
        nonlocal sent
        for _ in range(10_000):
            sent += 1
            yield b"x" * 1000

    before = app.hashes
    assert (
        await anonymous.client.post("/login", content=password(), headers=FORM)
    ).status_code == 413
    assert sent < 70
    assert app.hashes == before


@pytest.mark.asvs("S81")
async def test_an_invalid_content_length_is_refused(anonymous: Browser) -> None:
    for length in ("65537", "-1", "x", "1" * 5_000, ""):
        answer = await anonymous.client.post(
            "/login", content=b"", headers={**FORM, "Content-Length": length}
        )
        assert answer.status_code == 413


@pytest.mark.asvs("S81")
async def test_a_body_of_64_kib_is_read(anonymous: Browser) -> None:
    body = b"name=" + b"x" * (MAX_BODY_BYTES - 5)
    for content in (body, in_pieces(body)):
        assert (
            await anonymous.client.post("/signup", content=content, headers=FORM)
        ).status_code == 422


async def test_the_limit_of_a_body_is_a_setting(make_app: Callable) -> None:
    app = await make_app(MAX_BODY="16k")
    charlie = await app.browser("Charlie")
    fits = b"name=" + b"x" * (16 * 1024 - 5)
    assert (await charlie.client.post("/signup", content=fits, headers=FORM)).status_code == 422
    answer = await charlie.client.post("/signup", content=fits + b"x", headers=FORM)
    assert answer.status_code == 413
    assert "more than we accept (16 KB)" in answer.text
    assert "more than we accept (16 KB)" in (await charlie.get("/login")).text


async def test_a_higher_limit_accepts_a_larger_body(make_app: Callable) -> None:
    app = await make_app(MAX_BODY="1m")
    charlie = await app.browser("Charlie")
    body = b"name=" + b"x" * 1_000_000
    assert (await charlie.client.post("/signup", content=body, headers=FORM)).status_code == 422


@pytest.mark.asvs("S82")
async def test_a_form_of_more_than_fifty_fields_is_refused(
    app: TestApp, anonymous: Browser
) -> None:
    fields = {**CHARLIE, **{f"f{n}": "" for n in range(47)}}
    refused = await anonymous.post("/signup", {**fields, "f47": ""})
    assert (refused.status_code, await app.count("users")) == (422, 0)
    assert (await anonymous.post("/signup", fields)).status_code == 303


@pytest.mark.asvs("S82")
async def test_a_malformed_form_is_refused_without_a_query_or_a_hash(
    app: TestApp, anonymous: Browser
) -> None:
    before = app.statements, app.hashes
    for body in (b"a;" * 30_000, b"&" * 60_000, b"a=&" * 20_000, b"%" * 60_000, b"=" * 60_000):
        assert (
            await anonymous.client.post("/signup", content=body, headers=FORM)
        ).status_code == 422
    assert (app.statements, app.hashes) == before


@pytest.mark.asvs("S40")
async def test_headers_over_16_kib_or_100_lines_are_refused(alice: Browser) -> None:
    assert (await alice.get("/dashboard", X="x" * 16_400)).status_code == 431
    assert (await alice.get("/dashboard", **{f"X-{n}": "" for n in range(100)})).status_code == 431
    assert (await alice.get("/dashboard", X="x" * 14_000)).status_code == 200
    assert (await alice.get("/dashboard", **{f"X-{n}": "" for n in range(90)})).status_code == 200


@pytest.mark.reliability("R05")
@pytest.mark.guide("T7", "D18")
async def test_a_locked_database_answers_forms_with_503_and_serves_pages(
    make_app: Callable,
) -> None:
    app = await make_app(lock_timeout=0.5)
    alice, laptop, charlie = (
        await app.sign_up_user("Alice"),
        await app.browser("Alice"),
        await app.browser("Charlie"),
    )
    app.clock.move(days=5)
    with app.locked():
        sign_up, log_in, fragment = await asyncio.gather(
            charlie.sign_up(), laptop.log_in(), charlie.post_fragment("/signup", CHARLIE)
        )
        pages = [
            await alice.get(path)
            for path in ("/dashboard", "/devices", "/handbook", "/api/session")
        ]
        profile = await alice.post("/account", {"name": "Alice of the Sea", "phone": "+1"})
        log_out = await alice.post("/logout")
    for answer in (sign_up, log_in, fragment, profile):
        assert (
            answer.status_code,
            int(answer.headers["retry-after"]) > 0,
            set_cookie_of(answer),
        ) == (503, True, {})
        assert "Try again in" in read(answer).one(id="error-summary").text
        assert PASSWORD not in answer.text
    assert read(sign_up).one("input", id="name").attrs["value"] == "Charlie"
    assert read(log_in).one("input", id="email").attrs["value"] == "alice@example.com"
    assert read(profile).one("input", id="account-name").attrs["value"] == "Alice of the Sea"
    assert await app.rows("SELECT name FROM users") == [("Alice",)]
    assert (
        read(fragment)
        .one("hx-partial", hx_target="#signup-form")
        .one("input", id="name")
        .attrs["value"]
        == "Charlie"
    )
    assert [answer.status_code for answer in pages] == [200] * 4
    assert (log_out.status_code, set_cookie_of(log_out)) == (503, {})
    assert (await app.count("users"), await app.count("sessions")) == (1, 1)
    assert await alice.is_logged_in()
    assert [(await charlie.sign_up()).status_code, (await laptop.log_in()).status_code] == [
        303,
        303,
    ]


@pytest.mark.guide("T7", "D18")
@pytest.mark.asvs("S39")
async def test_an_unreachable_database_logs_no_user_out(make_app: Callable) -> None:
    available = await make_app()
    alice = await available.sign_up_user("Alice")
    unavailable = await make_app(available.path, unreachable=True)
    browser = await unavailable.attacker_with_cookie_of(alice)
    for answer in (
        await browser.get("/dashboard"),
        await browser.get_fragment("/devices"),
        await browser.get("/api/session"),
    ):
        assert (answer.status_code, set_cookie_of(answer)) == (503, {})
        assert int(answer.headers["retry-after"]) > 0
        assert "Alice" not in answer.text
    assert (await browser.get("/handbook")).status_code == 200
    assert await alice.is_logged_in()


@pytest.mark.reliability("R13")
@pytest.mark.parametrize("path", ["/login", "/signup"])
async def test_requests_beyond_the_hashing_capacity_are_answered_with_503(
    make_app: Callable, path: str
) -> None:
    hasher = HeldHasher()
    app = await make_app(hashing=Passwords(hasher=hasher, threads=1, max_wait=0.0))
    browsers = [await app.browser(f"Guest{n}") for n in range(6)]

    async def send(user: Browser) -> int:
        answer = await user.post(
            path, {"name": user.name, "email": user.email, "password": PASSWORD}
        )
        if answer.status_code == 503:
            assert int(answer.headers["retry-after"]) > 0
            assert read(answer).one("input", id="email").attrs["value"] == user.email
            assert set_cookie_of(answer) == {}
        return answer.status_code

    method, status = {"/login": ("verify", 422), "/signup": ("hash", 303)}[path]
    first, *rest = browsers
    async with hasher.held(method, send(first)) as admitted:
        assert await asyncio.gather(*[send(user) for user in rest]) == [503] * len(rest)
    assert await admitted == status
    assert app.hashes == 1
    assert await app.count("users") == (status == 303)
    assert await send(rest[0]) == status


@pytest.mark.reliability("R13")
async def test_the_dashboard_does_not_wait_for_password_hashes(make_app: Callable) -> None:
    hasher = HeldHasher()
    app = await make_app(hashing=Passwords(hasher=hasher, threads=1, max_wait=60))
    alice = await app.sign_up_user("Alice")
    first, *rest = [(await app.browser("Alice")).log_in("wrong-No.9") for _ in range(3)]
    async with hasher.held("verify", first) as hashing:
        queued = [asyncio.create_task(log_in) for log_in in rest]
        assert (await alice.get("/dashboard")).status_code == 200
        assert not any(log_in.done() for log_in in queued)
    assert [answer.status_code for answer in await asyncio.gather(hashing, *queued)] == [422] * 3
