"""Tests of the export of the audit log as CSV and JSON lines."""

import asyncio
import csv
import io
import json
import re
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from typing import Any

import pytest

from db.access import audit_export
from db.access.audit_export import BATCH_SIZE, MAX_ENTRIES, ExportedEntry
from db.access.audit_search import EntryFilter
from db.audit.log import Entry, entry_mac_input
from db.crypto.passwords import Passwords
from db.store import Store
from db.viewer import UNKNOWN_CLIENT, require_admin
from tests.audit_users import (
    ALICE,
    CLIENT_IP,
    FIREFOX_NAME,
    SELECT_ENTRIES,
    WRONG,
    Users,
    create_users,
)
from tests.browser_client import HTMX, Browser, read
from tests.confirmations import confirmed
from web.rendering.data_files import StreamedFile

EXPORT = "/admin/audit/export"
COLUMNS = (
    *("number", "at", "event", "outcome", "actor_type", "actor_id", "actor_email", "target_id"),
    *("target_email", "session_id", "ip_address", "browser", "detail", "kid", "mac"),
    "previous_mac",
)


@pytest.fixture
def passwords(fast_passwords: Passwords) -> Passwords:
    return fast_passwords


@pytest.fixture
async def users(app: Any) -> Users:
    return await create_users(app)


async def exports(users: Users) -> list[tuple]:
    """Returns the entries about exports."""
    return [row for row in await users.app.rows(SELECT_ENTRIES) if row[0] == "audit.export"]


async def export(ada: Browser, query: str) -> list[dict[str, Any]]:
    answer = await ada.get(f"{EXPORT}?format=jsonl&{query}")
    assert answer.status_code == 200, answer.text
    return [json.loads(line) for line in answer.text.splitlines()]


@pytest.mark.asvs("S91")
async def test_an_export_contains_every_entry_newest_first_and_is_recorded(users: Users) -> None:
    stored = await users.app.rows("SELECT * FROM audit ORDER BY number DESC")
    answer = await users.ada.get(f"{EXPORT}?format=jsonl")
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["content-disposition"] == 'attachment; filename="audit-2026-11-24.jsonl"'
    assert "link" not in answer.headers
    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert tuple(lines[0]) == COLUMNS
    columns = [name for name in COLUMNS if name not in ("actor_email", "target_email")]
    assert [tuple(line[name] for name in columns[:-1]) for line in lines] == stored
    assert lines[-1]["actor_email"] == "alice@example.com"
    [recorded] = await exports(users)
    detail = {"format": "JSONL", "entries": len(stored), "filters": "none"}
    assert recorded[1:5] == ("done", "user", "Ada", "Ada")
    assert (recorded[6], recorded[7]) == (CLIENT_IP, FIREFOX_NAME)
    assert json.loads(recorded[8]) == detail
    assert (await users.ada.get("/admin/audit")).text.count("JSONL, entries") == 1


async def test_a_csv_file_has_a_header_and_the_same_values(users: Users) -> None:
    lines = await export(users.ada, "event=signup")
    answer = await users.ada.get(f"{EXPORT}?event=signup")
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert re.search(r'filename="audit-2026-11-24\.csv"$', answer.headers["content-disposition"])
    assert answer.text.count("\r\n") == len(lines) + 1 == answer.text.count("\n")
    rows = list(csv.DictReader(io.StringIO(answer.text, newline="")))
    assert rows == [
        # An id may begin with a hyphen.
        {
            name: re.sub(r"^(?=-)", "'", "" if value is None else str(value))
            for name, value in line.items()
        }
        for line in lines
    ]


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
async def test_a_csv_file_contains_no_formula(users: Users, start: str) -> None:
    await users.change_user("Alice", "team", team="Harbour")
    await users.app.change(
        f"UPDATE audit SET browser = '{start}1+cmd|x' WHERE event = 'team.change'"
    )
    text = (await users.ada.get(f"{EXPORT}?format=csv&event=team.change")).text
    [row] = csv.DictReader(io.StringIO(text, newline=""))
    assert row["browser"] == f"'{start}1+cmd|x"
    [line] = await export(users.ada, "event=team.change")
    assert line["browser"] == f"{start}1+cmd|x"


