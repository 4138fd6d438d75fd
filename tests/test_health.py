"""Whether the program lives, and whether it can work."""

from collections.abc import Callable

import pytest

from tests.conftest import House
from tests.people import Browser


@pytest.mark.asvs("S108")
@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
async def test_a_healthy_house_says_ok_and_no_more(stranger: Browser, path: str) -> None:
    answer = await stranger.get(path)
    assert (answer.status_code, answer.text) == (200, "ok\n")


async def test_to_live_takes_no_query(house: House, stranger: Browser) -> None:
    before = house.statements
    await stranger.get("/healthz")
    assert house.statements == before


@pytest.mark.asvs("S108")
async def test_a_house_without_its_database_lives_but_is_not_ready(make_house: Callable) -> None:
    house = await make_house(away=True)
    stranger = await house.browser("Charlie")
    answer = await stranger.get("/readyz")
    assert (answer.status_code, answer.text) == (503, "the database does not answer\n")
    assert int(answer.headers["retry-after"]) > 0
    assert (await stranger.get("/healthz")).status_code == 200
