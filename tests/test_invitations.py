"""Tests of invitations, of accounts that administrators add, and of SIGNUP=invited and closed."""

import asyncio
from collections.abc import Callable

import pytest

from db.access import operator
from db.access.outbox import Message
from db.viewer import Operator
from tests.browser_client import PASSWORD, Browser, path_of, read, set_cookie_of
from tests.conftest import SECRET, TestApp
from tests.mail import deliver, enabled_outbox, link_field, main_text, open_link, receive
from web.settings.environment import InvalidSetting
from web.settings.settings import read_settings

DEAD = "This link was used already, has expired, or was replaced by a newer mail."
BOTH_REQUEST_TYPES = pytest.mark.parametrize("send", [Browser.post, Browser.post_fragment])
INVITE = {"email": "grace@example.com", "role": "user", "team": "Navy"}
JOIN = {"name": "Grace", "password": PASSWORD}
ACCOUNTS = "SELECT name, email, role, team, verified_at IS NOT NULL FROM users ORDER BY name"


@pytest.fixture
async def app(make_app: Callable) -> TestApp:
    return await make_app(mail=enabled_outbox(), SIGNUP="invited")


@pytest.fixture
async def ada(app: TestApp) -> Browser:
    """Returns an administrator who has read the mail about her log-in."""
    ada = await app.admin()
    await deliver(app)
    return ada


@pytest.fixture
async def mail(app: TestApp, ada: Browser) -> Message:
    """Returns the mail of Ada's invitation to Grace."""
    await ada.post("/admin/invitations", INVITE)
    return await receive(app, "invite")


@pytest.fixture
async def grace(app: TestApp) -> Browser:
    return await app.browser("Grace")


async def accounts(app: TestApp) -> list[tuple]:
    return [(*row[:4], bool(row[4])) for row in await app.rows(ACCOUNTS)]


async def events(app: TestApp) -> list[tuple]:
    return await app.rows("SELECT event, outcome FROM audit WHERE event <> 'login' ORDER BY number")


async def copied_link(ada: Browser) -> str:
    """Returns the path of the link that the only open invitation shows."""
    page = read(await ada.get("/admin/invitations")).one(id="invitation-list")
    return path_of(page.one("input", readonly=True).attrs["value"])


async def open_copied_link(browser: Browser, path: str) -> dict[str, str]:
    """Opens the link, and returns the hidden field of its page."""
    assert (await browser.get(path)).headers["location"] == "/join"
    form = read(await browser.get("/join")).one("form", id="join-form")
    return {"link": form.one(name="link").attrs["value"]}


# Inviting


@BOTH_REQUEST_TYPES
async def test_an_administrator_invites_by_mail(app: TestApp, ada: Browser, send: Callable) -> None:
    answer = await send(ada, "/admin/invitations", INVITE)
    assert answer.status_code in (200, 303)
    page = read(answer if send is Browser.post_fragment else await ada.get("/admin/invitations"))
    text = " ".join(page.text.split())
    assert "Invitation sent." in text
    assert (
        "grace@example.com User · Team: Navy · Valid until: 1 Dec, 09:12 UTC · Invited by: Ada"
        in text
    )
    mail = await receive(app, "invite")
    assert (mail.recipient, mail.facts["inviter"]) == ("grace@example.com", "Ada")
    assert await events(app) == [("account.create", "done"), ("invitation.create", "done")]


async def test_the_link_to_copy_differs_from_the_mailed_one(mail: Message, ada: Browser) -> None:
    assert await copied_link(ada) != f"/join/{mail.token.reveal()}"


async def test_no_token_of_an_invitation_is_stored(
    app: TestApp, mail: Message, ada: Browser
) -> None:
    stored = app.stored()
    for token in (mail.token.reveal(), (await copied_link(ada)).removeprefix("/join/")):
        assert token.encode() not in stored


