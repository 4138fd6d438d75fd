"""The actions of the operator on second steps: the reset of an account, and the change of keys."""

from dataclasses import dataclass
from typing import Final, Literal

from sqlalchemy import bindparam, func, select

from db import accounts
from db.crypto.passwords import LOCKED_HASH
from db.engine.statement import Statement
from db.errors import NotFound
from db.factors import rekey
from db.factors.changes import delete_factors, has_usable_identity
from db.factors.rekey import RekeyedBatch
from db.mail.notices import post_factor_notice
from db.rate_limits import limiter
from db.rate_limits.limits import FACTOR_CHANGE, FACTOR_DAY, FACTOR_HOUR, FACTOR_TRIES
from db.sessions.lifecycle import end_all_sessions
from db.store import pick
from db.tables import users
from db.viewer import UNKNOWN_CLIENT, Operator

RESET_LIMITS: Final = (FACTOR_CHANGE, FACTOR_TRIES, FACTOR_HOUR, FACTOR_DAY)


@dataclass(frozen=True, slots=True)
class _ResetState:
    has_factor: bool
    has_password: bool
    verified: bool


RESET_STATE = Statement(
    pick(
        _ResetState,
        users,
        has_password=users.c.password_hash != LOCKED_HASH,
        verified=users.c.verified_at.is_not(None),
    )
    .where(users.c.id == bindparam("user_id"))
    .with_for_update()
)
COUNT_ADMINS_WITHOUT_FACTOR = Statement(
    select(func.count()).where(
        users.c.role == "admin", users.c.disabled_at.is_(None), users.c.has_factor.is_(False)
    )
)


async def reset_factors(
    operator: Operator, email: str
) -> Literal["reset", "no factor", "last way in"]:
    """Removes the passkeys, the app and the recovery codes of a user, and ends the sessions.

    Browsers that the user has chosen to remember are forgotten. Changes nothing if nothing would
    open the account: no password, no provider, and no mail that could set one. Raises NotFound.
    """
    store = operator.store
    user_id = await accounts.find_user_id(store, email)
    if user_id is None:
        raise NotFound
    async with accounts.change_user(operator, "factor.reset", user_id) as detail:
        state: _ResetState | None = await store.one(RESET_STATE(user_id=user_id))
        if state is None:
            raise NotFound
        if not state.has_factor:
            return "no factor"
        has_way_in = state.has_password or await has_usable_identity(store, user_id)
        if not (has_way_in or store.outbox.is_enabled):
            return "last way in"
        await delete_factors(store, user_id)
        # Otherwise the user could not add a second step again for a while.
        await limiter.reset_buckets(store, *((limit, user_id) for limit in RESET_LIMITS))
        detail["ended"] = await end_all_sessions(store, user_id)
        if state.verified:
            await post_factor_notice(store, user_id, email, UNKNOWN_CLIENT, change="factors-reset")
    return "reset"


async def rekey_batch(
    operator: Operator, after_id: str = "", batch_size: int = rekey.BATCH_SIZE
) -> RekeyedBatch:
    """Encrypts the secrets of a batch of authenticator apps with the current key."""
    return await rekey.rekey_batch(operator.store, after_id, batch_size)


async def count_current_apps(operator: Operator) -> int:
    """Returns how many secrets of apps are encrypted with the current key."""
    return await rekey.count_current_apps(operator.store)


async def count_unreadable_apps(operator: Operator) -> int:
    """Returns how many authenticator apps have a secret that no key decrypts."""
    return await rekey.count_unreadable_apps(operator.store)


async def count_other_passkeys(operator: Operator) -> int:
    """Returns how many passkeys were created for another domain."""
    return await rekey.count_other_passkeys(operator.store)


async def count_admins_without_factor(operator: Operator) -> int:
    """Returns how many administrators have no second step."""
    return int(await operator.store.value(COUNT_ADMINS_WITHOUT_FACTOR()))
