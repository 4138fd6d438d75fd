"""Contains the download of everything that is stored about an account.

Only the columns that a list below names leave the database. tests/test_data_download.py compares
these lists with the tables, so that a new column needs a decision.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, cast

from sqlalchemy import Integer, bindparam, case, func, null, or_, select
from sqlalchemy.sql import ColumnElement

from db import accounts
from db.access.audit_entries import IS_OWN, SHOWS_CLIENT, own_numbers
from db.audit import log as audit_log
from db.audit.log import viewer_actor
from db.audit.messages import read_detail
from db.engine.statement import Statement
from db.errors import NotFound
from db.rate_limits import limiter
from db.rate_limits.limits import DATA_DOWNLOAD
from db.sessions.lifecycle import require_right
from db.sessions.sudo import Sudo
from db.tables import (
    access_tokens,
    audit,
    identities,
    invitations,
    outbox,
    passkeys,
    recovery_codes,
    sessions,
    tokens,
    totp,
    users,
)
from db.viewer import Admin, Viewer, require_session

# Above this number, the oldest audit entries are left out, and their number is given.
MAX_ENTRIES: Final = 10_000
_user_id: ColumnElement[str] = bindparam("user_id")


def _columns(table: Any, *names: str) -> list[ColumnElement[Any]]:
    return [table.c[name].label(name) for name in names]


def _as_dict(names: tuple[str, ...]) -> Any:
    return lambda *values: dict(zip(names, values, strict=True))


def _statement(
    columns: list[ColumnElement[Any]], where: Any, *order: Any, limit: Any = None
) -> Statement[Any]:
    """Returns a SELECT whose rows are dicts of these columns."""
    names = tuple(column.key or "" for column in columns)
    selected = select(*columns).where(where).order_by(*order).limit(limit)
    return Statement(selected.execution_options(into=_as_dict(names)))


PROFILE = _statement(
    _columns(
        users,
        *("id", "email", "name", "slug", "phone", "team", "role", "created_at", "verified_at"),
        *("disabled_at", "last_login_at", "previous_login_at", "sessions_ended_at", "delete_at"),
        *("password_changed_at", "password_used_at", "has_factor", "passkey_declined_at"),
        *("language", "browser_language"),
    ),
    users.c.id == _user_id,
)
# The lists of the file, by their names in it.
LISTS: Final[Mapping[str, Statement[Any]]] = {
    "sessions": _statement(
        _columns(
            sessions,
            *("id", "created_at", "last_seen_at", "expires_at", "browser", "system"),
            *("device_type", "user_agent", "ip_address", "is_remembered"),
        ),
        sessions.c.user_id == _user_id,
        sessions.c.created_at,
    ),
    "links": _statement(
        _columns(tokens, "purpose", "email", "event", "created_at", "expires_at"),
        tokens.c.user_id == _user_id,
        tokens.c.created_at,
    ),
    "mails": _statement(
        _columns(outbox, "message_type", "recipient", "created_at", "sent_at"),
        outbox.c.user_id == _user_id,
        outbox.c.created_at,
    ),
    "access_tokens": _statement(
        _columns(access_tokens, "name", "scopes", "created_at", "expires_at", "last_used_at"),
        access_tokens.c.user_id == _user_id,
        access_tokens.c.created_at,
    ),
    "passkeys": _statement(
        _columns(
            passkeys,
            *("name", "rp_id", "aaguid", "transports", "backed_up", "created_at", "last_used_at"),
        ),
        passkeys.c.user_id == _user_id,
        passkeys.c.created_at,
    ),
    "authenticator_apps": _statement(
        _columns(totp, "created_at", "last_used_at"), totp.c.user_id == _user_id
    ),
    # One entry for each code that was not used.
    "recovery_codes": _statement(
        _columns(recovery_codes, "created_at"),
        recovery_codes.c.user_id == _user_id,
        recovery_codes.c.created_at,
    ),
    "identities": _statement(
        _columns(
            identities, "provider", "issuer", "subject", "label", "created_at", "last_used_at"
        ),
        identities.c.user_id == _user_id,
        identities.c.created_at,
    ),
    "invitations": _statement(
        _columns(invitations, "email", "role", "team", "created_at", "expires_at"),
        invitations.c.invited_by == _user_id,
        invitations.c.created_at,
    ),
}
_is_theirs = or_(audit.c.target_id == _user_id, audit.c.actor_id == _user_id)
COUNT_ENTRIES = Statement(select(func.count()).select_from(audit).where(_is_theirs))
# The actor and the client of an administrator's or the operator's entries are left out, as on the
# page of the user's activity.
ENTRIES = _statement(
    [
        *_columns(audit, "number", "at", "event", "outcome", "actor_type"),
        case((IS_OWN, audit.c.actor_id), else_=null()).label("actor_id"),
        *_columns(audit, "target_id"),
        *(
            case((SHOWS_CLIENT, audit.c[name]), else_="").label(name)
            for name in ("session_id", "ip_address", "browser")
        ),
        *_columns(audit, "detail"),
    ],
    audit.c.number.in_(own_numbers(audit.c.target_id).union(own_numbers(audit.c.actor_id))),
    audit.c.number.desc(),
    limit=bindparam("max_entries", type_=Integer),
)


async def download_own(sudo: Sudo[Viewer]) -> dict[str, Any]:
    """Returns everything that is stored about the viewer.

    A stolen session alone cannot read all of it at once, because that needs a confirmation. Writes
    an audit entry. Raises RateLimited, Unavailable, and NotLoggedIn if the session has ended.
    """
    viewer, store = sudo.viewer, sudo.viewer.store
    require_session(viewer)
    await limiter.take_tokens(store, viewer_actor(viewer), (DATA_DOWNLOAD, viewer.id))
    async with store.transaction():
        await require_right(viewer)
        await audit_log.record(store, "data.download", viewer_actor(viewer))
    return await _read(viewer, viewer.id)


async def download_of_user(sudo: Sudo[Admin], user_id: str) -> dict[str, Any]:
    """Returns everything that is stored about a user.

    The user sees the audit entry. Raises NotFound, RateLimited, Unavailable, and the errors of
    `accounts.change_user`.
    """
    admin = sudo.viewer
    require_session(admin)
    await limiter.take_tokens(admin.store, viewer_actor(admin), (DATA_DOWNLOAD, admin.id))
    async with accounts.change_user(admin, "data.download", user_id) as detail:
        await accounts.get_user_state(admin.store, user_id)
        detail["lists"] = len(LISTS)
    return await _read(admin, user_id)


async def _read(viewer: Viewer, user_id: str) -> dict[str, Any]:
    """Returns the content of the file. Its values are those of JSON."""
    store = viewer.store
    profile = await store.one(PROFILE(user_id=user_id))
    if profile is None:
        raise NotFound
    data = {"exported_at": store.now(), "profile": profile}
    for name, statement in LISTS.items():
        data[name] = await store.all(statement(user_id=user_id))
    entries = await store.all(ENTRIES(user_id=user_id, max_entries=MAX_ENTRIES))
    total = int(await store.value(COUNT_ENTRIES(user_id=user_id)))
    data["audit_log"] = [
        entry | {"detail": dict(read_detail(entry["detail"]))} for entry in entries
    ]
    data["audit_log_entries_left_out"] = max(0, total - len(entries))
    if store.product.export is not None:
        data["product"] = await store.product.export(viewer, user_id)
    return cast("dict[str, Any]", _plain(data))


def _plain(value: Any) -> Any:
    """Returns a value with its times as text in RFC 3339."""
    match value:
        case datetime():
            return value.astimezone(UTC).isoformat()
        case Mapping():
            return {str(name): _plain(part) for name, part in value.items()}
        case list() | tuple():
            return [_plain(part) for part in value]
    return value
