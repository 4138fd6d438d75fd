"""The pages that hold nobody's data: the front page, the handbook, and what robots look for."""

import pytest

from tests.conftest import House
from tests.people import Browser, read


async def test_the_front_page_leads_to_sign_up_and_log_in(stranger: Browser) -> None:
    page = read(await stranger.get("/"))
    assert {"/signup", "/login"} <= {link.attrs["href"] for link in page.one("main").all("a")}
    assert len(page.all("h1")) == 1


@pytest.mark.guide("D1")
@pytest.mark.parametrize("path", ["/", "/signup", "/login", "/robots.txt", "/nowhere"])
async def test_a_strangers_page_costs_no_query(house: House, stranger: Browser, path: str) -> None:
    before = house.statements
    await stranger.get(path)
    await stranger.get_fragment(path)
    assert house.statements == before


@pytest.mark.guide("D6", "D1")
async def test_the_handbook_is_the_same_for_every_member_and_costs_no_query(
    house: House, alice: Browser, bob: Browser
) -> None:
    before = house.statements
    alices, bobs = await alice.get("/handbook"), await bob.get("/handbook")
    assert (alices.status_code, alices.text) == (200, bobs.text)
    assert house.statements == before
    assert "Alice" not in alices.text


@pytest.mark.guide("D6", "D9")
async def test_the_handbook_is_closed_to_strangers(stranger: Browser) -> None:
    answer = await stranger.get("/handbook")
    assert (answer.status_code, answer.headers["location"]) == (303, "/login?next=/handbook")


@pytest.mark.guide("D32")
async def test_the_handbooks_shell_knows_the_claims_alone(alice: Browser) -> None:
    assert "Your account" in read(await alice.get("/handbook")).one(id="me").text
    assert "Alice" in read(await alice.get("/dashboard")).one(id="me").text


async def test_robots_are_kept_out_of_the_api(stranger: Browser) -> None:
    answer = await stranger.get("/robots.txt")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/plain; charset=utf-8")
    assert "Disallow: /api/" in answer.text
