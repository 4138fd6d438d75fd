"""Tests of the audit page: what it shows, its filters, and its rows of several log-ins."""

from urllib.parse import urlencode

import pytest

from db.audit.events import EVENT_TEXTS
from db.crypto.passwords import Passwords
from tests.audit_users import (
    ALICE,
    CLIENT_IP,
    FIREFOX_NAME,
    WRONG,
    Users,
    create_users,
)
from tests.browser_client import IPHONE, Element, read
from tests.conftest import TestApp


@pytest.fixture
def passwords(fast_passwords: Passwords) -> Passwords:
    return fast_passwords


@pytest.fixture
async def users(app: TestApp) -> Users:
    return await create_users(app)


def rows_of(page: Element) -> list[list[str]]:
    return [
        [" ".join(cell.text.split()) for cell in row.children if isinstance(cell, Element)]
        for row in page.one("table", id="audit").one("tbody").all("tr")
    ]


def status_of(page: Element) -> str:
    return page.one(id="result-list").one("p", role="status").text


async def search_entries(users: Users, query: str) -> list[list[str]]:
    answer = await users.ada.get(f"/admin/audit?{query}")
    assert answer.status_code == 200
    page = read(answer)
    return rows_of(page) if page.all("table") else []


async def test_the_audit_page_shows_actor_target_time_client_and_outcome(users: Users) -> None:
    await users.charlie.post("/login", {"email": "nobody@example.com", "password": WRONG})
    await users.charlie.post("/login", ALICE | {"password": WRONG})
    await users.change_user("Alice", "role", role="admin")
    await users.alice.post("/logout")
    today = "today at 09:12 UTC"
    client = f"{FIREFOX_NAME} {CLIENT_IP}"
    rows = await search_entries(users, "")
    assert rows[:4] == [
        ["Log out", "Alice", "", client, today],
        ["Change roleuser to administrator", "Ada", "Alice", client, today],
        ["Log in Refused", "Not logged in", "Alice", client, today],
        ["Log in Refused", "Not logged in", "No account", client, today],
    ]
    assert ["Create accountrole: administrator", "Operator", "Ada", "Server", today] in rows


async def test_only_an_entry_about_an_account_has_a_target(users: Users) -> None:
    ada = users.ada
    await ada.post("/admin/roles", {"name": "editor", "label": "Editor"})
    await ada.post("/admin/invitations", {"email": "zoe@example.com", "role": "user"})
    await users.change_user("Grace", "role", role="user")
    await users.change_user("Ada", "role", role="user")  # refused: no other administrator
    rows = await search_entries(users, "")
    assert [[row[0].partition("user")[0], row[2]] for row in rows[:4]] == [
        ["Change role Refused", "Themselves"],
        ["Change roleadministrator to ", "Grace"],
        ["Invitez…@example.com, role: ", ""],
        ["Add roleEditor: none", ""],
    ]


async def test_the_audit_page_filters_by_text_event_and_outcome(users: Users) -> None:
    await users.charlie.post("/login", ALICE | {"password": WRONG})
    await users.change_user("Alice", "team", team="Harbour")
    await users.bob.get("/admin/users")
    labels = {
        query: [row[0] for row in await search_entries(users, query)]
        for query in (
            "q=ALICE",
            "q=bob@example",
            "q=192.0.2.",
            "q=alice&outcome=refused",
            "event=team.change",
            "event=login&outcome=refused",
            "q=alice&event=team.change",
            "outcome=refused",
            "q=%25",
            "q=_",
            "q=nobody",
            "q=' OR 1=1 --",
        )
    }
    team, refused = "Change teaminto Harbour", "Log in Refused"
    assert labels == {
        "q=ALICE": [team, refused, "Log inpassword", "Sign up"],
        "q=bob@example": ["Administrators' page Refused", "Sign up"],
        "q=192.0.2.": [
            row[0]
            for row in await search_entries(users, "")
            if not row[0].startswith("Create account")
        ],
        "q=alice&outcome=refused": [refused],
        "event=team.change": [team],
        "event=login&outcome=refused": [refused],
        "q=alice&event=team.change": [team],
        "outcome=refused": ["Administrators' page Refused", refused],
        "q=%25": [],
        "q=_": [],
        "q=nobody": [],
        "q=' OR 1=1 --": [],
    }


