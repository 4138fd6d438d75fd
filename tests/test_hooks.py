"""Tests of the hooks of a product: inside the transaction of a change, and after its commit."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from itertools import pairwise
from pathlib import Path

import httpx
import pytest

from db.access import operator, operator_mail
from db.audit.events import EventTexts
from db.audit.hooks import run_hooks
from db.crypto.secret import Secret
from db.errors import Refused, Unavailable
from db.hooks import HookEvent, after, collect_hooks, decode_event, hook_name, on
from db.mail.outbox import EVENT_TYPES, delete_unsent_of_locked_account
from db.mail.tokens import Token
from db.maintenance.pruning import prune
from db.product import ProductData
from db.viewer import Mailer, Operator
from tests.browser_client import HTMX, PASSWORD
from tests.conftest import SECRET, TestApp
from tests.mail import deliver, enabled_outbox, link_field, open_link, receive
from web.app import open_store
from web.delivery.delivery import Delivery
from web.delivery.hooks import HookChannel
from web.product import Product
from web.settings.environment import InvalidSetting
from web.settings.settings import read_settings

NEW = "another-No.7 by the sea"
SENTENCE = "We don't sell to <your> region."
SHOWN = "We don&#39;t sell to &lt;your&gt; region."
Make = Callable[..., Awaitable[TestApp]]


def product_with(*hooks: Callable) -> Product:
    return Product(ProductData(hooks=collect_hooks({hook.__name__: hook for hook in hooks})))


def refusing(*events: str) -> Product:
    """Returns a product that refuses these events."""

    async def refuse(store, event: HookEvent) -> None:
        raise Refused(SENTENCE)

    for event in events:
        refuse = on(event)(refuse)
    return product_with(refuse)


def recording(seen: list[HookEvent], *events: str) -> Product:
    """Returns a product that appends these events to the list."""

    async def see(store, event: HookEvent) -> None:
        seen.append(event)

    for event in events:
        see = on(event)(see)
    return product_with(see)


async def stored(app: TestApp) -> dict[str, int]:
    """Returns the number of rows in each table that a change may add to."""
    tables = ("users", "sessions", "audit", "outbox", "tokens")
    return {table: await app.count(table) for table in tables}


async def test_a_hook_sees_the_change_and_its_event(make_app: Make) -> None:
    seen: list = []

    @on("signup")
    async def read_user(store, event: HookEvent) -> None:
        [row] = await store.database.fetch_all("SELECT id, name FROM users")
        entries = await store.database.fetch_all("SELECT event FROM audit")
        seen.append((row[0], row[1], len(entries), event))

    app = await make_app(product=product_with(read_user))
    alice = await app.sign_up_user("Alice")
    [(user_id, name, entries, event)] = seen
    assert (name, entries) == ("Alice", 0)
    assert (event.name, event.actor_type, event.at) == ("signup", "user", app.clock())
    assert event.actor_id == event.target_id == user_id
    assert (event.ip_address, event.browser) == ("192.0.2.14", (await browser_of(app)))
    assert [(event.session_id,)] == await app.rows("SELECT id FROM sessions")
    assert len(event.id) == 43
    assert (await alice.get("/dashboard")).status_code == 200


async def browser_of(app: TestApp) -> str:
    return (await app.rows("SELECT browser FROM audit WHERE event = 'signup'"))[0][0]


async def test_what_a_hook_writes_is_stored_with_the_change(make_app: Make) -> None:
    @on("signup")
    async def set_team(store, event: HookEvent) -> None:
        query = "UPDATE users SET team = 'new' WHERE id = :id"
        await store.database.execute(query, {"id": event.target_id})

    app = await make_app(product=product_with(set_team))
    await app.sign_up_user("Alice")
    assert await app.rows("SELECT team FROM users") == [("new",)]


@pytest.mark.parametrize("headers", [{}, HTMX])
async def test_a_refused_sign_up_stores_nothing(make_app: Make, headers: dict[str, str]) -> None:
    app = await make_app(product=refusing("signup"), mail=enabled_outbox())
    alice = await app.browser("Alice")
    answer = await alice.sign_up(**headers)
    assert answer.status_code == 422
    assert SHOWN in answer.text
    assert 'value="Alice"' in answer.text
    assert alice.email in answer.text
    assert PASSWORD not in answer.text
    assert alice.cookie is None
    assert set((await stored(app)).values()) == {0}


async def test_the_next_sign_up_after_a_refused_one_works(make_app: Make) -> None:
    refusals = [Refused(SENTENCE)]

    @on("signup")
    async def refuse_once(store, event: HookEvent) -> None:
        if refusals:
            raise refusals.pop()

    app = await make_app(product=product_with(refuse_once))
    alice = await app.browser("Alice")
    assert (await alice.sign_up()).status_code == 422
    assert (await alice.sign_up()).status_code == 303
    assert await app.count("users") == 1


async def test_a_hook_that_fails_rolls_the_sign_up_back(make_app: Make) -> None:
    @on("signup")
    async def fail(store, event: HookEvent) -> None:
        raise ValueError("canary")

    app = await make_app(product=product_with(fail), mail=enabled_outbox())
    alice = await app.browser("Alice")
    answer = await alice.sign_up()
    assert answer.status_code == 500
    assert "canary" not in answer.text
    assert alice.cookie is None
    assert set((await stored(app)).values()) == {0}


async def test_a_refused_log_in_starts_no_session(make_app: Make) -> None:
    app = await make_app(product=refusing("login"), mail=enabled_outbox())
    alice = await app.sign_up_user("Alice")
    await alice.post("/logout")
    before = await stored(app)
    login_times = await app.rows("SELECT last_login_at, previous_login_at FROM users")
    answer = await (await app.browser("Alice")).log_in()
    assert answer.status_code == 422
    assert SHOWN in answer.text
    assert alice.email in answer.text
    assert "set-cookie" not in answer.headers
    assert await stored(app) == before
    assert await app.rows("SELECT last_login_at, previous_login_at FROM users") == login_times


async def test_a_refused_log_in_is_not_a_wrong_password(make_app: Make) -> None:
    refused = []

    @on("login")
    async def refuse(store, event: HookEvent) -> None:
        refused.append(event)
        if len(refused) <= 8:
            raise Refused(SENTENCE)

    app = await make_app(product=product_with(refuse), RATE_LIMITS="enforce")
    alice = await app.sign_up_user("Alice")
    await alice.post("/logout")
    stranger = await app.browser("Alice")
    for _ in range(8):
        assert (await stranger.log_in()).status_code == 422
    assert await app.rows("SELECT outcome FROM audit WHERE event = 'login'") == []
    assert (await stranger.log_in()).status_code == 303


async def test_a_wrong_password_calls_no_hook(make_app: Make) -> None:
    seen: list[HookEvent] = []
    app = await make_app(product=recording(seen, "login"))
    await app.sign_up_user("Alice")
    assert (await (await app.browser("Alice")).log_in("wrong-No.7")).status_code == 422
    assert seen == []
    assert (await (await app.browser("Alice")).log_in()).status_code == 303
    assert [event.name for event in seen] == ["login"]


async def test_a_refused_profile_keeps_the_typed_values(make_app: Make) -> None:
    app = await make_app(product=refusing("profile.change"))
    alice = await app.sign_up_user("Alice")
    before = await stored(app)
    answer = await alice.post("/account", {"name": "Alicia"})
    assert answer.status_code == 422
    assert SHOWN in answer.text
    assert 'value="Alicia"' in answer.text
    assert await app.rows("SELECT name FROM users") == [("Alice",)]
    assert await stored(app) == before


async def test_a_refused_password_change_changes_nothing(make_app: Make) -> None:
    app = await make_app(product=refusing("password.change"), mail=enabled_outbox())
    alice = await app.sign_up_user("Alice")
    phone = await app.browser("Alice")
    await phone.log_in()
    before = await stored(app)
    fields = {"current_password": PASSWORD, "password": NEW}
    answer = await alice.post("/account/password", fields)
    assert answer.status_code == 422
    assert SHOWN in answer.text
    assert await stored(app) == before
    assert (await alice.get("/dashboard")).status_code == 200
    assert (await phone.get("/dashboard")).status_code == 200
    assert (await (await app.browser("Alice")).log_in(NEW)).status_code == 422
    assert (await (await app.browser("Alice")).log_in()).status_code == 303


@pytest.mark.parametrize(
    ("event", "path", "fields"),
    [
        ("account.leave", "/account/delete", {}),
        ("data.download", "/account/data", {}),
        (
            "token.create",
            "/account/tokens",
            {"name": "Backup", "days": "7", "scope-users:read": "on"},
        ),
    ],
)
async def test_a_refused_sensitive_change_shows_its_form(
    make_app: Make, event: str, path: str, fields: dict[str, str]
) -> None:
    app = await make_app(product=refusing(event), mail=enabled_outbox())
    alice = await app.sign_up_user("Alice")
    before = await stored(app)
    answer = await alice.post(path, fields)
    assert (answer.status_code, SHOWN in answer.text) == (422, True)
    assert await stored(app) == before
    assert await app.rows("SELECT delete_at FROM users") == [(None,)]
    assert (await alice.get("/dashboard")).status_code == 200


async def test_a_refused_sign_up_by_invitation_keeps_the_name_and_the_link(make_app: Make) -> None:
    app = await make_app(product=refusing("signup"), mail=enabled_outbox())
    ada, grace = await app.admin(), await app.browser("Grace")
    await ada.post("/admin/invitations", {"email": grace.email, "role": "user"})
    mail = await receive(app, "invite")
    await open_link(grace, mail)
    before = await stored(app)
    for _ in range(2):
        form = {"name": "Grace", "password": PASSWORD, **link_field(mail)}
        answer = await grace.post("/join", form)
        assert (answer.status_code, SHOWN in answer.text) == (422, True)
        assert 'value="Grace"' in answer.text
    assert await stored(app) == before
    assert await app.count("invitations") == 1


async def test_a_refused_request_for_a_new_email_sends_no_mail(make_app: Make) -> None:
    app = await make_app(product=refusing("email.ask"), mail=enabled_outbox())
    alice = await app.sign_up_user("Alice")
    before = await stored(app)
    fields = {"email": "new@example.com"}
    answer = await alice.post("/account/email", fields)
    assert answer.status_code == 422
    assert SHOWN in answer.text
    assert "new@example.com" in answer.text
    assert await stored(app) == before


async def test_a_refused_reset_keeps_the_password_and_the_link(make_app: Make) -> None:
    app = await make_app(product=refusing("password.reset"), mail=enabled_outbox())
    alice = await app.sign_up_user("Alice")
    await alice.post("/forgot", {"email": alice.email})
    charlie = await app.browser("Charlie")
    message = await receive(app, "reset")
    await open_link(charlie, message)
    before = await stored(app)
    for _ in range(2):
        answer = await charlie.post("/reset", {"password": NEW, **link_field(message)})
        assert answer.status_code == 422
        assert SHOWN in answer.text
    assert await stored(app) == before
    assert (await alice.get("/dashboard")).status_code == 200
    assert (await (await app.browser("Alice")).log_in()).status_code == 303


async def test_a_refused_change_by_an_administrator_shows_the_sentence(make_app: Make) -> None:
    app = await make_app(product=refusing("role.change"))
    ada = await app.admin()
    await app.sign_up_user("Bob")
    [(bob_id,)] = await app.rows("SELECT id FROM users WHERE name = 'Bob'")
    before = await stored(app)
    answer = await ada.post(f"/admin/users/{bob_id}/role", {"role": "admin"})
    assert answer.status_code == 422
    assert SHOWN in answer.text
    assert await app.rows("SELECT role FROM users WHERE name = 'Bob'") == [("user",)]
    assert await stored(app) == before


async def test_a_refused_log_out_keeps_the_session(make_app: Make) -> None:
    app = await make_app(product=refusing("logout"))
    alice = await app.sign_up_user("Alice")
    answer = await alice.post("/logout")
    assert answer.status_code == 422
    assert SHOWN in answer.text
    assert (await alice.get("/dashboard")).status_code == 200


async def test_a_refused_command_changes_nothing(make_app: Make) -> None:
    app = await make_app(product=refusing("account.create", "password.set"))
    caller = Operator(app.store)
    password = Secret(PASSWORD)
    with pytest.raises(Refused):
        await operator.create_user(
            caller, name="Eve", email="eve@example.com", password=password, role="user"
        )
    assert set((await stored(app)).values()) == {0}
    await app.sign_up_user("Alice")
    hashes, before = await app.rows("SELECT password_hash FROM users"), await stored(app)
    with pytest.raises(Refused):
        await operator.set_user_password(caller, "alice@example.com", Secret(NEW))
    assert await app.rows("SELECT password_hash FROM users") == hashes
    assert await stored(app) == before


async def test_a_refused_request_for_a_reset_is_dropped_without_a_mail(make_app: Make) -> None:
    app = await make_app(product=refusing("password.ask"), mail=enabled_outbox())
    alice = await app.sign_up_user("Alice")
    await deliver(app)
    assert (await alice.post("/forgot", {"email": alice.email})).status_code == 303
    assert [message.message_type for message in await deliver(app)] == []
    assert await app.rows("SELECT kind FROM outbox WHERE kind != 'verify'") == []
    assert await app.rows("SELECT event FROM audit WHERE event = 'password.ask'") == []


async def test_a_failing_hook_delays_only_its_own_request(make_app: Make) -> None:
    @on("password.ask")
    async def fail_for_alice(store, event: HookEvent) -> None:
        query = "SELECT name FROM users WHERE id = :id"
        row = await store.database.fetch_one(query, {"id": event.target_id})
        if row[0] == "Alice":
            raise ValueError

    app = await make_app(product=product_with(fail_for_alice), mail=enabled_outbox())
    alice, bob = await app.sign_up_user("Alice"), await app.sign_up_user("Bob")
    await deliver(app)
    await alice.post("/forgot", {"email": alice.email})
    app.clock.move(seconds=1)
    await bob.post("/forgot", {"email": bob.email})
    with pytest.raises(ValueError):
        await deliver(app)
    assert [message.recipient for message in await deliver(app)] == [bob.email]
    app.clock.move(minutes=2)
    with pytest.raises(ValueError):
        await deliver(app)


async def test_a_refused_deletion_keeps_the_account_and_the_pruning(make_app: Make) -> None:
    app = await make_app(
        product=refusing("account.expire"),
        mail=enabled_outbox(requires_verification=True),
        EMAIL_VERIFICATION="required",
    )
    assert (await (await app.browser("Alice")).sign_up()).status_code == 303
    await deliver(app)
    app.clock.move(days=7, seconds=1)
    await prune(app.store)
    assert await app.count("users") == 1
    assert await app.rows("SELECT event FROM audit WHERE event = 'account.expire'") == []


@pytest.mark.parametrize("headers", [{}, HTMX])
async def test_private_sign_up_does_not_show_a_refusal(
    make_app: Make, headers: dict[str, str]
) -> None:
    app = await make_app(
        product=refusing("signup"),
        mail=enabled_outbox(requires_verification=True),
        SIGNUP_PRIVACY="private",
    )
    await app.create("Alice")
    answers, work = [], []
    for name in ("Grace", "Alice"):
        browser, statements = await app.browser(name), app.statements
        answer: httpx.Response = await browser.sign_up(**headers)
        work.append(app.statements - statements)
        answers.append((answer.status_code, answer.content, sorted(answer.headers.items())))
    assert answers[0] == answers[1]
    assert abs(work[0] - work[1]) <= 2
    assert await app.rows("SELECT name FROM users") == [("Alice",)]
    assert await app.rows("SELECT kind FROM outbox") == [("taken",)]
    assert await app.count("tokens") == 0


async def test_private_sign_up_needs_the_same_work_with_hooks(make_app: Make) -> None:
    @on("signup")
    async def query(store, event: HookEvent) -> None:
        for _ in range(8):
            await store.database.fetch_all("SELECT name FROM users")

    @after("signup")
    async def later(store, event: HookEvent) -> None: ...

    app = await make_app(
        product=product_with(query, later),
        mail=enabled_outbox(requires_verification=True),
        SIGNUP_PRIVACY="private",
    )
    await app.create("Alice")
    work = []
    for name in ("Grace", "Alice"):
        browser, statements = await app.browser(name), app.statements
        assert (await browser.sign_up()).status_code == 303
        work.append(app.statements - statements)
    assert abs(work[0] - work[1]) <= 2
    assert sorted(await app.rows("SELECT kind FROM outbox")) == [("hook",), ("taken",), ("verify",)]


async def test_hooks_that_take_too_long_do_not_show_a_taken_email(make_app: Make) -> None:
    @on("signup")
    async def give_up(store, event: HookEvent) -> None:
        raise Unavailable

    app = await make_app(
        product=product_with(give_up),
        mail=enabled_outbox(requires_verification=True),
        SIGNUP_PRIVACY="private",
    )
    await app.create("Alice")
    before = await stored(app)
    answers = [await (await app.browser(name)).sign_up() for name in ("Alice", "Grace")]
    assert [answer.status_code for answer in answers] == [503, 503]
    assert await stored(app) == before


async def test_a_hook_that_fails_does_not_show_a_taken_email(make_app: Make) -> None:
    @on("signup")
    async def add_row(store, event: HookEvent) -> None:
        query = "INSERT INTO tokens SELECT id, '', id, '', '', created_at, created_at FROM users"
        await store.database.execute(f"{query} WHERE id = :id", {"id": event.target_id})
        if await store.database.fetch_one("SELECT hash FROM tokens WHERE purpose = ''") is None:
            await store.database.execute("SELECT no_column FROM users")

    app = await make_app(
        product=product_with(add_row),
        mail=enabled_outbox(requires_verification=True),
        SIGNUP_PRIVACY="private",
    )
    await app.create("Alice")
    answers = [await (await app.browser(name)).sign_up() for name in ("Alice", "Grace")]
    assert [answer.status_code for answer in answers] == [303, 303]
    assert await app.rows("SELECT count(*) AS n FROM tokens WHERE purpose = ''") == [(1,)]
    assert await app.rows("SELECT kind FROM outbox ORDER BY kind") == [("taken",), ("verify",)]
    refused = "SELECT outcome FROM audit WHERE event = 'signup' ORDER BY number"
    assert await app.rows(refused) == [("refused",), ("done",)]


async def test_hooks_run_beyond_the_budget_of_entries(make_app: Make) -> None:
    seen: list[HookEvent] = []
    app = await make_app(product=recording(seen, "login"), RATE_LIMITS="observe")
    await app.sign_up_user("Alice")
    for _ in range(13):
        assert (await (await app.browser("Alice")).log_in()).status_code == 303
    assert len(await app.rows("SELECT event FROM audit WHERE event = 'login'")) == 10
    assert len(seen) == 13


async def test_the_hooks_of_an_event_run_in_their_order(make_app: Make) -> None:
    seen: list[str] = []

    @on("signup")
    async def first(store, event: HookEvent) -> None:
        seen.append("first")

    @on("logout")
    @on("signup")
    async def second(store, event: HookEvent) -> None:
        seen.append(f"second {event.name}")

    app = await make_app(product=product_with(first, second))
    alice = await app.sign_up_user("Alice")
    await alice.post("/logout")
    assert seen == ["first", "second signup", "second logout"]


async def test_hooks_have_a_time_limit(make_app: Make, caplog: pytest.LogCaptureFixture) -> None:
    @on("signup")
    async def hang(store, event: HookEvent) -> None:
        await asyncio.sleep(60)

    app = await make_app(product=product_with(hang))
    event = event_named("signup", app)
    with pytest.raises(Unavailable):
        await run_hooks(app.store, event, seconds=0.01)
    assert caplog.messages == ["the hooks of the event signup did not end in time"]


async def test_a_hook_that_is_unavailable_rolls_the_sign_up_back(make_app: Make) -> None:
    @on("signup")
    async def give_up(store, event: HookEvent) -> None:
        raise Unavailable

    app = await make_app(product=product_with(give_up))
    answer = await (await app.browser("Alice")).sign_up()
    assert answer.status_code == 503
    assert 'value="Alice"' in answer.text
    assert set((await stored(app)).values()) == {0}


def event_named(name: str, app: TestApp) -> HookEvent:
    return HookEvent(
        "e", name, app.clock(), "user", "u", "u", "s", "192.0.2.1", "Firefox", {"n": 1}
    )


async def test_an_event_is_the_same_after_encoding(make_app: Make) -> None:
    event = event_named("signup", await make_app())
    assert decode_event(json.loads(event.encode())) == event


async def test_a_product_without_hooks_costs_no_statement(make_app: Make) -> None:
    plain, other = await make_app(), await make_app(product=recording([], "role.change"))
    needed = []
    for app, name in ((plain, "Alice"), (other, "Bob")):
        before = app.statements
        await app.sign_up_user(name)
        needed.append(app.statements - before)
    assert needed[0] == needed[1]


class Calling:
    """Calls the `after` hooks of an application, step by step."""

    def __init__(self, app: TestApp, seconds: float = 60.0) -> None:
        self.app = app
        self.outcomes: list[tuple[str, str]] = []
        mailer = Mailer(app.store)
        self.delivery = Delivery(
            mailer,
            HookChannel(mailer, seconds),
            app.store.outbox.wait,
            lambda message_type, outcome, seconds: self.outcomes.append((message_type, outcome)),
        )

    async def call_all(self) -> None:
        while await self.delivery.send_next():
            pass

    async def rows(self) -> list[tuple]:
        """Returns whether each message is due, whether it was sent, its attempts and its error."""
        return await self.app.rows(
            "SELECT due_at IS NOT NULL AS due, sent_at IS NOT NULL AS sent, attempts, error"
            " FROM outbox WHERE kind = 'hook' ORDER BY created_at, id"
        )


async def test_an_after_hook_is_called_once_after_the_commit(make_app: Make) -> None:
    seen: list = []

    @after("signup")
    async def see(store, event: HookEvent) -> None:
        rows = await store.database.fetch_all("SELECT name FROM users")
        seen.append((event, [row[0] for row in rows]))

    app = await make_app(product=product_with(see))  # Mail is off.
    await app.sign_up_user("Alice")
    assert seen == []
    assert await app.rows("SELECT kind, user_id, recipient FROM outbox") == [
        ("hook", "", hook_name(see))
    ]
    calling = Calling(app)
    await calling.call_all()
    await calling.call_all()
    [(event, names)] = seen
    assert names == ["Alice"]
    assert (event.name, event.at, event.ip_address) == ("signup", app.clock(), "192.0.2.14")
    assert [(event.target_id,)] == await app.rows("SELECT id FROM users")
    assert await calling.rows() == [(0, 1, 1, "")]
    assert await app.rows("SELECT recipient, facts FROM outbox") == [(hook_name(see), "")]
    assert calling.outcomes == [("hook", "sent")]


async def test_a_change_that_is_rolled_back_calls_no_after_hook(make_app: Make) -> None:
    @after("signup")
    async def see(store, event: HookEvent) -> None: ...

    @on("signup")
    async def refuse(store, event: HookEvent) -> None:
        raise Refused(SENTENCE)

    app = await make_app(product=product_with(see, refuse))
    assert (await (await app.browser("Alice")).sign_up()).status_code == 422
    assert await app.count("outbox") == 0


async def test_each_after_hook_of_an_event_has_its_own_message(make_app: Make) -> None:
    seen: list[tuple[str, str]] = []

    @after("signup")
    async def works(store, event: HookEvent) -> None:
        seen.append(("works", event.id))

    @after("signup")
    async def fails(store, event: HookEvent) -> None:
        seen.append(("fails", event.id))
        raise ValueError("canary")

    app = await make_app(product=product_with(works, fails))
    await app.sign_up_user("Alice")
    calling = Calling(app)
    await calling.call_all()
    assert sorted(name for name, _ in seen) == ["fails", "works"]
    assert len({event_id for _, event_id in seen}) == 1
    assert sorted(await calling.rows()) == [(0, 1, 1, ""), (1, 0, 1, "ValueError")]


async def test_a_failing_after_hook_is_called_again_and_then_given_up(
    make_app: Make, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[tuple[str, float]] = []

    @after("signup")
    async def fail(store, event: HookEvent) -> None:
        seen.append((event.id, app.clock().timestamp()))
        raise RuntimeError("the newsletter does not answer")

    app = await make_app(product=product_with(fail))
    await app.sign_up_user("Alice")
    calling = Calling(app)
    for _ in range(3 * 60 * 2):
        await calling.call_all()
        app.clock.move(minutes=15 if len(seen) > 4 else 1)
    assert len(seen) == 13
    assert len({event_id for event_id, _ in seen}) == 1
    waits = [after - before for (_, before), (_, after) in pairwise(seen)]
    assert [round(wait / 60) for wait in waits[:3]] == pytest.approx([1, 2, 5], abs=1)
    assert await calling.rows() == [(0, 0, 13, "RuntimeError: the newsletter does not answer")]
    assert f"the hook {hook_name(fail)} failed, and will be called again" in caplog.messages
    [dead] = await operator_mail.list_messages(Operator(app.store), EVENT_TYPES, dead=True)
    assert (dead.recipient, dead.attempts) == (hook_name(fail), 13)
    assert await operator_mail.list_messages(Operator(app.store), dead=True) == []


async def test_a_hook_is_called_again_if_the_process_ends_in_between(make_app: Make) -> None:
    seen: list[str] = []
    ends = [asyncio.Event()]

    @after("signup")
    async def see(store, event: HookEvent) -> None:
        seen.append(event.id)
        if ends:
            await ends.pop().wait()

    app = await make_app(product=product_with(see))
    await app.sign_up_user("Alice")
    task = asyncio.create_task(Calling(app).delivery.send_next())
    while not seen:  # noqa: ASYNC110  (the hook must be running)
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    other = Calling(app)
    await other.call_all()
    assert len(seen) == 1
    app.clock.move(minutes=5, seconds=1)
    await other.call_all()
    assert len(seen) == 2
    assert seen[0] == seen[1]
    assert await other.rows() == [(0, 1, 2, "")]


async def test_an_after_hook_has_a_time_limit(make_app: Make) -> None:
    @after("signup")
    async def hang(store, event: HookEvent) -> None:
        await asyncio.sleep(60)

    app = await make_app(product=product_with(hang))
    await app.sign_up_user("Alice")
    calling = Calling(app, seconds=0.01)
    await calling.call_all()
    assert await calling.rows() == [(1, 0, 1, "did not end within 0.01 seconds")]


async def test_a_hook_that_the_product_no_longer_has_waits(make_app: Make, tmp_path: Path) -> None:
    @after("signup")
    async def old(store, event: HookEvent) -> None: ...

    @after("signup")
    async def new(store, event: HookEvent) -> None: ...

    app = await make_app(product=product_with(old))
    await app.sign_up_user("Alice")
    other = Calling(await make_app(app.path, product=product_with(new)))
    await other.call_all()
    assert await other.rows() == [(1, 0, 1, "there is no hook of this name")]
    app.clock.move(minutes=2)
    calling = Calling(app)
    await calling.call_all()
    assert await calling.rows() == [(0, 1, 2, "")]


async def test_several_processes_call_no_hook_twice(make_app: Make) -> None:
    seen: list[str] = []

    @after("login")
    async def see(store, event: HookEvent) -> None:
        seen.append(event.id)
        await asyncio.sleep(0)

    app = await make_app(product=product_with(see))
    await app.sign_up_user("Alice")
    for _ in range(10):
        await (await app.browser("Alice")).log_in()
    others = [app, await make_app(app.path, product=product_with(see))]
    await asyncio.gather(*(Calling(other).call_all() for other in others))
    assert len(seen) == len(set(seen)) == 10


async def test_mails_and_hooks_do_not_claim_each_others_messages(make_app: Make) -> None:
    @after("signup")
    async def see(store, event: HookEvent) -> None: ...

    app = await make_app(product=product_with(see), mail=enabled_outbox())
    await app.sign_up_user("Alice")
    assert [message.message_type for message in await deliver(app)] == ["verify"]
    calling = Calling(app)
    assert await calling.rows() == [(1, 0, 0, "")]
    await app.sign_up_user("Bob")
    await calling.call_all()
    assert await calling.rows() == [(0, 1, 1, "")] * 2
    assert await app.rows("SELECT count(*) AS n FROM outbox WHERE attempts = 0") == [(1,)]


async def test_a_hook_outlives_the_messages_of_a_locked_account(make_app: Make) -> None:
    @after("signup")
    async def see(store, event: HookEvent) -> None: ...

    app = await make_app(product=product_with(see))
    await app.sign_up_user("Alice")
    [(user_id,)] = await app.rows("SELECT id FROM users")
    locked_by = Token(user_id, "alice@example.com", "password", app.clock())
    await delete_unsent_of_locked_account(app.store, locked_by)
    assert await Calling(app).rows() == [(1, 0, 0, "")]


async def test_old_messages_of_hooks_are_pruned(make_app: Make) -> None:
    @after("signup")
    async def see(store, event: HookEvent) -> None: ...

    app = await make_app(product=product_with(see))
    await app.sign_up_user("Alice")
    calling = Calling(app)
    await calling.call_all()
    await app.sign_up_user("Bob")
    app.clock.move(days=8)
    await prune(app.store)
    assert await calling.rows() == [(1, 0, 0, "")]  # Nothing has called it yet.
    app.clock.move(days=35)
    await prune(app.store)
    assert await calling.rows() == [(1, 0, 0, "")]
    app.clock.move(days=2)
    await prune(app.store)
    assert await calling.rows() == []


def test_a_hook_of_an_unknown_event_stops_the_start(tmp_path: Path) -> None:
    @on("sigup")
    async def misspelled(store, event: HookEvent) -> None: ...

    settings = read_settings({"SESSION_SECRET": SECRET}, data=tmp_path)
    with pytest.raises(InvalidSetting) as problem:
        open_store(settings, product=product_with(misspelled).data)
    assert str(problem.value) == "product/hooks.py: there is no event 'sigup'"
    known = ProductData(
        events={"sigup": EventTexts("x")}, hooks=product_with(misspelled).data.hooks
    )
    open_store(settings, product=known)