async def test_the_filters_of_the_page_apply(users: Users) -> None:
    await users.change_user("Alice", "team", team="Harbour")
    await users.charlie.post("/login", ALICE | {"password": WRONG})
    alice_id = await users.id_of("Alice")
    queries = {
        "event=team.change": ["team.change"],
        "outcome=refused": ["login"],
        f"person={alice_id}&outcome=done": ["team.change", "login", "signup"],
        "q=alice%40example.com&event=signup": ["signup"],
        "to=2026-11-23": [],
        "from=2026-11-24&event=team.change": ["team.change"],
    }
    for query, expected in queries.items():
        assert [line["event"] for line in await export(users.ada, query)] == expected, query
    filters = [json.loads(row[8])["filters"] for row in await exports(users)]
    assert filters == [
        "event team.change",
        "outcome refused",
        f"outcome done, person {alice_id}",
        "q a…@example.com, event signup",
        "to 2026-11-23",
        "event team.change, from 2026-11-24",
    ]


@pytest.mark.parametrize("query", ["from=x", "to=2026-02-30", "event=no", "outcome=x", "person=/"])
@pytest.mark.parametrize("more", ["", "&format=csv", "&format=pdf", "&before=x"])
async def test_an_invalid_filter_exports_nothing(users: Users, query: str, more: str) -> None:
    answer = await users.ada.get(f"{EXPORT}?{query}{more}")
    assert (answer.status_code, "alice@" in answer.text) == (422, False)
    assert await exports(users) == []


@pytest.mark.asvs("S88")
async def test_only_an_admin_can_export(users: Users) -> None:
    for headers in ({}, HTMX):
        answer = await users.alice.get(f"{EXPORT}?format=csv", **headers)
        assert (answer.status_code, CLIENT_IP in answer.text) == (403, False)
        assert (await users.charlie.get(EXPORT, **headers)).status_code in (303, 401)
    assert await exports(users) == []
    await users.change_user("Grace", "role", role="user")
    assert (await users.grace.get(EXPORT)).status_code == 403
    assert await exports(users) == []


async def test_an_export_that_cannot_be_recorded_returns_nothing(users: Users) -> None:
    await users.app.break_inserts("audit")
    answer = await users.ada.get(f"{EXPORT}?format=csv")
    assert (answer.status_code, CLIENT_IP in answer.text) == (500, False)
    await users.app.restore_inserts("audit")
    assert await exports(users) == []


async def test_a_page_of_another_site_cannot_start_an_export(users: Users) -> None:
    for site in ("cross-site", "same-site"):
        answer = await users.ada.get(EXPORT, Sec_Fetch_Site=site)
        assert (answer.status_code, CLIENT_IP in answer.text) == (403, False)
    assert await exports(users) == []
    for site in ("same-origin", "none"):
        assert (await users.ada.get(EXPORT, Sec_Fetch_Site=site)).status_code == 200


async def test_head_exports_and_records_nothing(users: Users) -> None:
    answer = await users.ada.request("HEAD", EXPORT)
    assert (answer.status_code, answer.content) == (200, b"")
    assert await exports(users) == []


async def test_exports_are_rate_limited_per_admin(
    make_app: Callable, fast_passwords: Passwords
) -> None:
    users = await create_users(
        await make_app(hashing=fast_passwords, RATE_LIMITS="enforce", LIMIT_AUDIT_EXPORT="2/1h")
    )
    for _ in range(2):
        assert (await users.ada.get(EXPORT)).status_code == 200
    answer = await users.ada.get(EXPORT)
    assert (answer.status_code, CLIENT_IP in answer.text) == (429, False)
    assert len(await exports(users)) == 2
    assert (await users.grace.get(EXPORT)).status_code == 200
    users.app.clock.move(minutes=31)
    await users.ada.confirm()
    assert (await users.ada.get(EXPORT)).status_code == 200


async def fill(users: Users, count: int) -> int:
    """Adds entries of Bob, without valid MACs, and returns the number of the newest."""
    head = (await users.app.rows("SELECT max(number) FROM audit"))[0][0]
    await users.app.change(f"""
        INSERT INTO audit
        SELECT number + n, at, 'profile.change', outcome, actor, actor_id, target_id, session_id, address, browser, detail, kid, seal
        FROM audit, (WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {count}) SELECT n FROM numbers) AS numbers
        WHERE number = {head}
    """)
    await users.app.change(f"UPDATE trail_head SET number = {head + count}")
    return int(head + count)


