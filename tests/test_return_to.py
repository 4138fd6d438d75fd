"""Tests of RETURN_TO: the applications that a log-in may lead back to, and attacks on `next`."""

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.browser_client import Browser, read
from tests.conftest import TestApp
from web.settings.environment import Environment, InvalidSetting
from web.settings.forward_settings import ForwardSettings, read_forward_settings

APP = "https://app.example.com"
ALLOWED = [
    "/app",
    "/app/",
    "/app/items/7",
    "/app/items?page=2&q=a+b%20c",
    "/app/caf%C3%A9",
    "/app?next=https://evil.example",
    APP,
    f"{APP}/",
    f"{APP}/items?page=2",
    f"{APP}?page=2",
    "https://wiki.example.com:8443/page",
    "/account",  # a page of Latchkey
]
REFUSED = [
    # other hosts
    "https://evil.example/",
    "//evil.example/app",
    "///evil.example/app",
    "https:evil.example",
    "https:///evil.example",
    "https://app.example.com.evil.example/",
    "https://app.example.comevil.example/",
    "https://evil-app.example.com/",
    "https://example.com/",
    "https://sub.app.example.com/",
    # user name, port, scheme, letter case
    "https://app.example.com@evil.example/",
    "https://app.example.com:443@evil.example/",
    "https://user@app.example.com/",
    "https://app.example.com:444/",
    "https://app.example.com:",
    "http://app.example.com/",
    "//app.example.com/",
    "HTTPS://APP.EXAMPLE.COM/",
    "https://app.example.com./",
    "ftp://app.example.com/",
    "javascript:alert(1)//https://app.example.com/",
    "data:text/html,https://app.example.com/",
    # backslashes, control characters, white space
    "/\\evil.example/app",
    "\\\\evil.example",
    "https:\\\\app.example.com",
    "https://app.example.com\\@evil.example/",
    "/app\\..\\account",
    "/app\r\nLocation: https://evil.example",
    "/app\t/x",
    "\t/app",
    " /app",
    "/app\0",
    "/app%00",
    "/app%0d%0aSet-Cookie:a=b",
    f"{APP}/%0d%0a",
    # other paths of this site, and paths that browsers or proxies change
    "/apple",
    "/App",
    "/other",
    "/app/../other",
    "/app/./x",
    "/app/..",
    "/app//evil.example",
    "/app/%2e%2e/other",
    "/app/%2E./other",
    "/app%2fother",
    "/app%2Fother",
    "/app%5cother",
    "/app/%",
    "/app/%zz",
    "/app;/../other#",
    "/app#fragment",
    f"{APP}/../x",
    f"{APP}//evil.example",
    # Unicode
    "https://аpp.example.com/",  # a Cyrillic letter
    "https://app。example.com/",
    "/app/é",
    "／／evil.example",
    # pages of Latchkey that are not protected
    "/logout",
    "/login",
    "/reset/" + "A" * 43,
]


@pytest.fixture
def environ(environ: dict[str, str]) -> dict[str, str]:
    return {**environ, "RETURN_TO": f"/app, {APP}, https://wiki.example.com:8443"}


@pytest.mark.asvs("S34")
@pytest.mark.parametrize("target", ALLOWED)
async def test_a_login_returns_to_an_allowed_application(
    app: TestApp, alice: Browser, anonymous: Browser, target: str
) -> None:
    answer = await anonymous.log_in(email=alice.email, next=target)
    assert (answer.status_code, answer.headers["location"]) == (303, target)


@pytest.mark.asvs("S34")
@pytest.mark.parametrize("target", REFUSED)
async def test_a_login_returns_to_no_other_place(
    app: TestApp, alice: Browser, anonymous: Browser, target: str
) -> None:
    answer = await anonymous.log_in(email=alice.email, next=target)
    assert (answer.status_code, answer.headers["location"]) == (303, "/dashboard")
    assert "evil" not in str(answer.headers)


PARTS = st.sampled_from(
    ["https:", "http:", "/", "//", "\\", "app.example.com", "evil.example", "@", ":", ":443", ".", "..",
     "%2e", "%2f", "%5c", "app", "?", "#", " ", "\t", "\n", "\0", "é", "x"]
)  # fmt: skip


@settings(max_examples=3000, deadline=None, derandomize=True, database=None)
@given(st.lists(PARTS, max_size=8).map("".join))
def test_no_combination_of_parts_is_another_host(url: str) -> None:
    allowed = ForwardSettings(("/app",), (APP,))
    if allowed.allows_url(url):
        assert url == APP or url.startswith(f"{APP}/")
        assert not set(url) & set("\\@# \t\n\0é")
    if allowed.allows_path(url):
        assert url == "/app" or url.startswith("/app/")
        assert not {"", ".", ".."} & {*url.rstrip("/").split("/")[1:]}


