"""Tests of the JSON API: it answers with problem details (RFC 9457) and never redirects."""

import httpx
import pytest

from tests.browser_client import HTMX, Browser, set_cookie_of
from tests.conftest import TestApp


def is_a_problem(answer: httpx.Response, status: int) -> bool:
    """Returns whether the response is problem details (RFC 9457) and no redirect."""
    return (
        (answer.status_code, answer.json()["status"]) == (status, status)
        and answer.headers["content-type"] == "application/problem+json"
        and not {"location", "hx-redirect"} & set(answer.headers)
    )


@pytest.mark.guide("D32", "D25")
async def test_the_session_endpoint_returns_user_and_expiry(app: TestApp, alice: Browser) -> None:
    answer = await alice.get("/api/session")
    ((user_id,),) = await app.rows("SELECT id FROM users")
    assert answer.status_code == 200
    assert answer.json() == {
        "user": {"id": user_id, "name": "Alice", "role": "user", "slug": "alice"},
        "expires_at": "2026-12-01T09:12:00Z",
    }


@pytest.mark.guide("D16", "T1", "B13")
@pytest.mark.parametrize("headers", [{}, HTMX, {"Accept": "text/html"}])
async def test_the_session_endpoint_returns_401_to_anonymous_users(
    anonymous: Browser, headers: dict[str, str]
) -> None:
    answer = await anonymous.get("/api/session", **headers)
    assert is_a_problem(answer, 401)
    assert set_cookie_of(answer) == {}


@pytest.mark.guide("D16", "C3")
async def test_the_session_endpoint_deletes_a_revoked_cookie(app: TestApp, alice: Browser) -> None:
    await app.change("DELETE FROM sessions")
    answer = await alice.get("/api/session")
    assert is_a_problem(answer, 401)
    assert set_cookie_of(answer)["session"]["max-age"] == "0"


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/api/nothing", 404), ("DELETE", "/api/session", 405)]
)
async def test_an_api_error_is_problem_details(
    alice: Browser, method: str, path: str, status: int
) -> None:
    assert is_a_problem(await alice.request(method, path), status)


async def test_the_session_endpoint_costs_one_query(app: TestApp, alice: Browser) -> None:
    before = app.statements
    await alice.get("/api/session")
    assert app.statements == before + 1


@pytest.mark.guide("D31", "D30", "T1")
async def test_the_api_lists_users_for_admins_only(
    alice: Browser, ada: Browser, anonymous: Browser
) -> None:
    for headers in ({}, HTMX):
        assert is_a_problem(await anonymous.get("/api/admin/users", **headers), 401)
        assert is_a_problem(await alice.get("/api/admin/users", **headers), 403)
    listed = (await ada.get("/api/admin/users")).json()["users"]
    assert {user["email"]: user["role"] for user in listed} == {
        "alice@example.com": "user",
        "ada@example.com": "admin",
    }


async def test_an_api_page_past_the_end_is_empty(
    ada: Browser,
) -> None:
    first, second = [(await ada.get(f"/api/admin/users?page={page}")).json() for page in (1, 2)]
    assert (len(first["users"]), first["page"], first["pages"]) == (1, 1, 1)
    assert (second["users"], second["page"], second["total"]) == ([], 2, 1)


@pytest.mark.guide("D22", "D33", "D4")
@pytest.mark.asvs("S88")
async def test_an_api_profile_contains_the_fields_that_the_viewer_may_see(
    app: TestApp, alice: Browser, bob: Browser, ada: Browser, anonymous: Browser
) -> None:
    async def seen_by(user: Browser) -> tuple:
        profile = (await user.get("/api/users/alice")).json()
        return profile["name"], profile["email"], profile["phone"]

    await app.change("UPDATE users SET phone = '555-0199' WHERE name = 'Alice'")
    assert await seen_by(alice) == await seen_by(ada) == ("Alice", "alice@example.com", "555-0199")
    # An empty team is not a team that Alice and Bob share.
    assert await seen_by(bob) == ("Alice", None, None)
    await app.change("UPDATE users SET team = 'keys'")
    assert await seen_by(bob) == ("Alice", None, "555-0199")
    await app.change("UPDATE users SET team = 'locks' WHERE name = 'Bob'")
    assert await seen_by(bob) == ("Alice", None, None)
    assert is_a_problem(await bob.get("/api/users/nobody"), 404)
    assert is_a_problem(await anonymous.get("/api/users/alice"), 401)