async def test_a_file_that_was_cut_links_to_the_next_one(users: Users) -> None:
    newest = await fill(users, MAX_ENTRIES + 1)
    answer = await users.ada.get(f"{EXPORT}?event=profile.change&format=jsonl&from=2026-11-01")
    numbers = [json.loads(line)["number"] for line in answer.text.splitlines()]
    assert numbers == list(range(newest, newest - MAX_ENTRIES, -1))
    assert answer.headers["content-disposition"].endswith('"audit-2026-11-24-part.jsonl"')
    url = answer.links["next"]["url"]
    assert url.startswith(f"{EXPORT}?event=profile.change&from=2026-11-01&")
    answer = await users.ada.get(url)
    numbers = [json.loads(line)["number"] for line in answer.text.splitlines()]
    assert numbers == [newest - MAX_ENTRIES]
    assert answer.headers["content-disposition"].endswith('"audit-2026-11-24.jsonl"')
    assert answer.links == {}
    details = [json.loads(row[8]) for row in await exports(users)]
    assert [detail["entries"] for detail in details] == [MAX_ENTRIES, 1]
    assert details[1]["filters"] == (
        f"event profile.change, from 2026-11-01, before {numbers[0] + 1}"
    )


async def test_entries_written_during_an_export_are_left_out(users: Users) -> None:
    await fill(users, 2 * BATCH_SIZE)
    admin = require_admin(await users.app.viewer_of(users.ada))
    started = await audit_export.start_export(
        confirmed(admin), UNKNOWN_CLIENT, EntryFilter(), "csv"
    )
    numbers: list[int] = []
    async for entries in audit_export.read_batches(admin, started):
        numbers += [entry.number for entry in entries]
        assert len(entries) <= BATCH_SIZE
        await users.change_user("Bob", "team", team=f"Team {len(numbers)}")
    assert numbers == list(range(started.first, started.first - started.count, -1))
    assert started.count > 2 * BATCH_SIZE


async def test_a_client_that_reads_an_export_too_slowly_is_disconnected() -> None:
    async def content() -> AsyncIterator[bytes]:
        yield b"1"

    async def send(message: Any) -> None:
        await asyncio.sleep(60)

    response = StreamedFile(content())
    response.max_seconds = 0.01
    scope = {"type": "http", "asgi": {"spec_version": "2.4"}}
    with pytest.raises(TimeoutError):
        await response(scope, asyncio.Event().wait, send)


async def test_each_line_can_be_verified_with_the_secret(users: Users) -> None:
    """Verifies the MACs as docs/operations.md describes, also of a filtered file."""
    await users.change_user("Alice", "team", team="Harbour")
    keys = users.app.store.audit_keys
    for query in ("", "outcome=done&event=signup"):
        for line in await export(users.ada, query):
            previous = line.pop("previous_mac")
            for name in ("actor_email", "target_email"):
                del line[name]
            at = datetime.fromisoformat(line["at"])
            text = entry_mac_input(Entry(**line | {"at": at}), previous)
            documented = json.dumps(
                [previous, *(value for name, value in line.items() if name != "mac")]
            ).encode()
            assert text == documented
            assert keys.verify(line["kid"], text, line["mac"])


async def test_the_page_links_to_the_export_with_its_filters(users: Users) -> None:
    page = read(await users.ada.get("/admin/audit?q=alice&outcome=done&from=2026-11-01&page=1"))
    links = {link.text: link.attrs for link in page.one(id="result-list").all("a")}
    query = "q=alice&outcome=done&from=2026-11-01"
    assert links["CSV"] == {"class": "button", "href": f"{EXPORT}?{query}&format=csv"}
    assert links["JSON lines"]["href"] == f"{EXPORT}?{query}&format=jsonl"
    page = read(await users.ada.get("/admin/audit?q=nobody"))
    assert "CSV" not in [link.text for link in page.all("a")]


@pytest.mark.reliability("R13")
async def test_parallel_exports_leave_the_database_to_other_requests(
    users: Users, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite has two threads that read. Exports that used both would delay every page."""
    running, most, statements = 0, 0, 0

    def slow(run: Callable) -> Callable:
        async def run_slowly(store: Store, bound: Any) -> Any:
            nonlocal running, most, statements
            is_export = bound.statement.into in (ExportedEntry, audit_export._Extent)
            running += is_export
            statements += is_export
            most = max(most, running)
            try:
                await asyncio.sleep(0.01)
                return await run(store, bound)
            finally:
                running -= is_export

        return run_slowly

    for name in ("one", "all"):
        monkeypatch.setattr(Store, name, slow(getattr(Store, name)))
    answers = await asyncio.gather(*[users.ada.get(EXPORT) for _ in range(5)])
    assert [answer.status_code for answer in answers] == [200] * 5
    assert statements >= 10  # Each export counts and reads.
    assert most == 1
