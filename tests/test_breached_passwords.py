"""Tests of the check against Have I Been Pwned, with a local server in its place."""

import asyncio
import gzip
import hashlib
import logging
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

import pytest

from db.crypto.breached_passwords import TIMEOUT_SECONDS
from db.crypto.passwords import Passwords
from tests.browser_client import PASSWORD, Browser, read
from tests.conftest import TestApp
from tests.test_common_passwords import message
from web.rendering.form_errors import BREACHED

CHARLIE = {"name": "Charlie", "email": "charlie@example.com", "password": PASSWORD}
NEW = "another-No.7 by the sea"
Handler = Callable[[asyncio.StreamWriter], Awaitable[None]]


def digest(password: str) -> str:
    return hashlib.sha1(password.encode()).hexdigest().upper()


def head(status: str = "200 OK", **headers: str) -> bytes:
    lines = [
        f"HTTP/1.1 {status}",
        "Connection: close",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    return "\r\n".join([*lines, "", ""]).encode()


def make_handler(
    *passwords: str, count: str = "42", status: str = "200 OK", **headers: str
) -> Handler:
    """Returns a handler that answers as the service does, with other suffixes around these
    passwords.
    """
    lines = [
        "0" * 35 + ":3",
        *(f"{digest(password)[5:]}:{count}" for password in passwords),
        "F" * 35 + ":0",
    ]

    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(head(status, **headers) + "\r\n".join(lines).encode())

    return answer


async def wait(writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(60)


async def send_slowly(writer: asyncio.StreamWriter) -> None:
    """Sends one byte at a time and never ends the response."""
    writer.write(head())
    while True:
        writer.write(digest(PASSWORD)[5:6].encode())
        await writer.drain()
        await asyncio.sleep(0.1)


async def send_too_much(writer: asyncio.StreamWriter) -> None:
    """Sends a valid answer, and then more than the client should read."""
    await make_handler(PASSWORD)(writer)
    writer.write(b"\r\n" * 200_000)


async def send_compressed(writer: asyncio.StreamWriter) -> None:
    """Compresses the response unasked; a small response could expand to a very large one."""
    content = gzip.compress(f"{digest(PASSWORD)[5:]}:1".encode())
    writer.write(head(**{"Content-Encoding": "gzip"}) + content)


async def close_connection(writer: asyncio.StreamWriter) -> None:
    writer.close()


async def send_invalid_bytes(writer: asyncio.StreamWriter) -> None:
    writer.write(b"\0\xff" * 500)


async def send_invalid_utf_8(writer: asyncio.StreamWriter) -> None:
    writer.write(head() + b"\xff\xfe" + digest(PASSWORD)[5:].encode() + b":1")


async def send_invalid_counts(writer: asyncio.StreamWriter) -> None:
    writer.write(
        head()
        + f"{digest(PASSWORD)[5:]}:{'x9' * 5_000}\r\n:\r\n::1\r\n{digest(PASSWORD)[5:]}".encode()
    )


FAILURES = {
    "no response": wait,
    "one byte at a time": send_slowly,
    "too many bytes": send_too_much,
    "a closed connection": close_connection,
    "no HTTP": send_invalid_bytes,
    "invalid UTF-8": send_invalid_utf_8,
    "status 503": make_handler(PASSWORD, status="503 Service Unavailable"),
    "status 429": make_handler(PASSWORD, status="429 Too Many Requests"),
    "compression": send_compressed,
}


@dataclass
class Service:
    """A local server; `request_heads` holds the lines of each request's head."""

    answer: Handler = field(default=make_handler())
    request_heads: list[list[str]] = field(default_factory=list)
    url: str = ""

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            self.request_heads.append(
                (await reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
            )
            await self.answer(writer)
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    service = Service()
    server = await asyncio.start_server(service, "127.0.0.1", 0)
    service.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    yield service
    server.close()


@pytest.fixture
def passwords(fast_passwords: Passwords) -> Passwords:
    return fast_passwords


@pytest.fixture
async def app(make_app: Callable, service: Service) -> TestApp:
    return await make_app(PWNED_PASSWORDS=service.url)


@pytest.mark.asvs("S45")
async def test_sign_up_refuses_a_breached_password(
    app: TestApp, anonymous: Browser, service: Service
) -> None:
    service.answer, hashes = make_handler(PASSWORD), app.hashes
    answer = await anonymous.post("/signup", CHARLIE)
    assert (answer.status_code, message(answer)) == (422, BREACHED)
    assert read(answer).one("input", id="password").attrs["aria-invalid"] == "true"
    assert PASSWORD not in answer.text
    assert (await app.count("users"), await app.count("sessions"), app.hashes) == (
        0,
        0,
        hashes,
    )


@pytest.mark.asvs("S45")
async def test_a_password_change_refuses_a_breached_password(
    app: TestApp, alice: Browser, service: Service
) -> None:
    before, hashes, service.answer = (
        await app.rows("SELECT * FROM users"),
        app.hashes,
        make_handler(NEW),
    )
    answer = await alice.post("/account/password", {"current_password": PASSWORD, "password": NEW})
    assert (answer.status_code, message(answer, "password-password")) == (422, BREACHED)
    # The one hash is that of the current password.
    assert (await app.rows("SELECT * FROM users"), app.hashes) == (before, hashes + 1)


@pytest.mark.asvs("S48")
async def test_the_breach_service_receives_five_digits_of_the_digest(
    app: TestApp, anonymous: Browser, service: Service
) -> None:
    assert (await anonymous.post("/signup", CHARLIE)).status_code == 303
    (request_head,) = service.request_heads
    assert request_head[0] == f"GET /range/{digest(PASSWORD)[:5]} HTTP/1.1"
    assert "add-padding: true" in [line.lower() for line in request_head]
    sent = "\n".join(request_head).lower()
    for secret in (digest(PASSWORD)[5:12].lower(), PASSWORD, "charlie", "cookie", "example.com"):
        assert secret not in sent


async def test_other_suffixes_and_padding_refuse_no_password(
    app: TestApp, anonymous: Browser, service: Service
) -> None:
    service.answer = make_handler("another password", PASSWORD, count="0")
    assert (await anonymous.post("/signup", CHARLIE)).status_code == 303


async def test_an_invalid_breach_count_refuses_no_password(
    app: TestApp, anonymous: Browser, service: Service
) -> None:
    service.answer = send_invalid_counts
    assert (await anonymous.post("/signup", CHARLIE)).status_code == 303


async def test_the_breach_service_is_queried_only_for_valid_submits(
    app: TestApp, anonymous: Browser, service: Service
) -> None:
    for wrong in (
        {"name": "C"},
        {"email": "charlie"},
        {"password": "short"},
        {"password": "Password1!"},
    ):
        assert (await anonymous.post("/signup", CHARLIE | wrong)).status_code == 422
    await anonymous.post("/signup/check/password", {"password": PASSWORD})
    assert service.request_heads == []


async def test_the_breach_service_is_not_queried_by_rate_limited_clients(
    make_app: Callable, service: Service
) -> None:
    app = await make_app(PWNED_PASSWORDS=service.url, RATE_LIMITS="enforce")
    service.answer, anonymous = make_handler(PASSWORD), await app.browser("Charlie")
    codes = [(await anonymous.post("/signup", CHARLIE)).status_code for _ in range(7)]
    assert (codes, len(service.request_heads)) == ([422] * 5 + [429] * 2, 5)


async def test_a_wrong_current_password_causes_no_breach_query(
    app: TestApp, alice: Browser, service: Service
) -> None:
    service.request_heads.clear()
    answer = await alice.post(
        "/account/password", {"current_password": "not-hers-1!", "password": NEW}
    )
    assert (answer.status_code, service.request_heads) == (422, [])


async def test_the_breach_service_is_off_by_default(make_app: Callable, service: Service) -> None:
    app = await make_app()
    assert app.settings.breached_passwords == ""
    assert (await (await app.browser("Charlie")).sign_up()).status_code == 303
    assert service.request_heads == []


@pytest.mark.asvs("S45")
@pytest.mark.parametrize("failure", FAILURES)
async def test_a_failing_breach_service_is_logged_once_and_does_not_block(
    app: TestApp,
    anonymous: Browser,
    service: Service,
    caplog: pytest.LogCaptureFixture,
    failure: str,
) -> None:
    service.answer, loop = FAILURES[failure], asyncio.get_running_loop()
    before = loop.time()
    answers = await asyncio.gather(
        anonymous.post("/signup", CHARLIE),
        anonymous.post("/signup", CHARLIE | {"email": "charles@example.com"}),
    )
    assert [answer.status_code for answer in answers] == [303, 303]
    assert (
        loop.time() - before < TIMEOUT_SECONDS + 3
    )  # The test includes the first import of a client and two hashes.
    warnings = [
        record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING
    ]
    assert len([line for line in warnings if "PWNED_PASSWORDS" in line]) == 1
    assert len(service.request_heads) == 2
    assert not any(digest(PASSWORD)[:5] in line or PASSWORD in line for line in warnings)


@pytest.mark.asvs("S45")
async def test_a_redirect_of_the_breach_service_is_not_followed(
    app: TestApp, anonymous: Browser, service: Service
) -> None:
    target = f"{service.url}/elsewhere"
    service.answer = make_handler(PASSWORD, status="302 Found", Location=target)
    assert (await anonymous.post("/signup", CHARLIE)).status_code == 303
    assert [lines[0].split()[1] for lines in service.request_heads] == [
        f"/range/{digest(PASSWORD)[:5]}"
    ]


async def test_an_unreachable_breach_service_does_not_block_sign_up(make_app: Callable) -> None:
    app = await make_app(PWNED_PASSWORDS="http://127.0.0.1:9")
    assert (await (await app.browser("Charlie")).sign_up()).status_code == 303


async def test_proxy_environment_variables_are_ignored(
    app: TestApp, anonymous: Browser, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    service.answer = make_handler(PASSWORD)
    assert message(await anonymous.post("/signup", CHARLIE)) == BREACHED


def test_the_http_client_is_imported_only_when_needed() -> None:
    code = "import sys, web.app; print('httpx' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout
        == "False\n"
    )
