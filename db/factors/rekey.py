"""Encrypts the secrets of authenticator apps with the current key, and finds those that cannot be
decrypted.
"""

from dataclasses import dataclass
from typing import Final

from sqlalchemy import Integer, bindparam, func, select, update

from db.engine.statement import Statement
from db.store import Store, pick
from db.tables import passkeys, totp

# The rows of one transaction, so that no log-in waits long for the writer.
BATCH_SIZE: Final = 100


@dataclass(frozen=True, slots=True)
class _StoredApp:
    user_id: str
    secret: str
    kid: str


@dataclass(frozen=True, slots=True)
class RekeyedBatch:
    """The result of a batch: how many secrets were encrypted again, how many no key decrypts, and
    the id of the last user. `last_user_id` is empty if no rows were left.
    """

    rekeyed: int
    unreadable: int
    last_user_id: str


FORMER_APPS = Statement(
    pick(_StoredApp, totp)
    .where(totp.c.kid != bindparam("current_kid"), totp.c.user_id > bindparam("after_id"))
    .order_by(totp.c.user_id)
    .limit(bindparam("batch_size", type_=Integer))
    .with_for_update()
)
REKEY_APP = Statement(
    update(totp)
    .where(totp.c.user_id == bindparam("owner_id"), totp.c.secret == bindparam("old_secret"))
    .values(secret=bindparam("new_secret"), kid=bindparam("new_kid"))
)
COUNT_UNREADABLE_APPS = Statement(
    select(func.count())
    .select_from(totp)
    .where(totp.c.kid.not_in(bindparam("kids", expanding=True)))
)
COUNT_CURRENT_APPS = Statement(
    select(func.count()).select_from(totp).where(totp.c.kid == bindparam("current_kid"))
)
COUNT_OTHER_PASSKEYS = Statement(
    select(func.count()).select_from(passkeys).where(passkeys.c.rp_id != bindparam("rp_id"))
)


async def rekey_batch(store: Store, after_id: str, batch_size: int = BATCH_SIZE) -> RekeyedBatch:
    """Encrypts the secrets of a batch of users again, in one transaction.

    Only users whose id is greater than `after_id`, and whose secret is not encrypted with the
    current key, are concerned. A secret that is used at the same time is changed only once.
    """
    rekeyed = unreadable = 0
    async with store.transaction():
        apps: list[_StoredApp] = await store.all(
            FORMER_APPS(
                current_kid=store.factor_secrets.kid, after_id=after_id, batch_size=batch_size
            )
        )
        for app in apps:
            secret = store.factor_secrets.decrypt(app.user_id, app.secret, app.kid)
            if secret is None:
                unreadable += 1
                continue
            rekeyed += await store.count(
                REKEY_APP(
                    owner_id=app.user_id,
                    old_secret=app.secret,
                    new_secret=store.factor_secrets.encrypt(app.user_id, secret),
                    new_kid=store.factor_secrets.kid,
                )
            )
    return RekeyedBatch(rekeyed, unreadable, apps[-1].user_id if apps else "")


async def count_current_apps(store: Store) -> int:
    """Returns how many secrets are encrypted with the current key."""
    return int(await store.value(COUNT_CURRENT_APPS(current_kid=store.factor_secrets.kid)))


async def count_unreadable_apps(store: Store) -> int:
    """Returns how many authenticator apps have a secret that no key of the program decrypts."""
    return int(await store.value(COUNT_UNREADABLE_APPS(kids=store.factor_secrets.kids)))


async def count_other_passkeys(store: Store) -> int:
    """Returns how many passkeys were created for another domain, where they do not work."""
    return int(await store.value(COUNT_OTHER_PASSKEYS(rp_id=store.factors.rp_id)))
