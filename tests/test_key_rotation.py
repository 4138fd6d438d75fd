"""Tests of key rotation while sessions are in use, and tests that no secret leaves the settings."""

import asyncio
import re
import socket
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import httpx
import pytest
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from db.crypto.secret import Secret
from db.maintenance.schema import migrate
from tests.browser_client import HTMX, PASSWORD, Browser, read, set_cookie_of
from tests.commands import run_command
from tests.conftest import SECRET, TestApp
from tests.processes import serving
from tests.test_session_cookie import header_of
from web.forms.form import read_fields
from web.http.session import verify_session
from web.observability.logs import JsonFormatter, TextFormatter
from web.router import Anyone, Members

NEW = "tomorrow's session secret: w4LkV0nTz8YpQ2sD"
BOTH, NEW_ALONE = {"SESSION_SECRET": f"{NEW},{SECRET}"}, {"SESSION_SECRET": NEW}
MODES = [
    (strategy, cookie)
    for strategy in ("database", "stateless")
    for cookie in ("signed", "encrypted")
]


@pytest.fixture(params=MODES, ids="-".join)
def environ(request: pytest.FixtureRequest, environ: dict[str, str]) -> dict[str, str]:
    strategy, cookie = request.param
    return {**environ, "SESSION_STRATEGY": strategy, "SESSION_COOKIE": cookie}


@pytest.mark.asvs("S94")
@pytest.mark.reliability("R16")
async def test_sessions_survive_a_new_first_key_and_renewals_use_it(
    make_app: Callable, app: TestApp, alice: Browser
) -> None:
    both_keys_app = await make_app(app.path, **BOTH)
    browser = await both_keys_app.attacker_with_cookie_of(alice)
    answers = await asyncio.gather(
        *[browser.get(path) for path in ("/dashboard", "/account", "/handbook") * 10]
    )
    assert {answer.status_code for answer in answers} == {200}
    assert {str(set_cookie_of(answer)) for answer in answers} == {""}
    app.clock.move(days=5)
    renewed = set_cookie_of(await browser.get("/dashboard"))["session"].value
    assert header_of(renewed)["kid"] != header_of(str(alice.cookie))["kid"]
    assert await (await both_keys_app.attacker_with_cookie_of(browser)).is_logged_in()


@pytest.mark.asvs("S94")
@pytest.mark.reliability("R16")
async def test_a_session_renewed_before_the_old_key_is_removed_survives(
    make_app: Callable, app: TestApp, alice: Browser
) -> None:
    both_keys_app = await make_app(app.path, **BOTH)
    browser = await both_keys_app.attacker_with_cookie_of(alice)
    app.clock.move(days=5)
    assert await browser.is_logged_in()
    new_app = await make_app(app.path, **NEW_ALONE)
    assert await (await new_app.attacker_with_cookie_of(browser)).is_logged_in()


@pytest.mark.asvs("S94")
async def test_sessions_of_a_removed_key_are_redirected_to_login(
    make_app: Callable, app: TestApp, alice: Browser
) -> None:
    new_app = await make_app(app.path, **NEW_ALONE)
    for path, headers, status in (
        ("/dashboard", {}, 303),
        ("/account", HTMX, 401),
        ("/api/users/alice", {}, 401),
        ("/api/session", {}, 401),
    ):
        browser = await new_app.attacker_with_cookie_of(alice)
        answer = await browser.get(path, **headers)
        assert answer.status_code == status, path
        # The cookie stays, because a host that still has the old key accepts it.
        assert set_cookie_of(answer) == {}, path
        assert (await browser.get("/login")).status_code == 200
        assert (await browser.log_in(email=alice.email, password=PASSWORD)).status_code == 303
        assert await browser.is_logged_in()


