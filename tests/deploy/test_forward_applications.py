"""Tests of the example applications in deploy/forward/apps, each as a real program behind nginx."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.deploy.test_forward import FORGED
from tests.forwarding import APPS, BIN, Site, running_site
from tests.processes import Program, free_port, needs_nginx, started

NODE = shutil.which("node")
NODE_MODULES = APPS / "node_modules"
LOOPBACK = "127.0.0.1"

pytestmark = needs_nginx


def fastapi(folder: Path, port: int, **environ: str) -> AbstractContextManager[Program]:
    command = (BIN / "uvicorn", "--app-dir", APPS, "fastapi_app:app", "--host", LOOPBACK)
    return started(port, *command, "--port", str(port), **environ)


def django(folder: Path, port: int, **environ: str) -> AbstractContextManager[Program]:
    environ |= {"DATA": str(folder), "ALLOWED_HOSTS": "localhost", "PYTHONPATH": str(APPS)}
    subprocess.run(
        [sys.executable, APPS / "django_app.py", "migrate"],
        check=True,
        capture_output=True,
        env={"PATH": os.environ["PATH"], **environ},
    )
    # gunicorn drops names with underscores. This shows that nginx removes them too.
    command = (BIN / "gunicorn", "django_app:application", "--header-map", "dangerous")
    return started(port, *command, "--bind", f"{LOOPBACK}:{port}", "--no-control-socket", **environ)


def express(folder: Path, port: int, **environ: str) -> AbstractContextManager[Program]:
    if NODE is None or not NODE_MODULES.is_dir():
        pytest.skip("there is no Express: run `npm ci` in deploy/forward/apps")
    return started(port, NODE, APPS / "express_app.mjs", **environ)


@pytest.fixture(scope="module", params=[fastapi, django, express], ids=lambda start: start.__name__)
def site(
    request: pytest.FixtureRequest, migrated: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("application")
    port, proxy_port = free_port(), free_port()
    with (
        running_site(folder, migrated, "nginx", "one-host", port, proxy_port) as running,
        request.param(
            folder,
            port,
            LATCHKEY_URL=running.accounts,
            AUDIENCE=running.origin,
            LATCHKEY_KEYS=f"{running.internal}/.well-known/jwks.json",
        ),
    ):
        running.has_token_endpoint = request.param is not django
        yield running


def test_the_application_knows_its_user(site: Site) -> None:
    browser = site.user("Zoë")
    ((user_id,),) = site.rows("SELECT id FROM users WHERE name = 'Zoë'")
    site.rows("UPDATE users SET verified_at = created_at, team = 'R, D' WHERE name = 'Zoë'")
    answer = browser.get("/app/")
    assert (answer.status_code, answer.json()) == (
        200,
        {
            "id": user_id,
            "name": "Zoë",
            "email": "zoe@example.com",
            "role": "user",
            "groups": ["user", "team-R, D"],
        },
    )


def test_forged_headers_do_not_change_the_user(site: Site) -> None:
    alice = site.user("Alice")
    true = alice.get("/app/").json()
    assert true["name"] == "Alice"
    assert alice.get("/app/", headers=FORGED).json() == true


def test_forged_headers_without_a_session_log_nobody_in(site: Site) -> None:
    browser = site.browser()
    assert browser.get("/app/", headers=FORGED).status_code == 303
    assert browser.get("/app/public/", headers=FORGED).json()["id"] is None
    assert browser.get("/app/public/").json()["id"] is None


def test_another_user_in_the_same_browser_is_another_user(site: Site) -> None:
    """Django keeps a session of its own."""
    browser = site.user("Alice")
    assert browser.get("/app/").json()["name"] == "Alice"
    browser.post(f"{site.accounts}/logout")
    bob = site.user("Bob")
    for cookie in bob.cookies.jar:
        browser.cookies.jar.set_cookie(cookie)
    assert browser.get("/app/").json()["name"] == "Bob"


def test_a_revoked_session_is_refused_at_the_next_request(site: Site) -> None:
    stolen, own = site.user("Alice"), site.user("Alice")
    assert stolen.get("/app/").status_code == 200
    own.post(f"{site.accounts}/devices/revoke-others")
    assert stolen.get("/app/").status_code == 303


def test_the_application_verifies_the_token(site: Site) -> None:
    answer = site.user("Alice").get("/app/token")
    if site.has_token_endpoint:
        claims = answer.json()
        assert (claims["name"], claims["role"]) == ("Alice", "user")
        assert (claims["iss"], claims["aud"]) == (site.accounts, site.origin)
    else:
        assert answer.status_code == 404


def test_a_request_past_the_proxy_needs_a_valid_token(site: Site) -> None:
    refused = 401 if site.has_token_endpoint else 404
    with site.direct() as client:
        for token in ("", "e30.e30.e30", site.session_cookie("Alice")):
            answer = client.get("/app/token", headers={"Remote-Token": token})
            assert answer.status_code == refused


def test_the_application_checks_the_role_itself(site: Site) -> None:
    """Express finds the route of /app/admin/ at /app/ADMIN/ too."""
    alice, grace = site.user("Alice"), site.user("Grace")
    assert alice.get("/app/admin/").status_code == 403
    assert alice.get("/app/ADMIN/").status_code in (403, 404)
    site.rows("UPDATE users SET role = 'admin' WHERE name = 'Grace'")
    assert grace.get("/app/admin/").status_code == 200
    site.rows("UPDATE users SET role = 'user' WHERE name = 'Grace'")
    with site.direct() as client:
        ((user_id,),) = site.rows("SELECT id FROM users WHERE name = 'Grace'")
        headers = {"Remote-User": user_id, "Remote-Role": "user", "Remote-Groups": "user"}
        # Django redirects to the log-in page of its admin site.
        answer = client.get("/app/admin/", headers={**headers, "Host": "localhost"})
        assert answer.status_code in (302, 403)


def test_a_static_site_is_for_users_only(migrated: Path, tmp_path: Path) -> None:
    shutil.copytree(APPS / "site", tmp_path / "docs")
    with running_site(tmp_path, migrated, "nginx", "one-host", free_port()) as site:
        assert site.browser().get("/docs/", headers=FORGED).status_code == 303
        alice = site.user("Alice")
        answer = alice.get("/docs/")
        assert (answer.status_code, "Only for users" in answer.text) == (200, True)
        site.rows("DELETE FROM sessions")
        assert alice.get("/docs/").status_code == 303
