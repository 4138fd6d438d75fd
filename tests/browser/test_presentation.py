"""Tests of accessibility and layout: small screens, 200 % text size and right-to-left text."""

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.browser.conftest import EXPECT_TIMEOUT_MS, BrowserUser, PageErrors, new_user
from tests.browser.live import Live
from tests.browser.pages import (
    ADMIN_STATES,
    ANONYMOUS_STATES,
    LONG,
    STATES,
    assert_accessible,
    overflowing,
    small_targets,
)
from tests.browser.steps import button_of, expect_heading, expect_path, fill_sign_up, follow, submit

SMALL, LARGE = {"width": 320, "height": 640}, {"width": 1280, "height": 800}


@pytest.fixture(scope="module")
def shared_context(chromium: Browser, live: Live) -> Iterator[tuple[BrowserContext, PageErrors]]:
    """Returns one browser context for all states, which loads scripts, styles and fonts once."""
    context = chromium.new_context(base_url=live.url, locale="en-GB", viewport=SMALL)
    context.set_default_timeout(EXPECT_TIMEOUT_MS)
    errors = PageErrors()
    errors.watch(context, live.url)
    yield context, errors
    context.close()


@pytest.fixture(params=STATES)
def state_page(
    request: pytest.FixtureRequest,
    shared_context: tuple[BrowserContext, PageErrors],
    live: Live,
) -> Iterator[Page]:
    """Returns a page in one state, of a guest, a new user or a new administrator.

    The user's name is as long as it may be. Fails if the page logged an error.
    """
    state, (context, errors) = request.param, shared_context
    admin = state in ADMIN_STATES
    signed_up = not admin and state not in ANONYMOUS_STATES
    context.clear_cookies()
    errors.clear()
    with context.new_page() as page:
        name = LONG[:100] if signed_up else "Ada"
        user = new_user(lambda: page, live, name, signed_up=signed_up, admin=admin)
        STATES[state](user)
        yield page
    live.faults.pending.clear()
    assert errors == []


@pytest.mark.guide("A3", "A12")
def test_every_page_state_is_accessible_and_fits_the_viewport(state_page: Page) -> None:
    assert_presentable(state_page)


def assert_presentable(page: Page) -> None:
    """Checks accessibility and the layout of a page at each size.

    A viewport of 320 CSS pixels equals one of 1280 at 400 % zoom (WCAG 1.4.10).
    """
    page.set_viewport_size(LARGE)
    assert_accessible(page)
    assert small_targets(page) == []
    page.set_viewport_size(SMALL)
    assert small_targets(page) == []
    assert_no_overflow(page)
    page.set_viewport_size(LARGE)
    page.evaluate("document.documentElement.style.fontSize = '200%'")
    assert_no_overflow(page)


def assert_no_overflow(page: Page) -> None:
    for direction in ("ltr", "rtl"):
        page.evaluate("value => { document.documentElement.dir = value; }", direction)
        assert overflowing(page) == [], direction


def test_the_unavailable_page_is_accessible_and_fits_the_viewport(
    alice: BrowserUser, unavailable: Live, open_page: Callable
) -> None:
    page = open_page(of=unavailable, viewport=SMALL)
    page.context.add_cookies(alice.page.context.cookies())
    page.goto("/dashboard")
    expect_heading(page, "We can't answer right now")
    assert_accessible(page)
    assert overflowing(page) + small_targets(page) == []
    page.goto("/signup")
    expect_path(page, "/dashboard")  # The failing database has not ended the session.


def test_fields_have_readable_text_and_large_targets(page: Page, alice: BrowserUser) -> None:
    """Mobile browsers zoom in when the focused field has a font below 16 pixels."""
    for current, path in ((page, "/signup"), (page, "/login"), (alice.page, "/account")):
        current.goto(path)
        sizes = current.locator("input:visible").evaluate_all(
            "all => all.map(input => [parseFloat(getComputedStyle(input).fontSize), input.offsetHeight])"
        )
        assert sizes and all(font >= 16 and height >= 44 for font, height in sizes)


