"""Tests of the landing page and its form, and of the layout of the sign-up form."""

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import BrowserUser
from tests.browser.pages import assert_accessible
from tests.browser.steps import (
    TAKEN,
    error_of,
    expect_path,
    expect_summary,
    fill_sign_up,
    leave,
    listen,
    message_of,
    submit,
    type_in,
)
from tests.browser_client import PASSWORD
from web.forms.fields import TOO_COMMON

ALL_WIDTHS = (320, 768, 1280, 1920)
# The top and the bottom of an element, in pixels.
EDGES = "node => { const {top, bottom} = node.getBoundingClientRect(); return [top, bottom]; }"
BUTTON = "#signup-form .primary"


def edges_of(page: Page, css: str) -> tuple[float, float]:
    top, bottom = page.locator(css).evaluate(EDGES)
    return top, bottom


def test_a_field_of_the_landing_page_is_checked_while_typing(
    page: Page, alice: BrowserUser
) -> None:
    page.goto("/")
    sent = listen(page)
    type_in(page, "email", alice.email)
    expect(error_of(page, "email")).to_contain_text(TAKEN)
    type_in(page, "name", "Charlie")
    expect(message_of(page, "name")).to_contain_text("Looks good")
    assert sent.posts() == [{"email": alice.email}, {"name": "Charlie"}]
    page.locator("#email-message a").click()
    expect_path(page, "/login")
    expect(page.locator("#email")).to_have_value(alice.email)


def test_the_form_of_the_landing_page_signs_up(charlie: BrowserUser) -> None:
    page = charlie.page
    page.goto("/")
    fill_sign_up(page, "C", charlie.email, "a1!")
    submit(page)
    expect_summary(page, "Name must be")
    expect_path(page, "/")
    assert_accessible(page)
    assert charlie.live.accounts_of(charlie.email) == 0
    fill_sign_up(page, "Charlie", charlie.email)
    submit(page)
    expect_path(page, "/dashboard")


@pytest.mark.asvs("S110")
def test_the_form_of_the_landing_page_works_without_javascript(
    make_user: Callable[..., BrowserUser],
) -> None:
    charlie = make_user("Charlie", java_script_enabled=False)
    page = charlie.page
    page.goto("/")
    fill_sign_up(page, "C", charlie.email)
    submit(page)
    expect_path(page, "/signup")
    expect(page.locator("#error-summary")).to_contain_text("Name must be")
    expect(page.locator("#email")).to_have_value(charlie.email)
    fill_sign_up(page, "Charlie", charlie.email)
    submit(page)
    expect_path(page, "/dashboard")


def test_the_key_is_cut_while_the_password_is_typed(page: Page) -> None:
    """Each met rule moves a notch into the mask of the key."""
    offsets = """() => [...document.querySelectorAll('#notches .cut')]
        .map(cut => getComputedStyle(cut).translate)"""
    page.emulate_media(reduced_motion="reduce")
    page.set_viewport_size({"width": 1280, "height": 800})
    for path in ("/", "/signup"):
        page.goto(path)
        assert page.evaluate(offsets) == ["48px"] * 4
        page.fill("#password", "abc1")
        assert page.evaluate(offsets) == ["48px", "0px", "0px", "48px"]


def test_log_in_is_at_the_top_of_the_landing_page_at_every_width(page: Page) -> None:
    page.goto("/")
    link = page.get_by_role("banner").get_by_role("link", name="Log in")
    for width in ALL_WIDTHS:
        page.set_viewport_size({"width": width, "height": 700})
        expect(link).to_be_visible()
        box = link.bounding_box()
        assert box and box["y"] < 40 and box["height"] >= 44
        assert box["x"] > width / 2 and box["x"] + box["width"] <= width


def test_the_landing_page_weighs_less_than_it_says(page: Page) -> None:
    sizes = []
    page.on("response", lambda answer: sizes.append(answer.request.sizes()["responseBodySize"]))
    page.goto("/", wait_until="networkidle")
    match = re.search(r"weighs less than (\d+) kB", page.inner_text("main"))
    assert match
    stated = int(match[1]) * 1000
    # Brotli is smaller than gzip, for which the figure is computed.
    assert stated - 7_000 < sum(sizes) < stated
    assert page.context.cookies() == []


@pytest.mark.parametrize("remembers", [False, True])
def test_the_sign_up_form_is_visible_at_1366_by_640(page: Page, remembers: bool) -> None:
    page.set_viewport_size({"width": 1366, "height": 640})
    page.goto("/signup")
    if remembers:
        page.evaluate(
            """() => document.querySelector('#signup-form .primary').insertAdjacentHTML('beforebegin',
                '<div class="field check"><label><input type="checkbox">Keep me logged in</label></div>')"""
        )
    for typed in (False, True):
        if typed:
            fill_sign_up(page, "A", "charlie@", "Passw0rd!")
            leave(page, "password")
            expect(error_of(page, "password")).to_be_visible()
        assert edges_of(page, "h1")[0] >= 0
        assert edges_of(page, BUTTON)[1] <= 640
    assert page.evaluate("scrollY") == 0
    for target in page.locator("#signup-form :is(.primary, input:not([type=checkbox]))").all():
        box = target.bounding_box()
        assert box and box["height"] >= 44


@pytest.mark.asvs("S45")
@pytest.mark.parametrize("path", ["/", "/signup"])
def test_the_rules_show_that_a_common_password_is_refused(page: Page, path: str) -> None:
    page.goto(path)
    rules = page.locator(".rules")
    type_in(page, "password", "Passw0rd!", delay=0)
    met_color = page.locator("[data-rule=length]").evaluate(
        "node => getComputedStyle(node, '::before').backgroundColor"
    )
    button_top = edges_of(page, BUTTON)[0]
    leave(page, "password")
    expect(error_of(page, "password")).to_have_text(f"Error: {TOO_COMMON}")
    expect(rules.locator(".err")).to_have_text("Not accepted")
    expect(rules.locator(".count")).to_be_hidden()
    # The button does not move, because a click on it may just have begun.
    assert edges_of(page, BUTTON)[0] == button_top
    # The error is directly below the input, and above the rules.
    input_bottom, message = edges_of(page, "#password")[1], edges_of(page, "#password-message")
    assert input_bottom <= message[0] < input_bottom + 8
    assert message[1] <= edges_of(page, ".rules")[0]
    refused_color = page.locator("[data-rule=length]").evaluate(
        "node => getComputedStyle(node, '::before').backgroundColor"
    )
    assert refused_color != met_color
    page.fill("#password", PASSWORD)
    expect(rules.locator(".err")).to_have_count(0)
    expect(rules.locator(".count")).to_have_text("4 of 4")


def test_hover_styles_apply_only_where_the_pointer_can_hover(
    make_user: Callable[..., BrowserUser],
) -> None:
    """On a touch screen, the style of the last tapped button would stay."""
    colors = {}
    for is_mobile in (False, True):
        page = make_user("Charlie", has_touch=is_mobile, is_mobile=is_mobile).page
        page.emulate_media(reduced_motion="reduce")
        page.goto("/login")
        button = page.locator("#login-form .primary")
        color = "node => getComputedStyle(node).backgroundColor"
        before = button.evaluate(color)
        button.hover()
        colors[is_mobile] = before != button.evaluate(color)
    assert colors == {False: True, True: False}