@BOTH_REQUEST_TYPES
@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        ({"email": "grace@"}, "Please enter a valid email."),
        ({"email": " ADA@example.com"}, "An account with this email already exists."),
        ({"role": "owner"}, "That role doesn't exist anymore. Choose another."),
        ({"team": "x" * 41}, "Team must be at most 40 characters long."),
    ],
)
async def test_a_refused_invitation_invites_nobody(
    app: TestApp, ada: Browser, send: Callable, typed: dict, sentence: str
) -> None:
    answer = await send(ada, "/admin/invitations", INVITE | typed)
    page = read(answer)
    assert (answer.status_code, sentence in page.one(id="error-summary").text) == (422, True)
    assert page.one("input", id="email").attrs["value"] == (INVITE | typed)["email"]
    assert (await app.count("invitations"), await deliver(app)) == (0, [])
    assert await events(app) == [("account.create", "done")]


async def test_a_second_invitation_replaces_the_first(
    app: TestApp, mail: Message, ada: Browser, grace: Browser
) -> None:
    first_copy = await copied_link(ada)
    await ada.post("/admin/invitations", INVITE | {"role": "admin"})
    assert await app.rows("SELECT role FROM invitations") == [("admin",)]
    for path in (f"/join/{mail.token.reveal()}", first_copy):
        await grace.get(path)
        assert (await grace.get("/join")).status_code == 410


async def test_an_unsent_mail_is_replaced_too(app: TestApp, ada: Browser) -> None:
    await ada.post("/admin/invitations", INVITE)
    await ada.post("/admin/invitations", INVITE)
    assert [message.message_type for message in await deliver(app)] == ["invite"]


async def test_a_demoted_administrator_cannot_invite(app: TestApp, ada: Browser) -> None:
    await app.create("Bob", "admin")
    await app.change_role(ada, "user")
    assert (await ada.post("/admin/invitations", INVITE)).status_code == 403
    assert (await app.count("invitations"), await deliver(app)) == (0, [])


async def test_invitations_are_rate_limited(make_app: Callable) -> None:
    app = await make_app(mail=enabled_outbox(), RATE_LIMITS="enforce")
    ada = await app.admin()
    for number in range(60):
        await ada.post("/admin/invitations", INVITE | {"email": f"g{number}@example.com"})
    assert (await ada.post("/admin/invitations", INVITE)).status_code == 429
    assert await app.count("invitations") == 60


async def test_an_invitation_without_mail_shows_its_link(make_app: Callable) -> None:
    app = await make_app(BASE_URL="https://id.example", SIGNUP="invited")
    ada = await app.browser("Ada")
    await app.create("Ada", "admin")
    await ada.log_in()
    await ada.post("/admin/invitations", INVITE)
    page = read(await ada.get("/admin/invitations"))
    assert "Invited. Copy the link and pass it on." in page.text
    assert page.one(id="invitation-list").one("details").attrs["open"] is not None
    link = page.one(id="invitation-list").one("input", readonly=True).attrs["value"]
    assert link.startswith("https://id.example/join/")
    assert (await ada.get("/admin/add")).status_code == 404


# Sending again and withdrawing


async def invitation_id(app: TestApp) -> str:
    return (await app.rows("SELECT id FROM invitations"))[0][0]


@BOTH_REQUEST_TYPES
async def test_sending_again_renews_the_link_of_the_mail(
    app: TestApp, mail: Message, ada: Browser, grace: Browser, send: Callable
) -> None:
    copy = await copied_link(ada)
    app.clock.move(days=6)
    path = f"/admin/invitations/{await invitation_id(app)}/resend"
    assert (await send(ada, path)).status_code in (200, 303)
    assert (await events(app))[-1] == ("invitation.resend", "done")
    newer = await receive(app, "invite")
    await open_link(grace, mail)
    assert (await grace.get("/join")).status_code == 410
    app.clock.move(days=6)
    await open_link(grace, newer)
    assert (await grace.get("/join")).status_code == 200
    await open_copied_link(grace, copy)


