"""Tests of the bookmarks. Alice and Bob are users, and Ada is an administrator."""

import re

import pytest

from tests.browser_client import Browser, read
from tests.conftest import TestApp
from tests.without_guards import without_guards
from web.product import Product

ALREADY_SAVED = "You already have a bookmark with this URL."
PAGE = {"url": "https://example.com/page", "title": "A page"}


async def titles_of(user: Browser) -> list[str]:
    """Returns the titles in the user's list."""
    return [found["title"] for found in (await user.get("/api/bookmarks")).json()["bookmarks"]]


async def first_id(user: Browser) -> str:
    page = read(await user.get("/bookmarks"))
    return page.all(data_bookmark=True)[0].attrs["data-bookmark"]


@pytest.fixture
async def bookmark(alice: Browser) -> str:
    """Returns the id of a bookmark of Alice."""
    assert (await alice.post("/bookmarks", PAGE)).status_code == 303
    return await first_id(alice)


async def test_adding_a_bookmark_redirects_to_the_list_with_a_message(alice: Browser) -> None:
    answer = await alice.post("/bookmarks", PAGE)
    assert (answer.status_code, answer.headers["location"]) == (303, "/bookmarks")
    assert "Bookmark added." in (await alice.get("/bookmarks")).text
    assert await titles_of(alice) == ["A page"]


async def test_adding_a_bookmark_by_htmx_returns_the_list_and_a_toast(alice: Browser) -> None:
    answer = await alice.post_fragment("/bookmarks", PAGE)
    assert answer.status_code == 200
    assert "Bookmark added." in answer.text
    assert len(read(answer).all(data_bookmark=True)) == 1


@pytest.mark.parametrize("url", ["", "example.com", "javascript:alert(1)", "https://a b.example"])
@pytest.mark.parametrize("send", [Browser.post, Browser.post_fragment])
async def test_an_invalid_url_is_refused_and_kept(alice: Browser, url: str, send) -> None:
    answer = await send(alice, "/bookmarks", {**PAGE, "url": url})
    assert answer.status_code == 422
    assert read(answer).one("input", name="url").attrs["value"] == url
    assert read(answer).one("input", name="title").attrs["value"] == "A page"
    assert await titles_of(alice) == []


async def test_the_same_url_is_refused_for_one_user_only(
    alice: Browser, bob: Browser, bookmark: str
) -> None:
    answer = await alice.post("/bookmarks", {**PAGE, "title": "Again"})
    assert (answer.status_code, ALREADY_SAVED in answer.text) == (422, True)
    assert await titles_of(alice) == ["A page"]
    assert (await bob.post("/bookmarks", PAGE)).status_code == 303


async def test_a_live_check_reports_a_saved_url(alice: Browser, bookmark: str) -> None:
    new = await alice.post_fragment("/bookmarks/check/url", {"url": PAGE["url"]})
    assert ALREADY_SAVED in new.text
    # The bookmark that is being edited may keep its URL.
    own = await alice.post_fragment(f"/bookmarks/{bookmark}/check/url", {"url": PAGE["url"]})
    assert "Looks good" in own.text


