"""Tests of the hash chain of the audit log: it detects every change, and pruning keeps it valid."""

import asyncio
import io
import re
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from datetime import timedelta

import pytest

from db.audit.chain import prune_entries, verify_chain
from db.audit.log import ChainPosition
from db.crypto.passwords import Passwords
from db.maintenance.pruning import ENTRY_RETENTION, prune
from db.maintenance.startup import log_head_problem
from tests.browser_client import Browser
from tests.conftest import SECRET, TestApp
from tests.databases import DATABASE_TYPE, DATABASE_TYPES
from tests.environment import ENVIRON
from web.cli.main import main

OLD, NEW = SECRET, "another secret of the tests: w8Zk1yBn5Qe3Gt6U"
BOTH = pytest.mark.parametrize("database_type", DATABASE_TYPES)
COLUMNS = {
    "at": "'2026-11-24T09:12:00.000001+00:00'",
    "event": "'logout'",
    "outcome": "'refused'",
    "actor": "'operator'",
    "actor_id": "NULL",
    "target_id": "'another-user'",
    "session_id": "'another'",
    "address": "'203.0.113.9'",
    "browser": "''",
    "detail": "'{}'",
    "kid": "'AAAAAAAAAAAA'",
    "seal": "'" + "0" * 64 + "'",
}
ENTRY_COLUMNS = "number, at, event, outcome, actor, actor_id, target_id, session_id, address, browser, detail, kid, seal"


@pytest.fixture
def passwords(fast_passwords: Passwords) -> Passwords:
    return fast_passwords


async def verify(app: TestApp, *options: str, secret: str = SECRET) -> tuple[int, str]:
    """Runs `latchkey audit verify` and returns its exit code and its output."""
    url = app.settings.database_url.reveal()
    environ = {**ENVIRON, "DATABASE_URL": url, "SESSION_SECRET": secret}

    def run() -> tuple[int, str]:
        out = io.StringIO()
        with redirect_stdout(out), redirect_stderr(out):
            return main(["audit", "verify", *options], environ), out.getvalue()

    return await asyncio.to_thread(run)


async def head_of(app: TestApp) -> str:
    code, output = await verify(app)
    assert code == 0, output
    return re.search(r"^head: (\S+)$", output, re.M)[1]


async def add_rows(app: TestApp, many: int, name: str = "Alice") -> None:
    user = await app.browser(name)
    if not await app.rows(f"SELECT id FROM users WHERE name = '{name}'"):
        await user.sign_up()
    else:
        await user.log_in()
    for number in range(many - 1):
        app.clock.move(seconds=1)
        await user.post("/account", {"phone": f"{name} {number} {app.clock()}"})


@pytest.fixture
async def audit_app(app: TestApp) -> TestApp:
    """Returns an application whose audit log has nine entries."""
    await add_rows(app, 9)
    assert await numbers(app) == [*range(1, 10)]
    return app


async def numbers(app: TestApp) -> list[int]:
    return [number for (number,) in await app.rows("SELECT number FROM audit ORDER BY number")]


@pytest.mark.asvs("S92")
async def test_an_unchanged_log_is_valid_and_the_head_is_printed(audit_app: TestApp) -> None:
    ((mac,),) = await audit_app.rows("SELECT seal FROM audit WHERE number = 9")
    assert await verify(audit_app) == (0, f"9 entries verified\nhead: 9:{mac}\n")


async def test_an_empty_log_is_valid(app: TestApp, caplog: pytest.LogCaptureFixture) -> None:
    await prune(app.store)
    assert caplog.text == ""
    assert await verify(app) == (0, "0 entries verified\nhead: 0:\n")


@pytest.mark.asvs("S92")
@pytest.mark.parametrize("column", COLUMNS)
async def test_a_changed_entry_is_reported(audit_app: TestApp, column: str) -> None:
    for number in (1, 5, 9):
        ((before,),) = await audit_app.rows(f"SELECT {column} FROM audit WHERE number = {number}")
        await audit_app.change(
            f"UPDATE audit SET {column} = {COLUMNS[column]} WHERE number = {number}"
        )
        code, output = await verify(audit_app)
        assert (code, output.startswith(f"latchkey: entry {number} "), output.count("\n")) == (
            1,
            True,
            1,
        ), output
        original = "NULL" if before is None else f"'{before}'"
        await audit_app.change(f"UPDATE audit SET {column} = {original} WHERE number = {number}")
    assert (await verify(audit_app))[0] == 0


