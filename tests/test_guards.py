"""Tests of the guards, of access control without them, and of the order of the checks."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from tests.browser_client import HTMX, PASSWORD, Browser, path_of, read, set_cookie_of
from tests.conftest import TestApp
from tests.environment import SECRET, WITH_PROVIDERS
from tests.without_guards import without_guards
from web.http.session import verify_session
from web.middleware.guard import RouteAccess
from web.router import AppRoute, Members

GUESTS = ["/", "/signup", "/login"]
MEMBERS = ["/dashboard", "/handbook", "/devices"]
CHANGES = [
    "/devices/revoke-others",
    "/devices/revoke-all",
    "/devices/AAAAAAAAAAAAAAAAAAAAAA/revoke",
]


@pytest.fixture
def environ() -> dict[str, str]:
    return {"SESSION_SECRET": SECRET, "RATE_LIMITS": "off", **WITH_PROVIDERS}


def routes_with(app: TestApp, *accesses: RouteAccess) -> Iterator[tuple[str, str]]:
    """Yields the method and the path of every route with this access."""
    for route in app.asgi_app.router.routes:
        if isinstance(route, AppRoute) and route.access in accesses:
            for method in route.endpoints:
                yield method, path_in(route)


def path_in(route: AppRoute) -> str:
    """Returns a path that matches the route."""
    return re.sub(r"{\w+}", "AAAAAAAAAAAAAAAAAAAAAA", route.path.replace("{field}", "name"))


def is_denied(answer: httpx.Response, path: str) -> bool:
    target = answer.headers.get("location") or answer.headers.get("hx-redirect", "")
    return (
        (answer.status_code, target) == (401, "")
        if path.startswith("/api/")
        else path_of(target) == "/login"
    )


@pytest.mark.guide("D1", "D5", "D7", "D8", "D9", "D11", "D15", "D16")
async def test_anonymous_users_are_redirected_without_a_query(
    app: TestApp, anonymous: Browser
) -> None:
    before = app.statements
    for method, path in routes_with(app, RouteAccess.MEMBERS, RouteAccess.ADMINS):
        page, fragment = (
            await anonymous.request(method, path),
            await anonymous.request(method, path, **HTMX),
        )
        assert (page.status_code, fragment.status_code) == (
            401 if path.startswith("/api/") else 303,
            401,
        )
        assert is_denied(page, path)
        assert is_denied(fragment, path)
    assert app.statements == before


@pytest.mark.guide("D1", "D10")
async def test_logged_in_users_are_redirected_from_guest_routes(
    app: TestApp, alice: Browser
) -> None:
    cookie = alice.cookie
    for method, path in routes_with(app, RouteAccess.GUESTS):
        before = app.statements
        fields = {"name": "Zoe", "email": "zoe@example.com", "password": PASSWORD}
        page, fragment = (
            await alice.request(method, path, fields),
            await alice.request(method, path, fields, **HTMX),
        )
        assert (page.status_code, page.headers["location"]) == (303, "/dashboard")
        assert (fragment.status_code, fragment.headers["hx-redirect"]) == (204, "/dashboard")
        # A form is checked against the database.
        assert app.statements - before == (2 if method == "POST" else 0)
    assert alice.cookie == cookie
    assert await app.rows("SELECT name FROM users") == [("Alice",)]


@pytest.mark.guide("D10")
@pytest.mark.parametrize("send", [Browser.post, Browser.post_fragment])
async def test_a_guest_form_with_an_ended_session_is_processed(
    app: TestApp, alice: Browser, send: Callable
) -> None:
    await app.change("DELETE FROM sessions")
    cookie, known = alice.cookie, {"email": "alice@example.com", "password": PASSWORD}
    wrong = await send(alice, "/login", known | {"password": "not-hers-No.1"})
    assert (wrong.status_code, set_cookie_of(wrong)["session"]["max-age"]) == (422, "0")
    assert "nav" not in [element.attrs.get("id") for element in read(wrong).all(id=True)]
    alice.cookie = cookie
    checked = await send(alice, "/signup/check/email", {"email": "alice@example.com"})
    assert (checked.status_code, "already exists" in checked.text) == (200, True)
    alice.cookie = cookie
    right = await send(alice, "/login", known)
    assert (right.status_code, await alice.is_logged_in()) == (
        303 if send is Browser.post else 204,
        True,
    )
    await app.change("DELETE FROM sessions")
    signed_up = await send(
        alice, "/signup", {"name": "Bob", "email": "bob@example.com", "password": PASSWORD}
    )
    assert (signed_up.status_code, await app.count("users")) == (right.status_code, 2)


@pytest.mark.guide("D10")
@pytest.mark.parametrize("path", ["/signup/check/role", "/account/check/email"])
async def test_a_live_check_of_an_unknown_field_is_not_found(
    anonymous: Browser, alice: Browser, path: str
) -> None:
    for user in (anonymous, alice):
        for headers in ({}, HTMX, {"Content-Type": "application/json"}):
            assert (
                await user.request("POST", path, {"viewer": "nobody"}, **headers)
            ).status_code == 404


@pytest.mark.guide("D12", "D20", "D29", "A16", "T14")
@pytest.mark.asvs("S01")
async def test_access_control_holds_without_the_guards(
    app: TestApp, alice: Browser, alices_phone: Browser, anonymous: Browser
) -> None:
    revoked = alices_phone.cookie
    await alices_phone.post("/logout")
    members = [*routes_with(app, RouteAccess.MEMBERS, RouteAccess.ADMINS)]
    app.asgi_app.router.set_routes(without_guards(app.asgi_app.router.routes))
    for cookie in (None, revoked):
        for method, path in members:
            for headers in ({}, HTMX):
                anonymous.cookie = cookie
                answer = await anonymous.request(method, path, **headers)
                assert is_denied(answer, path) or path == "/handbook", path
                assert "Alice" not in answer.text
    assert await alice.is_logged_in()


@pytest.mark.asvs("S01")
async def test_a_revoked_cookie_is_refused_by_every_route(
    app: TestApp, alice: Browser, alices_phone: Browser
) -> None:
    revoked = alices_phone.cookie
    await alices_phone.post("/logout")
    for method, path in routes_with(app, RouteAccess.MEMBERS, RouteAccess.ADMINS):
        for headers in ({}, HTMX):
            alices_phone.cookie = revoked
            answer = await alices_phone.request(method, path, **headers)
            assert is_denied(answer, path) or path == "/handbook", path
            assert "Alice" not in answer.text
    assert await alice.is_logged_in()


UNTRUSTED_HEADERS = {
    "X-Middleware-Subrequest": "middleware:middleware:middleware",
    "X-Original-URL": "/",
    "X-Rewrite-URL": "/",
    "X-HTTP-Method-Override": "GET",
    "X-Forwarded-For": "127.0.0.1",
    "X-Forwarded-Host": "localhost",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Prefix": "/static",
    "X-User-ID": "1",
    "X-Remote-User": "alice",
    "Authorization": "Basic YWxpY2U6eA==",
    "Host": "x/signup?",
    "HX-Boosted": "true",
    "HX-Target": "main#main",
    "HX-Request-Type": "full",
    "HX-History-Restore-Request": "true",
}


@pytest.mark.guide("D12", "T14")
@pytest.mark.asvs("S02")
async def test_untrusted_headers_do_not_affect_access(
    app: TestApp, alice: Browser, anonymous: Browser
) -> None:
    for name, value in UNTRUSTED_HEADERS.items():
        if name == "Host":  # A request for another host is refused before anything else.
            assert (await alice.get("/dashboard", Host=value)).status_code == 400
            continue
        for method, path in routes_with(app, RouteAccess.MEMBERS, RouteAccess.ADMINS):
            assert is_denied(await anonymous.request(method, path, **{name: value}), path), (
                name,
                path,
            )
        assert (await alice.get("/dashboard", **{name: value})).status_code == 200, name
        assert (await anonymous.get("/login", **{name: value})).status_code == 200, name


@pytest.mark.guide("D8", "T5")
async def test_an_unknown_path_is_not_found(alice: Browser, anonymous: Browser) -> None:
    for path in (
        "/dashboard/settings",
        "/dashboard/",
        "/DASHBOARD",
        "/devices;x",
        "/devices/x",
        "/%64evices/x",
    ):
        assert [(await user.get(path)).status_code for user in (alice, anonymous)] == [404, 404]


@pytest.mark.guide("D11", "D15")
async def test_a_static_file_does_not_depend_on_the_session(
    app: TestApp, alice: Browser, anonymous: Browser
) -> None:
    path = read(await anonymous.get("/")).one("link", rel="stylesheet").attrs["href"]
    await app.change("DELETE FROM sessions")
    before = app.statements
    answers = [await user.get(path) for user in (alice, anonymous)]
    assert answers[0].headers == answers[1].headers
    assert [answer.status_code for answer in answers] == [200, 200]
    assert app.statements == before


@pytest.mark.guide("D7")
@pytest.mark.parametrize("header", ["Sec-Purpose", "Purpose"])
async def test_a_prefetch_writes_nothing_and_renews_nothing(
    app: TestApp, alice: Browser, header: str
) -> None:
    app.clock.move(days=5)
    seen = await app.rows("SELECT last_seen_at, expires_at FROM sessions")
    answer = await alice.get("/dashboard", **{header: "prefetch;prerender"})
    assert (answer.status_code, set_cookie_of(answer)) == (200, {})
    assert await app.rows("SELECT last_seen_at, expires_at FROM sessions") == seen
    await alice.get("/dashboard")
    assert await app.rows("SELECT last_seen_at, expires_at FROM sessions") != seen


async def verify_twice(request: Request) -> Response:
    first, second = await verify_session(request), await verify_session(request)
    return PlainTextResponse(f"{first.name} {first is second}")


@pytest.mark.guide("D17", "D13")
async def test_a_session_is_looked_up_once_per_request(app: TestApp, alice: Browser) -> None:
    app.asgi_app.router.set_routes(
        [*app.asgi_app.router.routes, Members("/twice", get=verify_twice, name="twice")]
    )
    before = app.statements
    assert (await alice.get("/twice")).text == "Alice True"
    assert app.statements == before + 1


DOCUMENTED = {
    "anyone": "/logout /language /api/openapi.json /api/session /api/forward /.well-known/jwks.json /healthz /readyz /.well-known/change-password"
    " /.well-known/passkey-endpoints /.well-known/security.txt /robots.txt /static/{name} /forgot /reset /not-me"
    " /reset/{token} /verify/{token} /change-email/{token} /not-me/{token}"
    " /join /join/{token} /keep /keep/{token} /login/with/{provider}/callback"
    " /login/with/{provider}/logout",
    "guests": "/ /signup /signup/check/{field} /login /login/passkey"
    " /login/check /login/with/{provider} /signup/with/{provider}",
    "claimants": "/login/factor",
    "members": "/dashboard /handbook /devices /devices/revoke-others /devices/revoke-all /devices/{id}/revoke /account"
    " /account/activity /account/security /account/check/{field} /account/language /account/password"
    " /account/data /account/delete /account/keep /account/passkeys/decline /confirm"
    " /account/passkeys /account/passkeys/{id} /account/passkeys/{id}/remove"
    " /account/authenticator /account/authenticator/remove /account/recovery-codes"
    " /account/email /account/email/cancel /account/verify /verify /change-email /users/{slug} /api/token /api/users/{slug}"
    " /account/tokens /account/tokens/{id}/revoke /api/account /api/account/sessions /api/account/activity"
    " /api/account/sessions/revoke-others /api/account/sessions/revoke-all /api/account/sessions/{id}"
    " /api/account/tokens /api/account/tokens/{id}"
    " /account/identities /account/identities/connect /account/identities/{id}/remove"
    " /confirm/with/{provider}",
    "admins": "/admin/users /admin/users/{id} /admin/users/{id}/role /admin/users/{id}/team /admin/users/{id}/disable"
    " /admin/users/{id}/revoke/{session} /admin/users/{id}/data /admin/users/{id}/delete /admin/users/{id}/keep /admin/add"
    " /admin/invitations /admin/invitations/{id}/resend /admin/invitations/{id}/withdraw"
    " /admin/users/{id}/enable /admin/users/{id}/end-sessions /admin/audit /admin/audit/export /api/admin/users"
    " /admin/roles /admin/roles/{role} /admin/roles/{role}/delete"
    " /api/admin/users/{id} /api/admin/users/{id}/role /api/admin/users/{id}/team /api/admin/audit"
    " /api/admin/users/{id}/disable /api/admin/users/{id}/enable /api/admin/users/{id}/end-sessions"
    " /api/admin/roles /api/admin/roles/{role} /api/admin/users/{id}/keep"
    " /api/admin/invitations /api/admin/invitations/{id} /api/admin/invitations/{id}/resend"
    " /admin/organizations /admin/organizations/{domain}"
    " /admin/organizations/{domain}/verify /admin/organizations/{domain}/remove",
    "operators": "/metrics /dev/mailbox /dev/mailbox/{id} /dev/mailbox/{id}/html /dev/mails",
}


@pytest.mark.asvs("S04")
async def test_the_routes_match_the_documented_access(app: TestApp) -> None:
    assert all(isinstance(route, AppRoute) for route in app.asgi_app.router.routes)
    for access, paths in DOCUMENTED.items():
        assert {
            route.path for route in app.asgi_app.router.routes if route.access.value == access
        } == {*paths.split()}


@pytest.mark.asvs("S04")
@pytest.mark.guide("D8")
async def test_each_page_is_accessible_as_its_route_declares(
    app: TestApp, alice: Browser, ada: Browser, anonymous: Browser
) -> None:
    expected_statuses = {
        RouteAccess.GUESTS: (200, 303, 303),
        RouteAccess.MEMBERS: (303, 200, 200),
        RouteAccess.ADMINS: (303, 403, 200),
    }
    # Without the link of a mail, these pages respond with status 410 to logged-in users.
    link_pages = ("/verify", "/change-email")
    # Without a second step there are no recovery codes, and after a log-in there is nothing to
    # confirm: these pages redirect.
    redirecting_pages = ("/account/recovery-codes", "/confirm")
    # Without an identity that waits in the browser, and without an organization, these pages
    # redirect and are not found.
    redirecting_pages += ("/signup/with/{provider}", "/admin/organizations/{domain}")
    for route in app.asgi_app.router.routes:
        is_link_page = route.path in (*link_pages, *redirecting_pages)
        if route.access in expected_statuses and "GET" in route.endpoints and not is_link_page:
            path = (
                route.path.replace("{slug}", "alice")
                .replace("{role}", "user")
                .replace("{provider}", "work")
                .replace("{id}", (await app.viewer_of(alice)).id)
            )
            expected = [
                401 if path.startswith("/api/") and status == 303 else status
                for status in expected_statuses[route.access]
            ]
            assert [
                (await user.get(path)).status_code for user in (anonymous, alice, ada)
            ] == expected, path


async def roles(app: TestApp) -> dict[str, str]:
    return dict(await app.rows("SELECT name, role FROM users"))


@pytest.mark.guide("D30", "D31", "D2", "A16")
@pytest.mark.asvs("S04")
async def test_admin_routes_refuse_everyone_but_admins(
    app: TestApp, alice: Browser, bob: Browser, ada: Browser, anonymous: Browser
) -> None:
    ((bob_id,),) = await app.rows("SELECT id FROM users WHERE name = 'Bob'")
    query = "SELECT id, name, role, team, disabled_at FROM users ORDER BY id"
    before = await app.rows(query)
    fields = {"role": "admin", "team": "locks"}
    for method, path in routes_with(app, RouteAccess.ADMINS):
        path = path.replace("AAAAAAAAAAAAAAAAAAAAAA", bob_id)
        for user, headers, status in (
            (alice, {}, 403),
            (alice, HTMX, 403),
            (anonymous, {}, 401 if path.startswith("/api/") else 303),
            (anonymous, HTMX, 401),
        ):
            assert (await user.request(method, path, fields, **headers)).status_code == status, path
    assert await app.rows(query) == before
    assert await bob.is_logged_in()
    assert (await ada.post(f"/admin/users/{bob_id}/role", fields)).status_code == 303
    assert (await roles(app))["Bob"] == "admin"


@pytest.mark.guide("D2", "D30")
@pytest.mark.asvs("S01", "S37")
async def test_the_role_in_the_cookie_does_not_decide_access(
    app: TestApp, alice: Browser, ada: Browser
) -> None:
    await app.change_role(alice, "admin")
    await app.change_role(ada, "user")
    ((alice_id,),) = await app.rows("SELECT id FROM users WHERE name = 'Alice'")
    assert (await ada.post(f"/admin/users/{alice_id}/disable")).status_code == 403
    assert (await ada.get("/api/admin/users")).status_code == 403
    assert (await alice.get("/admin/users")).status_code == 200
    assert await roles(app) == {"Alice": "admin", "Ada": "user"}


@pytest.mark.asvs("S03")
async def test_no_spelling_of_a_path_bypasses_its_guard(
    app: TestApp, alice: Browser, anonymous: Browser
) -> None:
    spellings = (
        "//admin/users",
        "/admin/users/",
        "/%61dmin/users",
        "/ADMIN/users",
        "/admin/users;x",
        "/x/../admin/users",
    )
    spellings += (
        "/admin//users",
        "/./admin/users",
        "/admin%2fusers",
        "/admin/users%00",
        "/admin/users%20",
        "/\\admin/users",
    )
    for path in spellings:
        for host in ("localhost:8000", "x/signup?", "a@b", "", "x/static/app.css?"):
            for user in (alice, anonymous):
                answer = await user.get(f"http://localhost:8000{path}", Host=host)
                assert answer.status_code in (303, 307, 308, 400, 403, 404), (path, host)
                assert "alice@example.com" not in answer.text


FOREIGN = {"Sec-Fetch-Site": "cross-site"}
JSON = {"Content-Type": "application/json"}


async def test_the_checks_of_a_request_run_in_the_specified_order(
    app: TestApp, alice: Browser, bob: Browser, anonymous: Browser
) -> None:
    large, bob_id = b"x" * 70_000, (await bob.get("/api/session")).json()["user"]["id"]

    async def post(user: Browser, path: str, content: bytes, **headers: str) -> int:
        all_headers = {"Content-Type": "application/x-www-form-urlencoded"} | headers
        return (await user.client.post(path, content=content, headers=all_headers)).status_code

    # The origin is checked first.
    assert await post(anonymous, "/nowhere", large, **FOREIGN, **JSON) == 403
    assert await post(anonymous, "/nowhere", large, **JSON) == 413
    assert await post(anonymous, "/nowhere", b"{}", **JSON) == 404
    assert await post(anonymous, "/dashboard", b"{}", **JSON) == 405
    # There is no session.
    assert await post(anonymous, "/devices/revoke-all", b"{}", **JSON) == 303
    assert await post(alice, "/admin/users/x/role", b"{}", **JSON) == 415
    # The role is not sufficient.
    assert await post(alice, "/admin/users/x/role", b"viewer=" + bob_id.encode()) == 403
    assert await post(alice, "/devices/revoke-all", b"viewer=" + bob_id.encode()) == 409
    assert await post(anonymous, "/login", b"{}", **JSON) == 415
    assert await post(anonymous, "/login", b"email=x") == 422
    assert await alice.is_logged_in()
    assert await roles(app) == {"Alice": "user", "Bob": "user"}


@pytest.mark.asvs("S72", "S01")
@pytest.mark.guide("D16", "T1", "C3", "T6")
async def test_an_ended_session_is_redirected_to_login_without_a_loop(
    app: TestApp, alice: Browser
) -> None:
    await app.change("DELETE FROM sessions")
    ended_cookie = alice.cookie
    for headers, status in (({}, 303), (HTMX, 401)):
        alice.cookie = ended_cookie
        answer = await alice.get(
            "/devices", HX_Current_URL="http://localhost:8000/devices", **headers
        )
        target = answer.headers.get("location") or answer.headers["hx-redirect"]
        assert (answer.status_code, target) == (status, "/login?next=/devices&ended=1")
        assert set_cookie_of(answer)["session"]["max-age"] == "0"
        assert alice.cookie is None
        login = await alice.get(target)
        assert (login.status_code, "been logged out on this device." in login.text) == (200, True)


@pytest.mark.guide("D9")
@pytest.mark.parametrize("send", [Browser.get, Browser.get_fragment])
async def test_a_redirect_without_a_cookie_does_not_mention_a_logout(
    anonymous: Browser, send: Callable
) -> None:
    answer = await send(anonymous, "/dashboard")
    target = answer.headers.get("location") or answer.headers["hx-redirect"]
    assert target == "/login?next=/dashboard"


@pytest.mark.asvs("S76")
async def test_a_route_accepts_only_its_methods(
    app: TestApp, alice: Browser, anonymous: Browser
) -> None:
    for route in [route for route in app.asgi_app.router.routes if isinstance(route, AppRoute)]:
        for method in {
            "GET",
            "HEAD",
            "POST",
            "PUT",
            "PATCH",
            "DELETE",
            "OPTIONS",
            "TRACE",
            "BREW",
        } - route.methods:
            for user in (alice, anonymous):
                answer = await user.request(method, path_in(route))
                assert (answer.status_code, {*answer.headers["allow"].split(", ")}) == (
                    405,
                    route.methods,
                )
    assert await alice.is_logged_in()


@pytest.mark.asvs("S76")
async def test_head_returns_the_headers_of_get(
    app: TestApp, alice: Browser, anonymous: Browser
) -> None:
    for user, paths in ((anonymous, GUESTS + MEMBERS), (alice, MEMBERS + GUESTS)):
        for path in [*paths, "/healthz", "/readyz", "/robots.txt", "/api/session"]:
            head, get = await user.request("HEAD", path), await user.get(path)
            # The challenge for a passkey differs, and with it the size of the compressed page.
            if "challenge" in get.text:
                del head.headers["content-length"], get.headers["content-length"]
            assert (head.status_code, head.headers, head.content) == (
                get.status_code,
                get.headers,
                b"",
            )


@pytest.mark.asvs("S105")
async def test_urls_contain_neither_secrets_nor_emails(app: TestApp) -> None:
    urls, user = [], await app.browser("Alice")

    async def collect_urls(answer: httpx.Response) -> None:
        urls.extend(
            answer.headers.get(name, "") for name in ("location", "hx-redirect", "hx-push-url")
        )
        names = ("href", "action", "src", "data-hx-get", "data-hx-post")
        urls.extend(element.attrs.get(name, "") for element in read(answer) for name in names)

    for answer in (
        await user.post("/signup", {"name": "Alice", "email": user.email, "password": "x"}),
        await user.sign_up(),
        *[await user.get(path) for path in MEMBERS],
        await user.post("/logout"),
        await user.post("/login", {"email": user.email, "password": "wrong-No.9"}),
        await user.log_in(),
    ):
        await collect_urls(answer)
    secrets = [user.email, "alice%40", PASSWORD, "wrong-No.9", str(user.cookie)]
    assert "/dashboard" in urls
    assert [url for url in urls if any(secret in url for secret in secrets)] == []


async def id_of(user: Browser) -> str:
    return (await user.get("/api/session")).json()["user"]["id"]


async def test_a_fragment_for_the_document_of_another_user_redirects(
    app: TestApp, alice: Browser, bob: Browser
) -> None:
    document, before = {"Document_Viewer": await id_of(alice)}, app.statements
    for path in ("/devices?from=bar", "/account", "/handbook"):
        answer = await bob.get_fragment(path, **document)
        assert (answer.status_code, answer.headers["hx-redirect"], answer.content) == (
            204,
            path,
            b"",
        )
    assert app.statements == before
    assert (await alice.get_fragment("/devices", **document)).status_code == 200


async def test_a_form_in_the_document_of_another_user_changes_nothing(
    app: TestApp, alice: Browser, bob: Browser
) -> None:
    document = {
        "Document_Viewer": await id_of(alice),
        "HX_Current_URL": "http://localhost:8000/account",
    }
    before = app.statements
    for path, fields in (
        ("/account", {"name": "Alice Grace"}),
        ("/account", {"name": "Alice Grace", "viewer": document["Document_Viewer"]}),
        ("/account/check/slug", {"slug": "alice-grace"}),
        ("/devices/revoke-all", {}),
        ("/logout", {}),
    ):
        answer = await bob.post_fragment(path, fields, **document)
        assert (answer.status_code, answer.headers["hx-redirect"], answer.content) == (
            204,
            "/account",
            b"",
        )
    assert app.statements == before
    assert await bob.is_logged_in()
    assert await app.rows("SELECT name FROM users ORDER BY name") == [("Alice",), ("Bob",)]


async def test_the_navigation_contains_the_viewer_id(app: TestApp, alice: Browser) -> None:
    navigation = read(await alice.get("/dashboard")).one(id="nav")
    assert navigation.attrs["data-viewer"] == await id_of(alice)
    form = navigation.one("form", action="/logout")
    assert (form.attrs["method"], form.attrs["data-hx-post"]) == ("post", "/logout")


def test_every_boosted_link_cancels_the_previous_request() -> None:
    partials = Path(__file__).parent.parent / "partials"
    texts = [" ".join(path.read_text().split()) for path in partials.rglob("*.html")]
    links = "".join(texts).split('data-hx-push-url="true"')[1:]
    assert links
    assert all(link.startswith(' data-hx-sync="#main:replace"') for link in links)
