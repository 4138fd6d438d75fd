"""The viewer's authenticator app: its state, its set-up and its removal."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Literal

from sqlalchemy import bindparam

from db.audit.log import viewer_actor
from db.crypto.secret import Secret
from db.engine.statement import Statement
from db.errors import NotFound, NotLoggedIn
from db.factors.changes import FactorChange, finish_change
from db.factors.enrollment import (
    Enrollment,
    draw_enrollment,
    read_enrollment,
    use_enrollment,
)
from db.factors.recovery_codes import CODE_COUNT, store_codes
from db.factors.totp import delete_app, encode_secret, find_step, provisioning_uri, set_app
from db.rate_limits import limiter
from db.rate_limits.limits import FACTOR_CHANGE
from db.sessions.lifecycle import require_right
from db.sessions.sudo import Sudo
from db.store import pick
from db.tables import totp, users
from db.viewer import Viewer, require_session

# The detail of the audit entries.
APP: Final = {"factor": "authenticator app"}
# Why an app was not set up: the page was too old, the recovery codes are not saved, or the code is
# wrong.
Problem = Literal["expired", "not saved", "wrong code"]


@dataclass(frozen=True, slots=True)
class AppState:
    """The app of an account. `created_at` is None if there is none."""

    email: str
    created_at: datetime | None
    last_used_at: datetime | None


@dataclass(frozen=True, slots=True)
class NewApp:
    """An app that the page offers to set up.

    `enrollment` is the value of the hidden field `enrolment`, `key` the secret as users type it,
    and `uri` the content of the QR code. `codes` are the recovery codes of an account without a
    second step, and empty otherwise.
    """

    state: AppState
    enrollment: Secret[str] = field(repr=False)
    key: Secret[str] = field(repr=False)
    uri: Secret[str] = field(repr=False)
    codes: Sequence[Secret[str]] = field(repr=False)


STATE = Statement(
    pick(AppState, users, created_at=totp.c.created_at, last_used_at=totp.c.last_used_at)
    .select_from(users.outerjoin(totp, totp.c.user_id == users.c.id))
    .where(users.c.id == bindparam("user_id"))
)


async def begin(sudo: Sudo[Viewer], site_name: str, *, enrollment: str = "") -> NewApp:
    """Returns a new secret for the page, which does not count yet, and the state of the account.

    Returns the secret and codes of `enrollment` again if it belongs to this session and has not
    expired, so that the app that the user has added in the meantime keeps working. Raises Forbidden
    for a viewer with an access token, and NotLoggedIn if the account does not exist anymore.
    """
    viewer = sudo.viewer
    require_session(viewer)
    state: AppState | None = await viewer.store.one(STATE(user_id=viewer.id))
    if state is None:
        raise NotLoggedIn(ended=True)
    drawn = read_enrollment(sudo, enrollment)
    if drawn is not None and _is_complete(drawn, needs_codes=not viewer.has_factor):
        token, app_secret, codes = Secret(enrollment), drawn.app_secret, drawn.codes
    else:
        new = draw_enrollment(sudo, with_codes=not viewer.has_factor)
        token, app_secret, codes = new.token, new.app_secret, new.codes
    return NewApp(
        state,
        token,
        encode_secret(app_secret),
        provisioning_uri(app_secret, state.email, site_name),
        codes,
    )


async def set_up(
    sudo: Sudo[Viewer], *, code: Secret[str], enrollment: str, is_saved: bool
) -> FactorChange | Problem:
    """Stores the app of the enrollment if `code` proves that it works, and ends other sessions.

    A new app replaces an older one, and the recovery codes stay. The first second step of an
    account also stores the codes of the enrollment. Returns the problem if nothing was stored.
    Raises RateLimited, Forbidden for a viewer with an access token, and NotLoggedIn if the session
    has ended since the request was verified.
    """
    viewer, store = sudo.viewer, sudo.viewer.store
    require_session(viewer)
    drawn = read_enrollment(sudo, enrollment)
    if drawn is None or not _is_complete(drawn, needs_codes=not viewer.has_factor):
        return "expired"
    if not (viewer.has_factor or is_saved):
        return "not saved"
    await limiter.take_tokens(store, viewer_actor(viewer), (FACTOR_CHANGE, viewer.id))
    step = find_step(drawn.app_secret, code, store.now(), after=-1)
    if step is None:
        return "wrong code"
    async with store.transaction():
        # Every change of a second step ends the session of the viewer, so `has_factor` is still
        # what the account has.
        await require_right(viewer)
        if not await use_enrollment(sudo, drawn):
            return "expired"
        # The code that proves the app counts as used (RFC 6238, section 5.2).
        await set_app(store, viewer.id, drawn.app_secret, step)
        if not viewer.has_factor:
            await store_codes(store, viewer.id, drawn.code_hashes)
        return await finish_change(sudo, "factor.add", "authenticator-added", APP)


async def remove(sudo: Sudo[Viewer]) -> FactorChange:
    """Removes the app, and ends other sessions. With the last second step, the codes go.

    Raises NotFound if there is no app, LastFactor, RateLimited, Forbidden for a viewer with an
    access token, and NotLoggedIn if the session has ended since the request was verified.
    """
    viewer, store = sudo.viewer, sudo.viewer.store
    require_session(viewer)
    await limiter.take_tokens(store, viewer_actor(viewer), (FACTOR_CHANGE, viewer.id))
    async with store.transaction():
        await require_right(viewer)
        if not await delete_app(store, viewer.id):
            raise NotFound
        return await finish_change(sudo, "factor.remove", "authenticator-removed", APP)


def _is_complete(enrollment: Enrollment, *, needs_codes: bool) -> bool:
    """Returns whether the page of the enrollment showed recovery codes, if they are needed."""
    return not needs_codes or len(enrollment.codes) == CODE_COUNT
