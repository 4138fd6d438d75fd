"""Tests of Latchkey mounted in an application of FastAPI, at `/` and at a path.

The parent has middleware, handlers of all exceptions and values in `request.state`, which must not
change what Latchkey does.
"""

import asyncio
import logging
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Request, Response, WebSocket
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from db.crypto.passwords import Passwords
from db.maintenance.schema import WrongSchema
from tests.browser_client import HTMX, PASSWORD, Browser, read, set_cookie_of
from tests.conftest import SECRET, TestApp
from web.app import create_app
from web.asgi import MountedApp, create_mounted_app
from web.observability.logs import logging_of_package
from web.product import Product
from web.routes import Anyone
from web.settings.environment import InvalidSetting
from web.settings.paths import ROOT


@pytest.fixture(params=["", "/accounts"], ids=["at the root", "at a path"])
def environ(environ: dict[str, str], request: pytest.FixtureRequest) -> dict[str, str]:
    return environ | {"BASE_PATH": request.param}


def make_parent(mounted: MountedApp, path: str | None = None) -> FastAPI:
    """Returns a parent that mounts Latchkey at `path`, by default at BASE_PATH."""
    parent = FastAPI(lifespan=mounted.lifespan)

    @parent.middleware("http")
    async def set_state(request: Request, call_next: Callable) -> Response:
        for name in ("viewer", "claims", "fields", "set_cookies", "status"):
            setattr(request.state, name, "a value of the parent")
        response = await call_next(request)
        response.headers["X-Parent"] = type(request.scope["app"]).__name__
        return response

    @parent.exception_handler(HTTPException)
    @parent.exception_handler(Exception)
    async def answer_in_the_style_of_the_parent(request: Request, error: Exception) -> Response:
        return JSONResponse({"error of the parent": type(error).__name__}, 418)

    @parent.get("/articles")
    @parent.post("/articles", operation_id="post-articles")
    async def articles(request: Request, response: Response) -> dict[str, str | None]:
        me = await mounted.find_me(request, response)
        return {"name": me and me.name, "role": me and me.role}

    @parent.get("/unrenewed")
    async def unrenewed(request: Request) -> dict[str, str | None]:
        me = await mounted.find_me(request)
        return {"name": me and me.name}

    @parent.websocket("/socket")
    async def socket(websocket: WebSocket) -> None:
        await websocket.accept()
        me = await mounted.find_me(websocket)
        await websocket.send_text(me.name if me else "nobody")
        await websocket.close()

    parent.mount(mounted.base_path or "/" if path is None else path, mounted)
    return parent


@pytest.fixture
async def app(make_app: Callable) -> AsyncIterator[TestApp]:
    """Yields the application with its parent as its ASGI application."""
    hashing = Passwords(memory_kib=8, passes=1, max_wait=60)  # The end of the lifespan closes it.
    app = await make_app(hashing=hashing)
    parent = make_parent(MountedApp(app.asgi_app))
    async with parent.router.lifespan_context(parent):
        yield replace(app, asgi_app=parent)


def parents_url(app: TestApp, path: str) -> str:
    return f"{app.settings.base_url}{path}"


async def name_of_me(app: TestApp, browser: Browser, path: str = "/articles") -> str | None:
    return (await browser.get(parents_url(app, path))).json()["name"]


# Latchkey inside of the parent


async def test_sign_up_log_out_and_log_in_work(app: TestApp) -> None:
    base_path = app.settings.base_path
    alice = await app.browser("Alice")
    answer = await alice.sign_up()
    assert (answer.status_code, answer.headers["location"]) == (303, f"{base_path}/dashboard")
    assert answer.headers["x-parent"] == "FastAPI"
    assert set_cookie_of(answer)["session"]["path"] == "/"
    dashboard = read(await alice.get("/dashboard"))
    assert dashboard.one("a", href=f"{base_path}/dashboard", aria_current="page")
    assert (await alice.get_fragment("/account")).status_code == 200
    assert (await alice.post("/logout")).headers["location"] == f"{base_path}/login"
    assert not await alice.is_logged_in()
    assert (await alice.log_in(next=f"{base_path}/devices")).headers["location"] == (
        f"{base_path}/devices"
    )


async def test_static_files_and_the_live_check_work(anonymous: Browser) -> None:
    page = read(await anonymous.get("/signup"))
    style = page.one("link", rel="stylesheet").attrs["href"]
    answer = await anonymous.get(f"http://localhost:8000{style}")
    assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
    checked = await anonymous.post_fragment("/signup/check/email", {"email": "x"})
    assert "Please enter a valid email." in checked.text


