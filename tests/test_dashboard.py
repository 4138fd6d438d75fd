"""Tests of the dashboard: its role, its queries and the data that it shows."""

import pytest

from tests.browser_client import Browser, read, set_cookie_of
from tests.conftest import TestApp


async def dashboard_of(user: Browser) -> str:
    return read(await user.get("/dashboard")).one(data_dashboard=True).attrs["data-dashboard"]


@pytest.mark.guide("D26", "D28", "T2", "T4")
async def test_each_role_has_its_dashboard_and_the_layout_names_the_user(
    alice: Browser, ada: Browser
) -> None:
    for user, role in ((alice, "user"), (ada, "admin")):
        page = read(await user.get("/dashboard"))
        assert [found.attrs["data-dashboard"] for found in page.all(data_dashboard=True)] == [role]
        assert page.one(data_viewer_name=True).text == user.name
        assert user.name in page.one(id="nav").text


@pytest.mark.guide("C5", "D20")
async def test_a_users_dashboard_costs_one_statement(app: TestApp, alice: Browser) -> None:
    before = app.statements
    await alice.get("/dashboard")
    assert app.statements == before + 1


@pytest.mark.guide("D2", "D20")
@pytest.mark.asvs("S01", "S37")
async def test_a_demoted_admin_is_a_user_at_the_next_request(app: TestApp, ada: Browser) -> None:
    await app.create("Agnes", "admin")
    await app.change_role(ada, "user")
    answer = await ada.get("/dashboard")
    assert read(answer).one(data_dashboard=True).attrs["data-dashboard"] == "user"
    assert "session" in set_cookie_of(answer)
    assert set_cookie_of(await ada.get("/dashboard")) == {}


@pytest.mark.guide("D2")
async def test_a_promoted_user_is_an_admin_at_the_next_request(
    app: TestApp, alice: Browser
) -> None:
    await app.change_role(alice, "admin")
    assert await dashboard_of(alice) == "admin"


@pytest.mark.guide("D27")
@pytest.mark.parametrize("path", ["/dashboard", "/devices"])
async def test_a_fragment_includes_the_navigation_after_a_role_change(
    app: TestApp, alice: Browser, path: str
) -> None:
    assert read(await alice.get_fragment(path)).all(id="nav") == []
    await app.change_role(alice, "admin")
    answer = await alice.get_fragment(path)
    assert read(answer).one(id="nav").attrs["data-hx-swap-oob"] == "outerMorph"
    assert "session" in set_cookie_of(answer)
    assert read(await alice.get_fragment(path)).all(id="nav") == []


@pytest.mark.guide("D27")
async def test_a_form_response_includes_the_navigation_after_a_role_change(
    app: TestApp, alice: Browser
) -> None:
    await app.change_role(alice, "admin")
    answer = await alice.post_fragment("/devices/revoke-others")
    assert "session" in set_cookie_of(answer)
    assert len(read(answer).all(id="nav")) == 1


@pytest.mark.guide("C7")
async def test_the_dashboard_shows_the_number_of_devices(
    alice: Browser, alices_phone: Browser
) -> None:
    assert "2 devices are logged in" in read(await alice.get("/dashboard")).text


@pytest.mark.guide("C6")
async def test_the_dashboard_shows_the_previous_login(app: TestApp, alice: Browser) -> None:
    assert "Your account is ready." in read(await alice.get("/dashboard")).text
    app.clock.move(hours=30)
    laptop = await app.browser("Alice")
    await laptop.log_in()
    lead = read(await laptop.get("/dashboard")).one(
        "time", data_time="when", datetime="2026-11-24T09:12:00Z"
    )
    assert lead.text == "yesterday at 09:12 UTC"


