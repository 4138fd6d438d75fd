"""Tests of user administration: the list of users, changes to an account, and access control.

test_admin_user.py has the tests of the page of one user.
"""

import asyncio
import gzip
from collections.abc import Callable

import httpx
import pytest

from db.crypto.passwords import Passwords
from db.crypto.secret import Secret
from db.maintenance.schema import migrate
from tests.browser_client import HTMX, Browser, Element, read, set_cookie_of
from tests.conftest import TestApp
from tests.databases import PostgresServer
from web.brand import SITE_NAME

ACTIONS = [
    ("role", {"role": "admin"}),
    ("team", {"team": "Harbour"}),
    ("disable", {}),
    ("enable", {}),
    ("end-sessions", {}),
]
EVERY_ACTION = pytest.mark.parametrize(
    ("action", "fields"), ACTIONS, ids=[name for name, _ in ACTIONS]
)
UNKNOWN = "AAAAAAAAAAAAAAAAAAAAAA"


@pytest.fixture
def passwords(fast_passwords: Passwords) -> Passwords:
    return fast_passwords


async def id_of(app: TestApp, name: str) -> str:
    return (await app.rows(f"SELECT id FROM users WHERE name = '{name}'"))[0][0]


async def act(
    app: TestApp,
    admin: Browser,
    name: str,
    action: str,
    send: Callable = Browser.post,
    **fields: str,
):
    """Sends a change of the user with that name as an administrator."""
    return await send(admin, f"/admin/users/{await id_of(app, name)}/{action}", fields)


async def all_rows(app: TestApp) -> list[list[tuple]]:
    """Returns all rows of `users` and `sessions`, which a refused request must not change."""
    return [await app.rows(f"SELECT * FROM {table} ORDER BY id") for table in ("users", "sessions")]


def names(answer: httpx.Response) -> list[str]:
    return [
        row.one("th", scope="row").one("a").text for row in read(answer).all("tr", data_user=True)
    ]


def sentence(answer: httpx.Response) -> str:
    return read(answer).one(id="result-list").one("p", role="status").text


def toast(page: Element) -> str:
    return page.one(data_hx_swap_oob="beforeend:#toasts").one("p").text


async def search_users(admin: Browser, **query: str) -> list[str]:
    answer = await admin.get(f"/admin/users?{httpx.QueryParams(query)}")
    assert answer.status_code == 200
    return names(answer)


# Search


async def test_the_user_list_shows_role_email_and_team(
    app: TestApp, ada: Browser, alice: Browser
) -> None:
    await app.change("UPDATE users SET team = 'Harbour' WHERE name = 'Alice'")
    page = read(await ada.get("/admin/users"))
    rows = page.one(id="users").all(data_user=True)
    assert {(row.attrs["data-user"], row.attrs["data-role"]) for row in rows} == {
        (await id_of(app, "Ada"), "admin"),
        (await id_of(app, "Alice"), "user"),
    }
    assert "alice@example.com" in page.one(data_user=await id_of(app, "Alice")).text
    assert "Harbour" in page.one(data_user=await id_of(app, "Alice")).text
    assert [tag.text for tag in page.all("span", **{"class": "tag on"})] == ["This is you"]


ORDERS = ("newest", "name", "email", "login")
ALL_NAMES = {
    "Ada",
    "Alice",
    "100% Grace",
    "under_score",
    "back\\slash",
    "Änne",
    "Zoe\u0308",
    "Élodie",
    "Straße",
}
SEARCHES = [
    ("alice", {"Alice"}),
    ("ALICE@EXAMPLE", {"Alice"}),
    (" lic ", {"Alice"}),
    ("100%", {"100% Grace"}),
    ("%", {"100% Grace"}),
    ("_", {"under_score"}),
    ("\\", {"back\\slash"}),
    ("ÄNNE", {"Änne"}),
    ("Änne", {"Änne"}),
    ("a\u0308nne", {"Änne"}),
    ("E\u0301LODIE", {"Élodie"}),
    ("zoë", {"Zoe\u0308"}),
    ("STRASSE", {"Straße"}),
    ("ｓｔｒａß", {"Straße"}),
    ("@example.com", ALL_NAMES),
    ("' OR 1=1 --", set()),
    ("x'; DROP TABLE users", set()),
    ("engine-No.9", set()),
    ("$argon2", set()),
]


