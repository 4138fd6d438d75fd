"""Tests of what a browser loads, what it stores and how it renders hostile text."""

import re
from collections import defaultdict
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, Response, expect

from tests.browser.conftest import BrowserUser
from tests.browser.live import Live
from tests.browser.pages import ADMIN_STATES, ANONYMOUS_STATES, STATES, USER_STATES
from tests.browser.steps import (
    expect_path,
    expect_summary,
    expect_toast,
    follow,
    log_in,
    log_out,
    sign_up,
    submit,
)
from tests.browser_client import PASSWORD

HOSTILE = (
    """<script>window.pwned=1</script><img src=x onerror=pwned=1>""",
    """"><b data-hx-get="/x" hx-on:click="pwned=1">""",
    """' autofocus onfocus=pwned=1 x='{{7*7}}</title></textarea>""",
)
STORED = """async () => {
    const bases = indexedDB.databases ? await indexedDB.databases() : [];
    return [{...localStorage}, {...sessionStorage}, bases.map(base => base.name), await caches.keys(), document.cookie];
}"""
FORBIDDEN = "script:not([src]), style, iframe, object, embed, base"
DANGEROUS = """forbidden => [...document.querySelectorAll('*')].flatMap(node => [...node.attributes]
    .filter(({name, value}) => /^(data-)?hx-on|^on|^style$/.test(name) || /^\\s*(js|javascript):/i.test(value)
        || /hx-(vals|headers|vars)$/.test(name) || (/hx-trigger$/.test(name) && value.includes('[')))
    .map(({name, value}) => `${node.localName} ${name}=${value}`))
    .concat([...document.querySelectorAll(forbidden)].map(node => node.outerHTML))"""


def transferred_sizes(page: Page, path: str) -> dict[str, list[int]]:
    """Returns the sizes of the response bodies of a first view by resource type, as transferred."""
    answers: list[Response] = []
    page.on("response", lambda answer: answers.append(answer))
    page.goto(path, wait_until="networkidle")
    sizes = defaultdict(list)
    for answer in answers:
        sizes[answer.request.resource_type].append(answer.request.sizes()["responseBodySize"])
    return sizes


# A page with a form for a passkey has a script more.
@pytest.mark.parametrize(
    ("path", "scripts", "script_bytes"),
    [("/signup", 2, 18_000), ("/login", 3, 20_000), ("/", 2, 18_000)],
)
def test_a_first_view_transfers_little(
    page: Page, path: str, scripts: int, script_bytes: int
) -> None:
    sizes = transferred_sizes(page, path)
    assert {
        resource_type: len(sizes[resource_type])
        for resource_type in ("document", "script", "stylesheet")
    } == {
        "document": 1,
        "script": scripts,
        "stylesheet": 1,
    }
    # The favicon is loaded as one of these types.
    assert set(sizes) - {"document", "script", "stylesheet"} <= {"other", "image"}
    assert 13_000 < sum(sizes["script"]) <= script_bytes
    assert 1_000 < sum(sizes["stylesheet"]) <= 9_000
    assert 1_000 < sum(sizes["document"]) <= 6_000


def test_a_check_response_has_at_most_1024_bytes(page: Page) -> None:
    page.goto("/signup")
    with page.expect_response("**/signup/check/email") as answer:
        page.fill("#email", "charlie@example.com")
    assert len(answer.value.body()) <= 1024


def test_a_second_view_loads_assets_from_the_cache(page: Page) -> None:
    page.goto("/login", wait_until="networkidle")
    page.goto("/signup")
    page.goto("/login")
    fetched = page.evaluate(
        """() => performance.getEntriesByType('resource')
            .filter(entry => entry.transferSize && /[.](js|css)$/.test(entry.name)).map(entry => entry.name)"""
    )
    assert fetched == []


@pytest.mark.asvs("S70")
def test_the_browser_stores_no_user_data(charlie: BrowserUser) -> None:
    page = charlie.page
    sign_up(page, "C", charlie.email)
    expect_summary(page, "Name must be")
    assert page.evaluate(STORED) == [{}, {}, [], [], ""]
    page.fill("#name", "Charlie")
    submit(page)
    expect_path(page, "/dashboard")
    for name in ("Devices", "Account"):
        follow(page, name)
        expect_path(page, f"/{name.lower()}")
        assert page.evaluate(STORED) == [{}, {}, [], [], ""]
    page.fill("#account-phone", "1")
    submit(page, "account-form")
    expect_toast(page, "Profile saved.")
    assert page.evaluate(STORED) == [{}, {}, [], [], ""]
    log_out(page)
    expect_path(page, "/login")
    log_in(page, charlie.email)
    expect_path(page, "/dashboard")
    assert page.evaluate(STORED) == [{}, {}, [], [], ""]


