"""Every row with `sudo`, eleven minutes after the log-in: nothing is done before a confirmation, and
then the form is sent once.
"""

import re
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field

import httpx
import pytest

from tests.authenticator_app import AuthenticatorApp
from tests.browser_client import HTMX, Browser, Element, path_of, read
from tests.conftest import TestApp
from tests.mail import enabled_outbox
from tests.passkeys import add_passkey, creation_fields, hidden_fields
from tests.soft_authenticator import SoftAuthenticator
from web.router import AppRoute
from web.routes import routes


@dataclass(frozen=True)
class Form:
    """How to fill the form of a row, and the audit entry that shows its effect.

    `before` are statements that prepare the database.
    """

    event: str
    fields: dict[str, str] = field(default_factory=dict)
    before: tuple[str, ...] = ()


ADD_EDITOR = (
    "INSERT INTO roles SELECT 'editor', 'Editor', created_at FROM roles WHERE name = 'user'",
)
DISABLE_BOB = ("UPDATE users SET disabled_at = created_at WHERE name = 'Bob'",)
FORMS = {
    "account-email": Form("email.ask", {"email": "new@example.com"}),
    "account-data": Form("data.download"),
    "account-delete": Form("account.leave"),
    "tokens": Form("token.create", {"name": "Backup", "days": "30", "scope-account:read": "yes"}),
    "admin-role": Form("role.change", {"role": "admin"}),
    "admin-team": Form("team.change", {"team": "Engine"}),
    "admin-disable": Form("account.disable"),
    "admin-enable": Form("account.enable", before=DISABLE_BOB),
    "admin-roles": Form("role.create", {"name": "writer", "label": "Writer"}),
    "admin-role-edit": Form("role.edit", {"label": "Changed"}, ADD_EDITOR),
    "admin-role-delete": Form("role.delete", before=ADD_EDITOR),
    "admin-delete": Form("account.leave", {"sure": "yes"}),
    "admin-data": Form("data.download"),
    "admin-add": Form(
        "account.create", {"name": "Zoe", "email": "zoe@example.com", "role": "user"}
    ),
    "admin-invitations": Form("invitation.create", {"email": "zoe@example.com", "role": "user"}),
}
API_FORMS = {
    "api-users": FORMS["admin-add"],
    "api-admin-user": Form("account.leave"),
    "api-invitations": FORMS["admin-invitations"],
    "api-admin-role": FORMS["admin-role"],
    "api-admin-team": FORMS["admin-team"],
    "api-admin-disable": FORMS["admin-disable"],
    "api-admin-enable": FORMS["admin-enable"],
    "api-roles": FORMS["admin-roles"],
    "api-role": FORMS["admin-role-edit"],
}
API_DELETIONS = {"api-role": FORMS["admin-role-delete"]}
SUDO_ROWS = [route for route in routes if route.sudo]
SUDO_PAGES = [route for route in SUDO_ROWS if route.sudo_page]
PAGES_WITHOUT_FORM = {"admin-audit-export"}
# Their forms need a provider: tests/test_identities.py shows that nothing is done before.
PROVIDER_FORMS = {"identities", "identities-connect", "identities-remove"}
# Their forms need a provider or a domain: see tests/test_organizations.py.
ORGANIZATION_FORMS = {
    *("admin-organizations", "admin-organization"),
    *("admin-organization-verify", "admin-organization-remove"),
}


@dataclass(frozen=True)
class FactorForm:
    """A filled-in form of a second step.

    `authenticator` is the app of the account that confirms; None if the password does.
    """

    path: str
    fields: dict[str, str] = field(default_factory=dict)
    authenticator: AuthenticatorApp | None = None

    async def confirm(self, user: Browser, hidden: dict[str, str]) -> httpx.Response:
        code = {"code": self.authenticator.code()} if self.authenticator else {}
        return await user.confirm(**code, **hidden)


