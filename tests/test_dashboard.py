"""Tests of the dashboard: its role, its queries and the data that it shows."""

from collections.abc import Callable
from dataclasses import replace

import httpx
import pytest

from db.access.dashboard import make_scale
from db.maintenance.pruning import prune
from tests.browser_client import IPHONE, Browser, Element, read, set_cookie_of
from tests.conftest import TestApp
from web.brand import LATCHKEY
from web.product import NO_PRODUCT
from web.rendering.user_keys import key_path


async def dashboard_of(user: Browser) -> str:
    return read(await user.get("/dashboard")).one(data_dashboard=True).attrs["data-dashboard"]


def words(element: Element) -> str:
    return " ".join(element.text.split())


def state_of(answer: httpx.Response, row: str) -> str:
    """Returns the state that the row of a dashboard shows."""
    (found,) = [item for item in read(answer).all("li") if row in [h.text for h in item.all("h3")]]
    return found.one("p").text


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
@pytest.mark.parametrize(
    ("strategy", "users_count", "admins_count"), [("database", 2, 4), ("stateless", 3, 5)]
)
async def test_a_dashboard_costs_few_statements(
    make_app: Callable, strategy: str, users_count: int, admins_count: int
) -> None:
    """The profile is read with the session. The stateless strategy reads it separately."""
    app = await make_app(SESSION_STRATEGY=strategy)
    alice, ada = await app.sign_up_user("Alice"), await app.admin()
    for user, count in ((alice, users_count), (ada, admins_count)):
        before = app.statements
        assert (await user.get("/dashboard")).status_code == 200
        assert app.statements == before + count


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
async def test_the_dashboard_shows_the_number_of_devices_and_the_newest(
    app: TestApp, alice: Browser
) -> None:
    assert state_of(await alice.get("/dashboard"), "Devices") == "Only this device"
    app.clock.move(hours=1)
    phone = await app.browser("Alice", user_agent=IPHONE)
    await phone.log_in()
    app.clock.move(hours=2)
    assert state_of(await alice.get("/dashboard"), "Devices") == (
        "2 devices, newest: Safari on iPhone, 2 hours ago"
    )
    assert state_of(await phone.get("/dashboard"), "Devices") == (
        "2 devices, newest: Firefox on Linux, 3 hours ago"
    )


async def test_stateless_sessions_have_no_row_for_devices(make_app: Callable) -> None:
    app = await make_app(SESSION_STRATEGY="stateless")
    alice = await app.sign_up_user("Alice")
    rows = [row.text for row in read(await alice.get("/dashboard")).all("h3")]
    assert "Password" in rows
    assert "Devices" not in rows


async def test_the_dashboard_shows_the_age_of_the_password(app: TestApp, alice: Browser) -> None:
    app.clock.move(minutes=5)
    assert state_of(await alice.get("/dashboard"), "Password") == "Set 5 minutes ago"
    await app.change("UPDATE users SET password_changed_at = '2026-11-24T09:14:00.000000+00:00'")
    assert state_of(await alice.get("/dashboard"), "Password") == "Changed 3 minutes ago"
    await app.change("UPDATE users SET password_changed_at = NULL")
    assert state_of(await alice.get("/dashboard"), "Password") == "Set, date unknown"


async def test_the_dashboard_shows_whether_the_email_is_confirmed(
    app: TestApp, alice: Browser
) -> None:
    assert state_of(await alice.get("/dashboard"), "Email") == "Not confirmed"
    await app.change("UPDATE users SET verified_at = created_at")
    assert state_of(await alice.get("/dashboard"), "Email") == "Confirmed"


async def test_the_dashboard_counts_access_tokens_if_there_are_any(
    app: TestApp, alice: Browser, bob: Browser
) -> None:
    assert "Access tokens" not in read(await alice.get("/dashboard")).text
    fields = {"name": "Backup", "scope-account:read": "yes", "days": "30"}
    answer = await alice.post("/account/tokens", fields)
    assert answer.status_code == 200
    shown = state_of(await alice.get("/dashboard"), "Access tokens")
    assert shown == "One program can act as you"
    assert "Access tokens" not in read(await bob.get("/dashboard")).text


@pytest.mark.guide("C6")
async def test_the_dashboard_shows_the_previous_login(app: TestApp, alice: Browser) -> None:
    assert "Your account is ready." in read(await alice.get("/dashboard")).text
    app.clock.move(hours=30)
    laptop = await app.browser("Alice", user_agent=IPHONE)
    await laptop.log_in()
    lead = read(await laptop.get("/dashboard")).one("p", **{"class": "lead"})
    assert words(lead) == "Last log-in: yesterday at 09:12 UTC, Firefox on Linux. Not you?"
    assert lead.one("time").attrs["datetime"] == "2026-11-24T09:12:00Z"
    assert lead.one("a").attrs["href"] == "/account/security#not-you"
    app.clock.move(hours=1)
    await alice.post("/logout")
    await alice.log_in()
    lead = read(await alice.get("/dashboard")).one("p", **{"class": "lead"})
    assert words(lead) == "Last log-in: today at 15:12 UTC, Safari on iPhone. Not you?"