DELETIONS = {
    "the first": ("number = 1", "entry 1 is missing"),
    "the first three": ("number < 4", "entry 1 is missing"),
    "one": ("number = 5", "entry 5 is missing"),
    "the middle": ("number BETWEEN 3 AND 8", "entry 3 is missing"),
    "the last but one": ("number = 8", "entry 8 is missing"),
}


@pytest.mark.asvs("S92")
@pytest.mark.parametrize("name", DELETIONS)
async def test_a_deleted_entry_is_reported(audit_app: TestApp, name: str) -> None:
    where, problem = DELETIONS[name]
    await audit_app.change(f"DELETE FROM audit WHERE {where}")
    assert await verify(audit_app) == (1, f"latchkey: {problem}\n")
    await add_rows(audit_app, 2)  # Later entries do not hide the missing one.
    assert await verify(audit_app) == (1, f"latchkey: {problem}\n")


@pytest.mark.asvs("S92")
async def test_renumbering_does_not_hide_a_deleted_entry(audit_app: TestApp) -> None:
    await audit_app.change("DELETE FROM audit WHERE number = 5")
    for number in range(6, 10):
        await audit_app.change(f"UPDATE audit SET number = {number - 1} WHERE number = {number}")
    assert "entry 5 was changed or replaced" in (await verify(audit_app))[1]


@pytest.mark.asvs("S92")
@pytest.mark.parametrize("number", [0, 10, -7])
async def test_an_inserted_entry_is_reported(audit_app: TestApp, number: int) -> None:
    copied = ENTRY_COLUMNS.replace("number", str(number), 1)
    await audit_app.change(
        f"INSERT INTO audit ({ENTRY_COLUMNS}) SELECT {copied} FROM audit WHERE number = 9"
    )
    code, output = await verify(audit_app)
    assert (code, output.startswith(f"latchkey: entry {number} was ")) == (1, True), output


@pytest.mark.asvs("S92")
async def test_swapped_entries_are_reported(audit_app: TestApp) -> None:
    for was, becomes in ((4, 100), (7, 4), (100, 7)):
        await audit_app.change(f"UPDATE audit SET number = {becomes} WHERE number = {was}")
    assert "entry 4 was changed or replaced" in (await verify(audit_app))[1]


@pytest.mark.asvs("S92")
async def test_a_saved_head_reveals_a_truncated_log(audit_app: TestApp) -> None:
    head = await head_of(audit_app)
    assert (await verify(audit_app, "--head", head))[0] == 0
    earlier = await audit_app.rows("SELECT number, seal, kid, proof FROM trail_head")
    await add_rows(audit_app, 3)
    head = await head_of(audit_app)
    await audit_app.change(
        "DELETE FROM audit WHERE number > 9", "DELETE FROM trail_head", replaced(earlier)
    )
    # An attacker who restores an earlier head is not detected by the database alone.
    assert (await verify(audit_app))[0] == 0
    expected = (1, "latchkey: entry 10 is missing: the log was cut off after entry 9\n")
    assert await verify(audit_app, "--head", head) == expected
    await add_rows(audit_app, 5)
    assert (await verify(audit_app))[0] == 0
    assert await verify(audit_app, "--head", f"head: {head}") == (
        1,
        "latchkey: entry 12 does not match the head\n",
    )


def replaced(head: list[tuple]) -> str:
    return f"INSERT INTO trail_head VALUES {head[0]}"


@pytest.mark.asvs("S92")
@pytest.mark.parametrize(
    "tampering",
    [
        ("DELETE FROM audit WHERE number = 9",),
        ("DELETE FROM audit WHERE number > 4",),
        ("DELETE FROM audit",),
        ("DELETE FROM audit WHERE number > 7", "UPDATE trail_head SET number = 7"),
        ("DELETE FROM audit WHERE number > 7", "DELETE FROM trail_head"),
        ("DELETE FROM trail_head",),
    ],
)
async def test_a_truncated_log_is_reported_even_after_new_entries(
    audit_app: TestApp, tampering: tuple[str, ...]
) -> None:
    await audit_app.change(*tampering)
    assert (await verify(audit_app))[0] == 1
    await add_rows(audit_app, 2)
    assert ((await verify(audit_app))[0], await audit_app.count("trail_head")) == (1, 1)


