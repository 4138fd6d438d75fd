"""Tests of requests that no browser sends: malformed HTTP and unstorable field values."""

import asyncio
import re
import shutil
import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from inspect import isclass
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest
from pydantic import BaseModel
from starlette.middleware import Middleware

from tests.authenticator_app import set_up_app
from tests.browser_client import PASSWORD, Browser
from tests.conftest import TestApp
from tests.databases import DATABASE_TYPES
from tests.mail import confirm_email, enabled_outbox, link_field, open_link, receive
from tests.processes import serving
from web.forms import schemas
from web.forms.form import Form
from web.middleware.request_limits import RequestLimits

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n"
LAST_REQUEST = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


@pytest.fixture(scope="module")
def port(migrated: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Serves the application with `latchkey serve` on a database of its own."""
    database = tmp_path_factory.mktemp("hostile") / "latchkey.db"
    shutil.copy(migrated, database)
    with serving(f"sqlite:///{database}") as program:
        yield program.port


@pytest.fixture(scope="module")
def cookie(port: int) -> str:
    """Returns the session cookie of Alice."""
    alice = {"name": "Alice", "email": "alice@example.com", "password": PASSWORD}
    answer = httpx.post(f"http://127.0.0.1:{port}/signup", data=alice)
    return answer.cookies["session"]


def send_raw(port: int, *parts: bytes) -> bytes:
    """Returns everything that the server sends until it closes the connection."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        response = b""
        try:
            connection.sendall(b"".join(parts))
            while part := connection.recv(65536):
                response += part
        except ConnectionError:
            # The server closed the connection before the client had sent everything.
            pass
        return response


def statuses(response: bytes) -> list[int]:
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", response)]


def get(*headers: bytes, path: bytes = b"/healthz") -> bytes:
    return b"\r\n".join([b"GET " + path + b" HTTP/1.1", b"Host: localhost", *headers, b"", b""])


def post(*headers: bytes, body: bytes = b"name=x", path: bytes = b"/signup/check/name") -> bytes:
    content_type = b"Content-Type: application/x-www-form-urlencoded"
    return b"\r\n".join(
        [b"POST " + path + b" HTTP/1.1", b"Host: localhost", content_type, *headers, b"", body]
    )


def chunked(body: bytes) -> bytes:
    return post(b"Transfer-Encoding: chunked", body=body)


REFUSED = {
    "a length and chunks": post(
        b"Content-Length: 6", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n"
    ),
    "chunks and a length": post(
        b"Transfer-Encoding: chunked", b"Content-Length: 6", body=b"0\r\n\r\n"
    ),
    "no length and chunks": post(
        b"Content-Length: 0", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n"
    ),
    "two lengths": post(b"Content-Length: 6", b"Content-Length: 7"),
    "the same length twice": post(b"Content-Length: 6", b"Content-Length: 6"),
    "a list of lengths": post(b"Content-Length: 6, 6"),
    "a length with a plus": post(b"Content-Length: +6"),
    "a negative length": post(b"Content-Length: -6"),
    "a length in hexadecimal": post(b"Content-Length: 0x6"),
    "a length in two words": post(b"Content-Length: 0 6"),
    "a length with an underscore": post(b"Content-Length: 0_6"),
    "an empty length": post(b"Content-Length: "),
    "a length of 30 digits": post(b"Content-Length: " + b"9" * 30),
    "a length that ends in NUL": post(b"Content-Length: 6\0"),
    "a chunk's size in letters": chunked(b"zz\r\nname=x\r\n0\r\n\r\n"),
    "a negative chunk size": chunked(b"-6\r\nname=x\r\n0\r\n\r\n"),
    "a chunk's size with 0x": chunked(b"0x6\r\nname=x\r\n0\r\n\r\n"),
    "a chunk's size with a plus": chunked(b"+6\r\nname=x\r\n0\r\n\r\n"),
    "a chunk's size and a space": chunked(b"6 \r\nname=x\r\n0\r\n\r\n"),
    "a chunk's size before a bare LF": chunked(b"6\nname=x\r\n0\r\n\r\n"),
    "a chunk's extension before a bare LF": chunked(b"6;x\nname=x\r\n0\r\n\r\n"),
    "a chunk longer than its size": chunked(b"6\r\nname=xyz\r\n0\r\n\r\n"),
    "a chunk's size above 64 bits": chunked(b"10000000000000006\r\nname=x\r\n0\r\n\r\n"),
    "a length after the last chunk": chunked(b"6\r\nname=x\r\n0\r\nContent-Length: 5\r\n\r\n"),
    "a coding like chunked": post(b"Transfer-Encoding: xchunked", body=b"0\r\n\r\n"),
    "chunked twice": post(b"Transfer-Encoding: chunked, chunked", body=b"0\r\n\r\n"),
    "two lines of chunked": post(
        b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n"
    ),
    "chunked and then another": post(b"Transfer-Encoding: chunked, gzip", body=b"0\r\n\r\n"),
    "another coding": post(b"Transfer-Encoding: gzip", body=b"0\r\n\r\n"),
    "the identity coding": post(b"Transfer-Encoding: identity", b"Content-Length: 6"),
    "chunked after a vertical tab": post(b"Transfer-Encoding: \x0bchunked", body=b"0\r\n\r\n"),
    "chunked in quotes": post(b'Transfer-Encoding: "chunked"', body=b"0\r\n\r\n"),
    "lines that end in a bare LF": b"GET /healthz HTTP/1.1\nHost: localhost\n\n",
    "a header line that ends in a bare LF": get(b"X: y\nTransfer-Encoding: chunked"),
    "a bare CR in a header": get(b"X: y\rTransfer-Encoding: chunked"),
    "a bare CR before the line's end": get(b"X: y\r"),
    "a folded line": get(b"X: y\r\n z"),
    "a folded coding": post(b"Transfer-Encoding:\r\n chunked", body=b"0\r\n\r\n"),
    "a space before the first header": b"GET /healthz HTTP/1.1\r\n Host: localhost\r\n\r\n",
    "a space before the colon": post(b"Content-Length : 6"),
    "a tab before the colon": post(b"Content-Length\t: 6"),
    "no colon": get(b"X"),
    "no name": get(b": y"),
    "a name with a bracket": get(b"X(y: z"),
    "a NUL in a header": get(b"X: y\0z"),
    "a NUL in a name": get(b"X\0: y"),
    "an escape in a header": get(b"X: \x1b[31m"),
    "a NUL in the path": get(path=b"/healthz\0"),
    "a space in the path": get(path=b"/health z"),
    "a path without a slash": get(path=b"healthz"),
    "bytes in the path": get(path=b"/\xff\xfe"),
    "a tab for a space": b"GET\t/healthz HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a method with a bracket": b"G<T /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a method in small letters": b"get /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "an unknown method": b"BREW /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a tunnel": b"CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example\r\n\r\n",
    "an authority as the path": b"GET evil.example:80 HTTP/1.1\r\nHost: evil.example\r\n\r\n",
    "an unknown version": b"GET /healthz HTTP/1.2\r\nHost: localhost\r\n\r\n",
    "the preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a TLS hello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
}


@pytest.mark.asvs("S84")
@pytest.mark.parametrize("request_", REFUSED)
def test_an_ambiguous_request_is_refused_and_closes_the_connection(
    port: int, request_: str
) -> None:
    response = send_raw(port, REFUSED[request_], SMUGGLED, LAST_REQUEST)
    assert statuses(response) == [400]
    assert b"connection: close" in response.lower()


BODY_LENGTH = b"Content-Length: %d" % len(SMUGGLED)
ONE_CHUNK = b"%x\r\n%s\r\n0\r\n\r\n" % (len(SMUGGLED), SMUGGLED)
WITH_BODY = {
    "a form": (post(BODY_LENGTH, body=SMUGGLED), 200),
    "a form in chunks": (chunked(ONE_CHUNK), 200),
    "a GET": (get(BODY_LENGTH) + SMUGGLED, 200),
    "a GET in chunks": (get(b"Transfer-Encoding: chunked") + ONE_CHUNK, 200),
    "a page that is not there": (get(BODY_LENGTH, path=b"/nowhere") + SMUGGLED, 404),
    "a method that is not allowed": (post(BODY_LENGTH, body=SMUGGLED, path=b"/healthz"), 405),
    "another content type": (
        post(BODY_LENGTH, body=SMUGGLED).replace(b"x-www-form-urlencoded", b"json"),
        415,
    ),
    "another origin": (post(BODY_LENGTH, b"Origin: https://evil.example", body=SMUGGLED), 403),
    "another origin, in chunks": (
        post(b"Transfer-Encoding: chunked", b"Origin: https://evil.example", body=ONE_CHUNK),
        403,
    ),
    "an anonymous client at a page for users": (
        get(BODY_LENGTH, path=b"/dashboard") + SMUGGLED,
        303,
    ),
    "an absolute URL as the path": (
        b"GET http://evil.example/healthz HTTP/1.1\r\nHost: localhost\r\n\r\n",
        200,
    ),
}


@pytest.mark.asvs("S84")
@pytest.mark.parametrize("name", WITH_BODY)
def test_a_request_inside_a_body_is_not_answered(port: int, name: str) -> None:
    request, status = WITH_BODY[name]
    assert statuses(send_raw(port, request, LAST_REQUEST)) == [status, 200]


@pytest.mark.asvs("S84", "S81")
def test_nothing_is_read_after_a_body_that_is_too_large(port: int) -> None:
    body = SMUGGLED * 1_600
    for request in (
        post(b"Content-Length: %d" % len(body), body=body),
        chunked(b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)),
    ):
        # The list is empty if the connection was reset before the response was read.
        assert statuses(send_raw(port, request, SMUGGLED, LAST_REQUEST)) in ([413], [])