async def open_authenticator(app: TestApp, alice: Browser) -> tuple[AuthenticatorApp, dict]:
    """Opens the page of a new app, and returns the app and the fields of the form."""
    form = read(await alice.get("/account/authenticator")).one(id="totp-form")
    key = form.one(data_totp_key=True).text.replace(" ", "")
    return AuthenticatorApp(app.clock, key), hidden_fields(form) | {"saved": "on"}


async def add_authenticator(app: TestApp, alice: Browser) -> AuthenticatorApp:
    authenticator, fields = await open_authenticator(app, alice)
    fields["code"] = authenticator.code()
    assert (await alice.post("/account/authenticator", fields)).status_code == 303
    return authenticator


async def fill_in_first_passkey(app: TestApp, alice: Browser) -> FactorForm:
    return FactorForm("/account/passkeys", await creation_fields(alice, SoftAuthenticator()))


async def fill_in_passkey_removal(app: TestApp, alice: Browser) -> FactorForm:
    authenticator = await add_authenticator(app, alice)
    await add_passkey(alice)
    ((passkey,),) = await app.rows("SELECT id FROM passkeys")
    return FactorForm(f"/account/passkeys/{passkey}/remove", authenticator=authenticator)


async def fill_in_authenticator(app: TestApp, alice: Browser) -> FactorForm:
    authenticator, fields = await open_authenticator(app, alice)
    fields["code"] = authenticator.code(steps=4)  # that of the moment of the form, 2 minutes later
    return FactorForm("/account/authenticator", fields)


async def fill_in_authenticator_removal(app: TestApp, alice: Browser) -> FactorForm:
    authenticator = await add_authenticator(app, alice)
    return FactorForm("/account/authenticator/remove", authenticator=authenticator)


async def fill_in_recovery_codes(app: TestApp, alice: Browser) -> FactorForm:
    authenticator = await add_authenticator(app, alice)
    form = read(await alice.get("/account/recovery-codes")).one(id="codes-form")
    fields = hidden_fields(form) | {"saved": "on"}
    return FactorForm("/account/recovery-codes", fields, authenticator)


# These forms contain a challenge or an enrollment, or need a second step to confirm. The event of
# each row shows its effect.
FACTOR_FORMS: dict[str, tuple[str, Callable[[TestApp, Browser], Awaitable[FactorForm]]]] = {
    "account-passkeys": ("factor.add", fill_in_first_passkey),
    "account-passkey-remove": ("factor.remove", fill_in_passkey_removal),
    "account-authenticator": ("factor.add", fill_in_authenticator),
    "account-authenticator-remove": ("factor.remove", fill_in_authenticator_removal),
    "account-recovery-codes": ("recovery.renew", fill_in_recovery_codes),
}


def api_rows() -> Iterator[tuple[AppRoute, str, Form]]:
    """Yields each row of the API and its methods that need a confirmation, with the form."""
    for route in routes:
        if route.name not in API_FORMS:
            continue
        for method in sorted({*route.endpoints} - {"GET"}):
            forms = API_DELETIONS if method == "DELETE" else {}
            yield route, method, forms.get(route.name, API_FORMS[route.name])


def by_name(names: dict[str, Form]) -> list[AppRoute]:
    return [route for route in routes if route.name in names]


@pytest.fixture(params=["database", "stateless"])
async def app(make_app: Callable, request: pytest.FixtureRequest) -> TestApp:
    return await make_app(mail=enabled_outbox(), SESSION_STRATEGY=request.param)


@pytest.fixture
async def bobs_id(app: TestApp, bob: Browser) -> str:
    ((bobs_id,),) = await app.rows("SELECT id FROM users WHERE name = 'Bob'")
    return bobs_id


async def caller_of(app: TestApp, route: AppRoute) -> Browser:
    if route.path.startswith(("/admin", "/api/admin")):
        return await app.admin("Ada")
    return await app.sign_up_user("Alice")


async def path_of_row(app: TestApp, route: AppRoute, form: Form, bobs_id: str) -> str:
    await app.change(*form.before)
    return re.sub(r"{(\w+)}", lambda found: {"id": bobs_id, "role": "editor"}[found[1]], route.path)