@BOTH_REQUEST_TYPES
async def test_a_withdrawn_invitation_creates_no_account(
    app: TestApp, mail: Message, ada: Browser, grace: Browser, send: Callable
) -> None:
    copy = await copied_link(ada)
    fields = await open_copied_link(grace, copy)
    answer = await send(ada, f"/admin/invitations/{await invitation_id(app)}/withdraw")
    assert answer.status_code in (200, 303)
    assert (await grace.post("/join", JOIN | fields)).status_code == 410
    await open_link(grace, mail)
    assert (await grace.post("/join", JOIN | link_field(mail))).status_code == 410
    assert await app.count("users") == 1
    assert (await events(app))[-1] == ("invitation.withdraw", "done")


async def test_an_unsent_mail_of_a_withdrawn_invitation_is_not_sent(
    app: TestApp, ada: Browser
) -> None:
    await ada.post("/admin/invitations", INVITE)
    await ada.post(f"/admin/invitations/{await invitation_id(app)}/withdraw")
    assert await deliver(app) == []


@pytest.mark.parametrize("action", ["resend", "withdraw"])
async def test_an_unknown_invitation_is_not_found(app: TestApp, ada: Browser, action: str) -> None:
    answer = await ada.post(f"/admin/invitations/unknown/{action}")
    assert answer.status_code == 404
    assert await events(app) == [("account.create", "done")]


# Joining


@BOTH_REQUEST_TYPES
async def test_the_mailed_link_creates_a_confirmed_account(
    app: TestApp, mail: Message, grace: Browser, send: Callable
) -> None:
    await open_link(grace, mail)
    page = await grace.get("/join")
    assert "You'll log in with grace@example.com." in main_text(page)
    assert mail.token.reveal() not in page.text
    answer = await send(grace, "/join", JOIN | link_field(mail))
    target = answer.headers.get("location") or answer.headers["hx-redirect"]
    assert (answer.status_code, target) in [(303, "/dashboard"), (204, "/dashboard")]
    assert set_cookie_of(answer)["link"]["max-age"] == "0"
    assert await grace.is_logged_in()
    assert (await accounts(app))[1] == ("Grace", "grace@example.com", "user", "Navy", True)
    assert await app.count("invitations") == 0


async def test_a_copied_link_creates_an_unconfirmed_account(
    app: TestApp, mail: Message, ada: Browser, grace: Browser
) -> None:
    fields = await open_copied_link(grace, await copied_link(ada))
    assert (await grace.post("/join", JOIN | fields)).headers["location"] == "/dashboard"
    assert (await accounts(app))[1] == ("Grace", "grace@example.com", "user", "Navy", False)
    assert (await receive(app, "verify")).recipient == "grace@example.com"


async def test_the_role_of_the_invitation_applies(
    app: TestApp, ada: Browser, grace: Browser
) -> None:
    await ada.post("/admin/invitations", INVITE | {"role": "admin"})
    mail = await receive(app, "invite")
    await open_link(grace, mail)
    fields = {"role": "user", "email": "other@example.com", "team": "other", "verified": "1"}
    await grace.post("/join", JOIN | fields | link_field(mail))
    assert (await accounts(app))[1] == ("Grace", "grace@example.com", "admin", "Navy", True)
    assert (await grace.get("/admin/users")).status_code == 200


async def test_the_audit_log_names_the_inviter(
    app: TestApp, mail: Message, ada: Browser, grace: Browser
) -> None:
    await open_link(grace, mail)
    await grace.post("/join", JOIN | link_field(mail))
    assert (await events(app))[-2:] == [("signup", "done"), ("invitation.accept", "done")]
    own = main_text(await grace.get("/account/activity"))
    assert "You accepted Ada's invitation" in own
    assert "A new user accepted your invitation" in main_text(await ada.get("/account/activity"))
    text = main_text(await ada.get("/admin/audit?event=invitation.accept"))
    assert "Accept invitation Grace Ada" in text
    assert "g…@example.com, role: user Ada" in main_text(await ada.get("/admin/audit"))


async def test_opening_the_link_and_its_page_changes_nothing(
    app: TestApp, mail: Message, grace: Browser
) -> None:
    before = [await app.rows(f"SELECT * FROM {table}") for table in ("users", "invitations")]
    for method in ("GET", "HEAD"):
        for path in (f"/join/{mail.token.reveal()}", "/join"):
            assert (await grace.request(method, path)).status_code in (200, 303)
    after = [await app.rows(f"SELECT * FROM {table}") for table in ("users", "invitations")]
    assert before == after