@pytest.mark.asvs("S92")
async def test_a_changed_head_is_reported(audit_app: TestApp) -> None:
    await audit_app.change("UPDATE trail_head SET proof = seal")
    assert await verify(audit_app) == (
        1,
        "latchkey: the head, entry 9, was changed: its MAC does not match\n",
    )


async def test_an_older_saved_head_is_still_valid(audit_app: TestApp) -> None:
    heads = [await head_of(audit_app)]
    await add_rows(audit_app, 3)
    heads.append(await head_of(audit_app))
    assert [(await verify(audit_app, "--head", head))[0] for head in heads] == [0, 0]


@pytest.mark.parametrize(
    "head", ["", "9", "x:y", "9:abc", "0:" + "0" * 64, "9:" + "0" * 63, "-1:" + "0" * 64]
)
async def test_an_invalid_head_argument_is_refused(audit_app: TestApp, head: str) -> None:
    if head:
        assert await verify(audit_app, f"--head={head}") == (
            1,
            "latchkey: --head must be NUMBER:MAC, as `latchkey audit verify` printed it\n",
        )


@pytest.mark.skipif(
    DATABASE_TYPE != "sqlite", reason="only SQLite stores values of any type in a column"
)
@pytest.mark.parametrize(
    "corruption", ["at = 'yesterday'", "at = 7", "event = x'00ff'", "seal = x'00'", "kid = 7"]
)
async def test_an_unreadable_entry_is_reported_and_stops_pruning(
    audit_app: TestApp, corruption: str
) -> None:
    await audit_app.change(f"UPDATE audit SET {corruption} WHERE number = 6")
    code, output = await verify(audit_app)
    assert (code, output.startswith("latchkey: entry 6 ")) == (1, True), output
    audit_app.clock.move(days=500)
    await prune(audit_app.store)
    assert await numbers(audit_app) == [6, 7, 8, 9]


# Keys


@pytest.mark.asvs("S94")
async def test_the_log_stays_valid_after_a_secret_rotation(make_app: Callable) -> None:
    app = await make_app(SESSION_SECRET=OLD)
    await add_rows(app, 3)
    rotated = await make_app(app.path, SESSION_SECRET=f"{NEW},{OLD}")
    await add_rows(rotated, 3, "Bob")
    assert len({kid for (kid,) in await app.rows("SELECT kid FROM audit")}) == 2
    assert (await verify(app, secret=f"{NEW},{OLD}"))[0] == 0
    code, output = await verify(app, secret=NEW)
    assert (code, output) == (
        1,
        "latchkey: entry 1 was written with none of the secrets in SESSION_SECRET: "
        "append the retired one, and verify again\n",
    )
    assert (await verify(app, secret=OLD))[1].startswith("latchkey: entry 4 was written with none")


@pytest.mark.asvs("S92")
async def test_an_entry_written_with_another_secret_is_invalid(
    make_app: Callable,
) -> None:
    app = await make_app(SESSION_SECRET=OLD)
    await add_rows(app, 3)
    ((kid,),) = await app.rows("SELECT DISTINCT kid FROM audit")
    attacker = await make_app(app.path, SESSION_SECRET=NEW)
    await add_rows(attacker, 2, "Bob")
    await app.change(f"UPDATE audit SET kid = '{kid}'")
    assert (await verify(app, secret=OLD))[1].startswith("latchkey: entry 4 was changed")


# Pruning


async def prune_after(app: TestApp, **time: float) -> None:
    app.clock.move(**time)
    await prune(app.store)


@pytest.mark.asvs("S92", "S95")
async def test_pruning_deletes_old_entries_and_keeps_the_chain_valid(audit_app: TestApp) -> None:
    head = await head_of(audit_app)
    await prune_after(audit_app, days=400, seconds=-9)
    assert await numbers(audit_app) == [*range(1, 10)]
    await prune_after(audit_app, seconds=5)
    remaining = await numbers(audit_app)
    assert 1 < remaining[0] < 9
    assert (await verify(audit_app, "--head", head))[0] == 0
    await prune_after(audit_app, days=1)
    assert await numbers(audit_app) == [9]  # The chain continues from the newest entry.
    await add_rows(audit_app, 3)
    assert await numbers(audit_app) == [9, 10, 11, 12]
    assert (await verify(audit_app, "--head", head))[0] == 0
    await prune_after(audit_app, days=401)
    assert await numbers(audit_app) == [12]
    assert await verify(audit_app, "--head", head) == (
        1,
        "latchkey: entry 9, the given head, has been pruned: keep a newer one\n",
    )
    assert await audit_app.count("trail_anchor") == 1