@pytest.mark.asvs("S84")
def test_a_protocol_upgrade_is_ignored(port: int) -> None:
    for protocol in (b"websocket", b"h2c", b"TLS/1.0"):
        response = send_raw(
            port, get(b"Connection: upgrade, close", b"Upgrade: " + protocol), SMUGGLED
        )
        assert statuses(response) == [200]


PATHS = [
    "//admin/users",
    "/admin/users/",
    "/%61dmin/users/",
    "/ADMIN/users",
    "/admin/users;x",
    "/x/../admin/users",
]
PATHS += [
    "/./admin/users",
    "/admin//users",
    "/admin%2fusers",
    "/admin/users%00",
    "/admin/users%0d%0a",
    "/\\admin/users",
]
PATHS += [
    "//dashboard",
    "/dashboard/",
    "/DASHBOARD",
    "/dashboard;x",
    "/dashboard/.",
    "/x/../dashboard",
    "/%2e/dashboard",
]
HOSTS = [
    "localhost",
    "evil/signup?",
    "evil/dashboard?",
    "a@evil",
    "",
    "evil/static/app.css?",
    "[evil",
    "evil:99999999",
]


@pytest.mark.asvs("S03")
@pytest.mark.parametrize("host", HOSTS)
def test_path_spellings_and_host_headers_do_not_bypass_the_guards(
    port: int, cookie: str, host: str
) -> None:
    for path in PATHS:
        for cookie_header in ("", f"Cookie: session={cookie}\r\n"):
            head = (
                f"GET {path} HTTP/1.1\r\nHost: {host}\r\n{cookie_header}Connection: close\r\n\r\n"
            )
            response = send_raw(port, head.encode())
            assert statuses(response)[0] in (303, 400, 403, 404), path
            assert b"data-viewer-name" not in response and b"alice@example.com" not in response
            assert b"evil" not in response