@pytest.mark.parametrize("strategy", ["database", "stateless"])
async def test_a_later_or_a_refused_login_is_not_the_previous_login(
    make_app: Callable, strategy: str
) -> None:
    app = await make_app(SESSION_STRATEGY=strategy)
    alice = await app.sign_up_user("Alice")
    app.clock.move(hours=1)
    phone = await app.browser("Alice", user_agent=IPHONE)
    await phone.log_in("wrong")
    await phone.log_in()
    assert "Your account is ready." in read(await alice.get("/dashboard")).text
    lead = read(await phone.get("/dashboard")).one("p", **{"class": "lead"})
    assert words(lead) == "Last log-in: today at 09:12 UTC, Firefox on Linux. Not you?"


async def test_the_previous_login_is_shown_without_its_audit_entry(
    app: TestApp, alice: Browser
) -> None:
    app.clock.move(hours=1)
    laptop = await app.browser("Alice")
    await laptop.log_in()
    await app.change("DELETE FROM audit")
    lead = read(await laptop.get("/dashboard")).one("p", **{"class": "lead"})
    assert words(lead) == "Last log-in: today at 09:12 UTC. Not you?"


async def test_the_dashboard_lists_the_five_latest_entries(
    app: TestApp, alice: Browser, bob: Browser
) -> None:
    stranger = await app.browser("Alice", user_agent=IPHONE)
    await stranger.log_in("wrong")
    page = read(await alice.get("/dashboard"))
    entries = page.one("ol", id="latest").all("li")
    assert [words(entry) for entry in entries] == [
        "today at 09:12 UTC Someone tried to log in to your account Refused Safari on iPhone",
        "today at 09:12 UTC You created your account Firefox on Linux",
    ]
    for _ in range(6):
        await (await app.browser("Alice")).log_in()
    entries = read(await alice.get("/dashboard")).one("ol", id="latest").all("li")
    assert [entry.attrs["data-event"] for entry in entries] == ["login"] * 5
    entries = read(await bob.get("/dashboard")).one("ol", id="latest").all("li")
    assert [entry.attrs["data-event"] for entry in entries] == ["signup"]


async def test_each_user_has_a_key_of_their_own(app: TestApp, alice: Browser, bob: Browser) -> None:
    def keys_of(page: Element) -> set[str]:
        return {
            svg.one("path", fill_rule="evenodd").attrs["d"]
            for svg in page.all("svg")
            if "own" in svg.attrs.get("class", "")
        }

    alices, bobs = [keys_of(read(await user.get("/dashboard"))) for user in (alice, bob)]
    assert len(alices) == len(bobs) == 1
    assert keys_of(read(await alice.get("/devices"))) == alices
    ((user_id,),) = await app.rows("SELECT id FROM users WHERE name = 'Alice'")
    assert alices == {key_path(user_id)}


def test_a_key_depends_on_the_id_alone() -> None:
    assert key_path("alice") == key_path("alice")
    assert len({key_path(str(number)) for number in range(2000)}) > 800


async def test_without_drawings_of_keys_the_bar_has_initials(make_app: Callable) -> None:
    app = await make_app(
        product=replace(NO_PRODUCT, brand=replace(LATCHKEY, has_key_drawings=False))
    )
    alice = await app.sign_up_user("Alice")
    page = read(await alice.get("/dashboard"))
    assert page.one(id="me").one("span", **{"class": "own"}).text == "A"
    assert page.all("path", fill_rule="evenodd") == []


@pytest.mark.guide("D26")
async def test_the_admin_dashboard_shows_figures_with_the_difference_to_a_week_ago(
    app: TestApp, alice: Browser, alices_phone: Browser, ada: Browser
) -> None:
    figures = read(await ada.get("/dashboard")).one("dl", **{"class": "figures"})
    assert [words(figure) for figure in figures.all("div")] == [
        "Users 2 +2 in a week",
        "Sign-ups in 7 days 2 +2 in a week",
        "Live sessions 3 3 started in 7 days",
        "Refused log-ins in 24 hours 0 No change in a week",
        "Mails waiting 0",
    ]
    app.clock.move(days=7, minutes=1)
    await ada.log_in()
    await (await app.browser("Alice")).log_in("wrong")
    await (await app.browser("Alice")).log_in("wrong")
    await app.change("DELETE FROM users WHERE name = 'Alice'")
    figures = read(await ada.get("/dashboard")).one("dl", **{"class": "figures"})
    assert [words(figure) for figure in figures.all("div")][:4] == [
        "Users 1 No change in a week",
        "Sign-ups in 7 days 0 −1 in a week",
        "Live sessions 1 1 started in 7 days",
        "Refused log-ins in 24 hours 2 +2 in a week",
    ]