@pytest.mark.asvs("S95")
async def test_pruning_deletes_the_oldest_entries_beyond_the_maximum(audit_app: TestApp) -> None:
    await prune(audit_app.store, max_entries=9)
    assert await audit_app.count("audit") == 9
    await prune(audit_app.store, max_entries=4)
    assert await numbers(audit_app) == [6, 7, 8, 9]
    await prune(audit_app.store, max_entries=0)
    assert await numbers(audit_app) == [9]
    assert (await verify(audit_app))[0] == 0


async def test_pruning_works_in_batches(audit_app: TestApp) -> None:
    audit_app.clock.move(days=500)
    older_than = audit_app.store.now() - ENTRY_RETENTION
    assert [await prune_entries(audit_app.store, older_than, 99, 3) for _ in range(4)] == [
        3,
        3,
        2,
        0,
    ]
    assert (await verify(audit_app))[0] == 0


@pytest.mark.asvs("S92")
@pytest.mark.parametrize(
    "tampering",
    [
        "UPDATE audit SET at = '2024-01-01T00:00:00.000000+00:00'",
        "UPDATE audit SET at = '2024-01-01T00:00:00.000000+00:00', kid = 'AAAAAAAAAAAA' WHERE number < 9",
        "UPDATE audit SET at = '2024-01-01T00:00:00.000000+00:00' WHERE number < 6",
    ],
)
async def test_a_forged_date_does_not_make_pruning_delete_entries(
    audit_app: TestApp, tampering: str, caplog: pytest.LogCaptureFixture
) -> None:
    await audit_app.change(tampering)
    await prune(audit_app.store)
    assert await numbers(audit_app) == [*range(1, 10)]
    assert (await verify(audit_app))[1].startswith("latchkey: entry 1 ")
    assert "pruning of the audit log has stopped: entry 1 " in caplog.text


@pytest.mark.asvs("S92")
async def test_a_forged_number_does_not_make_pruning_delete_entries(
    audit_app: TestApp,
) -> None:
    columns = "at, event, outcome, actor, session_id, address, browser, detail, kid, seal"
    await audit_app.change(
        f"INSERT INTO audit (number, {columns}) SELECT 1005, {columns} FROM audit WHERE number = 9"
    )
    await prune(audit_app.store, max_entries=1000)
    assert await numbers(audit_app) == [*range(1, 10), 1005]
    await audit_app.change("DELETE FROM audit WHERE number = 1005")
    assert (await verify(audit_app))[0] == 0


@pytest.mark.asvs("S92")
@pytest.mark.parametrize(
    "tampering", ["DELETE FROM trail_head", "UPDATE trail_head SET number = 1005"]
)
async def test_nothing_is_pruned_without_a_valid_head(
    audit_app: TestApp, tampering: str, caplog: pytest.LogCaptureFixture
) -> None:
    await audit_app.change(tampering)
    await prune(audit_app.store, max_entries=4)
    assert await numbers(audit_app) == [*range(1, 10)]
    assert "its head is missing or not valid" in caplog.text


@pytest.mark.asvs("S92")
async def test_pruning_stops_before_a_changed_entry(audit_app: TestApp) -> None:
    await audit_app.change("UPDATE audit SET address = '' WHERE number = 6")
    await prune_after(audit_app, days=500)
    assert await numbers(audit_app) == [6, 7, 8, 9]
    assert (await verify(audit_app))[1].startswith("latchkey: entry 6 was changed")
    await prune(audit_app.store, max_entries=1)
    assert await numbers(audit_app) == [6, 7, 8, 9]


CHANGED_CHECKPOINTS = {
    "UPDATE trail_anchor SET number = 5": "the anchor, entry 5, was changed",
    "UPDATE trail_anchor SET seal = (SELECT seal FROM audit WHERE number = 7)": "the anchor, entry 6, was changed",
    "UPDATE trail_anchor SET kid = 'AAAAAAAAAAAA'": "the anchor, entry 6, was written with none",
    "UPDATE trail_anchor SET proof = seal": "the anchor, entry 6, was changed",
    "DELETE FROM trail_anchor": "entry 1 is missing",
    "DELETE FROM audit": "entry 7 is missing",
    "DELETE FROM audit WHERE number = 7": "entry 7 is missing",
    "UPDATE audit SET number = 3 WHERE number = 9": "entry 3 was added",
}