def request_host(port: int, path: str, *hosts: str, version: str = "1.1") -> list[int]:
    lines = [
        f"GET {path} HTTP/{version}",
        *(f"Host: {host}" for host in hosts),
        "Connection: close",
        "",
        "",
    ]
    return statuses(send_raw(port, "\r\n".join(lines).encode()))


@pytest.mark.asvs("S03")
@pytest.mark.parametrize(
    "path", ["/", "/login", "/dashboard", "/api/session", "/static/app.css", "/metrics"]
)
def test_a_request_for_another_host_is_refused(port: int, path: str) -> None:
    for host in (
        *HOSTS[1:],
        "evil.example",
        "evil.example:8000",
        "localhost.evil.example",
        "192.0.2.1",
    ):
        assert request_host(port, path, host) == [400], host
    assert request_host(port, path) == [400]
    assert request_host(port, path, "localhost", "localhost") == [400]
    assert request_host(port, path, "localhost", "evil.example") == [400]


@pytest.mark.asvs("S03")
@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST:8000", "127.0.0.1:9", "[::1]:8000", "localhost.", "a.localhost"],
)
def test_requests_for_the_own_host_and_localhost_are_answered(port: int, host: str) -> None:
    assert request_host(port, "/login", host) == [200]


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_health_checks_accept_any_host_and_http_1_0_without_one(port: int, path: str) -> None:
    for host in ("10.1.2.3:8000", "latchkey", "evil.example"):
        assert request_host(port, path, host) == [200]
    assert request_host(port, path, version="1.0") == [200]
    assert request_host(port, path) == [400]
    assert request_host(port, path, "localhost", "localhost") == [400]