async def test_a_user_search_treats_special_characters_literally(
    app: TestApp, ada: Browser, alice: Browser
) -> None:
    for number, name in enumerate(sorted(ALL_NAMES - {"Ada", "Alice"})):
        await app.sign_up_user(name, email=f"guest{number}@example.com")
    assert {q: set(await search_users(ada, q=q)) for q, _ in SEARCHES} == dict(SEARCHES)


async def test_a_user_search_finds_non_ascii_letters_in_any_locale(
    postgres_server: PostgresServer, make_app: Callable
) -> None:
    name = postgres_server.create("template0", "LC_COLLATE 'C' LC_CTYPE 'C' ENCODING 'UTF8'")
    url = postgres_server.url_of(name)
    await asyncio.to_thread(migrate, Secret(url))
    app = await make_app(DATABASE_URL=url)
    ada = await app.admin("Ada")
    await app.sign_up_user("ÄNNE", email="guest@example.com")
    try:
        assert [await search_users(ada, q=q) for q in ("änne", "ÄNNE", "a\u0308nne")] == [
            ["ÄNNE"]
        ] * 3
    finally:
        await app.store.database.disconnect()
        postgres_server.drop(name)


async def test_a_user_search_finds_unicode_and_ascii_domains(app: TestApp, ada: Browser) -> None:
    await app.sign_up_user("Bettina", email="bettina@bücher.de")
    assert await app.rows("SELECT email FROM users WHERE name = 'Bettina'") == [
        ("bettina@xn--bcher-kva.de",)
    ]
    for q in (
        "bücher",
        "BÜCHER.DE",
        "bu\u0308cher",
        "bettina@bücher.de",
        "xn--bcher",
        "bettina@xn--bcher-kva.de",
    ):
        assert await search_users(ada, q=q) == ["Bettina"], q


async def test_a_user_search_finds_a_changed_name(ada: Browser, alice: Browser) -> None:
    assert (await alice.post("/account", {"name": "Élise"})).status_code == 303
    assert [await search_users(ada, q=q) for q in ("É", "alice liddell", "alice@")] == [
        ["Élise"],
        [],
        ["Élise"],
    ]


async def test_a_user_search_finds_rows_without_a_search_key(
    app: TestApp, ada: Browser, alice: Browser
) -> None:
    await app.change("UPDATE users SET search_key = NULL WHERE name = 'Alice'")
    assert [await search_users(ada, q=q) for q in ("ALICE", "alice@example")] == [["Alice"]] * 2
    await alice.post("/account", {"phone": "1"})
    keys = await app.rows("SELECT search_key FROM users WHERE name = 'Alice'")
    assert keys == [("alice\nalice@example.com",)]


async def test_a_user_search_without_results_keeps_the_query(ada: Browser, alice: Browser) -> None:
    answer = await ada.get("/admin/users?q=<b>nobody</b>&sort=email")
    page = read(answer)
    assert names(answer) == []
    assert sentence(answer) == "Nobody matches these filters."
    assert "The name or email contains “<b>nobody</b>”." in page.one(id="result-list").text
    assert page.one("input", id="q").attrs["value"] == "<b>nobody</b>"
    selected = page.one("select", id="sort").one("option", selected=True)
    assert selected.attrs["value"] == "email"


@pytest.fixture
async def sixty_names(app: TestApp, ada: Browser, alice: Browser) -> list[str]:
    """Adds 58 users and returns the names of all 60 in alphabetical order."""
    template = "SELECT 'id' || n, 'guest' || n || '@example.com', 'Guest ' || n, 'guest-' || n, password_hash, created_at"
    numbers = (
        "WITH RECURSIVE numbers(n) AS (SELECT 10 UNION ALL SELECT n + 1 FROM numbers WHERE n < 67)"
    )
    await app.change(
        f"INSERT INTO users (id, email, name, slug, password_hash, created_at) {numbers} {template} "
        "FROM numbers, users WHERE name = 'Alice'"
    )
    return ["Ada", "Alice", *[f"Guest {n}" for n in range(10, 68)]]