@BOTH_REQUEST_TYPES
@pytest.mark.parametrize(
    "cause", ["used", "expired", "demoted", "disabled", "deleted", "has an account", "not opened"]
)
async def test_a_dead_invitation_creates_no_account(
    app: TestApp, mail: Message, ada: Browser, grace: Browser, send: Callable, cause: str
) -> None:
    await app.create("Bob", "admin")
    if cause != "not opened":
        await open_link(grace, mail)
    if cause == "used":
        other = await app.browser("Other")
        await open_link(other, mail)
        await other.post("/join", JOIN | link_field(mail))
    elif cause == "expired":
        app.clock.move(days=7)
    elif cause == "demoted":
        await app.change_role(ada, "user")
    elif cause == "disabled":
        await app.change("UPDATE users SET disabled_at = created_at WHERE name = 'Ada'")
    elif cause == "deleted":
        await app.change("DELETE FROM users WHERE name = 'Ada'")
    elif cause == "has an account":
        await app.create("Grace")
    before = await accounts(app)
    answer = await send(grace, "/join", JOIN | link_field(mail))
    assert (answer.status_code, DEAD in main_text(answer)) == (410, True)
    assert await accounts(app) == before
    assert not await grace.is_logged_in()


async def test_an_invitation_stays_dead_after_its_inviter_is_enabled(
    app: TestApp, mail: Message, ada: Browser, grace: Browser
) -> None:
    await app.create("Bob", "admin")
    await operator.disable_user(Operator(app.store), ada.email)
    await operator.enable_user(Operator(app.store), ada.email)
    await open_link(grace, mail)
    before = await accounts(app)
    assert (await grace.post("/join", JOIN | link_field(mail))).status_code == 410
    assert await accounts(app) == before


async def test_of_concurrent_uses_one_creates_the_account(app: TestApp, mail: Message) -> None:
    browsers = [await app.browser(f"Grace{number}") for number in range(4)]
    for browser in browsers:
        await open_link(browser, mail)
    answers = await asyncio.gather(
        *(browser.post("/join", JOIN | link_field(mail)) for browser in browsers)
    )
    assert sorted(answer.status_code for answer in answers) == [303, 410, 410, 410]
    assert [name for name, *_ in await accounts(app)] == ["Ada", "Grace"]


@BOTH_REQUEST_TYPES
@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        ({"name": "G"}, "Name must be at least 2 characters long."),
        ({"password": "short"}, "Be at least 8 characters long"),
        (
            {"name": "Zephyrine", "password": "Zephyrine!9"},
            "This password is too close to your name or email.",
        ),
    ],
)
async def test_a_refused_form_creates_no_account(
    app: TestApp, mail: Message, grace: Browser, send: Callable, typed: dict, sentence: str
) -> None:
    await open_link(grace, mail)
    answer = await send(grace, "/join", JOIN | link_field(mail) | typed)
    assert (answer.status_code, sentence in answer.text) == (422, True)
    assert (await app.count("users"), await app.count("invitations")) == (1, 1)


@pytest.mark.parametrize("field", ["name", "password"])
@pytest.mark.parametrize("value", [b"ab%00c", b"%FF%FE", b"%ED%B0%80", b"x" * 60_000])
async def test_unstorable_values_create_no_account(
    app: TestApp, mail: Message, grace: Browser, field: str, value: bytes
) -> None:
    await open_link(grace, mail)
    fields = {"name": "Grace", "password": "engine-No.9", **link_field(mail)} | {field: ""}
    body = b"&".join(f"{name}={text}".encode() for name, text in fields.items() if text)
    answer = await grace.client.post(
        "/join",
        content=body + b"&" + field.encode() + b"=" + value,
        headers={"Content-Type": "application/x-www-form-urlencoded"},
    )
    assert answer.status_code in (409, 422)
    assert (await app.count("users"), await app.count("invitations")) == (1, 1)


