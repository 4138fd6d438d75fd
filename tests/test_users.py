"""Tests of a user's page and its JSON: data that the viewer may not see is absent."""

import unicodedata

import pytest

from db.crypto.passwords import Passwords
from tests.browser_client import HTMX, Browser, Element, path_of, read
from tests.conftest import TestApp
from web.rendering.formatting import initials

PHONE = "+49 30 555-0123"
EMAIL = "bob@example.com"
# The fields are the viewer of Bob's page, the team of the viewer, the team of Bob, and whether the
# viewer sees Bob's email and phone.
VISIBILITY = [
    ("Bob", "Harbour", "Harbour", (True, True)),
    ("Alice", "Harbour", "Harbour", (False, True)),
    ("Alice", "Airport", "Harbour", (False, False)),
    ("Alice", "harbour", "Harbour", (False, False)),
    ("Alice", "", "Harbour", (False, False)),
    ("Alice", "Harbour", "", (False, False)),
    ("Alice", "", "", (False, False)),
    ("Ada", "", "Harbour", (True, True)),
    ("Ada", "", "", (True, True)),
]


@pytest.fixture
def passwords(fast_passwords: Passwords) -> Passwords:
    return fast_passwords


@pytest.fixture
async def browsers(app: TestApp, alice: Browser, bob: Browser, ada: Browser) -> dict[str, Browser]:
    """Returns the browsers by name. Bob has a phone number."""
    await bob.post("/account", {"phone": PHONE})
    return {user.name: user for user in (alice, bob, ada)}


async def put_in_team(app: TestApp, browsers: dict[str, Browser], name: str, team: str) -> None:
    """Changes the team of a user by a request of the administrator."""
    ((user_id,),) = await app.rows(f"SELECT id FROM users WHERE name = '{name}'")
    assert (
        await browsers["Ada"].post(f"/admin/users/{user_id}/team", {"team": team})
    ).status_code == 303


def facts(page: Element) -> dict[str, str]:
    """Returns the terms and descriptions of the page's definition list."""
    return {found.one("dt").text: found.one("dd").text for found in page.one("dl").all("div")}


@pytest.mark.guide("D22", "D23", "D25", "D33", "D4", "T2", "T12")
@pytest.mark.asvs("S88")
async def test_email_and_phone_are_shown_only_to_permitted_viewers(
    app: TestApp, browsers: dict
) -> None:
    for viewer_name, own_team, bobs_team, visible in VISIBILITY:
        await put_in_team(app, browsers, viewer_name, own_team)
        await put_in_team(app, browsers, "Bob", bobs_team)
        viewer = browsers[viewer_name]
        page, fragment = await viewer.get("/users/bob"), await viewer.get_fragment("/users/bob")
        json = await viewer.get("/api/users/bob")
        for answer in (page, fragment, json):
            assert answer.status_code == 200
            assert (EMAIL in answer.text, PHONE in answer.text) == visible, (
                viewer_name,
                own_team,
                bobs_team,
            )
        assert (json.json()["email"], json.json()["phone"]) == (
            EMAIL if visible[0] else None,
            PHONE if visible[1] else None,
        )
        assert facts(read(fragment)) == facts(read(page).one(id="main"))


@pytest.mark.guide("D23", "D33")
async def test_the_json_has_exactly_these_fields(browsers: dict) -> None:
    answer = await browsers["Alice"].get("/api/users/bob")
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == {
        "name": "Bob",
        "slug": "bob",
        "role": "user",
        "role_label": "User",
        "team": "",
        "email": None,
        "phone": None,
        "created_at": "2026-11-24T09:12:00Z",
    }


async def test_every_logged_in_user_sees_name_team_and_role(app: TestApp, browsers: dict) -> None:
    await put_in_team(app, browsers, "Ada", "Harbour")
    page = read(await browsers["Alice"].get("/users/ada"))
    assert page.one(id="main").one("h1").text == "Ada"
    assert facts(page)["Team"] == "Harbour"
    lead = page.one("p", **{"class": "lead meta"})
    assert [part.text for part in lead.all("span")] == [
        "Administrator",
        "Member since 24 November 2026",
    ]


async def test_a_missing_value_is_distinguished_from_a_hidden_one(browsers: dict) -> None:
    ada = browsers["Ada"]
    assert facts(read(await ada.get("/users/alice")))["Phone"] == "Not given"
    assert facts(read(await browsers["Bob"].get("/users/alice"))) == {
        "Team": "None yet",
        "Phone": "Only their team and administrators see this",
        "Email": "Only Alice and administrators see this",
        "Profile URL": "/users/alice",
    }
    assert (await ada.get("/api/users/alice")).json()["phone"] == ""


async def test_a_team_change_applies_to_the_next_request(app: TestApp, browsers: dict) -> None:
    for name in ("Alice", "Bob"):
        await put_in_team(app, browsers, name, "Harbour")
    assert PHONE in (await browsers["Alice"].get("/users/bob")).text
    await put_in_team(app, browsers, "Alice", "")
    assert PHONE not in (await browsers["Alice"].get("/users/bob")).text