async def test_the_audit_page_ignores_invalid_parameters(users: Users) -> None:
    unfiltered = await search_entries(users, "")
    for query in (
        "event=x",
        "outcome=maybe",
        "page=x",
        "event=login' --",
        "sort=name",
        "page=0",
        "event=%00",
        "person=%00",
        "person=a/b",
        "format=csv&before=1",
    ):
        assert await search_entries(users, query) == unfiltered, query
    assert await search_entries(users, "page=x&q=bob&event=x") == await search_entries(
        users, "q=bob"
    )
    for past_end in ("page=999999999", "page=50001", "page=2"):
        assert await search_entries(users, past_end) == []


async def test_the_audit_form_and_page_links_keep_the_filter(users: Users) -> None:
    for number in range(30):
        await users.change_user("Alice", "team", team=f"Team {number}")
    page = read(await users.ada.get("/admin/audit?q=alice&event=team.change&outcome=done"))
    assert page.one("input", id="q").attrs["value"] == "alice"
    assert [option.attrs["value"] for option in page.all("option", selected=True)] == [
        "team.change",
        "done",
    ]
    assert len(rows_of(page)) == 25
    assert page.one(id="result-list").one("p", role="status").text == (
        "Entries 1 to 25, newest first."
    )
    older = page.one("a", rel="next").attrs["href"]
    assert older == "/admin/audit?q=alice&event=team.change&outcome=done&page=2"
    page = read(await users.ada.get(older))
    assert [row[0] for row in rows_of(page)][-1] == "Change teaminto Team 0"
    assert page.one("a", rel="prev").attrs["href"].endswith("&page=1")
    assert page.all("a", rel="next") == []
    assert {option.attrs["value"] for option in page.one("select", id="event").all("option")} == {
        "",
        *EVENT_TEXTS,
    }


@pytest.mark.guide("D29")
async def test_activity_and_audit_page_cost_two_statements(users: Users) -> None:
    for number in range(30):
        await users.change_user("Alice", "team", team=f"Team {number}")
    for user, path in (
        (users.alice, "/account/activity"),
        (users.ada, "/admin/audit?q=a&outcome=done"),
    ):
        before = users.app.statements
        page = await user.get(path)
        assert users.app.statements - before == 2
        fragment = await user.get_fragment(path)
        assert fragment.text.partition("</title>\n")[2].strip() in page.text
        assert len(read(fragment).all("h1")) == 1


async def test_the_days_and_the_person_cost_one_statement_each(users: Users) -> None:
    path = f"/admin/audit?from=2026-11-01&person={await users.id_of('Alice')}"
    before = users.app.statements
    assert (await users.ada.get(path)).status_code == 200
    assert users.app.statements - before == 4


async def test_the_audit_page_filters_by_days_in_utc(users: Users) -> None:
    clock = users.app.clock
    start = clock.moment
    for day, time in ((24, "23:59:59"), (25, "00:00:00"), (25, "23:59:59"), (26, "00:00:00")):
        clock.moment = start.fromisoformat(f"2026-11-{day}T{time}.500000+00:00")
        await users.ada.confirm()
        await users.change_user("Bob", "team", team=f"Team {day}, {time}")
    teams = {
        query: [row[0].rpartition("Team ")[2] for row in await search_entries(users, query)]
        for query in (
            "event=team.change&from=2026-11-25",
            "event=team.change&to=2026-11-24",
            "event=team.change&from=2026-11-25&to=2026-11-25",
            "event=team.change&from=2026-11-27",
            "to=2026-11-23",
        )
    }
    assert teams == {
        "event=team.change&from=2026-11-25": [
            "26, 00:00:00",
            "25, 23:59:59",
            "25, 00:00:00",
        ],
        "event=team.change&to=2026-11-24": ["24, 23:59:59"],
        "event=team.change&from=2026-11-25&to=2026-11-25": ["25, 23:59:59", "25, 00:00:00"],
        "event=team.change&from=2026-11-27": [],
        "to=2026-11-23": [],
    }


async def test_a_day_finds_entries_of_a_host_whose_clock_is_slow(users: Users) -> None:
    clock = users.app.clock
    clock.moment = clock.moment.replace(hour=23, minute=59)
    await users.ada.confirm()
    await users.change_user("Bob", "team", team="Before midnight")
    for entry, time in ((0, "2026-11-25T00:00:10"), (1, "2026-11-24T23:59:50")):
        newest = (await users.app.rows("SELECT max(number) FROM audit"))[0][0]
        at = f"{time}.000000+00:00"
        await users.change_user("Bob", "team", team=f"Entry {entry}")
        await users.app.change(f"UPDATE audit SET at = '{at}' WHERE number = {newest + 1}")
    today = await search_entries(users, "event=team.change&to=2026-11-24")
    tomorrow = await search_entries(users, "event=team.change&from=2026-11-25")
    assert [row[0][-7:] for row in today] == ["Entry 1", "idnight"]
    assert [row[0][-7:] for row in tomorrow] == ["Entry 0"]