async def test_guards_and_roles_hold(app: TestApp, alice: Browser, anonymous: Browser) -> None:
    base_path = app.settings.base_path
    answer = await anonymous.get("/account")
    assert answer.headers["location"] == f"{base_path}/login?next={base_path}/account"
    forbidden = await alice.get("/admin/users")
    assert forbidden.status_code == 403
    assert "This page is for administrators." in forbidden.text


@pytest.mark.parametrize("headers", [{}, HTMX])
async def test_errors_have_the_pages_and_headers_of_latchkey(
    app: TestApp, alice: Browser, headers: dict[str, str]
) -> None:
    answers = {
        404: await alice.get("/users/nobody", **headers),
        405: await alice.request("PUT", "/account", **headers),
        422: await alice.post("/account", {"name": ""}, **headers),
        403: await alice.post("/account", {"name": "Al"}, Origin="https://evil.example", **headers),
        413: await alice.post("/account", {"name": "x" * 70_000}, **headers),
    }
    await app.change("ALTER TABLE users RENAME TO renamed_users")
    answers[500] = await alice.get("/account", **headers)
    await app.change("ALTER TABLE renamed_users RENAME TO users")
    for status, answer in answers.items():
        assert answer.status_code == status
        assert "error of the parent" not in answer.text
        assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    assert await name_of_me(app, alice) == "Alice"


async def test_a_form_of_another_site_changes_nothing(app: TestApp, alice: Browser) -> None:
    for header in ({"Origin": "https://evil.example"}, {"Sec_Fetch_Site": "cross-site"}):
        answer = await alice.post("/account", {"name": "Changed"}, **header)
        assert answer.status_code == 403
    assert await app.rows("SELECT name FROM users") == [("Alice",)]


async def test_log_in_is_rate_limited(make_app: Callable, app: TestApp) -> None:
    hashing = Passwords(memory_kib=8, passes=1, max_wait=60)
    limited = await make_app(app.path, hashing=hashing, RATE_LIMITS="enforce")
    parent = make_parent(MountedApp(limited.asgi_app))
    async with parent.router.lifespan_context(parent):
        guest = await replace(limited, asgi_app=parent).browser("Alice")
        statuses = [(await guest.log_in("wrong")).status_code for _ in range(12)]
    assert statuses[0] == 422 and statuses[-1] == 429


async def test_a_slow_endpoint_is_canceled_inside_of_the_parent(
    make_app: Callable, anonymous: Browser
) -> None:
    stopped = []

    async def wait(request: Request) -> Response:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            stopped.append("canceled")
            raise
        return Response("too late")

    app = await make_app(hashing=Passwords(memory_kib=8, passes=1, max_wait=60))
    slow = Product(routes=[Anyone("/slow", get=wait, name="slow")])
    mounted = create_app(app.settings, app.store, app.clock, product=slow, handler_timeout=0.1)
    parent = make_parent(MountedApp(mounted))
    async with parent.router.lifespan_context(parent):
        browser = await replace(app, asgi_app=parent).browser("Alice")
        answer = await browser.get("/slow")
        assert (answer.status_code, stopped) == (503, ["canceled"])
        assert "We can't answer right now" in read(answer).text
        assert (await browser.get("/login")).status_code == 200


async def test_the_parent_keeps_its_own_pages_and_errors(app: TestApp, anonymous: Browser) -> None:
    assert (await anonymous.get(parents_url(app, "/openapi.json"))).json()["info"]
    missing = await anonymous.get(parents_url(app, "/nowhere"))
    # A mount at `/` gets every path that the parent's routes leave.
    assert missing.status_code == (418 if app.settings.base_path else 404)


async def test_a_mount_at_another_path_than_the_base_path_is_not_found(
    make_app: Callable, capsys: pytest.CaptureFixture[str]
) -> None:
    app = await make_app(hashing=Passwords(memory_kib=8, passes=1, max_wait=60))
    parent = make_parent(MountedApp(app.asgi_app), "/elsewhere")
    async with parent.router.lifespan_context(parent):
        guest = await replace(app, asgi_app=parent).browser("Alice")
        for path in ("/elsewhere/login", "/elsewhere/accounts/login"):
            fields = {"email": guest.email, "password": PASSWORD}
            for answer in (
                await guest.get(parents_url(app, path)),
                await guest.post(parents_url(app, path), fields),
            ):
                assert (answer.status_code, answer.text) == (404, "Not found\n")
    warnings = [line for line in capsys.readouterr().err.splitlines() if "BASE_PATH" in line]
    assert len(warnings) == 1
    assert warnings[0].endswith(
        "every request gets 404: the application is mounted at /elsewhere, and BASE_PATH is "
        f"{app.settings.base_path or 'empty'}"
    )