@pytest.mark.guide("D2")
@pytest.mark.asvs("S37")
async def test_the_role_in_the_cookie_gives_no_access(app: TestApp, browsers: dict) -> None:
    await app.create("Grace", "admin")
    await app.change_role(browsers["Ada"], "user")
    answer = await browsers["Ada"].get("/api/users/bob")
    assert (answer.json()["email"], answer.json()["phone"]) == (None, None)


async def test_a_users_page_links_to_the_account_or_the_page_for_administrators(
    app: TestApp, browsers: dict
) -> None:
    ((bobs_id,),) = await app.rows("SELECT id FROM users WHERE name = 'Bob'")
    links = {
        name: [
            path_of(link.attrs["href"])
            for link in read(await user.get("/users/bob")).one(id="main").all("a")
        ]
        for name, user in browsers.items()
    }
    assert links == {"Bob": ["/account"], "Alice": [], "Ada": [f"/admin/users/{bobs_id}"]}


INITIALS = {
    "Alice": "A",
    "alice m. liddell": "AL",
    "ليلى حداد": "ل\u200cح",
    "👩\u200d👩\u200d👧 Family": "👩\u200d👩\u200d👧F",
    "🇩🇪 Max": "🇩🇪M",
    "(bob) 'öz'": "BÖ",
    "Jose E\u0301mile": "JÉ",
    "張 偉": "張偉",
    "12 34 & —": "13",
    "— &": "",
}


@pytest.mark.parametrize(("name", "expected"), INITIALS.items())
def test_initials_are_the_first_letters_of_the_first_and_last_word(
    name: str, expected: str
) -> None:
    assert unicodedata.normalize("NFC", initials(name)) == expected


@pytest.mark.asvs("S05", "S85")
async def test_an_unknown_slug_is_answered_with_404(browsers: dict) -> None:
    for slug in ("nobody", "BOB", "bob%00", "%00", "bob%20", "%27%20OR%201=1", "%ff", "b" * 3000):
        for name in ("Alice", "Ada"):
            for headers in ({}, HTMX):
                answer = await browsers[name].get(f"/users/{slug}", **headers)
                assert (answer.status_code, "Page not found" in answer.text) == (
                    404,
                    True,
                ), slug
                json = await browsers[name].get(f"/api/users/{slug}", **headers)
                assert (json.status_code, json.headers["content-type"]) == (
                    404,
                    "application/problem+json",
                )
                assert json.json()["status"] == 404


@pytest.mark.guide("D32", "D28")
async def test_every_page_shows_the_users_name_except_pages_without_user_data(
    browsers: dict,
) -> None:
    for name in ("Bob", "Ada"):
        for path in (
            "/dashboard",
            "/devices",
            "/account",
            "/users/alice",
            "/nowhere",
            *["/admin/users"] * (name == "Ada"),
        ):
            navigation = read(await browsers[name].get(path)).one(id="nav").one(id="me")
            assert navigation.text.split("Log out")[0].strip() == (
                "Your account" if path == "/nowhere" else name
            ), path
        navigation = read(await browsers[name].get("/handbook")).one(id="nav").one(id="me")
        assert navigation.one("a").text == "Your account"
    session = (await browsers["Bob"].get("/api/session")).json()["user"]
    assert {**session, "id": ""} == {"id": "", "name": "Bob", "role": "user", "slug": "bob"}


MARKUP = [
    "<script>alert(1)</script>",
    '"><svg onload=alert(1)>',
    "' autofocus onfocus=alert(1) x='",
    '" data-hx-get="/logout" data-hx-t',
    "</bdi></dd><form action=//evil>",
    "{{ 7 * 7 }}{% include 'shell.html' %}",
    "&lt;b&gt;<!--",
]


@pytest.mark.guide("D35")
@pytest.mark.asvs("S33")
async def test_markup_in_user_data_is_shown_as_text(app: TestApp, browsers: dict) -> None:
    bob, ada = browsers["Bob"], browsers["Ada"]
    ((bobs_id,),) = await app.rows("SELECT id FROM users WHERE name = 'Bob'")
    pages_to_check = [
        (bob, "/account"),
        (bob, "/users/bob"),
        (ada, "/users/bob"),
        (ada, "/admin/users?q=bob%40"),
    ]

    async def write(text: str) -> list[Element]:
        assert (await bob.post("/account", {"name": text, "phone": text})).status_code == 303
        assert (await ada.post(f"/admin/users/{bobs_id}/team", {"team": text})).status_code == 303
        return [
            read(await send(user, path))
            for user, path in pages_to_check
            for send in (Browser.get, Browser.get_fragment)
        ]

    shapes = [page.shape for page in await write("Bob")]
    for text in MARKUP:
        pages = await write(text)
        assert [page.shape for page in pages] == shapes, text
        assert all(text in [found.text for found in page.all("bdi")] for page in pages[2:])


async def test_a_former_slug_is_answered_with_404(browsers: dict) -> None:
    await browsers["Bob"].post("/account", {"slug": "robert"})
    assert [
        (await browsers["Alice"].get(f"/users/{slug}")).status_code for slug in ("bob", "robert")
    ] == [404, 200]