async def test_the_root_includes_every_path_that_is_not_latchkeys(make_app: Callable) -> None:
    app = await make_app(RETURN_TO="/")
    for target, expected in (
        ("/", "/dashboard"),  # Latchkey's own front page
        ("/anything/at/all", "/anything/at/all"),
        ("/account", "/account"),
        ("/login", "/dashboard"),
        ("/verify/" + "A" * 43, "/dashboard"),
        ("//evil.example", "/dashboard"),
    ):
        user = await app.browser("Alice", f"alice{len(target)}@example.com")
        answer = await user.post(
            "/signup",
            {"name": "Al", "email": user.email, "password": user.password, "next": target},
        )
        assert (answer.status_code, answer.headers["location"]) == (303, expected)


async def test_without_the_setting_no_application_is_allowed(make_app: Callable) -> None:
    app = await make_app(RETURN_TO="")
    alice = await app.sign_up_user("Alice")
    for target in ("/app", f"{APP}/"):
        await alice.post("/logout")
        answer = await alice.log_in(next=target)
        assert answer.headers["location"] == "/dashboard"


async def test_a_signup_returns_to_the_application(anonymous: Browser) -> None:
    fields = {"name": "Zoe", "email": "zoe@example.com", "password": anonymous.password}
    answer = await anonymous.post("/signup", {**fields, "next": f"{APP}/welcome"})
    assert (answer.status_code, answer.headers["location"]) == (303, f"{APP}/welcome")


async def test_a_signup_by_htmx_navigates_to_the_application(anonymous: Browser) -> None:
    fields = {"name": "Zoe", "email": "zoe@example.com", "password": anonymous.password}
    answer = await anonymous.post_fragment("/signup", {**fields, "next": f"{APP}/welcome"})
    assert (answer.status_code, answer.headers["hx-redirect"]) == (204, f"{APP}/welcome")


async def test_the_pages_carry_the_application_from_login_to_signup_and_back(
    anonymous: Browser,
) -> None:
    target = f"{APP}/items?page=2"
    login = read(await anonymous.get("/login?next=https%3A//app.example.com/items%3Fpage%3D2"))
    for form in ("login-form", "passkey-form"):
        assert login.one(id=form).one("input", name="next").attrs["value"] == target
    (link,) = {a.attrs["href"] for a in login.all("a") if "/signup?" in a.attrs["href"]}
    signup = read(await anonymous.get(link))
    assert signup.one("input", name="next").attrs["value"] == target
    refused = read(await anonymous.post("/signup", {"email": "x", "next": target}))
    assert refused.one("input", name="next").attrs["value"] == target


async def test_a_signup_that_needs_confirmation_carries_the_application(
    make_app: Callable,
) -> None:
    app = await make_app(EMAIL_VERIFICATION="required")
    zoe = await app.browser("Zoe")
    fields = {"name": "Zoe", "email": zoe.email, "password": zoe.password}
    answer = await zoe.post("/signup", {**fields, "next": f"{APP}/welcome"})
    page = read(await zoe.get(answer.headers["location"]))
    form = page.one(id="login-form")
    assert form.one("input", name="next").attrs["value"] == f"{APP}/welcome"


async def test_the_csp_allows_the_redirect_after_the_login_form(anonymous: Browser) -> None:
    policy = (await anonymous.get("/login")).headers["content-security-policy"]
    (directive,) = [part for part in policy.split("; ") if part.startswith("form-action")]
    assert directive == f"form-action 'self' {APP} https://wiki.example.com:8443"


@pytest.mark.parametrize(
    "value",
    [
        "app",
        "*",
        "/app/../x",
        "/app?x=1",
        "//evil.example",
        "http://app.example.com",
        "https://app.example.com/path",
        "https://*.example.com",
        "https://user@app.example.com",
        "https://app.example.com;",
        "https://app.example.com 'unsafe-inline'",
        "http://localhost:8000",
    ],
)
def test_the_start_is_refused_with_another_value(value: str) -> None:
    with pytest.raises(InvalidSetting, match=r"^RETURN_TO: "):
        read_forward_settings(Environment({"RETURN_TO": value}), "http://localhost:8000")


def test_values_are_read_in_canonical_form() -> None:
    env = Environment({"RETURN_TO": "/app/, HTTPS://App.Example.com:443/ ,/app"})
    forward = read_forward_settings(env, "http://localhost:8000")
    assert (forward.return_paths, forward.return_origins) == (("/app",), (APP,))