@pytest.mark.parametrize(
    ("query", "error", "field"),
    [
        ("from=2026-02-30", "Type a date such as 2026-11-28.", "from"),
        ("to=yesterday", "Type a date such as 2026-11-28.", "to"),
        ("to=0001-01-01", "Type a date such as 2026-11-28.", "to"),
        ("to=9999-12-31", "Type a date such as 2026-11-28.", "to"),
        ("from=%D9%A2%D9%A0%D9%A2%D9%A6-11-01", "Type a date such as 2026-11-28.", "from"),
        ("from=2020-01-01&to=2019-12-31", "The last day is before the first one.", "to"),
    ],
)
async def test_an_invalid_day_has_an_error_and_filters_nothing(
    users: Users, query: str, error: str, field: str
) -> None:
    page = read(await users.ada.get(f"/admin/audit?{query}"))
    assert page.one("p", **{"class": "err"}).text == error
    assert page.one("input", id=field).attrs["aria-invalid"] == "true"
    assert rows_of(page) == await search_entries(users, "")
    assert "date-errors" in (await users.ada.get_fragment(f"/admin/audit?{query}")).text


async def test_a_name_filters_by_its_person(users: Users) -> None:
    await users.change_user("Alice", "team", team="Harbour")
    await users.charlie.post("/login", ALICE | {"password": WRONG})
    alice_id = await users.id_of("Alice")
    page = read(await users.ada.get("/admin/audit?q=ada&outcome=done&from=2026-11-01"))
    link = next(link for link in page.all("a") if link.text == "Alice")
    assert link.attrs["href"] == f"/admin/audit?outcome=done&from=2026-11-01&person={alice_id}"
    page = read(await users.ada.get(link.attrs["href"]))
    assert [row[0] for row in rows_of(page)] == [
        "Change teaminto Harbour",
        "Log inpassword",
        "Sign up",
    ]
    assert page.one("input", name="person").attrs["value"] == alice_id
    links = {link.attrs["href"] for link in page.one(id="result-list").all("a")}
    assert {"/admin/audit?outcome=done&from=2026-11-01", f"/admin/users/{alice_id}"} <= links
    assert page.one("input", id="q").attrs["value"] == ""
    labels = [row[0] for row in await search_entries(users, f"person={alice_id}&outcome=refused")]
    assert labels == ["Log in Refused"]


async def test_the_entries_of_a_deleted_account_can_be_selected(users: Users) -> None:
    bob_id = await users.id_of("Bob")
    await users.app.change("DELETE FROM users WHERE name = 'Bob'")
    page = read(await users.ada.get(f"/admin/audit?person={bob_id}"))
    assert [row[:2] for row in rows_of(page)] == [["Sign up", "Deleted account"]]
    assert f"/admin/users/{bob_id}" not in str([link.attrs for link in page.all("a")])


async def test_no_match_is_told_with_a_link_that_clears_the_filters(users: Users) -> None:
    page = read(await users.ada.get("/admin/audit?q=nobody&event=login&outcome=done"))
    results = page.one(id="result-list")
    assert results.one("p", role="status").text == "No entries match these filters."
    links = {link.text: link.attrs["href"] for link in results.all("a")}
    assert links == {"Clear the filters": "/admin/audit"}


# Identical log-ins


async def log_in_again(users: Users, times: int, **changes: str) -> None:
    for _ in range(times):
        users.app.clock.move(minutes=1)
        await users.charlie.post("/login", ALICE | {"password": WRONG} | changes)


async def test_identical_logins_in_succession_are_one_row(users: Users) -> None:
    await log_in_again(users, 3)
    await log_in_again(users, 1, email="nobody@example.com")
    await log_in_again(users, 2)
    page = read(await users.ada.get("/admin/audit?event=login"))
    assert [row[0].partition(" times")[0] for row in rows_of(page)][:3] == [
        "Log in Refused2",
        "Log in Refused",
        "Log in Refused3",
    ]
    group = page.one("table", id="audit").one("tbody").all("tr")[2]
    times = [time.attrs["datetime"][11:16] for time in group.all("time")]
    assert times == ["09:15", "09:14", "09:13", "09:15"]
    entries = page.all("", data_entry=True)
    numbers = [int(entry.attrs["data-entry"]) for entry in entries]
    assert numbers == sorted(numbers, reverse=True)
    count = (await users.app.rows("SELECT count(*) FROM audit WHERE event = 'login'"))[0][0]
    assert len(entries) == count
    assert status_of(page) == f"Entries 1 to {count}, newest first."


