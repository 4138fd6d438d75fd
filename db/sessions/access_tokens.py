"""Personal access tokens, with which programs call the API as a user.

A token has 256 random bits, so an unsalted SHA-256 is enough (ASVS 6.5.2). Its prefix lets secret
scanners find it, and its checksum lets them tell it from other text.
"""

import hashlib
import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, cast
from zlib import crc32

from sqlalchemy import bindparam, or_, select, update

from db.crypto.secret import Secret
from db.engine.statement import Statement
from db.errors import Unavailable
from db.store import Store
from db.tables import Instant, access_tokens, is_live, users
from db.viewer import LiveSession, Role, Viewer

PREFIX: Final = "lk_"
TOKEN_PATTERN: Final = re.compile(r"(lk_[A-Za-z0-9_-]{43})([0-9a-f]{8})")
# This is the least interval between two updates of last_used_at.
LAST_USED_INTERVAL: Final = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class LiveToken:
    """A token and its user, read by one statement."""

    token_id: str
    scopes: str
    created_at: datetime
    expires_at: datetime
    last_used_at: datetime | None
    user_id: str
    name: str
    role: Role
    slug: str
    team: str
    verified: bool
    has_factor: bool

    def as_session(self) -> LiveSession:
        """Returns the columns that a viewer needs. A token has no session."""
        return LiveSession(
            session_id="",
            logged_in_at=self.created_at,
            last_seen_at=self.last_used_at or self.created_at,
            expires_at=self.expires_at,
            user_id=self.user_id,
            name=self.name,
            role=self.role,
            slug=self.slug,
            team=self.team,
            verified=self.verified,
            has_factor=self.has_factor,
        )


LIVE_TOKEN = Statement(
    select(
        access_tokens.c.id.label("token_id"),
        access_tokens.c.scopes,
        access_tokens.c.created_at,
        access_tokens.c.expires_at,
        access_tokens.c.last_used_at,
        users.c.id.label("user_id"),
        users.c.name,
        users.c.role,
        users.c.slug,
        users.c.team,
        users.c.verified_at.is_not(None).label("verified"),
        users.c.has_factor,
    )
    .join_from(access_tokens, users)
    .where(
        access_tokens.c.token_hash == bindparam("token_hash"),
        is_live(access_tokens),
        users.c.disabled_at.is_(None),
    )
    .execution_options(into=LiveToken)
)
LOCK_TOKEN = Statement(
    select(users.c.role)
    .join_from(access_tokens, users)
    .where(
        access_tokens.c.id == bindparam("token_id"),
        access_tokens.c.user_id == bindparam("user_id"),
        is_live(access_tokens),
        users.c.disabled_at.is_(None),
    )
    # KEY SHARE excludes DELETE, but not the UPDATE of last_used_at.
    .with_for_update(read=True, key_share=True, of=access_tokens)
)
SET_LAST_USED = Statement(
    update(access_tokens)
    .where(
        access_tokens.c.id == bindparam("token_id"),
        or_(
            access_tokens.c.last_used_at.is_(None),
            access_tokens.c.last_used_at <= bindparam("stale", type_=Instant),
        ),
    )
    .values(last_used_at=bindparam("now", type_=Instant))
)


def make_token(store: Store) -> Secret[str]:
    """Returns a new token: the prefix, 43 random characters, and the CRC-32 of both in hex."""
    text = f"{PREFIX}{store.token(32)}"
    return Secret(f"{text}{_checksum(text)}")


def hash_token(token: Secret[str]) -> str:
    return hashlib.sha256(token.reveal().encode()).hexdigest()


async def find(store: Store, token: Secret[str]) -> LiveToken | None:
    """Returns the token and its user, or None if the token is unknown or expired or the user is
    disabled.

    Runs no query for text that is not a token.
    """
    match = TOKEN_PATTERN.fullmatch(token.reveal())
    if match is None or _checksum(match[1]) != match[2]:
        return None
    found: LiveToken | None = await store.one(
        LIVE_TOKEN(token_hash=hash_token(token), now=store.now())
    )
    return found


async def record_use(store: Store, live: LiveToken) -> None:
    """Updates the time of the last use in one conditional UPDATE if it is due."""
    now = store.now()
    stale = now - LAST_USED_INTERVAL
    if live.last_used_at is None or live.last_used_at <= stale:
        try:
            await store.count(SET_LAST_USED(token_id=live.token_id, stale=stale, now=now))
        except Unavailable:  # A database that rejects writes can still verify tokens.
            return


async def lock_token(viewer: Viewer) -> Role | None:
    """Returns the user's role, or None if the token was deleted or has expired.

    Locks the token's row against DELETE.
    """
    lock = LOCK_TOKEN(token_id=viewer.token_id, user_id=viewer.id, now=viewer.store.now())
    return cast("Role | None", await viewer.store.value(lock))


def _checksum(text: str) -> str:
    return f"{crc32(text.encode()):08x}"
