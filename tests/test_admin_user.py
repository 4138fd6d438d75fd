"""Tests of the page of one user, for administrators: devices, activity, actions and their undoing."""

import gzip
from collections.abc import Callable

import httpx
import pytest

from db.crypto.passwords import Passwords
from tests.browser_client import Browser, Element, path_of, read
from tests.conftest import TestApp
from tests.factor_rows import add_factors, passkey_row

UNKNOWN = "AAAAAAAAAAAAAAAAAAAAAA"
HERE = {"return_to": "user"}


@pytest.fixture
def passwords(fast_passwords: Passwords) -> Passwords:
    return fast_passwords


async def id_of(app: TestApp, name: str) -> str:
    return (await app.rows(f"SELECT id FROM users WHERE name = '{name}'"))[0][0]


async def page_of(app: TestApp, admin: Browser, name: str) -> Element:
    answer = await admin.get(f"/admin/users/{await id_of(app, name)}")
    assert answer.status_code == 200
    return read(answer)


async def act(
    app: TestApp,
    admin: Browser,
    name: str,
    action: str,
    send: Callable = Browser.post_fragment,
    **fields: str,
) -> httpx.Response:
    """Sends a form of the page of the user with that name."""
    return await send(admin, f"/admin/users/{await id_of(app, name)}/{action}", HERE | fields)


async def state_of(app: TestApp, name: str) -> tuple[str, str, bool]:
    sql = f"SELECT role, team, disabled_at IS NOT NULL AS disabled FROM users WHERE name = '{name}'"
    ((role, team, disabled),) = await app.rows(sql)
    return role, team, bool(disabled)


async def all_rows(app: TestApp) -> list[list[tuple]]:
    """Returns all rows of `users` and `sessions`, which a refused request must not change."""
    return [await app.rows(f"SELECT * FROM {table} ORDER BY id") for table in ("users", "sessions")]


def toast(answer: httpx.Response) -> str:
    return read(answer).one(**{"class": "toast"}).one("p").text


def undo_form(answer: httpx.Response) -> tuple[str, dict[str, str]] | None:
    """Returns the URL and the fields of the form in the toast, or None."""
    forms = read(answer).one(**{"class": "toast"}).all("form")
    if not forms:
        return None
    fields = {field.attrs["name"]: field.attrs["value"] for field in forms[0].all("input")}
    return forms[0].attrs["action"], fields


def actions(page: Element) -> set[str]:
    """Returns the actions in the URLs of the forms."""
    forms = page.one(id="person").all("form")
    return {path_of(form.attrs["action"]).split("/")[4] for form in forms}


# The page


async def test_the_page_of_a_user_has_every_action_and_a_link_back(
    app: TestApp, ada: Browser, alice: Browser
) -> None:
    path, query = f"/admin/users/{await id_of(app, 'Alice')}", "?q=ali&role=user&sort=name&page=2"
    page, fragment = await ada.get(path + query), await ada.get_fragment(path + query)
    assert read(page).one("h1").text == "Alice"
    assert fragment.text.partition("</title>")[2].strip() in page.text
    assert actions(read(page)) == {
        *("team", "role", "revoke", "end-sessions", "disable", "data", "delete")
    }
    assert f"/admin/users{query}" in {link.attrs.get("href") for link in read(page).all("a")}
    (form,) = [
        form for form in read(page).one(id="person").all("form") if "/team" in form.attrs["action"]
    ]
    sent = {field.attrs["name"]: field.attrs["value"] for field in form.all("input")}
    answer = await ada.post(form.attrs["action"], sent | {"team": "Harbour"})
    assert (answer.status_code, answer.headers["location"]) == (303, path + query)
    assert (await state_of(app, "Alice"))[1] == "Harbour"


async def test_the_page_of_a_user_is_for_admins_and_404_if_unknown(
    app: TestApp, ada: Browser, alice: Browser
) -> None:
    for user_id in (UNKNOWN, "alice", "%00", "%25"):
        assert (await ada.get(f"/admin/users/{user_id}")).status_code == 404
    for path in (UNKNOWN, await id_of(app, "Ada")):
        answer = await alice.get(f"/admin/users/{path}")
        assert (answer.status_code, "ada@example.com" in answer.text) == (403, False)