@pytest.mark.asvs("S94")
async def test_hosts_accept_each_others_sessions_at_every_step_of_a_key_change(
    make_app: Callable, app: TestApp, alice: Browser
) -> None:
    """Changes the keys of every host to `old,new` and then to `new,old`.

    At each step each host accepts the sessions that the other host signs.
    """
    steps = [SECRET, f"{SECRET},{NEW}", f"{NEW},{SECRET}", NEW]
    for before, after in pairwise(steps):
        hosts = [await make_app(app.path, SESSION_SECRET=secret) for secret in (before, after)]
        for signing, opening in (hosts, reversed(hosts)):
            laptop = await signing.browser("Alice")
            assert (await laptop.log_in()).status_code == 303
            assert await (await opening.attacker_with_cookie_of(laptop)).is_logged_in()


@pytest.mark.asvs("S94")
@pytest.mark.reliability("R16")
def test_restarts_with_new_keys_keep_sessions_until_the_old_key_is_removed(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/latchkey.db"
    migrate(Secret(url))
    alice = {"name": "Alice", "email": "alice@example.com", "password": PASSWORD}
    with serving(url) as program:
        old = httpx.post(f"http://127.0.0.1:{program.port}/signup", data=alice).cookies["session"]
    with serving(url, **BOTH) as program:
        answers = [dashboard(program.port, old) for _ in range(20)]
        assert {answer.status_code for answer in answers} == {200}
        new = httpx.post(f"http://127.0.0.1:{program.port}/login", data=alice).cookies["session"]
    with serving(url, **NEW_ALONE) as program:
        assert dashboard(program.port, new).status_code == 200
        assert dashboard(program.port, old).status_code == 303


def dashboard(port: int, cookie: str) -> httpx.Response:
    return httpx.get(f"http://127.0.0.1:{port}/dashboard", headers={"Cookie": f"session={cookie}"})


@pytest.mark.asvs("S96")
@pytest.mark.parametrize("name", ["SESSION_SECRET", "DATABASE_URL", "METRICS_TOKEN"])
@pytest.mark.parametrize(("mode", "access"), [(0o644, "read"), (0o604, "read"), (0o666, "write")])
def test_serve_refuses_a_secret_file_that_others_can_access(
    tmp_path: Path, migrated: Path, name: str, mode: int, access: str
) -> None:
    secrets = {
        "SESSION_SECRET": SECRET,
        "PRODUCT": "off",
        "DATABASE_URL": f"sqlite:///{migrated}",
        "METRICS_TOKEN": NEW,
    }
    path = tmp_path / "secret"
    path.write_text(secrets.pop(name))
    path.chmod(mode)
    with socket.create_server(
        ("127.0.0.1", 0)
        # The port is taken, so that a server that started in spite of the file would end here.
    ) as listener:
        environ = {**secrets, f"{name}_FILE": str(path), "PORT": str(listener.getsockname()[1])}
        completed = run_command("serve", environ=environ)
    assert (completed.returncode, completed.stdout) == (2, "")
    assert (
        completed.stderr
        == f"latchkey: {name}_FILE: other users can {access} {path}: run chmod 600 {path}\n"
    )


async def raise_with_secrets(request: Request) -> Response:
    """Raises an error whose message contains every secret within reach of the endpoint."""
    settings, store = request.app.state.settings, request.app.state.store
    typed = await read_fields(request)
    keyring, secrets = store.keys, settings.session_secrets
    viewer = await verify_session(request)
    raise ValueError(
        f"{settings} {store} {keyring} {viewer} {typed} {secrets[0].reveal()!r} {request.headers}"
    )


async def raise_with_state(request: Request) -> Response:
    """Raises an error whose message contains the settings, the store and the keys."""
    state = request.app.state
    raise RuntimeError(f"{state.settings} {state.store} {state.store.keys}")


class BrokenMiddleware:
    """Raises an error before any endpoint is reached."""

    def __init__(self, asgi_app: ASGIApp) -> None:
        self.app = asgi_app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        keyring = scope["app"].state.store.keys
        raise LookupError(scope["headers"], keyring)


@pytest.mark.asvs("S96", "S89", "S90")
@pytest.mark.parametrize(
    ("where", "error_type"),
    [("in the endpoint", ValueError), ("shown", RuntimeError), ("before", LookupError)],
)
async def test_an_unhandled_error_shows_no_secret_in_the_page_or_the_log(
    app: TestApp,
    alice: Browser,
    caplog: pytest.LogCaptureFixture,
    where: str,
    error_type: type[Exception],
) -> None:
    routes = [
        Members("/worst", get=raise_with_secrets, post=raise_with_secrets, name="worst"),
        Anyone("/shown", get=raise_with_state, name="shown"),
    ]
    app.asgi_app.router.set_routes([*app.asgi_app.router.routes, *routes])
    if where == "before":
        app.asgi_app.middleware_stack = None
        app.asgi_app.user_middleware.append(Middleware(BrokenMiddleware))
    path = "/shown" if where == "shown" else "/worst"
    answers = [await alice.get(path, **headers) for headers in ({}, HTMX)]
    if where != "shown":
        answers.append(
            await alice.post(path, {"password": PASSWORD, "email": "canary@example.com"})
        )
    assert {answer.status_code for answer in answers} == {500}
    # Another error, such as one of a wrong attribute, would not contain the secrets.
    errors = [record.exc_info[1] for record in caplog.records if record.exc_info]
    assert {type(error) for error in errors} == {error_type}
    json_lines = [JsonFormatter().format(record) for record in caplog.records]
    text_lines = [TextFormatter().format(record) for record in caplog.records]
    lines = json_lines + text_lines
    assert any("failed, reference" in line for line in lines)
    if where == "shown":  # The log has the message of a RuntimeError.
        assert any("Settings(host=" in line for line in lines)
    for canary in canaries_of(app, alice):
        assert not [
            text for text in (*lines, *(answer.text for answer in answers)) if canary in text
        ]
    for answer in answers:
        assert re.search(r"[0-9a-f]{16}", answer.text)
        assert not re.search(r"Traceback|\.py|Error:|Store|KeyRing", answer.text)


def canaries_of(app: TestApp, alice: Browser) -> list[str]:
    sid = app.store.keys.decode(str(alice.cookie))["sid"]
    database_url = app.settings.database_url.reveal()
    return [
        SECRET,
        SECRET.split()[-1],
        str(alice.cookie),
        sid,
        PASSWORD,
        "canary@example.com",
        alice.email,
        database_url,
    ]


@pytest.mark.asvs("S96")
async def test_the_reprs_of_settings_and_store_show_no_secret(app: TestApp, alice: Browser) -> None:
    asgi_app = app.asgi_app
    objects = [
        app.settings,
        app.store,
        app.store.keys,
        app.store.passwords,
        app.store.database,
    ]
    objects += [
        asgi_app,
        asgi_app.state,
        vars(asgi_app.state),
        asgi_app.state.metrics,
        await app.viewer_of(alice),
    ]
    objects += [
        asgi_app.user_middleware,
        app.settings.session_secrets,
        app.store.keys._keys,
        app.store.keys._first,
    ]
    for item in objects:
        for show in (repr, str, "{0}".format, "{0!r}".format):
            try:
                text = show(item)
            except TypeError as raised:
                text = str(raised)
            assert not [canary for canary in canaries_of(app, alice)[:4] if canary in text], type(
                item
            )


@pytest.mark.asvs("S96")
async def test_a_traceback_with_local_variables_shows_no_secret(
    app: TestApp, alice: Browser
) -> None:
    """Formats the traceback as crash reporters and debuggers do."""

    def fail(settings: object, store: object, keyring: object, secret: object) -> None:
        raise RuntimeError

    with pytest.raises(RuntimeError) as failure:
        fail(app.settings, app.store, app.store.keys, app.settings.session_secrets[0])
    text = str(failure.getrepr(showlocals=True, style="long"))
    assert "keyring    = " in text
    assert not [canary for canary in canaries_of(app, alice)[:4] if canary in text]


async def test_the_error_page_shows_only_the_reference(app: TestApp, alice: Browser) -> None:
    await app.change("ALTER TABLE users RENAME TO renamed_users")
    page = read(await alice.get("/dashboard"))
    assert re.fullmatch(
        r"[0-9a-f]{16}", page.one(**{"class": "note"}).one(**{"class": "mono"}).text
    )