async def test_the_form_of_another_link_creates_no_account(
    app: TestApp, mail: Message, grace: Browser
) -> None:
    await open_link(grace, mail)
    assert (await grace.post("/join", JOIN | {"link": "0" * 16})).status_code == 409
    assert (await app.count("users"), await app.count("invitations")) == (1, 1)


async def test_a_logged_in_user_is_asked_to_log_out_first(
    app: TestApp, mail: Message, ada: Browser
) -> None:
    await open_link(ada, mail)
    for answer in (await ada.get("/join"), await ada.post("/join", JOIN | link_field(mail))):
        assert answer.status_code == 410
        assert "Log out, then open the link again." in main_text(answer)
    assert (await app.count("users"), await app.count("invitations")) == (1, 1)


async def test_joining_is_rate_limited_per_client(make_app: Callable) -> None:
    app = await make_app(mail=enabled_outbox(), RATE_LIMITS="enforce")
    ada = await app.admin()
    other = await app.browser("Other")
    await ada.post("/admin/invitations", INVITE | {"email": "other@example.com"})
    other_mail = await receive(app, "invite", "other@example.com")
    for number in range(10):
        email = f"g{number}@example.com"
        await ada.post("/admin/invitations", INVITE | {"email": email})
        message = await receive(app, "invite", email)
        await open_link(other, message)
        assert (await other.post("/join", JOIN | link_field(message))).status_code == 303
        await other.post("/logout")
    await open_link(other, other_mail)
    answer = await other.post("/join", JOIN | link_field(other_mail))
    assert (answer.status_code, int(answer.headers["retry-after"]) > 0) == (429, True)
    assert "Too many attempts from your network." in answer.text
    assert await app.count("users") == 11


@pytest.mark.parametrize("private", ["open", "private"])
async def test_a_copied_link_needs_a_confirmation_if_log_in_does(
    make_app: Callable, private: str
) -> None:
    app = await make_app(
        mail=enabled_outbox(requires_verification=True),
        EMAIL_VERIFICATION="required",
        SIGNUP_PRIVACY=private,
        SIGNUP="invited",
    )
    ada, grace = await app.admin(), await app.browser("Grace")
    await ada.post("/admin/invitations", INVITE)
    fields = await open_copied_link(grace, await copied_link(ada))
    answer = await grace.post("/join", JOIN | fields)
    assert (answer.status_code, answer.headers["location"]) == (303, "/login?new=1")
    assert not await grace.is_logged_in()
    assert (await grace.log_in()).status_code == 422
    await open_link(grace, await receive(app, "verify"))
    assert (await grace.log_in()).status_code == 303


@pytest.mark.parametrize("strategy", ["database", "stateless"])
async def test_the_mailed_link_logs_in_if_log_in_requires_a_confirmation(
    make_app: Callable, strategy: str
) -> None:
    app = await make_app(
        mail=enabled_outbox(requires_verification=True),
        EMAIL_VERIFICATION="required",
        SESSION_STRATEGY=strategy,
    )
    ada, grace = await app.admin(), await app.browser("Grace")
    await ada.post("/admin/invitations", INVITE)
    mail = await receive(app, "invite")
    await open_link(grace, mail)
    await grace.post("/join", JOIN | link_field(mail))
    assert await grace.is_logged_in()


# Accounts that administrators add

ADD = {"name": "Grace", "email": "grace@example.com", "role": "admin", "team": "Navy"}


@BOTH_REQUEST_TYPES
async def test_an_administrator_adds_an_account_without_a_password(
    app: TestApp, ada: Browser, grace: Browser, send: Callable
) -> None:
    answer = await send(ada, "/admin/add", ADD)
    target = answer.headers.get("location") or answer.headers["hx-redirect"]
    assert (answer.status_code, target) in [(303, "/admin/users"), (204, "/admin/users")]
    assert "Account created." in main_text(await ada.get("/admin/users"))
    assert (await accounts(app))[1] == ("Grace", "grace@example.com", "admin", "Navy", True)
    mail = await receive(app, "added")
    assert (mail.recipient, mail.token) == ("grace@example.com", None)
    assert (await grace.log_in()).status_code == 422
    assert (await grace.log_in("!")).status_code == 422
    await grace.post("/forgot", {"email": grace.email})
    reset = await receive(app, "reset")
    await open_link(grace, reset)
    await grace.post("/reset", {"password": PASSWORD} | link_field(reset))
    assert (await grace.log_in()).status_code == 303
    assert (await accounts(app))[1][3] == "Navy"
    text = main_text(await grace.get("/account/activity"))
    assert "An administrator created your account" in text