async def test_logins_that_differ_are_rows_of_their_own(users: Users) -> None:
    await log_in_again(users, 1)
    users.charlie.user_agent = IPHONE
    await log_in_again(users, 1)
    for user in (users.bob, users.alice):
        user.cookie = None
        await user.log_in()
    rows = await search_entries(users, "event=login")
    assert [row[:2] for row in rows[:4]] == [
        ["Log inpassword", "Alice"],
        ["Log inpassword", "Bob"],
        ["Log in Refused", "Not logged in"],
        ["Log in Refused", "Not logged in"],
    ]


async def test_changes_are_never_grouped(users: Users) -> None:
    for _ in range(3):  # The first one ends a session, and the others are identical.
        await users.change_user("Bob", "disable")
        await users.change_user("Bob", "enable")
    await users.app.change("DELETE FROM audit WHERE event = 'account.enable'")
    rows = await search_entries(users, "event=account.disable")
    assert [row[0] for row in rows] == ["Disable account"] * 3


async def test_a_group_ends_with_its_page(users: Users) -> None:
    await log_in_again(users, 30)
    first, second = [read(await users.ada.get(f"/admin/audit?page={number}")) for number in (1, 2)]
    assert status_of(first) == "Entries 1 to 25, newest first."
    assert [row[0][:21] for row in rows_of(first)] == ["Log in Refused25 time"]
    assert rows_of(second)[0][0].startswith("Log in Refused5 times")


async def test_only_admins_have_a_link_to_the_audit_page(users: Users) -> None:
    for user, expected in ((users.ada, True), (users.alice, False)):
        links = [
            link.attrs.get("href")
            for link in read(await user.get("/dashboard")).one(id="nav").all("a")
        ]
        assert ("/admin/audit" in links) == expected


MARKUP = [
    "<script>alert(1)</script>",
    '"><svg onload=alert(1)>',
    '" data-hx-get="/logout" data-hx-trigger="load',
    "</bdi></h3></ol></main><form action=//evil.example>",
    "{{ 7 * 7 }}{% include 'layout.html' %}{name}{to}",
    "\u202eecilA <b>\u2066",
    "'s{whose}",
]


@pytest.mark.asvs("S33")
async def test_audit_pages_render_user_text_as_text(app: TestApp) -> None:
    ada = await app.admin("Ada")
    shapes = []
    for number, text in enumerate(["Plain", *MARKUP]):
        await app.change("DELETE FROM audit", "DELETE FROM users WHERE name <> 'Ada'")
        user_agent = f"{text}/1.0 Mozilla/5.0 {text} Firefox/9.0".encode(
            "ascii", "replace"
        ).decode()
        user = await app.sign_up_user(
            text, email=f"guest{number}@example.com", user_agent=user_agent
        )
        await ada.post(f"/admin/users/{(await app.viewer_of(user)).id}/team", {"team": text[:40]})
        pages = [
            read(await ada.get("/account/activity")),
            read(await user.get("/account/activity")),
        ]
        pages += [read(await ada.get("/admin/audit"))]
        assert text in [found.text for found in pages[0].all("bdi")] + [
            found.text for found in pages[2].all("bdi")
        ]
        assert text[:40] in [found.text for found in pages[1].all("bdi")]
        shapes.append([page.shape for page in pages])
        search = read(await ada.get(f"/admin/audit?{urlencode({'q': text})}"))
        # The form removes direction marks at the ends, as it does for a pasted email.
        assert search.one("input", id="q").attrs["value"] == text.strip("\u202e\u2066")
    assert all(shape == shapes[0] for shape in shapes)


async def test_a_corrupted_entry_is_still_shown(users: Users) -> None:
    await users.change_user("Alice", "team", team="Harbour")
    for detail in (
        "",
        "{",
        "[1]",
        "null",
        '{"to": {"a": []}}',
        '{"times": "x", "ended": null, "fields": 7}',
    ):
        await users.app.change(f"UPDATE audit SET detail = '{detail}'")
        for event in (
            "team.change",
            "role.change",
            "limit.reached",
            "profile.change",
            "{whose}{x",
            "bicycle.steal",
        ):
            for outcome in ("done", "refused", "perhaps"):
                await users.app.change(f"UPDATE audit SET event = '{event}', outcome = '{outcome}'")
                for user, path in ((users.alice, "/account/activity"), (users.ada, "/admin/audit")):
                    assert (await user.get(path)).status_code == 200
