"""The users of the tests of the audit log, and the entries that these compare."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import NamedTuple

from tests.browser_client import IPHONE, PASSWORD, Browser
from tests.conftest import TestApp

NEW = "another-No.7 to the sea"
WRONG = "not-her-No.3 key"
CLIENT_IP = "192.0.2.14"
FIREFOX_NAME, IPHONE_NAME = "Firefox on Linux", "Safari on iPhone"
SELECT_ENTRIES = """
    SELECT event, outcome, actor, actors.name AS actor_name, targets.name AS target_name, session_id, address, browser, detail
    FROM audit LEFT JOIN users AS actors ON actors.id = actor_id LEFT JOIN users AS targets ON targets.id = target_id
    ORDER BY number
"""


class Entry(NamedTuple):
    """An entry of the audit log, with the session by the name that the tests give it, such as
    `alice`.
    """

    event: str
    outcome: str = "done"
    actor: str = "user"
    actor_name: str | None = "Alice"
    target_name: str | None = "Alice"
    session: str = "alice"
    ip_address: str = CLIENT_IP
    browser: str = FIREFOX_NAME
    detail: Mapping[str, object] = MappingProxyType({})


@dataclass
class Users:
    """The users of these tests, and the names of their sessions."""

    app: TestApp
    alice: Browser
    phone: Browser
    bob: Browser
    ada: Browser
    grace: Browser
    charlie: Browser
    sessions: dict[str, str]

    async def entries(self) -> list[Entry]:
        rows = await self.app.rows(SELECT_ENTRIES)
        return [
            Entry(
                *row[:5], self.sessions.get(row[5], row[5]), *row[6:8], json.loads(row[8] or "{}")
            )
            for row in rows
        ]

    async def id_of(self, name: str) -> str:
        return (await self.app.rows(f"SELECT id FROM users WHERE name = '{name}'"))[0][0]

    async def change_user(
        self, name: str, action: str, by: Browser | None = None, **fields: str
    ) -> None:
        """Changes the user with that name as an administrator, who is Ada by default."""
        await (by or self.ada).post(f"/admin/users/{await self.id_of(name)}/{action}", fields)

    async def session_of(self, user: Browser) -> str:
        return (await self.app.viewer_of(user)).session_id

    async def state(self) -> list[list[tuple]]:
        """Returns all rows that a change could affect."""
        return [
            await self.app.rows(f"SELECT * FROM {table} ORDER BY id")
            for table in ("users", "sessions")
        ]


async def create_users(app: TestApp) -> Users:
    """Creates Alice with two devices, Bob, two administrators and an anonymous user."""
    alice, bob = await app.sign_up_user("Alice"), await app.sign_up_user("Bob")
    phone = replace(await app.browser("Alice"), user_agent=IPHONE)
    await phone.log_in()
    ada, grace = await app.admin("Ada"), await app.admin("Grace")
    users = Users(app, alice, phone, bob, ada, grace, await app.browser("Charlie"), {})
    for name in ("alice", "phone", "bob", "ada", "grace"):
        users.sessions[await users.session_of(getattr(users, name))] = name
    return users


ANONYMOUS = {"actor": "anonymous", "actor_name": None, "session": ""}
BY_ADA = {"actor_name": "Ada", "session": "ada"}
OPERATOR = {"actor": "operator", "actor_name": None, "session": "", "ip_address": "", "browser": ""}
ALICE = {"email": "alice@example.com", "password": PASSWORD}
