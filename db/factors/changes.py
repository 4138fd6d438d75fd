"""What every change of a passkey, an authenticator app or recovery codes has in common.

Each change runs in one transaction: `require_right` locks the user, the change is made, and
`finish_change` ends the other sessions.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import bindparam, delete, exists, or_, select, update

from db.audit import log as audit_log
from db.audit.events import Event
from db.audit.log import viewer_actor
from db.crypto.passwords import LOCKED_HASH
from db.engine.statement import Statement
from db.errors import LastFactor, LastWayIn
from db.factors.recovery_codes import delete_codes
from db.factors.totp import delete_app
from db.mail.notices import post_factor_notice
from db.organizations.lookup import find_provider_of_identity
from db.sessions.claims import NewSession
from db.sessions.lifecycle import end_all_sessions, start_session
from db.sessions.sudo import Sudo
from db.store import Store
from db.tables import Instant, identities, passkeys, recovery_codes, totp, users
from db.viewer import Viewer


@dataclass(frozen=True, slots=True)
class FactorChange:
    """The result of a change: the session that replaces the current one, and how many others
    ended.
    """

    session: NewSession
    ended: int


@dataclass(frozen=True, slots=True)
class _WaysIn:
    email: str
    has_password: bool
    has_usable_passkey: bool
    has_factor_now: bool


_HAS_FACTOR = or_(
    exists().where(passkeys.c.user_id == users.c.id), exists().where(totp.c.user_id == users.c.id)
)
# The state after the change, which one statement stores and returns.
UPDATE_HAS_FACTOR = Statement(
    update(users)
    .where(users.c.id == bindparam("user_id"))
    .values(has_factor=_HAS_FACTOR)
    .returning(
        users.c.email,
        (users.c.password_hash != LOCKED_HASH).label("has_password"),
        exists()
        # SQLite's dialect writes no table names here: `users.id` would become the id of a passkey.
        .where(passkeys.c.user_id == bindparam("user_id"), passkeys.c.rp_id == bindparam("rp_id"))
        .label("has_usable_passkey"),
        users.c.has_factor.label("has_factor_now"),
    )
    .execution_options(into=_WaysIn)
)
SET_HAS_FACTOR = Statement(
    update(users)
    .where(users.c.id == bindparam("user_id"))
    .values(has_factor=bindparam("new_value"))
)
IDENTITIES_OF = Statement(
    select(identities.c.provider, identities.c.issuer).where(
        identities.c.user_id == bindparam("user_id")
    )
)
DELETE_IDENTITIES = Statement(
    delete(identities).where(identities.c.user_id == bindparam("user_id"))
)
DELETE_PASSKEYS = Statement(delete(passkeys).where(passkeys.c.user_id == bindparam("user_id")))
# A request takes at most 7 s, so a message is that much later than what its transaction has added.
MAX_TRANSACTION_TIME: Final = timedelta(seconds=10)
_since = bindparam("since", type_=Instant)
DELETE_FACTORS_SINCE: Final = tuple(
    Statement(
        delete(table).where(table.c.user_id == bindparam("user_id"), table.c.created_at >= _since)
    )
    for table in (passkeys, totp, recovery_codes, identities)
)
RECOMPUTE_HAS_FACTOR = Statement(
    update(users)
    .where(users.c.id == bindparam("user_id"))
    .values(has_factor=_HAS_FACTOR)
    .returning(users.c.has_factor)
)


async def finish_change(
    sudo: Sudo[Viewer], event: Event, change: str, detail: Mapping[str, str | int]
) -> FactorChange:
    """Finishes a change that the same transaction has made, after `require_right`.

    Ends every session of the account and its access tokens, starts a session in place of the
    current one, and sends a notice. `change` selects the sentence of the notice. Raises LastWayIn
    if nothing would open the account anymore, and LastFactor if an administrator needs the factor
    that was removed; the caller's transaction then rolls back.
    """
    viewer, store = sudo.viewer, sudo.viewer.store
    ways: _WaysIn | None = await store.one(
        UPDATE_HAS_FACTOR(user_id=viewer.id, rp_id=store.factors.rp_id)
    )
    if ways is None:
        raise LastWayIn
    has_other_way = ways.has_password or ways.has_usable_passkey
    if not has_other_way and not await has_usable_identity(store, viewer.id):
        raise LastWayIn
    if not ways.has_factor_now:
        if store.factors.requires_admin_factor and viewer.role == "admin":
            raise LastFactor
        await delete_codes(store, viewer.id)
    ended = await end_all_sessions(store, viewer.id)
    session = await start_session(
        store,
        viewer.id,
        viewer.role,
        viewer.client,
        confirmation=sudo.confirmation,
        is_remembered=viewer.is_remembered,
        is_log_in=False,
        provider_login=viewer.provider_login,
    )
    if viewer.verified:
        await post_factor_notice(store, viewer.id, ways.email, viewer.client, change=change)
    await audit_log.record(store, event, viewer_actor(viewer), detail)
    return FactorChange(session, max(0, ended - 1))


async def has_usable_identity(store: Store, user_id: str) -> bool:
    """Returns whether a provider, also that of an organization, can log in to the account."""
    for name, issuer in await store.all(IDENTITIES_OF(user_id=user_id)):
        if await find_provider_of_identity(store, str(name), str(issuer)) is not None:
            return True
    return False


async def delete_factors(store: Store, user_id: str) -> None:
    """Deletes the passkeys, the authenticator app and the recovery codes of an account.

    Must run inside a transaction that has locked the user. The caller ends the sessions.
    """
    await store.count(DELETE_PASSKEYS(user_id=user_id))
    await delete_app(store, user_id)
    await delete_codes(store, user_id)
    await store.count(SET_HAS_FACTOR(user_id=user_id, new_value=False))


async def delete_factors_and_identities(store: Store, user_id: str) -> None:
    """Deletes the second steps of an account, and disconnects the identities of other providers.

    For an account whose email nobody had confirmed: someone else may have set them up. Must run
    inside a transaction that has locked the user. The caller ends the sessions.
    """
    await delete_factors(store, user_id)
    await store.count(DELETE_IDENTITIES(user_id=user_id))


async def delete_factors_since(store: Store, user_id: str, moment: datetime) -> bool:
    """Deletes the passkeys, the authenticator app, the recovery codes and the identities that were
    added since a message was written, and those that it reports. If no other factor is left,
    deletes all recovery codes. Returns whether there were any.

    Must run inside a transaction that has locked the user. The caller ends the sessions.
    """
    since, deleted = moment - MAX_TRANSACTION_TIME, 0
    for statement in DELETE_FACTORS_SINCE:
        deleted += await store.count(statement(user_id=user_id, since=since))
    if not await store.value(RECOMPUTE_HAS_FACTOR(user_id=user_id)):
        await delete_codes(store, user_id)
    return deleted > 0
