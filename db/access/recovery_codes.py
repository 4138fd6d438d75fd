"""The viewer's recovery codes: how many are left, and new ones in their place."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from db.access.passkeys import OWN_EMAIL
from db.audit.log import viewer_actor
from db.crypto.secret import Secret
from db.errors import StateChanged
from db.factors.changes import FactorChange, finish_change
from db.factors.enrollment import draw_enrollment, read_enrollment, use_enrollment
from db.factors.recovery_codes import CODE_COUNT, count_codes, replace_codes
from db.rate_limits import limiter
from db.rate_limits.limits import FACTOR_CHANGE
from db.sessions.lifecycle import require_right
from db.sessions.sudo import Sudo
from db.viewer import Viewer, require_session

# Why codes were not stored: the page was too old, or the box about saving them was not ticked.
Problem = Literal["expired", "not saved"]


@dataclass(frozen=True, slots=True)
class NewCodes:
    """Ten new codes, which do not count yet. `left` is how many old codes were not used.

    `email` is that of the account, and `enrollment` the value of the hidden field `enrolment`.
    """

    left: int
    email: str
    enrollment: Secret[str] = field(repr=False)
    codes: Sequence[Secret[str]] = field(repr=False)


async def draw(sudo: Sudo[Viewer], *, enrollment: str = "") -> NewCodes | None:
    """Returns new codes for the page; None if the account has no second step.

    Returns the codes of `enrollment` again if it belongs to this session and has not expired, so
    that a refused form shows the codes that the user has saved. Raises Forbidden for a viewer with
    an access token.
    """
    viewer = sudo.viewer
    require_session(viewer)
    if not viewer.has_factor:
        return None
    left = await count_codes(viewer.store, viewer.id)
    email = str(await viewer.store.value(OWN_EMAIL(user_id=viewer.id)))
    drawn = read_enrollment(sudo, enrollment)
    if drawn is not None and drawn.codes:
        return NewCodes(left, email, Secret(enrollment), drawn.codes)
    new = draw_enrollment(sudo, with_codes=True)
    return NewCodes(left, email, new.token, new.codes)


async def renew(sudo: Sudo[Viewer], *, enrollment: str, is_saved: bool) -> FactorChange | Problem:
    """Stores the codes of the enrollment in place of the old ones, and ends other sessions.

    Returns the problem if nothing was stored. Raises StateChanged if the account has no second
    step, RateLimited, Forbidden for a viewer with an access token, and NotLoggedIn if the session
    has ended since the request was verified.
    """
    viewer, store = sudo.viewer, sudo.viewer.store
    require_session(viewer)
    drawn = read_enrollment(sudo, enrollment)
    if not viewer.has_factor:
        raise StateChanged
    if drawn is None or len(drawn.codes) != CODE_COUNT:
        return "expired"
    if not is_saved:
        return "not saved"
    await limiter.take_tokens(store, viewer_actor(viewer), (FACTOR_CHANGE, viewer.id))
    async with store.transaction():
        # The removal of the last second step ends the session of the viewer.
        await require_right(viewer)
        if not await use_enrollment(sudo, drawn):
            return "expired"
        await replace_codes(store, viewer.id, drawn.code_hashes)
        return await finish_change(sudo, "recovery.renew", "codes-renewed", {})