async def test_the_end_of_the_session_is_shown(app: TestApp, alice: Browser) -> None:
    async def shown() -> str:
        return read(await alice.get("/dashboard")).all("section")[-1].one("p").text

    sentence = "This device stays logged in until {}. Come back after {} for another week."
    assert await shown() == sentence.format("1 Dec", "27 Nov")
    app.clock.move(days=4)
    assert await shown() == sentence.format("5 Dec", "1 Dec")
    for _ in range(6):
        app.clock.move(days=4)
        last = await shown()
    assert last == "This device stays logged in until 24 Dec. Then log in again."


@pytest.mark.guide("D26")
async def test_the_admin_dashboard_counts_users_sessions_and_admins(
    app: TestApp, alice: Browser, alices_phone: Browser, ada: Browser
) -> None:
    page = read(await ada.get("/dashboard"))
    figures = page.one("dl", **{"class": "figures"})
    assert [figure.text for figure in figures.all("dd")] == ["2", "3", "2", "1"]
    assert {"Alice", "Ada"} == {
        user.text for user in page.one("ul", **{"class": "brief"}).all("bdi")
    }


@pytest.mark.guide("D4", "D23", "T12")
@pytest.mark.asvs("S88")
async def test_pages_contain_no_secrets_or_private_data_of_others(
    app: TestApp, alice: Browser, bob: Browser, ada: Browser
) -> None:
    await app.change(
        "ALTER TABLE users ADD COLUMN totp_secret TEXT NOT NULL DEFAULT 'canary-of-a-new-column'"
    )
    await app.change("UPDATE users SET phone = 'canary-' || slug")
    hashes = [row[0] for row in await app.rows("SELECT password_hash FROM users")]
    tokens = [row[0] for row in await app.rows("SELECT token_hash FROM sessions")]
    private = [
        "canary-of-a-new-column",
        "$argon2",
        *hashes,
        *tokens,
        "alice@example.com",
        "canary-alice",
    ]
    for user in (bob, ada):
        for path in ("/dashboard", "/devices", "/handbook", "/account", "/api/session"):
            text = (await user.get(path)).text
            assert [canary for canary in private if canary in text] == []
    for path in ("/users/alice", "/api/users/alice"):
        text = (await bob.get(path)).text
        assert "Alice" in text
        assert [canary for canary in private if canary in text] == []


@pytest.mark.guide("D18", "T7")
async def test_a_database_error_does_not_log_a_user_out(app: TestApp, alice: Browser) -> None:
    await app.change("ALTER TABLE sessions RENAME TO renamed_sessions")
    for answer in (await alice.get("/dashboard"), await alice.get_fragment("/dashboard")):
        assert (answer.status_code, set_cookie_of(answer)) == (500, {})
    assert (await alice.get("/api/session")).status_code == 500
    await app.change("ALTER TABLE renamed_sessions RENAME TO sessions")
    assert (await alice.get("/dashboard")).status_code == 200


async def test_new_accounts_are_counted_over_the_last_24_hours(
    app: TestApp, alice: Browser, ada: Browser
) -> None:
    """The list below shows "today" in the user's time zone, so a count by UTC days would contradict
    it.
    """

    async def lead() -> str:
        return read(await ada.get("/dashboard")).one("p", **{"class": "lead"}).text

    assert await lead() == "2 people have signed up in the last 24 hours."
    app.clock.move(hours=15)  # This is 00:12 of the next day in UTC.
    assert await lead() == "2 people have signed up in the last 24 hours."
    app.clock.move(hours=9, seconds=1)
    assert await lead() == "Nobody has signed up in the last 24 hours."


async def test_pages_with_times_contain_the_time_of_the_server(
    app: TestApp, alice: Browser, ada: Browser
) -> None:
    pages = ("/dashboard", "/devices", "/account/activity", "/users/alice")
    for user, paths in ((alice, pages), (ada, ("/dashboard", "/admin/users", "/admin/audit"))):
        for path in paths:
            for answer in (await user.get(path), await user.get_fragment(path)):
                times = [found.attrs["data-now"] for found in read(answer).all(data_now=True)]
                assert times == ["2026-11-24T09:12:00Z"], path
