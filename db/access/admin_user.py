"""One user as an administrator sees it: devices and newest audit entries, and the end of
one session.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple

from sqlalchemy import Integer, bindparam, delete

from db import accounts
from db.access import admin as user_administration
from db.access.admin import UserSummary
from db.access.audit_entries import AdminEntry, own_numbers, select_admin_entries
from db.audit.events import EventTexts
from db.audit.log import viewer_actor
from db.device_names import describe_device
from db.engine.statement import Statement
from db.errors import NotFound
from db.messages import Message, UserText
from db.rate_limits import limiter
from db.rate_limits.limits import ADMIN_CHANGE, ADMIN_DAY
from db.store import pick
from db.tables import audit, is_live, sessions
from db.viewer import Admin, Role

MAX_DEVICES: Final = 10
MAX_ENTRIES: Final = 10


@dataclass(frozen=True, slots=True)
class UserDevice:
    """One session of a user as administrators see it.

    `ip_address` is the one that the log-in came from.
    """

    id: str
    browser: str
    system: str
    device_type: str
    ip_address: str
    created_at: datetime
    last_seen_at: datetime

    @property
    def name(self) -> Message:
        return describe_device(self.browser, self.system)


@dataclass(frozen=True, slots=True)
class UserDetails:
    """An account with its devices and the newest audit entries by or about its user.

    `devices` has the MAX_DEVICES that were used last; `user.session_count` counts all. `roles` has
    the label of every role. `product_events` has the texts of the events of the product.
    """

    user: UserSummary
    devices: list[UserDevice]
    entries: list[AdminEntry]
    roles: dict[Role, Message | UserText]
    product_events: Mapping[str, EventTexts]


class _Revoked(NamedTuple):
    browser: str
    system: str


DEVICES = Statement(
    pick(UserDevice, sessions)
    .where(sessions.c.user_id == bindparam("user_id"), is_live())
    .order_by(sessions.c.last_seen_at.desc(), sessions.c.id)
    .limit(MAX_DEVICES)
)
ENTRIES = Statement(
    select_admin_entries(own_numbers(audit.c.target_id).union(own_numbers(audit.c.actor_id))).limit(
        bindparam("max_entries", type_=Integer)
    )
)
REVOKE = Statement(
    delete(sessions)
    .where(sessions.c.id == bindparam("session_id"), sessions.c.user_id == bindparam("user_id"))
    .returning(sessions.c.browser, sessions.c.system)
    .execution_options(into=_Revoked)
)


async def get_details(admin: Admin, user_id: str) -> UserDetails:
    """Returns the account for its page, by four statements. Raises NotFound."""
    store = admin.store
    return UserDetails(
        user=await user_administration.get_user(admin, user_id),
        devices=await store.all(DEVICES(user_id=user_id, now=store.now())),
        entries=await store.all(ENTRIES(user_id=user_id, max_entries=MAX_ENTRIES)),
        roles=await user_administration.list_role_labels(admin),
        product_events=store.product.events,
    )


async def revoke_session(admin: Admin, user_id: str, session_id: str) -> None:
    """Ends one session of a user.

    Raises NotFound if the session does not exist or belongs to another user, RateLimited, and the
    errors of `accounts.change_user`.
    """
    await limiter.take_tokens(
        admin.store, viewer_actor(admin), (ADMIN_CHANGE, admin.id), (ADMIN_DAY, admin.id)
    )
    async with accounts.change_user(admin, "session.end", user_id) as detail:
        revoked: _Revoked | None = await admin.store.one(
            REVOKE(user_id=user_id, session_id=session_id)
        )
        if revoked is None:
            raise NotFound
        detail |= {
            "session": session_id,
            "device": describe_device(revoked.browser, revoked.system),
        }
