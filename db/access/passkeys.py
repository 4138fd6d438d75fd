"""The viewer's own passkeys: their list, creation, names and removal."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from sqlalchemy import bindparam, delete, func, select, update

from db.audit.log import viewer_actor
from db.engine.statement import Statement, insert_if
from db.errors import NotFound
from db.factors import enrollment as enrollments
from db.factors import passkeys as ceremonies
from db.factors import recovery_codes
from db.factors.changes import FactorChange, finish_change
from db.factors.enrollment import Enrollment, NewEnrollment
from db.factors.passkey_names import default_name
from db.factors.passkey_verification import encode_bytes
from db.factors.passkeys import Ceremony, NewPasskey
from db.rate_limits import limiter
from db.rate_limits.limits import FACTOR_CHANGE, PROFILE_CHANGE
from db.sessions.lifecycle import require_right
from db.sessions.sudo import Sudo
from db.store import pick
from db.tables import passkeys, users
from db.used_tokens import use_token
from db.viewer import Viewer, require_session

MAX_PASSKEYS_PER_USER: Final = 20


@dataclass(frozen=True, slots=True)
class Passkey:
    """A passkey as its user sees it.

    `rp_id` is the domain that it was created for. `backed_up` says whether it is synced.
    """

    id: str
    credential_id: str
    rp_id: str
    name: str
    backed_up: bool
    created_at: datetime
    last_used_at: datetime | None


@dataclass(frozen=True, slots=True)
class PasskeyOwner:
    """What authenticators display for the passkeys of an account.

    `handle` is the user handle as base64url (WebAuthn Level 3, section 5.4.3).
    """

    handle: str
    email: str
    name: str


# Why a passkey was not added. `wrong`: the browser's answer is not valid for this session anymore.
# `expired`: the recovery codes of the page have expired, or were stored already.
Problem = Literal["wrong", "expired", "taken", "too many"]


class _RolledBack(Exception):
    """Rolls the transaction back. `problem` says why."""

    def __init__(self, problem: Problem) -> None:
        super().__init__()
        self.problem = problem


PASSKEYS = Statement(
    pick(Passkey, passkeys)
    .where(passkeys.c.user_id == bindparam("user_id"))
    .order_by(passkeys.c.created_at.desc(), passkeys.c.id)
)
OWN_EMAIL = Statement(select(users.c.email).where(users.c.id == bindparam("user_id")))
_NEW_PASSKEY: Final = {
    "id": "id",
    "user_id": "user_id",
    "credential_id": "credential_id",
    "public_key": "public_key",
    "rp_id": "rp_id",
    "sign_count": "sign_count",
    "aaguid": "aaguid",
    "transports": "transports",
    "backed_up": "is_backed_up",
    "name": "name",
    "created_at": "now",
}
_count = (
    select(func.count())
    .select_from(passkeys)
    .where(passkeys.c.user_id == bindparam("user_id"))
    .scalar_subquery()
)
# A credential belongs to one account (WebAuthn Level 3, section 7.1, step 26).
INSERT_PASSKEY = Statement(
    insert_if(passkeys, _NEW_PASSKEY, _count < MAX_PASSKEYS_PER_USER)
    .on_conflict_do_nothing(index_elements=["credential_id"])
    .returning(passkeys.c.id)
)
COUNT_PASSKEYS = Statement(
    select(func.count()).select_from(passkeys).where(passkeys.c.user_id == bindparam("user_id"))
)
RENAME_PASSKEY = Statement(
    update(passkeys)
    .where(passkeys.c.id == bindparam("passkey_id"), passkeys.c.user_id == bindparam("owner_id"))
    .values(name=bindparam("new_name"))
    .returning(passkeys.c.id)
)
DELETE_PASSKEY = Statement(
    delete(passkeys)
    .where(passkeys.c.id == bindparam("passkey_id"), passkeys.c.user_id == bindparam("user_id"))
    .returning(passkeys.c.name)
)


async def list_passkeys(viewer: Viewer) -> Sequence[Passkey]:
    """Returns the viewer's passkeys, the newest first."""
    return await viewer.store.all(PASSKEYS(user_id=viewer.id))


async def get_owner(viewer: Viewer) -> PasskeyOwner:
    """Returns what authenticators display for the viewer's passkeys."""
    email = str(await viewer.store.value(OWN_EMAIL(user_id=viewer.id)))
    return PasskeyOwner(encode_bytes(viewer.id.encode()), email, viewer.name)