def test_reduced_motion_disables_animations(alice: BrowserUser, live: Live) -> None:
    page = alice.page
    page.emulate_media(reduced_motion="reduce")
    page.add_init_script(
        "addEventListener('pagereveal', event => { window.transition = !!event.viewTransition; })"
    )
    motion = """() => [document.getAnimations().length, window.transition ?? false,
        [...document.querySelectorAll('*')].some(node => {
            const style = getComputedStyle(node);
            return parseFloat(style.transitionDuration) > .001 || style.animationName !== 'none';
        })]"""
    page.goto("/dashboard")
    follow(page, "Account")
    live.faults.inject("/account", after=0.3)
    submit(page, "account-form")
    expect(page.locator("#account-form")).to_have_attribute("aria-busy", "true")
    assert page.evaluate(motion) == [0, False, False]
    page.context.clear_cookies()
    page.goto("/signup")
    page.fill("#password", "engine No.9")
    page.click("a[href='/login']")
    assert page.evaluate(motion) == [0, False, False]


def test_the_layout_does_not_shift_while_a_page_loads(page: Page, alice: BrowserUser) -> None:
    """Measures the cumulative layout shift, which includes the conversion of times to the local
    zone.
    """
    shifts = """window.shift = 0;
        new PerformanceObserver(list => { for (const entry of list.getEntries()) shift += entry.value; })
            .observe({type: 'layout-shift', buffered: true});"""
    for current, paths in (
        (page, ("/", "/signup", "/login")),
        (alice.page, ("/dashboard", "/devices", "/account")),
    ):
        current.add_init_script(shifts)
        for path in paths:
            current.goto(path, wait_until="networkidle")
            assert current.evaluate("window.shift") <= 0.02, path


def test_the_focus_is_visible(page: Page) -> None:
    page.goto("/signup")
    for _ in range(8):  # The page has a skip link, two links, three fields and two buttons.
        page.keyboard.press("Tab")
        focused, width, is_in_view = page.evaluate(
            """() => {
                const node = document.activeElement, style = getComputedStyle(node);
                const width = style.outlineStyle === 'none' ? 0 : parseFloat(style.outlineWidth);
                return [node.outerHTML.slice(0, 80), width, node.getBoundingClientRect().top >= 0];
            }"""
        )
        assert width >= 3 and is_in_view, focused


def test_sign_up_works_with_the_keyboard_alone(charlie: BrowserUser) -> None:
    page = charlie.page
    page.goto("/signup")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    expect(page.locator("#name")).to_be_focused()
    page.keyboard.type("Charlie")
    page.keyboard.press("Tab")
    page.keyboard.type(charlie.email)
    page.keyboard.press("Tab")
    page.keyboard.type(charlie.password)
    page.keyboard.press("Enter")
    page.wait_for_url("**/dashboard")


def test_every_page_has_a_unique_title_one_h1_and_its_landmarks(
    page: Page, ada: BrowserUser
) -> None:
    titles = []
    for current, paths in (
        (page, ("/", "/signup", "/login", "/nowhere")),
        (ada.page, ("/dashboard", "/devices", "/account", "/admin/users", "/handbook")),
    ):
        for path in paths:
            current.goto(path)
            titles.append(current.title())
            expect(current.locator("html[lang=en] h1")).to_have_count(1)
            for landmark in ("banner", "main", "contentinfo"):
                expect(current.get_by_role(landmark)).to_have_count(1)
            expect(current.locator("a.skip, a[href='#main']").first).to_have_attribute(
                "href", "#main"
            )
            assert current.locator("meta[name=description]").get_attribute("content")
            assert current.locator("link[rel=icon]").get_attribute("href")
    assert len(set(titles)) == len(titles)


def test_form_errors_are_visible_in_forced_colors_mode(page: Page) -> None:
    page.emulate_media(forced_colors="active")
    page.goto("/signup")
    fill_sign_up(page, "A", "charlie@")
    submit(page)
    expect(page.locator("#error-summary")).to_be_visible()
    border = "node => parseFloat(getComputedStyle(node).borderTopWidth)"
    assert page.locator("#name").evaluate(border) > page.locator("#password").evaluate(border)
    assert button_of(page, "signup-form").evaluate(border) >= 1