async def test_the_user_list_is_paginated_and_ends_at_the_last_page(
    ada: Browser, sixty_names: list[str]
) -> None:
    for page, shown in (
        ("1", (0, 25)),
        ("2", (25, 50)),
        ("3", (50, 60)),
        ("4", (50, 60)),
        ("999999999", (50, 60)),
    ):
        assert await search_users(ada, sort="name", page=page) == sixty_names[slice(*shown)], page


async def test_an_invalid_page_number_means_the_first_page(
    ada: Browser, sixty_names: list[str]
) -> None:
    for invalid in ("", "0", "-1", "abc", "1.5", "1e9", "9" * 30, "２", "1 OR 1=1", "%00"):
        answer = await ada.get(f"/admin/users?page={invalid}")
        assert (answer.status_code, "Page 1 of 3" in answer.text, len(names(answer))) == (
            200,
            True,
            25,
        ), invalid


async def test_an_invalid_page_or_order_keeps_the_search(ada: Browser, alice: Browser) -> None:
    for query in ({"page": "abc"}, {"sort": "abc"}):
        assert await search_users(ada, q="alice", **query) == ["Alice"]


async def test_page_links_keep_search_and_order(ada: Browser, sixty_names: list[str]) -> None:
    filters = "q=e&role=user&state=active&sort=name"
    # Guest 10 to Guest 67 and Alice, without Ada, who is an administrator.
    for number, neighbors in (
        (1, {"next": "&page=2"}),
        (2, {"prev": "", "next": "&page=3"}),
        (3, {"prev": "&page=2"}),
    ):
        pages = read(await ada.get(f"/admin/users?{filters}&page={number}")).one(
            "nav", aria_label="Pages"
        )
        assert f"Page {number} of 3" in pages.text
        links = {link.attrs["rel"]: link.attrs["href"] for link in pages.all("a")}
        assert links == {rel: f"/admin/users?{filters}{page}" for rel, page in neighbors.items()}


async def test_a_short_user_list_has_no_page_links(ada: Browser, alice: Browser) -> None:
    assert read(await ada.get("/admin/users")).all("nav", aria_label="Pages") == []


async def test_the_user_list_is_sorted_by_the_given_order(app: TestApp, ada: Browser) -> None:
    app.clock.move(minutes=1)
    alan = await app.sign_up_user("alan", email="z@example.com")
    app.clock.move(minutes=1)
    await app.create("Grace")  # Grace has never logged in.
    await alan.log_in()
    app.clock.move(minutes=1)
    await (await app.browser("Ada")).log_in()
    newest = ["Grace", "alan", "Ada"]
    assert {
        sort: await search_users(ada, sort=sort)
        for sort in (*ORDERS, *[f"-{order}" for order in ORDERS], "oldest", "password_hash")
    } == {
        "newest": newest,
        "oldest": newest[::-1],
        "name": ["Ada", "alan", "Grace"],
        "-name": ["Grace", "alan", "Ada"],
        "email": ["Ada", "Grace", "alan"],
        "-email": ["alan", "Grace", "Ada"],
        "login": ["Ada", "alan", "Grace"],
        "-login": ["Grace", "alan", "Ada"],
        "-newest": newest,
        "password_hash": newest,
    }


async def test_the_head_of_the_sorted_column_says_so_and_reverses_the_order(
    ada: Browser, alice: Browser
) -> None:
    heads = {
        "newest": ("Joined ↓", "descending", "?q=a&sort=oldest"),
        "oldest": ("Joined ↑", "ascending", "?q=a"),
        "name": ("Name ↑", "ascending", "?q=a&sort=-name"),
        "-name": ("Name ↓", "descending", "?q=a&sort=name"),
        "email": ("Email ↑", "ascending", "?q=a&sort=-email"),
        "-email": ("Email ↓", "descending", "?q=a&sort=email"),
        "login": ("Last log-in ↓", "descending", "?q=a&sort=-login"),
        "-login": ("Last log-in ↑", "ascending", "?q=a&sort=login"),
    }
    for sort, (text, direction, target) in heads.items():
        page = read(await ada.get(f"/admin/users?q=a&sort={sort}"))
        head = page.one("th", scope="col", aria_sort=True)
        assert head.attrs["aria-sort"] == direction, sort
        (link,) = [link for link in head.all("a") if link.text == text]
        assert link.attrs["href"] == f"/admin/users{target}"