async def begin_adding(sudo: Sudo[Viewer], *, email: str, site_name: str) -> Ceremony:
    """Returns the options of a new passkey. Raises Forbidden for an access token."""
    require_session(sudo.viewer)
    return await ceremonies.begin_creation(sudo, email=email, site_name=site_name)


async def draw_enrollment(sudo: Sudo[Viewer]) -> NewEnrollment | None:
    """Returns new recovery codes for the page that adds the first second step, else None."""
    if sudo.viewer.has_factor:
        return None
    return enrollments.draw_enrollment(sudo, with_codes=True)


async def add_passkey(
    sudo: Sudo[Viewer], *, name: str, credential: str, challenge: str, enrollment: str
) -> FactorChange | Problem:
    """Adds a passkey, and ends the other sessions of the account.

    The first second step of an account also stores the recovery codes of the page, which
    `enrollment` contains. Without a name, the passkey gets that of its authenticator. Raises
    RateLimited, Unavailable, Refused, NotLoggedIn, and Forbidden for an access token.
    """
    viewer, store = sudo.viewer, sudo.viewer.store
    require_session(viewer)
    await limiter.take_tokens(store, viewer_actor(viewer), (FACTOR_CHANGE, viewer.id))
    drawn = enrollments.read_enrollment(sudo, enrollment)
    if not viewer.has_factor and (drawn is None or not drawn.codes):
        return "expired"
    new = await ceremonies.verify_creation(sudo, credential, challenge)
    if new is None:
        return "wrong"
    name = name or default_name(new.aaguid, viewer.client)
    try:
        async with store.transaction():
            await require_right(viewer)
            if not await use_token(store, new.challenge):
                raise _RolledBack("wrong")
            await _insert(viewer, new, name)
            if not viewer.has_factor and drawn is not None:
                await _store_codes(sudo, drawn)
            detail = {"factor": "passkey", "label": name}
            return await finish_change(sudo, "factor.add", "passkey-added", detail)
    except _RolledBack as rolled_back:
        return rolled_back.problem


async def rename_passkey(viewer: Viewer, passkey_id: str, name: str) -> None:
    """Renames one of the viewer's passkeys. Raises NotFound, RateLimited and NotLoggedIn."""
    require_session(viewer)
    store = viewer.store
    await limiter.take_tokens(store, viewer_actor(viewer), (PROFILE_CHANGE, viewer.id))
    async with store.transaction():
        await require_right(viewer)
        renamed = await store.value(
            RENAME_PASSKEY(passkey_id=passkey_id, owner_id=viewer.id, new_name=name)
        )
        if renamed is None:
            raise NotFound


async def remove_passkey(sudo: Sudo[Viewer], passkey_id: str) -> FactorChange:
    """Removes one of the viewer's passkeys, and ends the other sessions of the account.

    Raises LastWayIn if nothing else opens the account, LastFactor, NotFound, RateLimited,
    NotLoggedIn, and Forbidden for an access token.
    """
    viewer, store = sudo.viewer, sudo.viewer.store
    require_session(viewer)
    await limiter.take_tokens(store, viewer_actor(viewer), (FACTOR_CHANGE, viewer.id))
    async with store.transaction():
        await require_right(viewer)
        name = await store.value(DELETE_PASSKEY(passkey_id=passkey_id, user_id=viewer.id))
        if name is None:
            raise NotFound
        detail = {"factor": "passkey", "label": str(name)}
        return await finish_change(sudo, "factor.remove", "passkey-removed", detail)


async def _insert(viewer: Viewer, new: NewPasskey, name: str) -> None:
    """Stores the passkey. Raises _RolledBack if an account has it, or if there are too many."""
    store = viewer.store
    added = await store.value(
        INSERT_PASSKEY(
            id=store.token(16),
            user_id=viewer.id,
            credential_id=new.credential_id,
            public_key=new.public_key,
            rp_id=store.factors.rp_id,
            sign_count=new.sign_count,
            aaguid=new.aaguid,
            transports=new.transports,
            is_backed_up=new.backed_up,
            name=name,
            now=store.now(),
        )
    )
    if added is None:
        count = int(await store.value(COUNT_PASSKEYS(user_id=viewer.id)))
        raise _RolledBack("taken" if count < MAX_PASSKEYS_PER_USER else "too many")


async def _store_codes(sudo: Sudo[Viewer], enrollment: Enrollment) -> None:
    if not await enrollments.use_enrollment(sudo, enrollment):
        raise _RolledBack("expired")
    # `has_factor` is still what the account has: each change of it ends the session of the viewer.
    await recovery_codes.store_codes(sudo.viewer.store, sudo.viewer.id, enrollment.code_hashes)