@pytest.mark.asvs("S38")
async def test_only_the_data_download_asks_for_a_password(
    app: TestApp, ada: Browser, alice: Browser
) -> None:
    page = await page_of(app, ada, "Alice")
    fields = [*page.one(id="person").all("input"), *page.one(id="person").all("select")]
    assert {field.attrs["name"] for field in fields} == {
        *("viewer", "return_to", "role", "team", "sure")
    }
    assert page.one(id="user-data")


async def test_the_page_says_what_is_true_of_the_account(
    app: TestApp, ada: Browser, alice: Browser, bob: Browser
) -> None:
    page = await page_of(app, ada, "Alice")
    facts = {row.one("dt").text: row.one("dd").text for row in page.one("dl").all("div")}
    assert facts["Role"] == "User"
    assert (facts["Team"], facts["State"], facts["Email"]) == ("None", "Active", "Not confirmed")
    assert "alice@example.com" in page.one(id="person").text
    await act(app, ada, "Alice", "disable")
    page = await page_of(app, ada, "Alice")
    assert [
        tag.text for tag in page.one(**{"class": "who"}).all("span", **{"class": "tag off"})
    ] == [*("Disabled", "Not confirmed")]
    assert "enable" in actions(page) and "disable" not in actions(page)
    await act(app, ada, "Bob", "delete", sure="yes")
    page = await page_of(app, ada, "Bob")
    assert (
        "This account will be deleted on 1 December 2026." in page.one(**{"class": "banner"}).text
    )
    assert "keep" in actions(page) and "delete" not in actions(page)


async def test_the_page_says_whether_there_is_a_second_step_but_not_which(
    app: TestApp, ada: Browser, alice: Browser
) -> None:
    page = await page_of(app, ada, "Alice")
    facts = {row.one("dt").text: row.one("dd").text for row in page.one("dl").all("div")}
    assert facts["Second step"] == "No"
    await add_factors(app, alice.email, passkey_row(alice.email, "Blue phone"))
    page = await page_of(app, ada, "Alice")
    facts = {row.one("dt").text: row.one("dd").text for row in page.one("dl").all("div")}
    assert facts["Second step"] == "Yes"
    assert "Blue phone" not in page.text


async def test_the_own_page_has_no_action_that_logs_out_or_deletes(
    app: TestApp, ada: Browser
) -> None:
    page = await page_of(app, ada, "Ada")
    assert actions(page) == {"role", "team"}
    assert "This is you" in page.one(id="person").text
    (form,) = [
        form for form in page.one(id="person").all("form") if "/role" in form.attrs["action"]
    ]
    assert form.one("input", name="role").attrs["value"] == "user"


async def test_the_page_of_a_user_needs_five_statements_and_is_small(
    app: TestApp, ada: Browser, alice: Browser
) -> None:
    counts = []
    for _ in range(2):
        before, answer = app.statements, await ada.get(f"/admin/users/{await id_of(app, 'Alice')}")
        counts.append(app.statements - before - 1)  # without the one that finds the id
        for _ in range(12):
            await alice.log_in()
    assert counts == [5, 5]
    assert len(gzip.compress(answer.content, 9)) < 6_000


# Devices


async def test_the_page_lists_the_devices_of_the_user(
    app: TestApp, ada: Browser, alice: Browser, alices_phone: Browser, bob: Browser
) -> None:
    app.clock.move(minutes=1)
    await alices_phone.get("/dashboard")
    devices = (await page_of(app, ada, "Alice")).one(id="devices").all("li", data_device=True)
    assert {device.one("h3").text for device in devices} == {"Firefox on Linux", "Safari on iPhone"}
    addresses = {row[0] for row in await app.rows("SELECT address FROM sessions")}
    assert {device.one("span", **{"class": "mono"}).text for device in devices} == addresses
    ids = {row[0] for row in await app.rows("SELECT id FROM sessions")}
    assert {device.attrs["data-device"] for device in devices} < ids