# The user in the routes of the parent


async def test_the_parent_finds_the_user(app: TestApp, alice: Browser, anonymous: Browser) -> None:
    assert await name_of_me(app, alice) == "Alice"
    assert await name_of_me(app, anonymous) is None


async def test_a_revoked_session_is_not_found_at_the_next_request(
    app: TestApp, alice: Browser
) -> None:
    await app.change("DELETE FROM sessions")
    assert await name_of_me(app, alice) is None


async def test_a_disabled_user_is_not_found(app: TestApp, alice: Browser) -> None:
    await app.change("UPDATE users SET disabled_at = created_at")
    assert await name_of_me(app, alice) is None


async def test_the_role_is_that_of_the_database(app: TestApp, alice: Browser) -> None:
    await app.change_role(alice, "admin")
    assert (await alice.get(parents_url(app, "/articles"))).json()["role"] == "admin"


@pytest.mark.parametrize(
    "cookie",
    [
        "session=forged",
        "session=a.b.c",
        "__Host-session={cookie}",
        "session={cookie};session={cookie}",
    ],
)
async def test_no_user_is_found_for_another_cookie(
    app: TestApp, alice: Browser, anonymous: Browser, cookie: str
) -> None:
    text = cookie.replace("{cookie}", alice.cookie or "")
    answer = await anonymous.get(parents_url(app, "/articles"), Cookie=text)
    assert answer.json()["name"] is None


@pytest.mark.parametrize(
    ("headers", "name"),
    [
        ({"Sec_Fetch_Site": "same-origin", "Origin": "http://localhost:8000"}, "Alice"),
        ({"Sec_Fetch_Site": "cross-site"}, None),
        ({"Sec_Fetch_Site": "same-site"}, None),
        ({"Sec_Fetch_Site": "same-origin", "Origin": "https://evil.example"}, None),
        ({"Origin": "null"}, None),
    ],
)
async def test_a_form_of_another_site_to_the_parent_has_no_user(
    app: TestApp, alice: Browser, headers: dict[str, str], name: str | None
) -> None:
    answer = await alice.request("POST", parents_url(app, "/articles"), {"a": "b"}, **headers)
    assert answer.json()["name"] == name


@pytest.mark.parametrize(
    ("origin", "name"),
    [("http://localhost:8000", "Alice"), ("https://evil.example", "nobody")],
)
async def test_a_websocket_of_another_site_has_no_user(
    app: TestApp, alice: Browser, origin: str, name: str
) -> None:
    headers = {"cookie": f"session={alice.cookie}", "origin": origin}
    messages = await exchange(app, "/socket", headers)
    assert [message["text"] for message in messages if "text" in message] == [name]


async def test_latchkey_closes_websockets(app: TestApp, alice: Browser) -> None:
    headers = {"cookie": f"session={alice.cookie}"}
    messages = await exchange(app, f"{app.settings.base_path}/dashboard", headers)
    assert [message["type"] for message in messages] == ["websocket.close"]


async def exchange(app: TestApp, path: str, headers: dict[str, str]) -> list[dict]:
    """Returns the messages that the application sends to a client that opens a WebSocket."""
    sent: list[dict] = []
    scope = {
        "type": "websocket",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "scheme": "ws",
        "path": path,
        "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        "client": ("192.0.2.14", 50_000),
        "server": ("localhost", 8000),
        "subprotocols": [],
    }

    async def receive() -> dict:
        return {"type": "websocket.connect"}

    async def send(message: dict) -> None:
        sent.append(message)

    await app.asgi_app(scope, receive, send)
    return sent


async def test_the_parent_renews_the_session_in_its_second_half(
    app: TestApp, alice: Browser
) -> None:
    app.clock.move(days=4)
    ((before,),) = await app.rows("SELECT expires_at FROM sessions")
    await name_of_me(app, alice, "/unrenewed")
    assert await app.rows("SELECT expires_at FROM sessions") == [(before,)]
    answer = await alice.get(parents_url(app, "/articles"))
    cookie = set_cookie_of(answer)["session"]
    assert (cookie["path"], cookie["httponly"], cookie["samesite"]) == ("/", True, "Lax")
    ((after,),) = await app.rows("SELECT expires_at FROM sessions")
    assert after > before
    assert alice.cookie == cookie.value
    app.clock.move(days=6)
    assert await name_of_me(app, alice) == "Alice"