@pytest.mark.asvs("S92")
@pytest.mark.parametrize("tampering", CHANGED_CHECKPOINTS)
async def test_a_changed_checkpoint_is_reported(audit_app: TestApp, tampering: str) -> None:
    await prune(audit_app.store, max_entries=3)
    assert (await verify(audit_app))[0] == 0
    await audit_app.change(tampering)
    code, output = await verify(audit_app)
    assert (code, output.startswith(f"latchkey: {CHANGED_CHECKPOINTS[tampering]}")) == (1, True), (
        output
    )


@pytest.mark.asvs("S92")
async def test_a_restored_older_checkpoint_is_reported(audit_app: TestApp) -> None:
    await prune(audit_app.store, max_entries=6)
    ((number, mac, kid, proof),) = await audit_app.rows(
        "SELECT number, seal, kid, proof FROM trail_anchor"
    )
    await prune(audit_app.store, max_entries=3)
    await audit_app.change(
        "DELETE FROM trail_anchor",
        f"INSERT INTO trail_anchor VALUES ({number}, '{mac}', '{kid}', '{proof}')",
    )
    assert (await verify(audit_app))[1] == "latchkey: entry 4 is missing\n"


@pytest.mark.asvs("S92", "S94")
async def test_entries_of_a_retired_key_are_pruned_only_beyond_the_maximum(
    make_app: Callable, caplog: pytest.LogCaptureFixture
) -> None:
    app = await make_app(SESSION_SECRET=OLD)
    await add_rows(app, 9)
    await prune(app.store, max_entries=8)
    rotated = await make_app(app.path, SESSION_SECRET=NEW)
    await add_rows(rotated, 3, "Bob")
    await prune_after(rotated, days=500)
    assert await numbers(rotated) == [*range(2, 13)]
    assert (
        "the anchor, entry 1, was written with none of the secrets in SESSION_SECRET" in caplog.text
    )
    await prune(rotated.store, max_entries=5)
    assert await numbers(rotated) == [*range(8, 13)]
    assert (await verify(rotated, secret=f"{NEW},{OLD}"))[0] == 0
    # The surplus entries of the retired key are deleted, and later pruning goes by age again.
    await prune(rotated.store, max_entries=3)
    assert (await verify(rotated, secret=NEW))[0] == 0
    await prune(rotated.store)
    assert await numbers(rotated) == [12]


# Concurrency


async def send_concurrently(*requests: Callable) -> None:
    """Repeats the calls that are answered with 503 until all of them succeed."""
    waiting = requests
    while waiting:
        statuses = [
            answer.status_code
            for answer in await asyncio.gather(*[request() for request in waiting])
        ]
        assert set(statuses) <= {303, 503}
        waiting = [
            request for request, status in zip(waiting, statuses, strict=True) if status == 503
        ]


@pytest.mark.asvs("S91", "S92")
@BOTH
async def test_fifty_concurrent_logins_keep_the_chain_valid(
    make_app: Callable, database_type: str
) -> None:
    """Two processes write while an administrator works, and then both prune at the same time."""
    app = await make_app()
    other = await make_app(app.path)
    ada, alice, bob = (
        await app.admin("Ada"),
        await app.sign_up_user("Alice"),
        await other.sign_up_user("Bob"),
    )
    alice_id = (await app.viewer_of(alice)).id
    browsers = [
        await (app, other)[number % 2].browser(("Alice", "Bob")[number % 2]) for number in range(50)
    ]

    def change(number: int) -> Callable:
        return lambda: (alice, bob)[number % 2].post("/account", {"phone": str(number)})

    def change_team(number: int) -> Callable:
        return lambda: ada.post(f"/admin/users/{alice_id}/team", {"team": f"Team {number}"})

    await send_concurrently(
        *[user.log_in for user in browsers],
        *[change(n) for n in range(20)],
        *[change_team(n) for n in range(20)],
    )
    rows = await app.count("audit")
    # There are more entries if a response came after its transaction had been committed.
    assert rows >= 4 + 50 + 20 + 20
    assert await numbers(app) == [*range(1, rows + 1)]
    assert (await verify(app))[0] == 0

    async def prune_repeatedly(one: TestApp) -> None:
        for _ in range(5):
            await prune(one.store, max_entries=10)

    log_outs = [lambda user=user: user.post("/logout") for user in browsers]
    await asyncio.gather(
        prune_repeatedly(app), prune_repeatedly(other), send_concurrently(*log_outs)
    )
    await prune(app.store, max_entries=10)
    remaining = await numbers(app)
    assert remaining == [*range(remaining[-1] - 9, remaining[-1] + 1)]
    assert remaining[-1] >= rows + 50
    assert (await verify(app))[0] == 0