async def test_the_user_list_is_filtered_by_role_and_state(
    app: TestApp, ada: Browser, alice: Browser, bob: Browser
) -> None:
    await app.change(
        "INSERT INTO roles (name, label, created_at) SELECT 'editor', 'Editor', created_at FROM users LIMIT 1",
        "UPDATE users SET role = 'editor' WHERE name = 'Bob'",
    )
    await app.sign_up_user("Carol", email="carol@example.com")
    await act(app, ada, "Alice", "disable")
    assert (await act(app, ada, "Carol", "delete", sure="yes")).status_code == 303
    assert {
        query: set(await search_users(ada, **dict(httpx.QueryParams(query))))
        for query in (
            *("role=user", "role=editor", "role=admin", "role=nobody", "role=<b>"),
            *("state=active", "state=disabled", "state=deleting", "state=unconfirmed", "state=x"),
            *("role=user&state=disabled&q=al", "role=editor&state=disabled"),
        )
    } == {
        "role=user": {"Alice", "Carol"},
        "role=editor": {"Bob"},
        "role=admin": {"Ada"},
        "role=nobody": set(),
        "role=<b>": {"Ada", "Alice", "Bob", "Carol"},  # An invalid value is no filter.
        "state=active": {"Ada", "Bob"},
        "state=disabled": {"Alice", "Carol"},
        "state=deleting": {"Carol"},
        "state=unconfirmed": {"Alice", "Bob", "Carol"},
        "state=x": {"Ada", "Alice", "Bob", "Carol"},
        "role=user&state=disabled&q=al": {"Alice"},
        "role=editor&state=disabled": set(),
    }


async def test_the_filters_are_kept_named_and_cleared(ada: Browser, alice: Browser) -> None:
    page = read(await ada.get("/admin/users?q=zoe&role=admin&state=disabled&sort=name"))
    for name, value in (("role", "admin"), ("state", "disabled"), ("sort", "name")):
        selected = page.one("select", id=name).one("option", selected=True)
        assert selected.attrs["value"] == value
    results = page.one(id="result-list")
    assert [item.text for item in results.all("li")] == [
        "The name or email contains “zoe”.",
        "The role is Administrator.",
        "The account is disabled.",
    ]
    (link,) = [link for link in results.all("a") if link.text == "Clear the filters"]
    assert link.attrs["href"] == "/admin/users?sort=name"
    assert sentence(await ada.get("/admin/users?role=user")) == "1 person matches these filters."
    assert sentence(await ada.get("/admin/users")) == "2 people"


async def test_the_api_filters_users_too(app: TestApp, ada: Browser, alice: Browser) -> None:
    found = (await ada.get("/api/admin/users?role=user&state=active&sort=-name")).json()
    assert [user["name"] for user in found["users"]] == ["Alice"]
    for query in ("state=x", "role=<b>", "sort=-newest"):
        assert (await ada.get(f"/api/admin/users?{query}")).status_code == 422


async def test_the_list_needs_the_same_statements_for_any_number_of_users(
    app: TestApp, ada: Browser, sixty_names: list[str]
) -> None:
    await ada.get("/admin/users")
    counts = []
    for query in ("?q=nobody", "?q=alice", "?role=user&state=active&sort=-login"):
        before = app.statements
        assert (await ada.get(f"/admin/users{query}")).status_code == 200
        counts.append(app.statements - before)
    assert counts == [4, 4, 4]