@pytest.mark.parametrize("send", [Browser.post, Browser.post_fragment])
async def test_an_admin_ends_one_session_of_a_user(
    app: TestApp, ada: Browser, alice: Browser, alices_phone: Browser, send: Callable
) -> None:
    ((session_id,),) = await app.rows("SELECT id FROM sessions WHERE system = 'iPhone'")
    answer = await act(app, ada, "Alice", f"revoke/{session_id}", send)
    path = f"/admin/users/{await id_of(app, 'Alice')}"
    if send is Browser.post:
        assert (answer.status_code, answer.headers["location"]) == (303, path)
        message = read(await ada.get(path)).one(**{"class": "flash"}).text
    else:
        assert (answer.status_code, undo_form(answer)) == (200, None)
        message = toast(answer)
    assert message == "Alice is logged out on that device."
    assert [await user.is_logged_in() for user in (alice, alices_phone)] == [True, False]
    activity = read(await alice.get("/account/activity")).one(id="activity").text
    assert "An administrator logged you out on one device: Safari on iPhone" in activity


@pytest.mark.asvs("S05", "S37")
@pytest.mark.parametrize("send", [Browser.post, Browser.post_fragment])
async def test_a_session_of_another_user_is_404_and_only_admins_may_end_one(
    app: TestApp, ada: Browser, alice: Browser, bob: Browser, anonymous: Browser, send: Callable
) -> None:
    sql = "SELECT id FROM sessions WHERE user_id = (SELECT id FROM users WHERE name = '{}')"
    ((of_alice,),) = await app.rows(sql.format("Alice"))
    ((of_ada,),) = await app.rows(sql.format("Ada"))
    before = await all_rows(app)
    for name, session_id in (("Bob", of_alice), ("Alice", UNKNOWN), ("Alice", "%00")):
        answer = await act(app, ada, name, f"revoke/{session_id}", send)
        assert answer.status_code == 404
    assert (await act(app, bob, "Alice", f"revoke/{of_alice}", send)).status_code == 403
    answer = await act(app, anonymous, "Alice", f"revoke/{of_alice}", send)
    assert answer.status_code in (303, 401)
    assert (await act(app, ada, "Ada", f"revoke/{of_ada}", send)).status_code == 422
    viewer = await id_of(app, "Bob")
    answer = await act(app, ada, "Alice", f"revoke/{of_alice}", send, viewer=viewer)
    assert answer.status_code == 409
    assert await all_rows(app) == before
    assert await alice.is_logged_in()


async def test_stateless_sessions_have_no_list_but_can_all_be_ended(make_app: Callable) -> None:
    app = await make_app(SESSION_STRATEGY="stateless")
    ada, alice = await app.admin("Ada"), await app.sign_up_user("Alice")
    page = await page_of(app, ada, "Alice")
    assert page.all("li", data_device=True) == []
    assert "end-sessions" in actions(page)
    assert (await act(app, ada, "Alice", f"revoke/{UNKNOWN}")).status_code == 404
    await act(app, ada, "Alice", "end-sessions")
    assert not await alice.is_logged_in()


# Activity


async def test_the_page_shows_the_newest_entries_by_and_about_the_user(
    app: TestApp, ada: Browser, alice: Browser, bob: Browser
) -> None:
    await act(app, ada, "Alice", "team", team="Harbour")
    await bob.log_in("a-wrong-1")
    page = await page_of(app, ada, "Alice")
    entries = [item.text for item in page.one("ol").all("li")]
    assert "Change team" in entries[0] and "Harbour" in entries[0] and "By Ada" in entries[0]
    assert any("Sign up" in entry for entry in entries)
    assert not any("Bob" in entry or "Log in" in entry for entry in entries)
    for number in range(12):
        await act(app, ada, "Alice", "team", team=f"Team {number}")
    entries = [item.text for item in (await page_of(app, ada, "Alice")).one("ol").all("li")]
    assert (len(entries), "Team 11" in entries[0]) == (10, True)
    own = [item.text for item in (await page_of(app, ada, "Ada")).one("ol").all("li")]
    assert "For Alice" in own[0]


@pytest.mark.asvs("S48")
async def test_the_link_to_all_entries_selects_the_user_by_id(
    app: TestApp, ada: Browser, alice: Browser
) -> None:
    """Proxies log URLs, and the histories of browsers keep them. The search for an email also
    finds longer ones.
    """
    page = await page_of(app, ada, "Alice")
    [link] = [each for each in page.all("a") if each.text == "All entries"]
    assert link.attrs["href"] == f"/admin/audit?person={await id_of(app, 'Alice')}"
    assert "Alice" in read(await ada.get(link.attrs["href"])).one(id="result-list").text


