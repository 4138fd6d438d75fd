"""Tests of the examples in deploy/forward: real proxies in front of an application that shows the
requests that it gets.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import httpx
import pytest

from tests.forwarding import Site, running_in_a_thread, running_site, show_request

SITES = [
    (proxy, layout)
    for proxy in ("nginx", "caddy", "traefik")
    for layout in ("one-host", "subdomains")
]
FORGED = {
    "Remote-User": "ada",
    "remote-email": "ada@example.com",
    "REMOTE-NAME": "Ada",
    "Remote-Role": "admin",
    "Remote-Groups": "admin",
    "Remote-Token": "forged",
    "Remote_User": "ada",
    "remote_email": "ada@example.com",
    "REMOTE_NAME": "Ada",
    "Remote_role": "admin",
    "rEMOTE_gROUPS": "admin",
    "Remote_Token": "forged",
    "X-Login-URL": "https://evil.example",
}


@pytest.fixture(scope="module")
def application() -> Iterator[int]:
    with running_in_a_thread(show_request) as port:
        yield port


@pytest.fixture(scope="module", params=SITES, ids="-".join)
def site(
    request: pytest.FixtureRequest,
    migrated: Path,
    application: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Site]:
    proxy, layout = request.param
    folder = tmp_path_factory.mktemp("forward")
    with running_site(folder, migrated, proxy, layout, application) as running:
        yield running


def received(answer: httpx.Response) -> dict[str, list[str]]:
    """Returns the headers that the application got. The token differs with each request."""
    assert answer.status_code == 200, answer.text
    headers = answer.json()["headers"]
    return {name: headers[name] for name in headers if name != "REMOTE_TOKEN"}


def identity(answer: httpx.Response) -> dict[str, list[str]]:
    headers = received(answer)
    return {name: headers[name] for name in headers if name.startswith("REMOTE_")}


def test_a_login_leads_back_to_the_application(site: Site) -> None:
    site.user("Alice")
    browser = site.browser()
    refused = browser.get("/app/?page=2", headers={"Sec-Fetch-Mode": "navigate"})
    assert refused.status_code == 303
    login = refused.headers["location"]
    assert login.startswith(f"{site.accounts}/login?next=")
    target = browser.get(login).text.split('name="next" value="')[1].split('"')[0]
    answer = site.log_in(browser, "Alice", target)
    assert answer.status_code == 303
    back = browser.get(httpx.URL(f"{site.accounts}/login").join(answer.headers["location"]))
    assert (back.status_code, str(back.url)) == (200, f"{site.origin}/app/?page=2")
    assert identity(back)["REMOTE_NAME"] == ["Alice"]


def test_the_application_gets_the_identity(site: Site) -> None:
    browser = site.user("Zoë")
    ((user_id,),) = site.rows("SELECT id FROM users WHERE name = 'Zoë'")
    expected = {
        "REMOTE_USER": [user_id],
        "REMOTE_NAME": ["Zo%C3%AB"],
        "REMOTE_ROLE": ["user"],
        "REMOTE_GROUPS": ["user"],
    }
    assert identity(browser.get("/app/")) == expected
    assert unquote("Zo%C3%AB") == "Zoë"
    site.rows("UPDATE users SET verified_at = created_at WHERE name = 'Zoë'")
    assert identity(browser.get("/app/")) == {**expected, "REMOTE_EMAIL": ["zoe@example.com"]}


@pytest.mark.asvs("S120")
def test_forged_headers_do_not_change_the_user(site: Site) -> None:
    alice = site.user("Alice")
    true = identity(alice.get("/app/"))
    assert true["REMOTE_NAME"] == ["Alice"]
    answer = alice.get("/app/", headers=FORGED)
    assert identity(answer) == true
    assert [len(token) > 300 for token in answer.json()["headers"]["REMOTE_TOKEN"]] == [True]


def test_forged_headers_without_a_session_are_refused(site: Site) -> None:
    answer = site.browser().get("/app/", headers=FORGED)
    assert (answer.status_code, "ada" in answer.text) == (303, False)


@pytest.mark.asvs("S120")
def test_forged_headers_do_not_reach_a_public_path(site: Site) -> None:
    for browser in (site.browser(), site.user("Alice")):
        answer = browser.get("/app/public/", headers=FORGED)
        assert (identity(answer), "REMOTE_TOKEN" in answer.json()["headers"]) == ({}, False)


def test_a_client_cannot_choose_where_the_login_leads(site: Site) -> None:
    forged = {"X-Forwarded-Uri": "/app/forged", "X-Forwarded-Host": "evil.example"}
    answer = site.browser().get("/app/true", headers=forged)
    assert answer.status_code == 303
    assert unquote(answer.headers["location"]).endswith("/app/true")


def test_the_application_does_not_get_the_session_cookie(site: Site) -> None:
    alice = site.user("Alice")
    for path in ("/app/", "/app/public/"):
        answer = alice.get(path, headers={"Cookie": f"a=1; {cookies_of(alice)}; b=2"})
        (cookies,) = received(answer)["COOKIE"]
        assert re.match("a=1; .*; b=2$", cookies)
        # Traefik cannot remove one cookie of several: see docs/in-front-of-your-app.md.
        assert ("-session=" in cookies) is (site.proxy == "traefik")


def test_a_second_session_cookie_does_not_reach_the_application(site: Site) -> None:
    """A sub-domain can add a cookie of the same name. The first one was passed on by nginx."""
    if site.proxy == "traefik":  # See docs/in-front-of-your-app.md.
        return
    cookies = cookies_of(site.user("Alice"))
    name = re.search(r"__\w+-session", cookies)
    assert name is not None
    for sent in (f"{cookies}; {name[0]}=x", f"{name[0]}=x; a=1; {cookies}; b=2"):
        answer = site.browser().get("/app/public/", headers={"Cookie": sent})
        assert "-session=" not in str(received(answer).get("COOKIE"))


@pytest.mark.parametrize("upgrade", ["h2c", "websocket, h2c"])
def test_no_other_upgrade_than_websocket_reaches_the_application(site: Site, upgrade: str) -> None:
    """After an upgrade to HTTP/2, a client could send the application headers of its own."""
    headers = {"Connection": "Upgrade, HTTP2-Settings", "Upgrade": upgrade, "HTTP2-Settings": "AAM"}
    answer = site.browser().get("/app/public/", headers=headers)
    assert "UPGRADE" not in received(answer)


def cookies_of(browser: httpx.Client) -> str:
    return "; ".join(f"{cookie.name}={cookie.value}" for cookie in browser.cookies.jar)


def test_another_role_is_refused(site: Site) -> None:
    answer = site.user("Alice").get("/app/admin/")
    assert answer.status_code == 403
    if site.proxy == "nginx":
        assert "You don't have access to this page" in answer.text
        assert answer.headers["content-type"] == "text/html"
    assert site.browser().get("/app/admin/").status_code == 303


def test_an_administrator_may_open_every_part(site: Site) -> None:
    grace = site.user("Grace")
    site.rows("UPDATE users SET role = 'admin' WHERE name = 'Grace'")
    for path in ("/app/", "/app/admin/"):
        assert identity(grace.get(path))["REMOTE_ROLE"] == ["admin"]


@pytest.mark.asvs("S120", "S37")
def test_a_revoked_session_is_refused_at_the_next_request(site: Site) -> None:
    stolen, own = site.user("Alice"), site.user("Alice")
    assert stolen.get("/app/").status_code == 200
    assert own.post(f"{site.accounts}/devices/revoke-others").status_code == 303
    answer = stolen.get("/app/")
    assert answer.status_code == 303
    # The log-in page would redirect a session cookie away.
    assert re.search(r"__(Host|Secure)-session=; Max-Age=0", answer.headers["set-cookie"])
    assert own.get("/app/").status_code == 200


def test_a_logout_ends_the_access_to_the_application(site: Site) -> None:
    alice = site.user("Alice")
    copy = cookies_of(alice)
    alice.post(f"{site.accounts}/logout")
    assert alice.get("/app/").status_code == 303
    assert site.browser().get("/app/", headers={"Cookie": copy}).status_code == 303


def test_a_fetch_without_a_session_gets_a_status(site: Site) -> None:
    answer = site.browser().get("/app/", headers={"Sec-Fetch-Mode": "cors"})
    assert (answer.status_code, "location" in answer.headers) == (401, False)


def test_the_body_of_a_form_reaches_the_application(site: Site) -> None:
    answer = site.user("Alice").post("/app/", content=b"x" * 50_000)
    assert (answer.status_code, answer.json()["size"]) == (200, 50_000)


def test_a_websocket_can_be_opened_with_a_session_only(site: Site) -> None:
    handshake = {"Connection": "Upgrade", "Upgrade": "websocket"}
    answer = site.user("Alice").get("/app/", headers=handshake)
    assert received(answer)["UPGRADE"] == ["websocket"]
    assert identity(answer)["REMOTE_NAME"] == ["Alice"]
    refused = site.browser().get("/app/", headers=handshake | FORGED)
    assert refused.status_code == 303


def test_the_renewed_cookie_reaches_the_browser(site: Site) -> None:
    alice = site.user("Alice")
    assert "set-cookie" not in alice.get("/app/").headers
    for _ in range(3):
        site.clock.move(days=5)
        answer = alice.get("/app/")
        assert (answer.status_code, answer.headers["set-cookie"].count("-session=")) == (200, 1)
    site.clock.move(days=6)
    assert alice.get("/app/").status_code == 200