@BOTH_REQUEST_TYPES
@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        ({"name": "G"}, "Name must be at least 2 characters long."),
        ({"email": "ada@example.com"}, "An account with this email already exists."),
        ({"role": "owner"}, "exist anymore. Choose another."),
    ],
)
async def test_a_refused_addition_creates_no_account(
    app: TestApp, ada: Browser, send: Callable, typed: dict, sentence: str
) -> None:
    answer = await send(ada, "/admin/add", ADD | typed)
    assert (answer.status_code, sentence in answer.text) == (422, True)
    assert (await app.count("users"), await deliver(app)) == (1, [])
    assert await events(app) == [("account.create", "done")]


async def test_a_demoted_administrator_cannot_add_an_account(app: TestApp, ada: Browser) -> None:
    await app.create("Bob", "admin")
    await app.change_role(ada, "user")
    assert (await ada.post("/admin/add", ADD)).status_code == 403
    assert [name for name, *_ in await accounts(app)] == ["Ada", "Bob"]


# SIGNUP

SIGN_UP = {"name": "Charlie", "email": "charlie@example.com", "password": PASSWORD}


@pytest.mark.parametrize("mode", ["invited", "closed"])
async def test_nobody_signs_up_unless_sign_up_is_open(make_app: Callable, mode: str) -> None:
    app = await make_app(mail=enabled_outbox(), SIGNUP=mode)
    charlie = await app.browser("Charlie")
    hashes = app.hashes
    heading = "Sign-up is by invitation" if mode == "invited" else "Sign-up is closed"
    for send in (Browser.post, Browser.post_fragment):
        answer = await send(charlie, "/signup", SIGN_UP)
        assert (answer.status_code, heading in main_text(answer)) == (403, True)
    assert (await charlie.post("/signup/check/email", SIGN_UP)).status_code == 404
    page = await charlie.get("/signup")
    assert (page.status_code, heading in main_text(page)) == (403, True)
    assert (await app.count("users"), await deliver(app)) == (0, [])
    assert app.hashes == hashes


@pytest.mark.parametrize("mode", ["invited", "closed"])
async def test_no_page_links_to_the_sign_up(make_app: Callable, mode: str) -> None:
    app = await make_app(mail=enabled_outbox(), SIGNUP=mode)
    charlie, ada = await app.browser("Charlie"), await app.admin()
    paths = ["/", "/login", "/login?next=/devices", "/forgot", "/reset", "/nowhere", "/signup"]
    pages = [await charlie.get(path) for path in (*paths, "/join", "/keep", "/not-me")]
    pages += [await ada.get(path) for path in ("/dashboard", "/admin/users", "/account")]
    for page in pages:
        for element in read(page).all():
            for name in ("href", "action", "data-hx-post"):
                assert not str(element.attrs.get(name, "")).startswith("/signup"), page.url
        assert "Create your account" not in read(page).one("body").text, page.url


async def test_closed_sign_up_has_no_invitations(make_app: Callable) -> None:
    app = await make_app(mail=enabled_outbox(), SIGNUP="closed")
    ada = await app.admin()
    page = read(await ada.get("/admin/users"))
    links = {link.attrs["href"] for link in page.one("main").all("a")}
    assert "/admin/add" in links
    assert "/admin/invitations" not in links
    assert (await ada.post("/admin/invitations", INVITE)).status_code == 404
    assert (await ada.get("/join")).status_code == 404
    assert await app.count("invitations") == 0