@pytest.mark.asvs("S33")
async def test_a_question_isolates_the_name(app: TestApp, ada: Browser, alice: Browser) -> None:
    """An attribute has no `<bdi>`. A right-to-left override would reorder the whole question."""
    name = "Mal\u202elory\u2069? Do it. \u2067x"
    await app.change(f"UPDATE users SET name = '{name}' WHERE name = 'Alice'")
    page = await page_of(app, ada, name)
    questions = [
        form.attrs["data-hx-confirm"]
        for form in page.all("form")
        if "data-hx-confirm" in form.attrs
    ]
    assert len(questions) == 2
    for question in questions:
        assert "\u2068Mallory? Do it. x\u2069" in question


# Messages and undoing


@pytest.mark.parametrize(
    ("action", "fields", "message", "undone"),
    [
        ("role", {"role": "admin"}, "Alice now has the role Administrator.", True),
        ("role", {"role": "user"}, "Alice now has the role User.", False),
        ("team", {"team": "Harbour"}, "Alice is now in the team Harbour.", True),
        ("team", {"team": ""}, "Alice is now in no team.", False),
        ("disable", {}, "The account of Alice is disabled and logged out everywhere.", True),
        ("end-sessions", {}, "Alice is logged out everywhere.", False),
        (
            "delete",
            {"sure": "yes"},
            "The account of Alice is disabled. It will be deleted in seven days.",
            False,
        ),
    ],
)
async def test_a_toast_names_the_user_and_undoes_the_change(
    app: TestApp,
    ada: Browser,
    alice: Browser,
    action: str,
    fields: dict[str, str],
    message: str,
    undone: bool,
) -> None:
    before = await state_of(app, "Alice")
    answer = await act(app, ada, "Alice", action, **fields)
    assert (answer.status_code, toast(answer)) == (200, message)
    assert read(answer).one(id="person").attrs["data-user"] == await id_of(app, "Alice")
    form = undo_form(answer)
    assert (form is not None) == undone
    if form is not None:
        assert await state_of(app, "Alice") != before
        answer = await ada.post_fragment(*form)
        assert answer.status_code == 200
        assert await state_of(app, "Alice") == before


@pytest.mark.asvs("S37")
async def test_an_undo_replaces_only_the_page_of_its_own_user(
    app: TestApp, ada: Browser, alice: Browser
) -> None:
    """Another page may be open by then. Its forms would become those of this user."""
    answer = await act(app, ada, "Alice", "team", team="Harbour")
    form = read(answer).one(**{"class": "toast"}).one("form")
    person = f'#person[data-user="{await id_of(app, "Alice")}"]'
    assert form.attrs["data-hx-target"] == person


async def test_enabling_an_account_can_be_undone(
    app: TestApp, ada: Browser, alice: Browser
) -> None:
    await act(app, ada, "Alice", "disable")
    answer = await act(app, ada, "Alice", "enable")
    assert toast(answer) == "The account of Alice is enabled."
    form = undo_form(answer)
    assert form is not None
    await ada.post_fragment(*form)
    assert (await state_of(app, "Alice"))[2]


@pytest.mark.parametrize("before", ["enable", "delete"])
async def test_enabling_offers_no_undo_that_would_not_restore_the_account(
    app: TestApp, ada: Browser, alice: Browser, before: str
) -> None:
    """The undo disables the account, which was active or about to be deleted before."""
    await act(app, ada, "Alice", before, sure="yes")
    answer = await act(app, ada, "Alice", "enable")
    assert toast(answer) == "The account of Alice is enabled."
    assert undo_form(answer) is None