async def test_the_fragment_is_the_main_part_of_the_page(ada: Browser, alice: Browser) -> None:
    page, fragment = (
        await ada.get("/admin/users?q=alice"),
        await ada.get_fragment("/admin/users?q=alice"),
    )
    assert fragment.text.startswith(f"<title>People · {SITE_NAME}</title>")
    assert fragment.text.partition("</title>\n")[2].strip() in page.text


async def test_a_user_search_ignores_invisible_characters(ada: Browser, alice: Browser) -> None:
    assert await search_users(ada, q="\ufeffalice@example.com\u200b") == ["Alice"]
    assert await search_users(ada, q="\u202aalice@example.com\u202c") == ["Alice"]


# The list


async def test_the_user_list_is_small(ada: Browser, sixty_names: list[str]) -> None:
    answer = await ada.get("/admin/users")
    assert len(read(answer).one(id="result-list").all("form")) == 0
    assert len(gzip.compress(answer.content, 9)) < 5_000


# Changes


@pytest.mark.asvs("S37")
async def test_a_promoted_user_is_an_admin_with_the_old_cookie(
    app: TestApp, ada: Browser, alice: Browser
) -> None:
    attacker = await app.attacker_with_cookie_of(alice)
    answer = await act(app, ada, "Alice", "role", role="admin")
    assert (answer.status_code, answer.headers["location"]) == (303, "/admin/users")
    page = await alice.get("/admin/users")
    assert (page.status_code, alice.cookie != attacker.cookie) == (200, True)
    assert (await attacker.get("/admin/users")).status_code == 200
    # The session is that of an administrator, but the confirmation is not in the cookie.
    assert (await act(app, attacker, "Ada", "role", role="user")).status_code == 403
    assert (await act(app, alice, "Ada", "role", role="user")).status_code == 303
    assert await app.rows("SELECT name FROM users WHERE role = 'admin'") == [("Alice",)]


@pytest.mark.guide("D2", "D30", "D31", "T1")
@pytest.mark.asvs("S37")
@EVERY_ACTION
async def test_a_demoted_admin_can_change_nothing_with_the_old_cookie(
    app: TestApp, ada: Browser, alice: Browser, bob: Browser, action: str, fields: dict[str, str]
) -> None:
    await act(app, ada, "Alice", "role", role="admin")
    await alice.get("/dashboard")
    cookie = alice.cookie
    await act(app, ada, "Alice", "role", role="user")
    before = await all_rows(app)
    for send in (Browser.post, Browser.post_fragment):
        alice.cookie = cookie
        answer = await act(app, alice, "Bob", action, send, **fields)
        assert (answer.status_code, "bob" in answer.text.lower()) == (403, False)
        assert not {"location", "hx-redirect"} & set(answer.headers)
    assert await all_rows(app) == before
    assert await alice.is_logged_in()


@pytest.mark.guide("D2", "D31", "T1", "T2")
@pytest.mark.asvs("S37")
async def test_a_demoted_admin_gets_403_as_page_fragment_and_json(
    app: TestApp, ada: Browser, alice: Browser
) -> None:
    await act(app, ada, "Alice", "role", role="admin")
    await alice.get("/dashboard")
    cookie = alice.cookie
    await act(app, ada, "Alice", "role", role="user")
    answers = []
    for path, headers in (("/admin/users", {}), ("/admin/users", HTMX), ("/api/admin/users", {})):
        alice.cookie = cookie
        answers.append(await alice.get(path, **headers))
    page, fragment, json = answers
    assert [answer.status_code for answer in answers] == [403, 403, 403]
    assert len(read(page).all("html")) == 1
    assert read(fragment).all("html") == []
    assert json.json()["status"] == 403
    assert not any("ada@example.com" in answer.text for answer in answers)
    for answer in (
        page,
        fragment,
    ):  # No later response would update the navigation.
        navigation = read(answer).one(id="nav")
        assert navigation.one("bdi").text == "Alice"
        assert not [link for link in navigation.all("a") if link.attrs["href"].startswith("/admin")]


