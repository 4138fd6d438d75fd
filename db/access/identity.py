"""The identity of a user for other applications: headers for a reverse proxy, and signed tokens."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, cast
from urllib.parse import quote

from sqlalchemy import bindparam

from db.audit.log import viewer_actor
from db.crypto.secret import Secret
from db.engine.statement import Statement
from db.errors import NeedsFactor, NotLoggedIn
from db.permissions import permissions_of
from db.rate_limits.limiter import take_tokens
from db.rate_limits.limits import IDENTITY_TOKENS
from db.store import Store, pick
from db.tables import users
from db.viewer import Viewer, needs_factor

TOKEN_LIFETIME: Final = timedelta(minutes=5)
GROUP_SAFE: Final = "!#$&'()*+./:;<=>?@[]^_`{|}~"


@dataclass(frozen=True, slots=True)
class IdentityColumns:
    """The columns of a user that a viewer does not contain."""

    email: str


@dataclass(frozen=True, slots=True)
class Identity:
    """A user as other applications know them.

    `email` is None until the user has confirmed it: an application that finds its users by email
    would otherwise give an account to anyone who types its email at sign-up. `groups` contains the
    role and, with the prefix `team-`, the team.
    """

    id: str
    email: str | None
    name: str
    role: str
    groups: tuple[str, ...]
    permissions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class IdentityToken:
    """A signed token and the time at which it expires."""

    value: Secret[str]
    expires_at: datetime


# `get_viewer` takes this as its `preload`, so that one statement reads the session and the email.
PRELOAD = pick(IdentityColumns, users)
EMAIL = Statement(PRELOAD.where(users.c.id == bindparam("user_id")))


async def get_identity(viewer: Viewer) -> Identity:
    """Returns the viewer's identity.

    Raises NeedsFactor if the viewer is an administrator who needs a second step, because other
    applications rely on the role. Raises NotLoggedIn if the account has been deleted.
    """
    if needs_factor(viewer):
        raise NeedsFactor
    # With the stateless strategy nothing is preloaded.
    columns = cast("IdentityColumns | None", viewer.preloaded)
    if columns is None:
        columns = await viewer.store.one(EMAIL(user_id=viewer.id))
    if columns is None:
        raise NotLoggedIn(ended=True)
    team = (f"team-{_quote_group(viewer.team)}",) if viewer.team else ()
    return Identity(
        viewer.id,
        columns.email if viewer.verified else None,
        viewer.name,
        viewer.role,
        (viewer.role, *team),
        await permissions_of(viewer),
    )


def sign_identity(
    viewer: Viewer, identity: Identity, *, issuer: str, audience: str
) -> IdentityToken:
    """Returns a token for the application at the origin `audience`.

    The application can verify it without a request, so it stays valid until it expires, even if the
    session is revoked.
    """
    now = viewer.store.now().replace(microsecond=0)
    email = {"email": identity.email} if identity.email is not None else {}
    claims = {
        "iss": issuer,
        "aud": audience,
        "sub": identity.id,
        **email,
        "email_verified": identity.email is not None,
        "name": identity.name,
        "role": identity.role,
        "permissions": list(identity.permissions),
        "groups": list(identity.groups),
        "iat": int(now.timestamp()),
        "exp": int((now + TOKEN_LIFETIME).timestamp()),
    }
    return IdentityToken(viewer.store.identity_keys.sign(claims), now + TOKEN_LIFETIME)


async def issue_token(viewer: Viewer, *, issuer: str, audience: str) -> IdentityToken:
    """Returns a token for an application that the browser or a program calls. Raises
    RateLimited.
    """
    await take_tokens(
        viewer.store,
        viewer_actor(viewer, viewer.client),
        (IDENTITY_TOKENS, viewer.session_id or viewer.id),
    )
    return sign_identity(viewer, await get_identity(viewer), issuer=issuer, audience=audience)


def public_keys(store: Store) -> dict[str, object]:
    """Returns the keys that verify tokens, as a JWK Set (RFC 7517)."""
    return store.identity_keys.public_keys()


def _quote_group(team: str) -> str:
    """Returns a team as part of the name of a group.

    Percent-encoding keeps different teams different. A slug would be the same for `R&D` and `R D`,
    and empty for `研究`.
    """
    return quote(team, safe=GROUP_SAFE)
