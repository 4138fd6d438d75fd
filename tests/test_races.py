"""What many do at once: one address is one account, and two clicks do one thing."""

import asyncio
from collections.abc import Callable

import pytest

from db.passwords import Passwords
from tests.conftest import House
from tests.people import PASSWORD, Browser, read, set_cookie_of

TAKEN = "An account with this email already exists."


@pytest.mark.asvs("S18")
async def test_fifty_sign_ups_with_one_address_make_one_account(make_house: Callable, cheap: Passwords) -> None:
    house = await make_house(hashing=cheap)
    spellings = [
        "alice@example.com",
        "ALICE@EXAMPLE.COM",
        "Alice@Example.com ",
        "alice@ｅxample.com",
        "aLICE@example.COM",
    ]
    people = [await house.browser("Alice", email=spelling) for spelling in spellings * 10]
    answers = await asyncio.gather(*[person.sign_up() for person in people])
    assert sorted(answer.status_code for answer in answers) == [303] + [422] * 49
    for answer in answers:
        if answer.status_code == 422:
            assert TAKEN in read(answer).one(id="email-message").text
            assert set_cookie_of(answer) == {}
    assert await house.rows("SELECT email FROM users") == [("alice@example.com",)]
    assert await house.count("sessions") == 1


@pytest.mark.guide("A14")
@pytest.mark.asvs("S102")
async def test_two_clicks_on_sign_up_make_one_account_and_a_friendly_answer(house: House, stranger: Browser) -> None:
    fields = {"name": "Charlie", "email": "charlie@example.com", "password": PASSWORD}
    answers = await asyncio.gather(stranger.post("/signup", fields), stranger.post("/signup", fields))
    assert sorted(answer.status_code for answer in answers) == [303, 422]
    assert (await house.count("users"), await house.count("sessions")) == (1, 1)
    assert await stranger.is_in()


@pytest.mark.reliability("R06")
async def test_five_hundred_people_of_one_name_who_come_at_once_all_get_in(
    make_house: Callable, cheap: Passwords
) -> None:
    house = await make_house(hashing=cheap)
    waiting = [await house.browser("Alice", email=f"alice{number}@example.com") for number in range(500)]
    while waiting:
        answers = await asyncio.gather(*[person.sign_up() for person in waiting])
        assert {answer.status_code for answer in answers} <= {303, 503}
        assert all("retry-after" in answer.headers for answer in answers if answer.status_code == 503)
        waiting = [person for person, answer in zip(waiting, answers, strict=True) if answer.status_code == 503]
    slugs = [slug for (slug,) in await house.rows("SELECT slug FROM users")]
    assert (len(set(slugs)), "alice" in slugs, await house.count("sessions")) == (500, True, 500)


@pytest.mark.asvs("S102")
async def test_two_clicks_on_revoke_end_one_device_and_no_other(alice: Browser, alices_phone: Browser) -> None:
    page = read(await alice.get("/devices"))
    (phone,) = [found for found in page.all(data_device=True) if "data-current" not in found.attrs]
    path = phone.one("form").attrs["action"]
    answers = await asyncio.gather(*[alice.post(path) for _ in range(2)])
    assert sorted(answer.status_code for answer in answers) == [303, 404]
    assert [await alice.is_in(), await alices_phone.is_in()] == [True, False]


@pytest.mark.asvs("S102")
async def test_two_clicks_on_log_out_are_one_log_out(house: House, alice: Browser, bob: Browser) -> None:
    answers = await asyncio.gather(alice.post("/logout"), alice.post("/logout"))
    assert [answer.headers["location"] for answer in answers] == ["/login"] * 2
    assert [await alice.is_in(), await bob.is_in()] == [False, True]


async def test_log_out_everywhere_beats_every_request_that_comes_after_it(
    alice: Browser, alices_phone: Browser
) -> None:
    requests = [alices_phone.get("/dashboard") for _ in range(10)]
    answers = await asyncio.gather(alice.post("/devices/revoke-all"), *requests)
    assert {answer.status_code for answer in answers} <= {200, 303}
    assert not await alices_phone.is_in()


@pytest.mark.asvs("S103")
async def test_sixty_log_ins_at_once_keep_fifty_sessions(make_house: Callable, cheap: Passwords) -> None:
    house = await make_house(hashing=cheap)
    await house.member("Alice")
    browsers = [await house.browser("Alice") for _ in range(60)]
    answers = await asyncio.gather(*[browser.log_in() for browser in browsers])
    assert {answer.status_code for answer in answers} == {303}
    assert await house.count("sessions") == 50