@pytest.mark.guide("D30")
@EVERY_ACTION
async def test_only_admins_can_change_other_users(
    app: TestApp,
    ada: Browser,
    alice: Browser,
    bob: Browser,
    anonymous: Browser,
    action: str,
    fields: dict[str, str],
) -> None:
    before = await all_rows(app)
    for name in ("Alice", "Bob", "Ada"):
        for send in (Browser.post, Browser.post_fragment):
            assert (await act(app, alice, name, action, send, **fields)).status_code == 403
            assert (await act(app, anonymous, name, action, send, **fields)).status_code in (
                303,
                401,
            )
    assert await all_rows(app) == before


@pytest.mark.guide("D26", "D2", "T2")
@pytest.mark.asvs("S37")
async def test_the_dashboard_follows_the_role_in_the_database(
    app: TestApp, ada: Browser, alice: Browser
) -> None:
    seen = []
    for role in ("user", "admin", "user"):
        await act(app, ada, "Alice", "role", role=role)
        for send in (Browser.get, Browser.get_fragment):
            before, page = app.statements, read(await send(alice, "/dashboard"))
            seen.append(page.one(data_dashboard=True).attrs["data-dashboard"])
            assert "Alice" in page.one(data_viewer_name=True).text
            assert ("/admin/users" in {link.attrs.get("href") for link in page.all("a")}) == (
                role == "admin"
            )
            assert app.statements > before
    assert seen == ["user", "user", "admin", "admin", "user", "user"]


@pytest.mark.asvs("S37", "S66")
async def test_a_disabled_user_is_logged_out_until_enabled(
    app: TestApp, ada: Browser, alice: Browser, alices_phone: Browser, bob: Browser
) -> None:
    cookie = alice.cookie
    assert (await act(app, ada, "Alice", "disable")).status_code == 303
    assert [await user.is_logged_in() for user in (alice, alices_phone, bob)] == [
        False,
        False,
        True,
    ]
    assert (await alice.log_in()).status_code == 422
    page = read(await ada.get("/admin/users"))
    assert "Disabled" in page.one(data_user=await id_of(app, "Alice")).text
    assert (await act(app, ada, "Alice", "enable")).status_code == 303
    alice.cookie = cookie
    assert not await alice.is_logged_in(), "an ended session stays ended"
    assert (await alice.log_in()).status_code == 303


@pytest.mark.asvs("S66", "S37")
async def test_ending_the_sessions_of_a_user_affects_no_other_user(
    app: TestApp, ada: Browser, alice: Browser, alices_phone: Browser, bob: Browser
) -> None:
    assert (await act(app, ada, "Alice", "end-sessions")).status_code == 303
    assert [await user.is_logged_in() for user in (alice, alices_phone, bob, ada)] == [
        False,
        False,
        True,
        True,
    ]
    assert (await alice.log_in()).status_code == 303


async def test_a_team_is_trimmed_and_may_be_empty(
    app: TestApp, ada: Browser, alice: Browser
) -> None:
    for typed, stored in ((" Harbour ", "Harbour"), ("⚓" * 40, "⚓" * 40), ("", "")):
        assert (await act(app, ada, "Alice", "team", team=typed)).status_code == 303
        assert await app.rows("SELECT team FROM users WHERE name = 'Alice'") == [(stored,)]


async def test_a_team_of_invisible_characters_is_empty(
    app: TestApp, ada: Browser, alice: Browser
) -> None:
    """An empty-looking team that two users share would show each of them the phone number of the
    other.
    """
    for typed in ("\u200b", "\u3164\u2800", " \ufeff "):
        assert (await act(app, ada, "Alice", "team", team=typed)).status_code == 303
        assert await app.rows("SELECT team FROM users WHERE name = 'Alice'") == [("",)]


async def test_an_absent_team_stays_unchanged(app: TestApp, ada: Browser, alice: Browser) -> None:
    await act(app, ada, "Alice", "team", team="Harbour")
    await act(app, ada, "Alice", "team")
    assert await app.rows("SELECT team FROM users WHERE name = 'Alice'") == [("Harbour",)]