async def test_a_bookmark_can_be_changed(alice: Browser, bookmark: str) -> None:
    form = read(await alice.get(f"/bookmarks/{bookmark}"))
    assert form.one("input", name="url").attrs["value"] == PAGE["url"]
    answer = await alice.post(f"/bookmarks/{bookmark}", {**PAGE, "title": "Renamed"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/bookmarks")
    assert await titles_of(alice) == ["Renamed"]


async def test_a_change_by_htmx_restores_the_url_of_the_list(alice: Browser, bookmark: str) -> None:
    answer = await alice.post_fragment(f"/bookmarks/{bookmark}", {**PAGE, "title": "Renamed"})
    assert (answer.status_code, answer.headers["hx-replace-url"]) == (200, "/bookmarks")
    assert "Renamed" in answer.text


async def test_a_change_to_the_url_of_another_bookmark_is_refused(
    alice: Browser, bookmark: str
) -> None:
    other = {"url": "https://example.com/other", "title": "Other"}
    await alice.post("/bookmarks", other)
    answer = await alice.post(f"/bookmarks/{bookmark}", {**other, "title": "Changed"})
    assert (answer.status_code, ALREADY_SAVED in answer.text) == (422, True)
    assert sorted(await titles_of(alice)) == ["A page", "Other"]


@pytest.mark.parametrize("send", [Browser.post, Browser.post_fragment])
async def test_a_bookmark_can_be_deleted(alice: Browser, bookmark: str, send) -> None:
    assert (await send(alice, f"/bookmarks/{bookmark}/delete")).status_code in (200, 303)
    assert await titles_of(alice) == []


@pytest.mark.parametrize("path", ["", "/delete"])
async def test_a_user_cannot_change_the_bookmark_of_another(
    alice: Browser, bob: Browser, bookmark: str, path: str
) -> None:
    assert (await bob.post(f"/bookmarks/{bookmark}{path}", PAGE)).status_code == 404
    assert (await bob.get(f"/bookmarks/{bookmark}")).status_code == 404
    assert await titles_of(alice) == ["A page"]
    assert await titles_of(bob) == []


@pytest.mark.parametrize("path", ["/bookmarks", "/api/bookmarks"])
async def test_anonymous_users_see_no_bookmarks(anonymous: Browser, path: str) -> None:
    answer = await anonymous.get(path)
    if path.startswith("/api/"):
        assert answer.status_code == 401
    else:
        assert (answer.status_code, answer.headers["location"]) == (303, f"/login?next={path}")


async def test_every_route_verifies_the_session_without_its_guard(
    app: TestApp, anonymous: Browser, product: Product
) -> None:
    app.asgi_app.router.set_routes(without_guards(app.asgi_app.router.routes))
    for route in product.routes:
        path = re.sub(r"{\w+}", "x", route.path.replace("{field}", "url"))
        for method in route.endpoints:
            answer = await anonymous.request(method, path, PAGE)
            assert answer.status_code == (401 if path.startswith("/api/") else 303)
    assert await app.count("bookmarks") == 0


async def test_the_card_on_the_dashboard_lists_the_newest_bookmarks(
    app: TestApp, alice: Browser, bookmark: str
) -> None:
    before = app.statements
    dashboard = read(await alice.get("/dashboard"))
    assert app.statements == before + 3  # the session with the profile, the activity, the card
    assert "A page" in dashboard.one("main").text


async def test_administrators_see_the_totals(alice: Browser, ada: Browser, bookmark: str) -> None:
    assert "Users with bookmarks" in read(await ada.get("/dashboard")).text
    assert "Users with bookmarks" not in read(await alice.get("/dashboard")).text


async def test_each_change_is_in_the_activity_of_the_user(alice: Browser, bookmark: str) -> None:
    await alice.post(f"/bookmarks/{bookmark}", {**PAGE, "title": "Renamed"})
    await alice.post(f"/bookmarks/{bookmark}/delete")
    activity = read(await alice.get("/account/activity")).text
    assert "You added the bookmark A page" in activity
    assert "You changed the bookmark Renamed" in activity
    assert "You deleted the bookmark Renamed" in activity


async def test_the_bookmarks_of_an_account_are_deleted_with_it(
    app: TestApp, alice: Browser, bookmark: str
) -> None:
    await app.change("DELETE FROM users")
    assert await app.count("bookmarks") == 0


async def test_changes_are_rate_limited(make_app) -> None:
    app = await make_app(RATE_LIMITS="enforce")
    alice = await app.sign_up_user("Alice")
    pages = [{**PAGE, "url": f"https://example.com/{number}"} for number in range(61)]
    answers = [await alice.post("/bookmarks", page) for page in pages]
    assert [answer.status_code for answer in answers] == [303] * 60 + [429]
    assert await app.count("bookmarks") == 60