async def test_an_unavailable_database_is_503_and_logs_nobody_out(
    make_app: Callable, app: TestApp, alice: Browser
) -> None:
    away = await make_app(unreachable=True, hashing=Passwords(memory_kib=8, passes=1, max_wait=60))
    mounted = MountedApp(away.asgi_app)
    parent = make_parent(mounted)
    del parent.exception_handlers[HTTPException], parent.exception_handlers[Exception]
    async with parent.router.lifespan_context(parent):
        browser = await replace(away, asgi_app=parent).browser("Alice")
        browser.cookie = alice.cookie
        for answer in (
            await browser.get(parents_url(away, "/articles")),
            await browser.get("/dashboard"),
        ):
            assert answer.status_code == 503
            assert int(answer.headers["retry-after"]) > 0
            assert "set-cookie" not in answer.headers


# The start


async def test_without_its_lifespan_the_application_answers_nothing(make_app: Callable) -> None:
    app = await make_app()
    mounted = MountedApp(app.asgi_app)
    transport = httpx.ASGITransport(mounted)
    async with httpx.AsyncClient(transport=transport, base_url=app.settings.public_url) as client:
        with pytest.raises(RuntimeError, match="lifespan"):
            await client.post("/login", data={"email": "a@example.com", "password": PASSWORD})
    with pytest.raises(RuntimeError, match="lifespan"):
        await mounted.find_me(Request({"type": "http"}))


async def test_the_lifespan_refuses_a_database_without_tables(
    environ: dict[str, str], tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path}/none.db"
    mounted = create_mounted_app(environ | {"DATABASE_URL": url})
    with pytest.raises(WrongSchema, match="latchkey migrate"):
        async with mounted.lifespan():
            pass
    assert not (tmp_path / "none.db").exists()


def test_a_wrong_setting_prevents_the_start() -> None:
    with pytest.raises(InvalidSetting, match=r"^BASE_PATH: "):
        create_mounted_app({"SESSION_SECRET": SECRET, "BASE_PATH": "accounts/"})


async def test_the_lifespan_of_the_parent_may_contain_it(
    migrated: Path, tmp_path: Path, environ: dict[str, str]
) -> None:
    shutil.copy(migrated, tmp_path / "latchkey.db")
    latchkey_app = create_mounted_app(
        environ | {"DATABASE_URL": f"sqlite:///{tmp_path}/latchkey.db"}
    )

    @asynccontextmanager
    async def lifespan(parent: FastAPI) -> AsyncIterator[None]:
        async with latchkey_app.lifespan():
            yield

    parent = FastAPI(lifespan=lifespan)
    parent.mount(latchkey_app.base_path or "/", latchkey_app)
    transport = httpx.ASGITransport(parent)
    async with (
        parent.router.lifespan_context(parent),
        httpx.AsyncClient(transport=transport, base_url="http://localhost:8000") as client,
    ):
        answer = await client.get(f"{latchkey_app.base_path}/readyz")
        assert (answer.status_code, answer.text) == (200, "ok\n")


async def test_the_code_of_the_documentation_works(
    migrated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(migrated, tmp_path / "latchkey.db")
    settings = {"DATABASE_URL": f"sqlite:///{tmp_path}/latchkey.db", "BASE_PATH": "/accounts"}
    for name, value in (settings | {"SESSION_SECRET": SECRET}).items():
        monkeypatch.setenv(name, value)
    text = (ROOT / "docs" / "mounting.md").read_text()
    names: dict[str, Any] = {}
    exec(text.partition("```python\n")[2].partition("```")[0], names)
    parent = names["app"]
    transport = httpx.ASGITransport(parent)
    async with (
        parent.router.lifespan_context(parent),
        httpx.AsyncClient(transport=transport, base_url="http://localhost:8000") as client,
    ):
        assert (await client.get("/articles")).status_code == 401
        fields = {"name": "Alice", "email": "alice@example.com", "password": PASSWORD}
        assert (await client.post("/accounts/signup", data=fields)).status_code == 303
        answer = await client.get("/articles")
        assert (answer.json(), answer.headers["cache-control"]) == ({"hello": "Alice"}, "no-store")


def test_a_mounted_application_logs_no_message_of_an_exception(
    capsys: pytest.CaptureFixture[str],
) -> None:
    package = logging.getLogger("latchkey")
    before = [*package.handlers]
    with logging_of_package(as_json=False):
        email = f"alice@{'example'}.com"
        try:
            raise ValueError(email)
        except ValueError:
            package.exception("it failed")
    assert package.handlers == before
    output = capsys.readouterr().err
    assert "it failed" in output and "ValueError" in output
    assert "alice@example.com" not in output