async def test_figures_link_to_what_they_count(ada: Browser) -> None:
    figures = read(await ada.get("/dashboard")).one("dl", **{"class": "figures"})
    hrefs = [link.attrs["href"] for link in figures.all("a")]
    assert "/admin/audit?event=login&outcome=refused" in hrefs
    assert "/dev/mailbox" in hrefs
    for href in hrefs:
        # Only clients on this machine may read the mailbox.
        assert (await ada.get(href)).status_code == (404 if href == "/dev/mailbox" else 200)


async def test_deleted_accounts_count_for_the_week_before(app: TestApp, ada: Browser) -> None:
    """The account is a week old, because a deletion takes seven days."""
    alice = await app.sign_up_user("Alice")
    await alice.post("/account/delete", {"sure": "yes"})
    app.clock.move(days=8)
    await prune(app.store)
    await ada.log_in()
    figures = read(await ada.get("/dashboard")).one("dl", **{"class": "figures"})
    assert words(figures.all("div")[0]) == "Users 1 −1 in a week"


async def test_the_chart_has_values_names_and_a_table(
    app: TestApp, alice: Browser, ada: Browser
) -> None:
    app.clock.move(days=8)
    await ada.log_in()
    chart = read(await ada.get("/dashboard")).one("figure")
    bars = chart.all("div", tabindex="0")
    assert len(bars) == 14
    assert [bar.attrs["aria-label"] for bar in bars if bar.all("b")] == [
        "24 November 2026: 2 sign-ups"
    ]
    months = [
        item.one("span").text for item in chart.one("ol").all("li") if item.one("span").all("b")
    ]
    assert months == ["19 Nov", "1 Dec"]
    assert [item.text for item in chart.one("ul").all("li")] == ["2", "1"]
    rows = chart.one("tbody").all("tr")
    assert len(rows) == 14
    assert [cell.text for cell in rows[5]] == ["24 November 2026", "2"]


@pytest.mark.parametrize(
    ("largest", "scale"),
    [
        (0, (2, 1)),
        (1, (2, 1)),
        (4, (4, 3, 2, 1)),
        (5, (6, 4, 2)),
        (9, (10, 5)),
        (41, (60, 40, 20)),
        (1_234, (1_500, 1_000, 500)),
    ],
)
def test_the_scale_of_a_chart_has_round_numbers(largest: int, scale: tuple[int, ...]) -> None:
    assert make_scale(largest) == scale


async def test_the_chart_names_a_month_once_if_two_names_would_overlap(
    app: TestApp, ada: Browser
) -> None:
    app.clock.move(days=19)
    await ada.log_in()
    chart = read(await ada.get("/dashboard")).one("figure")
    days = [item.one("span").text for item in chart.one("ol").all("li")]
    assert days[:3] == ["30", "1 Dec", "2"]


async def test_an_empty_chart_says_so(app: TestApp, ada: Browser) -> None:
    assert "No sign-ups in the last 14 days" not in read(await ada.get("/dashboard")).text
    app.clock.move(days=20)
    await ada.log_in()
    page = read(await ada.get("/dashboard"))
    assert page.one("figure").one("p", **{"class": "dim"}).text == (
        "No sign-ups in the last 14 days"
    )
    assert page.one("figure").all("ul") == []
    assert [bar.all("b") for bar in page.all("div", tabindex="0")] == [[]] * 14


async def test_the_admin_dashboard_lists_refusals_and_actions_of_administrators(
    app: TestApp, alice: Browser, ada: Browser
) -> None:
    await (await app.browser("Alice")).log_in("wrong")
    ((user_id,),) = await app.rows("SELECT id FROM users WHERE name = 'Alice'")
    await ada.post(f"/admin/users/{user_id}/team", {"team": "Crew"})
    await alice.log_in()
    entries = read(await ada.get("/dashboard")).one("ol", id="latest").all("li")
    assert [words(entry) for entry in entries] == [
        "today at 09:12 UTC Change team Ada → Alice",
        "today at 09:12 UTC Log in Refused Not logged in → Alice",
        "today at 09:12 UTC Create account Operator → Ada",
    ]


async def test_an_administrator_sees_their_own_previous_login(app: TestApp, ada: Browser) -> None:
    app.clock.move(hours=30)
    laptop = await app.browser("Ada", user_agent=IPHONE)
    await laptop.log_in()
    lead = read(await laptop.get("/dashboard")).one("p", **{"class": "lead"})
    assert words(lead) == "Last log-in: yesterday at 09:12 UTC, Firefox on Linux. Not you?"


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


async def test_pages_with_times_contain_the_time_of_the_server(
    app: TestApp, alice: Browser, ada: Browser
) -> None:
    pages = ("/dashboard", "/devices", "/account/activity", "/account/security", "/users/alice")
    for user, paths in ((alice, pages), (ada, ("/dashboard", "/admin/users", "/admin/audit"))):
        for path in paths:
            for answer in (await user.get(path), await user.get_fragment(path)):
                times = [found.attrs["data-now"] for found in read(answer).all(data_now=True)]
                assert times == ["2026-11-24T09:12:00Z"], path
