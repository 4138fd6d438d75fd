"""Tests that a fragment is identical to its part of the page."""

import re

import pytest

from tests.browser_client import HTMX, PASSWORD, Browser, read, without_challenges
from tests.conftest import TestApp


def without_extras(fragment: str) -> str:
    """Returns the fragment without its title and its out-of-band elements."""
    content = re.sub(r"^<title>.*?</title>\s*", "", without_challenges(fragment))
    return re.sub(
        r'<div data-hx-swap-oob="beforeend:#toasts">.*?</div></div>', "", content, flags=re.S
    ).strip()


@pytest.mark.guide("D29")
async def test_every_fragment_is_part_of_its_page(
    app: TestApp, alice: Browser, ada: Browser, anonymous: Browser
) -> None:
    for user, paths in (
        (anonymous, ("/", "/signup", "/login", "/login?next=/devices&ended=1", "/nowhere")),
        (anonymous, ("/forgot", "/forgot?sent=1", "/reset", "/reset?done=1", "/not-me?done=1")),
        (alice, ("/dashboard", "/devices", "/handbook", "/account", "/verify", "/nowhere")),
        (ada, ("/dashboard", "/devices", "/handbook")),
    ):
        for path in paths:
            page, fragment = await user.get(path), await user.get_fragment(path)
            assert fragment.status_code == page.status_code
            assert "<html" not in fragment.text
            assert without_extras(fragment.text) in without_challenges(page.text), path
            assert read(fragment).one("title").text == read(page).one("title").text
            assert len(read(fragment).all("h1")) == 1


@pytest.mark.guide("A11", "D29")
@pytest.mark.parametrize("path", ["/signup", "/login"])
async def test_the_form_returned_to_htmx_is_the_form_of_the_page(
    alice: Browser, anonymous: Browser, path: str
) -> None:
    for typed in (
        {},
        {"name": "A", "email": "a", "password": "a"},
        {"email": alice.email, "password": PASSWORD + "!"},
    ):
        page, fragment = (
            await anonymous.post(path, typed),
            await anonymous.post_fragment(path, typed),
        )
        assert (page.status_code, fragment.status_code) == (422, 422)
        assert without_extras(fragment.text) in page.text
        assert without_extras(fragment.text).startswith("<form")


@pytest.mark.guide("A5", "A22")
async def test_a_checked_field_is_the_field_of_the_form(alice: Browser, anonymous: Browser) -> None:
    for typed in (
        {"name": "A", "email": "a", "password": "a"},
        {"name": "Zoe", "email": alice.email, "password": PASSWORD},
    ):
        page = await anonymous.post("/signup", typed)
        for field in typed:
            check = await anonymous.post(f"/signup/check/{field}", typed)
            assert check.text.strip() in page.text


@pytest.mark.guide("D29")
async def test_the_list_returned_after_a_change_is_the_list_of_the_page(
    alice: Browser, alices_phone: Browser
) -> None:
    changed = await alice.post_fragment("/devices/revoke-others")
    assert without_extras(changed.text) in (await alice.get("/devices")).text


@pytest.mark.guide("D29")
async def test_a_fragment_requires_login_like_its_page(
    app: TestApp, alice: Browser, anonymous: Browser
) -> None:
    before = app.statements
    for path in ("/dashboard", "/devices", "/handbook"):
        answer = await anonymous.get(path, **HTMX)
        assert (answer.status_code, answer.content) == (401, b"")
    assert app.statements == before


async def test_an_error_shows_its_picture_on_the_page_and_in_the_fragment(
    alice: Browser, anonymous: Browser
) -> None:
    other_viewer, cross_site, plain_text = (
        {"viewer": "another-user"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Content-Type": "text/plain"},
    )
    for user, method, path, fields, headers, status, plate_class in (
        (anonymous, "GET", "/nowhere", None, {}, 404, "holes"),
        (anonymous, "PUT", "/login", None, {}, 405, "holes"),
        (anonymous, "POST", "/login", {"email": "a"}, cross_site, 403, "barred"),
        (anonymous, "POST", "/login", {"email": "a"}, plain_text, 415, "lid"),
        (anonymous, "POST", "/login", {"email": "a" * 70_000}, {}, 413, "lid"),
        (alice, "GET", "/admin/users", None, {}, 403, "barred"),
        (alice, "POST", "/devices/revoke-others", other_viewer, {}, 409, "lid"),
    ):
        # The centered layout shows the plate in its panel as well.
        for htmx_headers, count in ((HTMX, 1), ({}, 1 if user is alice else 2)):
            answer = await user.request(method, path, fields, **headers, **htmx_headers)
            plates = [
                svg.attrs["class"]
                for svg in read(answer).all("svg")
                if "plate" in svg.attrs.get("class", "")
            ]
            assert (answer.status_code, plates) == (status, [f"key plate {plate_class}"] * count), (
                path
            )


async def test_only_the_htmx_request_header_returns_a_fragment(alice: Browser) -> None:
    page = (await alice.get("/dashboard")).text
    for headers in (
        {"HX-Request": "false"},
        {"HX-Boosted": "true"},
        {"X-Requested-With": "XMLHttpRequest"},
    ):
        assert (await alice.get("/dashboard", **headers)).text == page