async def test_an_invalid_role_or_team_is_refused_and_changes_nothing(
    app: TestApp, ada: Browser, alice: Browser
) -> None:
    before = await all_rows(app)
    wrong = [("role", {"role": role}) for role in ("", "root", "ADMIN", " admin", "admin,user")]
    wrong += [("role", {}), ("team", {"team": "x" * 41}), ("team", {"team": "Har\0bour"})]
    for action, fields in wrong:
        for send in (Browser.post, Browser.post_fragment):
            assert (await act(app, ada, "Alice", action, send, **fields)).status_code == 422, fields
    assert await all_rows(app) == before


@EVERY_ACTION
@pytest.mark.asvs("S05")
async def test_a_change_of_an_unknown_user_is_404_and_changes_nothing(
    app: TestApp, ada: Browser, alice: Browser, action: str, fields: dict[str, str]
) -> None:
    before = await all_rows(app)
    for user_id in (UNKNOWN, "alice", "alice@example.com", "%00", "%25", "1%20OR%201=1"):
        for headers in ({}, HTMX):
            answer = await ada.post(f"/admin/users/{user_id}/{action}", fields, **headers)
            assert answer.status_code == 404, user_id
    assert await all_rows(app) == before


@pytest.mark.asvs("S05")
@pytest.mark.parametrize(
    ("action", "fields"), [("team", {}), ("team", {"team": "x" * 41}), ("role", {"role": "root"})]
)
async def test_an_unknown_user_is_404_even_if_the_form_is_invalid(
    app: TestApp, ada: Browser, action: str, fields: dict[str, str]
) -> None:
    for send in (Browser.post, Browser.post_fragment):
        assert (await send(ada, f"/admin/users/{UNKNOWN}/{action}", fields)).status_code == 404


@pytest.mark.parametrize(
    ("action", "fields", "message"),
    [
        ("role", {"role": "admin"}, "Role changed."),
        ("team", {"team": "Harbour"}, "Team changed."),
        ("disable", {}, "Account disabled, and logged out everywhere."),
        ("enable", {}, "Account enabled."),
        ("end-sessions", {}, "Logged out everywhere."),
    ],
)
async def test_a_change_by_htmx_returns_the_same_page_of_the_list(
    app: TestApp,
    ada: Browser,
    sixty_names: list[str],
    action: str,
    fields: dict[str, str],
    message: str,
) -> None:
    query = "?q=guest&sort=name&page=2"
    answer = await act(app, ada, "Guest 40", action + query, Browser.post_fragment, **fields)
    fragment = read(answer)
    assert (answer.status_code, toast(fragment)) == (200, message)
    assert names(answer) == sixty_names[2:][25:50]
    links = {link.attrs["href"] for link in fragment.one("tbody").all("a")}
    assert all(link.endswith("?q=guest&sort=name&page=2") for link in links)
    assert fragment.all("html") == fragment.all(id="nav") == []
    row = fragment.one(data_user=await id_of(app, "Guest 40"))
    expected = {"role": "Administrator", "team": "Harbour", "disable": "Disabled"}.get(
        action, "Guest 40"
    )
    assert expected in row.text


# Own account and last administrator


@pytest.fixture
async def grace(app: TestApp) -> Browser:
    """Returns a second administrator."""
    return await app.admin("Grace")


@pytest.mark.parametrize(("send", "status"), [(Browser.post, 303), (Browser.post_fragment, 204)])
async def test_an_admin_who_demotes_themselves_goes_to_the_dashboard(
    app: TestApp, ada: Browser, grace: Browser, send: Callable, status: int
) -> None:
    answer = await act(app, ada, "Ada", "role", send, role="user")
    target = answer.headers.get("location") or answer.headers["hx-redirect"]
    assert (answer.status_code, target) == (status, "/dashboard")
    assert 'data-dashboard="user"' in (await ada.get("/dashboard")).text