async def test_a_logged_in_user_is_redirected_from_the_old_form(ada: Browser) -> None:
    assert (await ada.get("/signup")).headers["location"] == "/dashboard"


# SIGNUP_DOMAINS

DOMAINS = "example.com, .example.org, BÜCHER.example"
SENTENCE = "Use an email of one of these domains: example.com, *.example.org, bücher.example."


@pytest.mark.parametrize("privacy", ["open", "private"])
@pytest.mark.parametrize(
    ("email", "is_allowed"),
    [
        ("grace@example.com", True),
        ("grace@EXAMPLE.com", True),
        ("grace@eu.example.com", False),
        ("grace@notexample.com", False),
        ("grace@eu.example.org", True),
        ("grace@example.org", False),
        ("grace@xn--bcher-kva.example", True),
        ("grace@bücher.example", True),
    ],
)
async def test_only_emails_of_the_domains_sign_up(
    make_app: Callable, privacy: str, email: str, is_allowed: bool
) -> None:
    app = await make_app(mail=enabled_outbox(), SIGNUP_DOMAINS=DOMAINS, SIGNUP_PRIVACY=privacy)
    grace = await app.browser("Grace", email)
    check = await grace.post("/signup/check/email", {"email": email})
    answer = await grace.sign_up()
    assert (check.status_code, SENTENCE in check.text) == (200, not is_allowed)
    assert answer.status_code == (303 if is_allowed else 422)
    assert (SENTENCE in read(answer).text) == (not is_allowed)
    assert await app.count("users") == is_allowed


async def test_another_domain_is_refused_without_a_look_up(make_app: Callable) -> None:
    app = await make_app(SIGNUP_DOMAINS="example.org")
    await app.create("Grace")
    grace = await app.browser("Grace")
    statements = app.statements
    check = await grace.post("/signup/check/email", {"email": grace.email})
    assert "Use an email of example.org." in check.text
    assert "already exists" not in check.text
    assert app.statements == statements


@BOTH_REQUEST_TYPES
async def test_users_cannot_change_to_an_email_of_another_domain(
    make_app: Callable, send: Callable
) -> None:
    app = await make_app(mail=enabled_outbox(), SIGNUP_DOMAINS="example.com")
    alice = await app.sign_up_user("Alice")
    await deliver(app)
    fields = {"email": "alice@other.example"}
    answer = await send(alice, "/account/email", fields)
    assert (answer.status_code, "Use an email of example.com." in answer.text) == (422, True)
    assert (await deliver(app), await app.count("tokens")) == ([], 1)


async def test_administrators_may_invite_emails_of_other_domains(make_app: Callable) -> None:
    app = await make_app(mail=enabled_outbox(), SIGNUP_DOMAINS="example.org")
    ada, grace = await app.admin(), await app.browser("Grace")
    await ada.post("/admin/invitations", INVITE)
    mail = await receive(app, "invite")
    await open_link(grace, mail)
    await grace.post("/join", JOIN | link_field(mail))
    assert [name for name, *_ in await accounts(app)] == ["Ada", "Grace"]


@pytest.mark.parametrize(
    "value", ["example", "@example.com", "a b.example", "192.0.2.1", "example.com,,x.example", "."]
)
def test_malformed_domains_stop_the_start(value: str) -> None:
    with pytest.raises(InvalidSetting, match="SIGNUP_DOMAINS: "):
        read_settings({"SIGNUP_DOMAINS": value, "SESSION_SECRET": SECRET})


def test_an_unknown_mode_stops_the_start() -> None:
    with pytest.raises(InvalidSetting, match="SIGNUP: must be open or invited or closed"):
        read_settings({"SIGNUP": "no", "SESSION_SECRET": SECRET})


def test_domains_without_confirmed_emails_cause_a_warning() -> None:
    environ = {"SIGNUP_DOMAINS": "example.com", "SESSION_SECRET": SECRET}
    assert any("SIGNUP_DOMAINS" in line for line in read_settings(environ).notices)
    required = environ | {"EMAIL_VERIFICATION": "required"}
    assert not any("SIGNUP_DOMAINS" in line for line in read_settings(required).notices)