async def count(app: TestApp, event: str) -> int:
    entries = f"audit WHERE event = '{event}' AND outcome = 'done' AND actor = 'user'"
    return await app.count(entries)


async def factors_of(app: TestApp) -> list[list[tuple]]:
    """Returns which second steps and recovery codes are stored."""
    columns = ("id FROM passkeys", "secret FROM totp", "code_hash FROM recovery_codes")
    return [await app.rows(f"SELECT {column} ORDER BY 1") for column in columns]


def confirmation_of(answer: httpx.Response, route: AppRoute, headers: dict[str, str]) -> Element:
    """Returns the form that asks for the confirmation, and carries the form that waits."""
    assert answer.status_code == 403, answer.text
    assert f"To {route.sudo}, confirm that it's you." in read(answer).text
    assert ("<hx-partial" in answer.text) == bool(headers)
    confirmation = read(answer).one(id="confirm-form")
    assert "draft" in hidden_fields(confirmation)
    assert "hx-post" not in str(confirmation.attrs)
    return confirmation


@pytest.mark.asvs("S30")
def test_the_table_has_every_row_that_needs_a_confirmation() -> None:
    names = {route.name for route in SUDO_ROWS}
    elsewhere = PROVIDER_FORMS | ORGANIZATION_FORMS
    assert names == {*FORMS, *API_FORMS, *FACTOR_FORMS, *PAGES_WITHOUT_FORM, *elsewhere}


@pytest.mark.asvs("S30", "S104")
@pytest.mark.parametrize("headers", [{}, HTMX], ids=["page", "htmx"])
@pytest.mark.parametrize("route", by_name(FORMS), ids=lambda route: route.name)
async def test_a_form_is_sent_once_after_the_confirmation(
    app: TestApp, route: AppRoute, bobs_id: str, headers: dict[str, str]
) -> None:
    form = FORMS[route.name]
    user = await caller_of(app, route)
    path = await path_of_row(app, route, form, bobs_id)
    app.clock.move(minutes=11)
    answer = await user.post(path, form.fields, **headers)
    hidden = hidden_fields(confirmation_of(answer, route, headers))
    assert await count(app, form.event) == 0
    answer = await user.confirm(**hidden)
    assert answer.status_code < 400, answer.text
    assert await count(app, form.event) == 1
    await user.confirm(**hidden)
    assert await count(app, form.event) == 1


@pytest.mark.asvs("S30", "S104")
@pytest.mark.parametrize("headers", [{}, HTMX], ids=["page", "htmx"])
@pytest.mark.parametrize("route", by_name(FACTOR_FORMS), ids=lambda route: route.name)
async def test_a_form_of_a_second_step_is_sent_once_after_the_confirmation(
    app: TestApp, route: AppRoute, headers: dict[str, str]
) -> None:
    alice = await app.sign_up_user("Alice")
    event, fill_in = FACTOR_FORMS[route.name]
    app.clock.move(minutes=9)
    form = await fill_in(app, alice)
    before, factors = await count(app, event), await factors_of(app)
    app.clock.move(minutes=2)
    answer = await alice.post(form.path, form.fields, **headers)
    hidden = hidden_fields(confirmation_of(answer, route, headers))
    assert (await count(app, event), await factors_of(app)) == (before, factors)
    answer = await form.confirm(alice, hidden)
    assert (answer.status_code, path_of(answer.headers["location"]).split("/")[1]) == (
        303,
        "account",
    )
    assert await count(app, event) == before + 1
    changed = await factors_of(app)
    assert changed != factors
    app.clock.move(seconds=30)
    await form.confirm(alice, hidden)
    assert (await count(app, event), await factors_of(app)) == (before + 1, changed)