@BOTH
async def test_concurrent_admin_changes_keep_the_chain_valid(
    make_app: Callable, database_type: str
) -> None:
    app = await make_app()
    admins = [await app.admin(name) for name in ("Ada", "Grace")]
    ids = [(await app.viewer_of(user)).id for user in admins]
    requests = [
        (browser, f"/admin/users/{user_id}/{action}")
        for browser in admins
        for user_id in ids
        for action in ("disable", "end-sessions")
    ]
    answers = await asyncio.gather(*[browser.post(path) for browser, path in requests])
    assert {answer.status_code for answer in answers} <= {303, 403, 409, 503}
    assert (await verify(app))[0] == 0


async def test_a_log_pruned_during_verification_is_valid(audit_app: TestApp) -> None:
    """The next entries to be read have been deleted, and the chain has a new checkpoint."""
    await add_rows(audit_app, 3)
    fetch_entries, pruned = audit_app.store.database.fetch_all, []

    class PruningDatabase:
        """A database whose audit log is pruned just before the first entries are read."""

        def __getattr__(self, name: str) -> object:
            return getattr(audit_app.store.database, name)

        async def fetch_all(self, query: object) -> object:
            if not pruned:
                pruned.append(await prune(audit_app.store, max_entries=4))
            return await fetch_entries(query)

    result = await verify_chain(replace(audit_app.store, database=PruningDatabase()))
    assert (pruned, result.entries, result.problem) == ([8], 4, "")
    assert result.head == ChainPosition(
        *(await audit_app.rows("SELECT number, seal FROM audit ORDER BY number DESC"))[0]
    )


async def test_pruning_does_not_block_a_sign_up(audit_app: TestApp, anonymous: Browser) -> None:
    audit_app.clock.move(days=500)
    pruning = asyncio.create_task(prune(audit_app.store))
    assert (await anonymous.sign_up()).status_code == 303
    await pruning
    assert (await verify(audit_app))[0] == 0
    assert timedelta(days=366) < ENTRY_RETENTION


# Warnings


@pytest.mark.asvs("S95")
async def test_recent_entries_are_not_deleted_without_a_warning(
    audit_app: TestApp, caplog: pytest.LogCaptureFixture
) -> None:
    await prune(audit_app.store, max_entries=11)
    assert caplog.text == ""
    await prune(
        audit_app.store, max_entries=9
    )  # The log is almost full, and nothing is deleted yet.
    warning = "the audit log has more than 8 entries of the last 90 days, and beyond 9 the oldest are deleted"
    assert (warning in caplog.text, len(await numbers(audit_app))) == (True, 9)
    caplog.clear()
    await prune(audit_app.store, max_entries=4)
    assert ("entries of the last 90 days" in caplog.text, len(await numbers(audit_app))) == (
        True,
        4,
    )
    caplog.clear()
    audit_app.clock.move(days=91)
    await prune(audit_app.store, max_entries=2)
    assert (caplog.text, len(await numbers(audit_app))) == ("", 2)


@pytest.mark.asvs("S92", "S94")
async def test_a_start_with_another_secret_logs_an_error(
    make_app: Callable, caplog: pytest.LogCaptureFixture
) -> None:
    app = await make_app(SESSION_SECRET=OLD)
    await add_rows(app, 3)
    rotated = await make_app(app.path, SESSION_SECRET=f"{NEW},{OLD}")
    await log_head_problem(rotated.store)
    assert caplog.text == ""
    other = await make_app(app.path, SESSION_SECRET=NEW)
    await log_head_problem(other.store)
    assert "ERROR" in caplog.text
    assert "the audit log was written with another SESSION_SECRET" in caplog.text