@pytest.mark.asvs("S03")
def test_the_port_in_the_host_header_does_not_affect_access(
    port: int, cookie: str, host: str = "localhost:99"
) -> None:
    for path, cookie_header, status in (
        ("/dashboard", f"Cookie: session={cookie}\r\n", 200),
        ("/dashboard", "", 303),
        ("/admin/users", f"Cookie: session={cookie}\r\n", 403),
        ("/admin/users", "", 303),
    ):
        response = send_raw(
            port,
            f"GET {path} HTTP/1.1\r\nHost: {host}\r\n{cookie_header}Connection: close\r\n\r\n".encode(),
        )
        assert statuses(response) == [status], path
        assert b"evil" not in response


FILES = [
    "/static/../pyproject.toml",
    "/static/../../../../../../etc/passwd",
    "/static/..%2f..%2fpyproject.toml",
]
FILES += [
    "/static/%2e%2e/pyproject.toml",
    "/static/.%2e/%2e./data/latchkey.db",
    "/static/..\\pyproject.toml",
]
FILES += [
    "/static//etc/passwd",
    "/static/%2fetc%2fpasswd",
    "/../pyproject.toml",
    "/.env",
    "/.git/HEAD",
    "/static/",
]
FILES += [
    "/static/app.css/../../pyproject.toml",
    "/static/~root",
    "/data/latchkey.db",
    "/static/app.css%00.js",
]


@pytest.mark.asvs("S77")
@pytest.mark.parametrize("path", FILES)
def test_path_traversal_reaches_no_file(port: int, path: str) -> None:
    response = send_raw(
        port, f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()
    )
    assert statuses(response) == [404]
    assert not re.search(rb"root:|\[project\]|ref: refs|SQLite format", response)