@pytest.mark.asvs("S37")
@pytest.mark.parametrize("send", [Browser.post, Browser.post_fragment])
@pytest.mark.parametrize(
    ("action", "fields", "meanwhile"),
    [
        ("role", {"role": "admin"}, ("role", {"role": "editor"})),
        ("team", {"team": "Harbour"}, ("team", {"team": "Bridge"})),
        ("disable", {}, ("enable", {})),
        ("disable", {}, ("delete", {"sure": "yes"})),
    ],
)
async def test_an_undo_after_another_change_changes_nothing(
    app: TestApp,
    ada: Browser,
    alice: Browser,
    send: Callable,
    action: str,
    fields: dict[str, str],
    meanwhile: tuple[str, dict[str, str]],
) -> None:
    await app.change(
        "INSERT INTO roles (name, label, created_at) SELECT 'editor', 'Editor', created_at FROM users LIMIT 1"
    )
    grace = await app.admin("Grace")
    form = undo_form(await act(app, ada, "Alice", action, **fields))
    assert form is not None
    app.clock.move(minutes=1)
    await act(app, grace, "Alice", meanwhile[0], **meanwhile[1])
    before = await all_rows(app)
    answer = await send(ada, *form)
    assert answer.status_code == 409
    assert "Nothing was changed. Reload the page to see the account as it is now." in answer.text
    assert await all_rows(app) == before


async def test_an_account_that_was_disabled_again_is_not_enabled_by_an_undo(
    app: TestApp, ada: Browser, alice: Browser
) -> None:
    form = undo_form(await act(app, ada, "Alice", "disable"))
    assert form is not None
    app.clock.move(minutes=1)
    await act(app, ada, "Alice", "enable")
    await act(app, ada, "Alice", "disable")
    assert (await ada.post_fragment(*form)).status_code == 409
    assert (await state_of(app, "Alice"))[2]


@pytest.mark.asvs("S37")
@pytest.mark.parametrize("send", [Browser.post, Browser.post_fragment])
async def test_an_undo_needs_the_role_at_that_moment(
    app: TestApp, ada: Browser, alice: Browser, bob: Browser, send: Callable
) -> None:
    await app.admin("Grace")
    forms = []
    for action, fields in (("role", {"role": "admin"}), ("team", {"team": "X"}), ("disable", {})):
        forms.append(undo_form(await act(app, ada, "Bob", action, **fields)))
    await app.change("UPDATE users SET role = 'user' WHERE name = 'Ada'")
    before = await all_rows(app)
    for form in forms:
        assert form is not None
        for user in (alice, ada):
            url, fields = form
            answer = await send(user, url, {k: v for k, v in fields.items() if k != "viewer"})
            assert answer.status_code == 403
    assert await all_rows(app) == before


async def test_the_message_after_a_plain_form_names_the_user(
    app: TestApp, ada: Browser, alice: Browser
) -> None:
    path = f"/admin/users/{await id_of(app, 'Alice')}"
    answer = await act(app, ada, "Alice", "team", Browser.post, team="<b>Harbour</b>")
    assert (answer.status_code, answer.headers["location"]) == (303, path)
    assert read(await ada.get(path)).one(**{"class": "flash"}).text == (
        "Alice is now in the team <b>Harbour</b>."
    )
    assert read(await ada.get(path)).all(**{"class": "flash"}) == []


async def test_a_flash_cookie_cannot_display_other_words(
    app: TestApp, ada: Browser, alice: Browser
) -> None:
    path = f"/admin/users/{await id_of(app, 'Alice')}"
    for value in ("Call us", "{name}", "team-changed:Bob", "name"):
        ada.client.cookies.set("notice", value, domain="localhost.local", path="/")
        assert read(await ada.get(path)).all(**{"class": "flash"}) == []
    ada.client.cookies.set("notice", "team-changed", domain="localhost.local", path="/")
    assert "Team changed." in (await ada.get("/account")).text


# Refused forms


@pytest.mark.parametrize("send", [Browser.post, Browser.post_fragment])
async def test_an_invalid_team_keeps_the_input_on_the_page(
    app: TestApp, ada: Browser, alice: Browser, send: Callable
) -> None:
    answer = await act(app, ada, "Alice", "team", send, team="x" * 41)
    page = read(answer).one(id="person")
    assert answer.status_code == 422
    assert page.one("input", name="team").attrs["value"] == "x" * 41
    assert "Team must be at most 40 characters long." in page.one(id="team-message").text
    assert (await state_of(app, "Alice"))[1] == ""


async def test_an_unconfirmed_deletion_by_htmx_returns_the_page_with_the_error(
    app: TestApp, ada: Browser, alice: Browser
) -> None:
    answer = await act(app, ada, "Alice", "delete")
    assert answer.status_code == 422
    assert "Tick the box" in read(answer).one(id="person").one(id="error-summary").text
    assert await app.rows("SELECT delete_at FROM users WHERE name = 'Alice'") == [(None,)]