@pytest.mark.asvs("S30")
@pytest.mark.parametrize("route", by_name(FORMS), ids=lambda route: route.name)
async def test_a_confirmed_form_is_sent_at_once(
    app: TestApp, route: AppRoute, bobs_id: str
) -> None:
    form = FORMS[route.name]
    user = await caller_of(app, route)
    path = await path_of_row(app, route, form, bobs_id)
    app.clock.move(minutes=9)
    assert (await user.post(path, form.fields)).status_code < 400
    assert await count(app, form.event) == 1


@pytest.mark.asvs("S30", "S104")
@pytest.mark.parametrize(
    ("route", "method", "form"),
    [pytest.param(*row, id=f"{row[0].name}-{row[1]}") for row in api_rows()],
)
async def test_the_api_changes_nothing_before_a_confirmation(
    app: TestApp, route: AppRoute, method: str, form: Form, bobs_id: str
) -> None:
    ada = await caller_of(app, route)
    path = await path_of_row(app, route, form, bobs_id)
    app.clock.move(minutes=11)
    answer = await ada.request(method, path, form.fields)
    assert (answer.status_code, answer.headers["content-type"]) == (
        403,
        "application/problem+json",
    )
    assert await count(app, form.event) == 0
    assert (await ada.confirm()).status_code == 303
    assert (await ada.request(method, path, form.fields)).status_code == 200
    assert await count(app, form.event) == 1


@pytest.mark.asvs("S30")
@pytest.mark.parametrize("route", SUDO_PAGES, ids=lambda route: route.name)
async def test_a_page_is_shown_after_the_confirmation(app: TestApp, route: AppRoute) -> None:
    user = await caller_of(app, route)
    form = FactorForm(route.path)
    if route.name == "account-recovery-codes":  # Without a second step there are no codes.
        form = FactorForm(route.path, authenticator=await add_authenticator(app, user))
    app.clock.move(minutes=11)
    answer = await user.get(route.path)
    wanted = route.path.removesuffix("/export")
    assert (answer.status_code, answer.headers["location"]) == (303, f"/confirm?next={wanted}")
    htmx = await user.get_fragment(route.path)
    assert (htmx.status_code, path_of(htmx.headers["hx-redirect"])) == (403, "/confirm")
    answer = await form.confirm(user, {"next": wanted})
    assert (answer.status_code, answer.headers["location"]) == (303, wanted)
    assert (await user.get(route.path)).status_code == 200


@pytest.mark.asvs("S66")
@pytest.mark.parametrize(
    "path",
    ["/devices/revoke-others", "/devices/revoke-all", "/account/keep", "/logout"],
)
async def test_ending_sessions_needs_no_confirmation(make_app: Callable, path: str) -> None:
    app = await make_app()
    alice = await app.sign_up_user("Alice")
    app.clock.move(minutes=11)
    assert (await alice.post(path)).status_code == 303


@pytest.mark.asvs("S66")
@pytest.mark.parametrize("action", ["end-sessions", "keep"])
async def test_an_administrator_ends_sessions_without_a_confirmation(
    app: TestApp, bobs_id: str, action: str
) -> None:
    ada = await app.admin("Ada")
    app.clock.move(minutes=11)
    assert (await ada.post(f"/admin/users/{bobs_id}/{action}")).status_code == 303


@pytest.mark.asvs("S104")
@pytest.mark.parametrize("route", by_name(FORMS), ids=lambda route: route.name)
async def test_other_refusals_come_before_the_confirmation(
    app: TestApp, route: AppRoute, bobs_id: str, anonymous: Browser
) -> None:
    form = FORMS[route.name]
    path = await path_of_row(app, route, form, bobs_id)
    user = await caller_of(app, route)
    app.clock.move(minutes=11)
    assert (await anonymous.post(path, form.fields)).headers["location"].startswith("/login")
    other_viewer = await user.post(path, form.fields | {"viewer": "x" * 22})
    assert other_viewer.status_code == 409
    if path.startswith("/admin"):
        eve = await app.sign_up_user("Eve")
        app.clock.move(minutes=11)
        answer = await eve.post(path, form.fields)
        assert (answer.status_code, "confirm-form" in answer.text) == (403, False)
    assert await count(app, form.event) == 0
