"""Tests of SIGNUP_PRIVACY=private, which hides whether an email has an account."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.browser_client import HTMX, Browser, read, set_cookie_of
from tests.conftest import TestApp
from web.settings.environment import InvalidSetting
from web.settings.settings import read_settings


@pytest.fixture
def environ(environ: dict[str, str]) -> dict[str, str]:
    return environ | {"SIGNUP_PRIVACY": "private"}


@pytest.fixture
async def alice(app: TestApp) -> Browser:
    """Creates Alice's account and returns a browser that is not logged in."""
    await app.create("Alice")
    return await app.browser("Alice")


@pytest.mark.asvs("S52")
@pytest.mark.parametrize("headers", [{}, HTMX])
async def test_a_new_and_a_taken_email_get_the_same_answer_and_work(
    app: TestApp, alice: Browser, anonymous: Browser, headers: dict[str, str]
) -> None:
    work, answers = [], []
    for email in ("grace@example.com", alice.email):
        statements, writes, hashes = (
            app.statements,
            app.store.database._backend.writes,
            app.hashes,
        )
        answer = await replace(anonymous, email=email).sign_up(**headers)
        work.append(
            (
                app.statements - statements,
                app.store.database._backend.writes - writes,
                app.hashes - hashes,
            )
        )
        answers.append((answer.status_code, answer.content, sorted(answer.headers.items())))
    assert answers[0] == answers[1]
    assert work[0][1:] == work[1][1:]
    assert abs(work[0][0] - work[1][0]) <= 2
    assert anonymous.cookie is None


@pytest.mark.asvs("S52")
async def test_a_sign_up_with_a_taken_email_leaves_its_account_unchanged(
    app: TestApp, alice: Browser, anonymous: Browser
) -> None:
    answer = await replace(anonymous, email=alice.email, password="another-No.7").sign_up()
    assert (answer.status_code, answer.headers["Location"]) == (303, "/login?new=1")
    assert (await alice.log_in()).status_code == 303
    assert (await replace(anonymous, email=alice.email).log_in("another-No.7")).status_code == 422


@pytest.mark.asvs("S52")
async def test_a_sign_up_with_a_taken_email_is_in_the_audit_log_of_its_user(
    app: TestApp, alice: Browser, anonymous: Browser
) -> None:
    await replace(anonymous, email=alice.email).sign_up()
    ((user_id,),) = await app.rows("SELECT id FROM users")
    rows = await app.rows(
        "SELECT event, outcome, actor, target_id FROM audit WHERE event = 'signup'"
    )
    assert rows == [("signup", "refused", "anonymous", user_id)]


@pytest.mark.asvs("S52")
async def test_the_live_check_validates_only_the_format_of_an_email(
    app: TestApp, alice: Browser, anonymous: Browser
) -> None:
    before = app.statements
    messages = [
        read(await anonymous.post("/signup/check/email", {"email": email}))
        .one(id="email-message")
        .text
        for email in (alice.email, "grace@example.com", "no email")
    ]
    assert messages == ["Looks good", "Looks good", "Error: Please enter a valid email."]
    assert app.statements == before


@pytest.mark.asvs("S52")
async def test_private_sign_up_sets_no_cookie(app: TestApp, anonymous: Browser) -> None:
    assert set_cookie_of(await anonymous.sign_up()) == {}


def test_private_sign_up_is_refused_outside_localhost_without_mail(
    tmp_path, environ: dict[str, str]
) -> None:
    """Logging in with the new password would show whether the email was free."""
    public = environ | {
        "BASE_URL": "https://latchkey.example",
        "DATABASE_URL": f"sqlite:///{tmp_path}/x.db",
    }
    with pytest.raises(InvalidSetting, match="SIGNUP_PRIVACY: private needs mail: set SMTP_URL"):
        read_settings(public, data=tmp_path)
    assert not (tmp_path / "x.db").exists()
    for mail in ({"SMTP_URL": "smtp://mail.example"}, {"BASE_URL": "https://localhost"}):
        assert read_settings(public | mail, data=tmp_path).private


async def test_open_sign_up_also_writes_the_attempt_to_the_audit_log(make_app: Callable) -> None:
    app = await make_app(SIGNUP_PRIVACY="open")
    alice = await app.sign_up_user("Alice")
    charlie = replace(await app.browser("Charlie"), email=alice.email, password="another-No.7")
    assert (await charlie.sign_up()).status_code == 422
    rows = await app.rows("SELECT event, outcome FROM audit ORDER BY number")
    assert rows == [("signup", "done"), ("login", "refused"), ("signup", "refused")]


async def test_private_sign_up_does_not_log_in(app: TestApp, alice: Browser) -> None:
    before = app.hashes
    answer = await alice.sign_up()  # This is her own password.
    assert (answer.status_code, answer.headers["Location"]) == (303, "/login?new=1")
    assert alice.cookie is None
    assert (await app.count("sessions"), app.hashes) == (0, before + 1)


async def test_private_sign_up_passes_the_requested_page_to_log_in(anonymous: Browser) -> None:
    fields = {
        "name": "Charlie",
        "email": "charlie@example.com",
        "password": anonymous.password,
        "next": "/devices",
    }
    assert (await anonymous.post("/signup", fields)).headers[
        "Location"
    ] == "/login?new=1&next=/devices"