@pytest.mark.asvs("S76")
@pytest.mark.parametrize(
    "method", ["TRACE", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND", "MKCOL", "PURGE"]
)
def test_an_unsupported_method_is_refused_without_an_echo(
    port: int, cookie: str, method: str
) -> None:
    head = f"{method} /dashboard HTTP/1.1\r\nHost: localhost\r\nCookie: session={cookie}\r\nX-Canary: heard\r\n"
    response = send_raw(port, f"{head}Connection: close\r\n\r\n".encode())
    assert statuses(response) == [405]
    assert b"allow: GET, HEAD\r\n" in response or b"allow: HEAD, GET\r\n" in response
    assert b"heard" not in response
    assert cookie.encode() not in response


@pytest.mark.asvs("S83")
@pytest.mark.parametrize(
    "headers",
    [
        [b"X: " + b"y" * 16_400],
        [b"X-%d: y" % number for number in range(101)],
        [b"Cookie: " + b"a=b; " * 4_000],
        [b"X: y"] * 5_000,
        [b"X: " + b"y" * 1_000_000],
        [b"x" * 100_000 + b": y"],
    ],
    ids=["16 KiB", "101 lines", "a cookie", "5,000 lines", "a megabyte", "a name"],
)
def test_too_many_or_too_large_headers_close_the_connection(
    port: int, headers: list[bytes]
) -> None:
    # The list is empty if the connection was reset before the response was read.
    assert statuses(send_raw(port, get(*headers), SMUGGLED)) in ([431], [400], [])


@pytest.mark.asvs("S83")
def test_a_url_of_one_megabyte_is_refused(port: int) -> None:
    assert statuses(send_raw(port, get(path=b"/" + b"x" * 1_000_000))) in ([431], [400], [])


@pytest.mark.asvs("S83")
@pytest.mark.parametrize("chunks", [False, True])
async def test_a_slow_request_body_times_out(
    app: TestApp, anonymous: Browser, chunks: bool
) -> None:
    assert RequestLimits(app.asgi_app).body_timeout == 10
    app.asgi_app.user_middleware[-1] = Middleware(RequestLimits, body_timeout=0.1)
    sent = []

    async def body() -> AsyncIterator[bytes]:
        for _ in range(1_000):
            sent.append(1)
            yield b"x"
            await asyncio.sleep(0.03)

    headers = FORM if chunks else {**FORM, "Content-Length": "1000"}
    answer = await anonymous.client.post("/login", content=body(), headers=headers)
    assert (answer.status_code, answer.headers["connection"]) == (408, "close")
    assert len(sent) < 100


@pytest.mark.asvs("S82")
@pytest.mark.parametrize("unit", [b"a=1&", b"a;", b"&", b"=&", b"%61=%00&", b"a[]=1&"])
async def test_a_form_of_a_million_fields_is_not_read_to_the_end(
    app: TestApp, anonymous: Browser, unit: bytes
) -> None:
    read, before = 0, (app.statements, app.hashes)

    async def body() -> AsyncIterator[bytes]:
        nonlocal read
        for _ in range(1_000):
            read += 1
            yield unit * 1_000

    answer = await anonymous.client.post("/signup", content=body(), headers=FORM)
    assert (answer.status_code, answer.headers["connection"]) == (413, "close")
    assert (read - 1) * 1_000 * len(unit) <= 64 * 1024
    assert (app.statements, app.hashes) == before


@pytest.mark.asvs("S82")
@pytest.mark.parametrize(
    "body", [b"--x\r\n" * 12_000, b"--x\r\n" + b"Content-Disposition: form-data; name=a;" * 1_600]
)
async def test_multipart_bodies_are_refused(app: TestApp, anonymous: Browser, body: bytes) -> None:
    before = app.statements, app.hashes
    for path in ("/signup", "/login", "/signup/check/email"):
        answer = await anonymous.client.post(
            path, content=body, headers={"Content-Type": "multipart/form-data; boundary=x"}
        )
        assert answer.status_code == 415
    assert (app.statements, app.hashes) == before


FORMS = {
    "SignUp": ("Charlie", "/signup"),
    "LogIn": ("Charlie", "/login"),
    "ProfileChange": ("Alice", "/account"),
    "PasswordChange": ("Alice", "/account/password"),
    "RoleChange": ("Ada", "/admin/users/{id}/role"),
    "TeamChange": ("Ada", "/admin/users/{id}/team"),
    "NewRole": ("Ada", "/admin/roles"),
    "RoleEdit": ("Ada", "/admin/roles/user"),
    "NewAccessToken": ("Alice", "/account/tokens"),
    "PasswordResetRequest": ("Charlie", "/forgot"),
    "EmailChange": ("Alice", "/account/email"),
    "DataDownload": ("Alice", "/account/data"),
    "OwnDeletion": ("Alice", "/account/delete"),
    "PasswordConfirmation": ("Alice", "/confirm"),
    "FactorConfirmation": ("Grace", "/confirm"),
    "PasskeyAnswer": ("Charlie", "/login/passkey"),
    "NewPasskey": ("Grace", "/account/passkeys"),
    "PasskeyRename": ("Alice", "/account/passkeys/{id}"),
    "AuthenticatorSetUp": ("Alice", "/account/authenticator"),
    "RecoveryCodes": ("Grace", "/account/recovery-codes"),
    "AuthenticatorCode": ("claimant", "/login/factor"),
    "RecoveryCodeUse": ("claimant", "/login/factor"),
    "FirstPassword": ("Hedy", "/account/password"),
    "UserDeletion": ("Ada", "/admin/users/{id}/delete"),
    "Invitation": ("Ada", "/admin/invitations"),
    "NewAccount": ("Ada", "/admin/add"),
}
# tests/test_invitations.py has the same test of this form, which refuses logged-in users.
INVITATION_FORMS = {"Join"}
# tests/test_identity_token.py has the values of this form, which is JSON.
JSON_FORMS = {"TokenRequest"}
# The path of each form that needs the link of a mail, its field, and the type of the mail.
LINK_FORMS = {
    "PasswordReset": ("/reset", "password", "reset"),
    "AccountLock": ("/not-me", "sure", "password"),
}
SCHEMAS = {schema.__name__: schema for schema in vars(schemas).values() if isclass(schema)}
SCHEMAS = {
    name: schema
    for name, schema in SCHEMAS.items()
    if issubclass(schema, BaseModel) and schema is not BaseModel
}
FIELDS = [(form, field) for form in FORMS for field in SCHEMAS[form].model_fields]
GOOD = {
    "name": "Alice",
    "email": "alice@example.com",
    "password": "another-No.7 by the sea",
    "current_password": PASSWORD,
    "role": "user",
    "label": "Editor",
    "days": "30",
    "next": "/devices",
    "saved": "on",
}
NEW_PASSWORD = GOOD["password"]
UNSTORABLE = {
    "a NUL": b"ab%00c",
    "half a character": b"%ED%A0%80%ED%B0%80",
    "a lone surrogate": b"%ED%B0%80",
    "bytes that are not UTF-8": b"%FF%FE",
    "half of a sequence": b"ab%C3",
    "an overlong slash": b"%C0%AF",
    "unescaped bytes": b"\xff\xfe",
    "60,000 characters": b"x" * 60_000,
    "20,000 of three bytes": "\ufdfa".encode() * 20_000,
}
# Any value except a protected page is replaced by the dashboard, and is neither stored nor shown.
IGNORED = {("LogIn", "next")}


# They need an identity provider: see tests/test_provider_login.py, where the fields are those of
# SignUp, and tests/test_organizations.py.
PROVIDER_FORMS = ("ProviderSignUp", "NewOrganization", "OrganizationChange")


def test_every_form_is_covered_by_these_tests() -> None:
    assert {*FORMS, *LINK_FORMS, *INVITATION_FORMS, *JSON_FORMS, *PROVIDER_FORMS} == {
        name for name in SCHEMAS if not name.endswith("Query")
    }


async def browsers_of(app: TestApp) -> dict[str, Browser]:
    """Returns the browsers of FORMS.

    Grace has an authenticator app, `claimant` is her log-in before its second step, and Hedy has no
    password.
    """
    browsers = {
        "Charlie": await app.browser("Charlie"),
        "Alice": await app.sign_up_user("Alice"),
        "Ada": await app.admin(),
        "Grace": await app.sign_up_user("Grace"),
        "claimant": await app.browser("Grace"),
        "Hedy": await app.sign_up_user("Hedy"),
    }
    await app.change("UPDATE users SET password_hash = '!' WHERE name = 'Hedy'")
    authenticator = await set_up_app(app, browsers["Grace"])
    assert (await authenticator.log_in(browsers["Grace"])).status_code == 303
    assert (await browsers["claimant"].log_in()).headers["location"] == "/login/factor"
    return browsers


@pytest.mark.asvs("S85")
@pytest.mark.parametrize("database_type", DATABASE_TYPES)
async def test_unstorable_values_are_refused_by_every_form_field(
    app: TestApp, database_type: str
) -> None:
    browsers = await browsers_of(app)
    alice = (await browsers["Alice"].get("/api/session")).json()["user"]["id"]
    columns = "name, email, slug, phone, team, role, password_hash, has_factor"
    before = await app.rows(f"SELECT {columns} FROM users ORDER BY name")
    for form, field in FIELDS:
        user_name, path = FORMS[form]
        for label, value in UNSTORABLE.items():
            fields = {
                name: quote(GOOD.get(name, "")).encode() for name in SCHEMAS[form].model_fields
            } | {field: value}
            body = b"&".join(name.encode() + b"=" + text for name, text in fields.items())
            answer = await browsers[user_name].client.post(
                path.format(id=alice), content=body, headers=FORM
            )
            if (form, field) in IGNORED:
                assert answer.headers.get("location", "/dashboard") == "/dashboard", (
                    form,
                    field,
                    label,
                )
                browsers[user_name].cookie = None
            else:
                assert (answer.status_code, "set-cookie" in answer.headers) == (422, False), (
                    form,
                    field,
                    label,
                )
    assert await app.rows(f"SELECT {columns} FROM users ORDER BY name") == before


@pytest.mark.asvs("S85")
@pytest.mark.parametrize("form", LINK_FORMS)
async def test_unstorable_values_are_refused_by_the_forms_of_links(
    make_app: Callable, form: str
) -> None:
    app = await make_app(mail=enabled_outbox())
    alice, (path, field, message_type) = await app.sign_up_user("Alice"), LINK_FORMS[form]
    await confirm_email(app, alice)
    await alice.post("/forgot", {"email": alice.email})
    await alice.post("/account/password", {"current_password": PASSWORD, "password": NEW_PASSWORD})
    if message_type == "reset":  # The change of the password has ended the first link.
        await alice.post("/forgot", {"email": alice.email})
    message = await receive(app, message_type)
    await open_link(alice, message)
    link = b"link=" + link_field(message)["link"].encode() + b"&" + field.encode() + b"="
    before = await app.rows("SELECT email, password_hash FROM users")
    for label, value in UNSTORABLE.items():
        answer = await alice.client.post(path, content=link + value, headers=FORM)
        assert answer.status_code in (409, 422), label
    assert await app.rows("SELECT email, password_hash FROM users") == before


@pytest.mark.asvs("S85", "S81")
@pytest.mark.parametrize("database_type", DATABASE_TYPES)
async def test_a_form_of_100_000_characters_is_refused(
    app: TestApp, alice: Browser, database_type: str
) -> None:
    for form, field in FIELDS:
        body = field.encode() + b"=" + b"x" * 100_000
        answer = await alice.client.post(FORMS[form][1].format(id="x"), content=body, headers=FORM)
        assert answer.status_code == 413


@pytest.mark.asvs("S85")
@pytest.mark.parametrize("database_type", DATABASE_TYPES)
async def test_unstorable_values_in_a_url_are_not_found_or_refused(
    app: TestApp, database_type: str
) -> None:
    ada = await app.admin()
    for value in (
        "%00",
        "a%00b",
        "%FF%FE",
        "%ED%A0%80",
        "%F4%90%80%80",
        "x" * 8_000,
        "%0d%0aX:%20y",
        "%2e%2e%2f",
    ):
        for path in (
            "/users/{}",
            "/api/users/{}",
            "/admin/users?q={}",
            "/admin/users?page={}",
            "/api/admin/users?sort={}",
        ):
            answer = await ada.get(path.format(value))
            assert answer.status_code in (200, 404, 422), (path, value)
            assert answer.status_code != 200 or path.startswith("/admin/users?"), (path, value)
        for path in ("/devices/{}/revoke", "/admin/users/{}/disable", "/account/check/{}"):
            assert (await ada.post(path.format(value))).status_code in (404, 422), (path, value)


def count_calls(call: Callable[[], object]) -> int:
    """Counts the Python and C calls; unlike time, they do not depend on the load of the machine."""
    count = 0

    def count_call(*_: object) -> None:
        nonlocal count
        count += 1

    sys.setprofile(count_call)
    try:
        call()
    finally:
        sys.setprofile(None)
    return count


@pytest.mark.asvs("S98")
@pytest.mark.parametrize("form", SCHEMAS)
def test_the_cost_of_a_check_is_linear_in_its_input(form: str) -> None:
    schema = SCHEMAS[form]
    for field in schema.model_fields:
        for unit in (
            "x",
            "@",
            "a.",
            "a@",
            " ",
            "-",
            "\ufdfa",
            "\u0130",
            "%",
            "1",
            "\u200d",
            '"',
            "(",
            "xn--",
        ):
            small = count_calls(partial(Form.check_field, schema, field, {field: unit * 500}))
            large = count_calls(partial(Form.check_field, schema, field, {field: unit * 5_000}))
            assert large <= 10 * small + 1_000, (field, unit)
