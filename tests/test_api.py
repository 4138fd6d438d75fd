"""JSON for scripts: who is logged in, or 401, and never a redirect."""

import httpx
import pytest

from tests.conftest import House
from tests.people import HTMX, Browser, set_cookie_of


def is_a_problem(answer: httpx.Response, status: int) -> bool:
    """Problem details (RFC 9457), and no redirect."""
    return (
        (answer.status_code, answer.json()["status"]) == (status, status)
        and answer.headers["content-type"] == "application/problem+json"
        and not {"location", "hx-redirect"} & set(answer.headers)
    )


@pytest.mark.guide("D32", "D25")
async def test_the_session_says_who_is_in_and_until_when(house: House, alice: Browser) -> None:
    answer = await alice.get("/api/session")
    ((user_id,),) = await house.rows("SELECT id FROM users")
    assert answer.status_code == 200
    assert answer.json() == {
        "user": {"id": user_id, "name": "Alice", "role": "user", "slug": "alice"},
        "expires_at": "2026-12-01T09:12:00Z",
    }


@pytest.mark.guide("D16", "T1", "B13")
@pytest.mark.parametrize("headers", [{}, HTMX, {"Accept": "text/html"}])
async def test_a_stranger_gets_401_and_never_a_redirect(stranger: Browser, headers: dict[str, str]) -> None:
    answer = await stranger.get("/api/session", **headers)
    assert is_a_problem(answer, 401)
    assert set_cookie_of(answer) == {}


@pytest.mark.guide("D16", "C3")
async def test_a_cookie_that_the_database_does_not_know_is_deleted(house: House, alice: Browser) -> None:
    await house.change("DELETE FROM sessions")
    answer = await alice.get("/api/session")
    assert is_a_problem(answer, 401)
    assert set_cookie_of(answer)["session"]["max-age"] == "0"


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/api/nothing", 404), ("DELETE", "/api/session", 405)])
async def test_an_error_is_a_problem_in_json(alice: Browser, method: str, path: str, status: int) -> None:
    assert is_a_problem(await alice.ask(method, path), status)


async def test_the_session_costs_one_query(house: House, alice: Browser) -> None:
    before = house.statements
    await alice.get("/api/session")
    assert house.statements == before + 1