@pytest.mark.parametrize(("send", "status"), [(Browser.post, 303), (Browser.post_fragment, 204)])
@pytest.mark.parametrize("action", ["disable", "end-sessions"])
async def test_an_admin_who_ends_their_own_sessions_goes_to_login(
    app: TestApp, ada: Browser, grace: Browser, send: Callable, status: int, action: str
) -> None:
    attacker = await app.attacker_with_cookie_of(ada)
    answer = await act(app, ada, "Ada", action, send)
    target = answer.headers.get("location") or answer.headers["hx-redirect"]
    assert (answer.status_code, target) == (status, "/login")
    assert (set_cookie_of(answer)["session"]["max-age"], ada.cookie) == ("0", None)
    assert [await attacker.is_logged_in(), await grace.is_logged_in()] == [False, True]


@pytest.mark.asvs("S38")
@pytest.mark.parametrize(("action", "fields"), [("role", {"role": "user"}), ("disable", {})])
@pytest.mark.parametrize("others", ["none", "one that is disabled"])
async def test_the_last_admin_can_be_neither_demoted_nor_disabled(
    app: TestApp, ada: Browser, alice: Browser, action: str, fields: dict[str, str], others: str
) -> None:
    if others != "none":
        await app.admin("Grace")
        await act(app, ada, "Grace", "disable")
    before = await all_rows(app)
    for send in (Browser.post, Browser.post_fragment):
        answer = await act(app, ada, "Ada", action, send, **fields)
        assert (answer.status_code, "This is the last administrator" in answer.text) == (409, True)
    assert await all_rows(app) == before
    assert (await ada.get("/admin/users")).status_code == 200


@pytest.mark.asvs("S38", "S102")
@pytest.mark.parametrize(("action", "fields"), [("role", {"role": "user"}), ("disable", {})])
async def test_two_admins_who_demote_each_other_leave_one_admin(
    app: TestApp, ada: Browser, grace: Browser, action: str, fields: dict[str, str]
) -> None:
    answers = await asyncio.gather(
        act(app, ada, "Grace", action, **fields), act(app, grace, "Ada", action, **fields)
    )
    assert sorted(answer.status_code for answer in answers) in ([303, 403], [303, 409], [303, 303])
    assert [answer.headers.get("location") for answer in answers].count("/admin/users") == 1
    remaining = await app.rows(
        "SELECT name FROM users WHERE role = 'admin' AND disabled_at IS NULL"
    )
    assert len(remaining) == 1


@pytest.mark.asvs("S102")
@EVERY_ACTION
async def test_a_double_submit_of_an_admin_change_succeeds(
    app: TestApp, ada: Browser, alice: Browser, action: str, fields: dict[str, str]
) -> None:
    answers = await asyncio.gather(*[act(app, ada, "Alice", action, **fields) for _ in range(2)])
    assert [(answer.status_code, answer.headers["location"]) for answer in answers] == [
        (303, "/admin/users")
    ] * 2
    ((role, team, disabled),) = await app.rows(
        "SELECT role, team, disabled_at IS NOT NULL AS off FROM users WHERE name = 'Alice'"
    )
    assert (role, team, bool(disabled)) == (
        fields.get("role", "user"),
        fields.get("team", ""),
        action == "disable",
    )


async def test_an_admin_form_of_another_viewer_changes_nothing(
    app: TestApp, ada: Browser, grace: Browser, alice: Browser
) -> None:
    before, viewer = await all_rows(app), await id_of(app, "Grace")
    for action, fields in ACTIONS:
        for send in (Browser.post, Browser.post_fragment):
            answer = await act(app, ada, "Alice", action, send, **fields, viewer=viewer)
            assert (answer.status_code, "You are logged in as Ada" in read(answer).text) == (
                409,
                True,
            )
    assert await all_rows(app) == before


@pytest.mark.asvs("S97")
async def test_the_first_value_of_a_repeated_role_counts(
    app: TestApp, ada: Browser, alice: Browser
) -> None:
    path = f"/admin/users/{await id_of(app, 'Alice')}/role"
    for body, role in (("role=user&role=admin", "user"), ("role=admin&role=user", "admin")):
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        await ada.client.post(f"{path}?role=admin", content=body, headers=form)
        assert await app.rows("SELECT role FROM users WHERE name = 'Alice'") == [(role,)]


@pytest.mark.asvs("S38")
async def test_a_new_database_has_no_users(app: TestApp) -> None:
    assert await app.count("users") == 0