@pytest.mark.guide("B11")
def test_cookies_are_http_only_and_a_forged_one_is_rejected(alice: BrowserUser) -> None:
    page = alice.page
    page.goto("/dashboard")
    assert page.evaluate("document.cookie") == ""
    cookies = {cookie["name"]: cookie for cookie in page.context.cookies()}
    for cookie in (cookies["device"], cookies["session"]):
        assert (cookie["httpOnly"], cookie["sameSite"], cookie["path"]) == (True, "Lax", "/")
    # A script cannot overwrite an HttpOnly cookie.
    page.evaluate("document.cookie = 'session=of-mine; path=/'")
    page.goto("/devices")
    expect_path(page, "/devices")
    head, claims, signature = cookie["value"].split(".")
    forged = ".".join(
        [head, claims, signature[:-4] + ("AAAA" if not signature.endswith("AAAA") else "BBBB")]
    )
    page.context.add_cookies([cookie | {"value": forged}])
    page.goto("/devices")
    expect_path(page, "/login")


@pytest.mark.asvs("S67", "S68", "S106")
@pytest.mark.parametrize("role", ["anonymous", "user", "administrator"])
def test_every_page_state_obeys_a_strict_content_security_policy(
    make_user: Callable[..., BrowserUser], role: str
) -> None:
    """The fixture `open_page` checks for policy violations and foreign requests; this test checks
    that the pages contain nothing that a policy would have to block.
    """
    user = make_user("Ada", signed_up=role == "user", admin=role == "administrator")
    states = {"anonymous": ANONYMOUS_STATES, "administrator": ADMIN_STATES}.get(role, USER_STATES)
    policies = set()
    user.page.on(
        "response",
        lambda response: (
            "text/html" in (response.headers.get("content-type") or "")
            and not response.url.endswith(("/signup", "/login"))  # Two states replace them.
            and policies.add(response.headers.get("content-security-policy"))
        ),
    )
    for state in states:
        STATES[state](user)
        assert user.page.evaluate(DANGEROUS, FORBIDDEN) == [], state
    (policy,) = policies
    assert "unsafe" not in policy and "default-src 'none'" in policy
    urls = user.page.evaluate(
        "[...document.querySelectorAll('[src], link[href]')].map(node => node.src || node.href)"
    )
    assert all(
        re.fullmatch(rf"{user.live.url}/static/[\w.-]+\.[0-9a-f]{{12}}\.\w+", url) for url in urls
    )


@pytest.mark.asvs("S33", "S67")
def test_hostile_names_and_devices_are_rendered_as_text(
    make_user: Callable[..., BrowserUser], ada: BrowserUser, live: Live
) -> None:
    shape = "() => [...document.body.querySelectorAll('*')].map(n => `${n.localName}: ${n.getAttributeNames().join()}`)"
    plain_user = make_user("Grace", signed_up=True)
    hostile_user = make_user("Grace", signed_up=True)
    for text in HOSTILE:
        for user, words in ((hostile_user, text), (plain_user, "Grace")):
            quoted, user_id = words.replace("'", "''"), live.id_of(user.email)
            live.change(
                f"UPDATE users SET name = '{quoted}', phone = '{quoted}', team = '{quoted}' WHERE id = '{user_id}'"
            )
            live.change(
                f"UPDATE sessions SET browser = '{quoted}', address = '{quoted}' WHERE user_id = '{user_id}'"
            )
        for path in ("/dashboard", "/devices", "/account"):
            for user in (plain_user, hostile_user):
                user.page.goto(path)
            assert hostile_user.page.evaluate(shape) == plain_user.page.evaluate(shape), (
                path,
                text,
            )
            expect(hostile_user.page.get_by_role("banner")).to_contain_text(text)
        ada.page.goto(f"/admin/users?q={hostile_user.email}")
        expect(ada.page.locator("#users")).to_contain_text(text)
        assert ada.page.evaluate(DANGEROUS, FORBIDDEN) == []
        assert [
            page.evaluate("window.pwned === undefined") for page in (hostile_user.page, ada.page)
        ] == [
            True,
            True,
        ]


@pytest.mark.asvs("S33")
def test_hostile_form_input_is_rendered_as_text(page: Page) -> None:
    for text in HOSTILE:
        page.goto("/signup")
        page.fill("#name", text)
        page.fill("#email", text)
        submit(page)
        expect(page.locator("#error-summary")).to_be_visible()
        expect(page.locator("#email")).to_have_value(text)
        assert page.evaluate(DANGEROUS, FORBIDDEN) == []
        assert page.evaluate("window.pwned === undefined")


@pytest.mark.asvs("S110")
def test_hostile_form_input_is_rendered_as_text_without_javascript(
    make_user: Callable[..., BrowserUser],
) -> None:
    charlie = make_user("Charlie", java_script_enabled=False)
    charlie.page.goto("/login")
    log_in(charlie.page, HOSTILE[1], PASSWORD)
    expect(charlie.page.locator("#email")).to_have_value(HOSTILE[1])
    expect(charlie.page.locator("main b")).to_have_count(0)
