"""Tests of the examples in deploy/forward: the real proxies in front of the real applications."""

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.forwarding import APPS, BIN, Site, running_site
from tests.processes import Program, free_port, started

SITES = [
    ("nginx", "one-host"),
    ("nginx", "subdomains"),
    ("caddy", "one-host"),
    ("caddy", "subdomains"),
    ("traefik", "one-host"),
    ("traefik", "subdomains"),
]
FORGED = {
    "Remote-User": "ada",
    "remote-email": "ada@example.com",
    "REMOTE-NAME": "Ada",
    "Remote-Role": "admin",
    "Remote-Groups": "admin",
    "Remote-Token": "forged",
    "Remote_User": "ada",
    "REMOTE_ROLE": "admin",
    "remote_groups": "admin",
    "X-Login-URL": "https://evil.example",
}


@pytest.fixture(scope="module")
def application(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """Yields the FastAPI example, which all proxies use."""
    port = free_port()
    command = (BIN / "uvicorn", "--app-dir", APPS, "fastapi_app:app", "--host", "127.0.0.1")
    with started(port, *command, "--port", str(port)) as program:
        yield program


@pytest.fixture(scope="module", params=SITES, ids="-".join)
def site(
    request: pytest.FixtureRequest,
    migrated: Path,
    application: Program,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Site]:
    proxy, layout = request.param
    folder = tmp_path_factory.mktemp("forward")
    with running_site(folder, migrated, proxy, layout, application.port) as running:
        yield running


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
    assert back.json().pop("id")
    assert back.json() | {"id": ""} == {
        "id": "",
        "name": "Alice",
        "email": None,  # It is not confirmed.
        "role": "user",
        "groups": ["user"],
    }


def test_a_confirmed_email_and_a_name_reach_the_application(site: Site) -> None:
    zoe = site.user("Zoë")
    site.confirm_email("Zoë")
    user = zoe.get("/app/").json()
    assert (user["name"], user["email"]) == ("Zoë", "zoe@example.com")


def test_forged_headers_do_not_change_the_user(site: Site) -> None:
    alice = site.user("Alice")
    true = alice.get("/app/").json()
    assert true["name"] == "Alice"
    answer = alice.get("/app/", headers=FORGED)
    assert (answer.status_code, answer.json()) == (200, true)


def test_forged_headers_without_a_session_are_refused(site: Site) -> None:
    answer = site.browser().get("/app/", headers=FORGED)
    assert answer.status_code == 303
    assert "ada" not in answer.text


def test_forged_headers_do_not_reach_a_public_path(site: Site) -> None:
    for browser in (site.browser(), site.user("Alice")):
        answer = browser.get("/app/public/", headers=FORGED)
        assert (answer.status_code, answer.json()["id"]) == (200, None)


def test_the_application_gets_its_own_cookies_only(site: Site) -> None:
    alice = site.user("Alice")
    alice.cookies.set("own", "1")
    cookies = alice.get("/app/public/").json()["cookie"]
    assert "own=1" in cookies
    # Traefik cannot remove one cookie of several, as the page says.
    assert ("-session=" in cookies) is (site.proxy == "traefik")


def test_another_role_is_refused(site: Site) -> None:
    assert site.user("Alice").get("/app/admin/").status_code == 403


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
    cookies = dict(alice.cookies)
    alice.post(f"{site.accounts}/logout")
    assert alice.get("/app/").status_code == 303
    copy = "; ".join(f"{name}={value}" for name, value in cookies.items())
    assert site.browser().get("/app/", headers={"Cookie": copy}).status_code == 303


def test_a_fetch_without_a_session_gets_a_status(site: Site) -> None:
    answer = site.browser().get("/app/", headers={"Sec-Fetch-Mode": "cors"})
    assert (answer.status_code, "location" in answer.headers) == (401, False)


def test_the_body_of_a_form_reaches_the_application(site: Site) -> None:
    alice = site.user("Alice")
    answer = alice.post("/app/", data={"text": "x" * 5000})
    assert (answer.status_code, answer.json()["name"]) == (200, "Alice")


def test_the_renewed_cookie_reaches_the_browser(site: Site) -> None:
    alice = site.user("Alice")
    assert "set-cookie" not in alice.get("/app/").headers
    for _ in range(3):
        site.clock.move(days=5)
        answer = alice.get("/app/")
        assert (answer.status_code, answer.headers["set-cookie"].count("-session=")) == (200, 1)
    site.clock.move(days=6)
    assert alice.get("/app/").status_code == 200
