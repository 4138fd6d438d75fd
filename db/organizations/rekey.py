"""Encrypts the client secrets of organizations with the current key, and counts those that no key
decrypts.
"""

from dataclasses import dataclass
from typing import Final

from sqlalchemy import bindparam, func, select, update

from db.engine.statement import Statement
from db.store import Store, pick
from db.tables import organizations


@dataclass(frozen=True, slots=True)
class _StoredClientSecret:
    domain: str
    client_secret: str
    kid: str


CLIENT_SECRETS = Statement(
    pick(_StoredClientSecret, organizations).order_by(organizations.c.domain).with_for_update()
)
REKEY_CLIENT_SECRET: Final = Statement(
    update(organizations)
    .where(organizations.c.domain == bindparam("domain_given"))
    .values(client_secret=bindparam("new_secret"), kid=bindparam("new_kid"))
)
COUNT_UNREADABLE = Statement(
    select(func.count())
    .select_from(organizations)
    .where(organizations.c.kid.not_in(bindparam("kids", expanding=True)))
)


async def rekey_client_secrets(store: Store) -> tuple[int, int]:
    """Encrypts every client secret that has another key again, in one transaction.

    Returns how many have the current key now, and how many no key decrypts. There are at most a few
    hundred.
    """
    current = unreadable = 0
    async with store.transaction():
        rows: list[_StoredClientSecret] = await store.all(CLIENT_SECRETS())
        for row in rows:
            secret = store.client_secrets.decrypt(row.domain, row.client_secret, row.kid)
            if secret is None:
                unreadable += 1
                continue
            current += 1
            if row.kid != store.client_secrets.kid:
                await store.count(
                    REKEY_CLIENT_SECRET(
                        domain_given=row.domain,
                        new_secret=store.client_secrets.encrypt(row.domain, secret),
                        new_kid=store.client_secrets.kid,
                    )
                )
    return current, unreadable


async def count_unreadable_client_secrets(store: Store) -> int:
    """Returns how many organizations have a client secret that no key of the program decrypts."""
    return int(await store.value(COUNT_UNREADABLE(kids=store.client_secrets.kids)))
