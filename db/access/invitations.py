"""Contains the invitations: administrators send them, and each gives one person one account.

An invitation has two links. The one in the mail confirms the email of the new account, because only
the recipient of the mail has it. Administrators can copy the other one and pass it on by another
channel, which proves nothing about the email.
"""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from sqlalchemy import and_, bindparam, delete, exists, or_, update

from db import accounts
from db.audit import log as audit_log
from db.audit.log import anonymous_actor, mask_email, user_actor, viewer_actor
from db.crypto.secret import Secret
from db.engine.statement import Statement, insert
from db.errors import LinkInvalid, NotFound
from db.mail.notices import post_verification
from db.mail.outbox import delete_unsent, format_time, post_invitation
from db.mail.tokens import LIFETIMES, LOCK_USER, derive_token, hash_token, require_same_link
from db.rate_limits import limiter
from db.rate_limits.ip_networks import per_client
from db.rate_limits.limits import ADMIN_CHANGE, ADMIN_DAY, LINK_POSTS
from db.sessions.claims import NewSession
from db.sessions.lifecycle import start_session
from db.sessions.sudo import Sudo, confirm_now
from db.store import Store, pick
from db.tables import Instant, invitations, users
from db.viewer import Admin, ClientInfo, Role

MAX_LISTED: Final = 200


@dataclass(frozen=True, slots=True)
class Invitation:
    """An open invitation as administrators see it.

    `token` is that of the link to copy; None if the key of its time was removed. `inviter` is the
    name of the administrator who invited, and None if that account is no longer an administrator's:
    then the invitation no longer works.
    """

    id: str
    email: str
    role: Role
    team: str
    inviter: str | None
    expires_at: datetime
    token: Secret[str] | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class _Row:
    id: str
    kid: str
    email: str
    role: Role
    team: str
    inviter: str | None
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class _Found:
    """An invitation by one of its links. `mail_token_hash` is that of the link in the mail."""

    id: str
    mail_token_hash: str | None
    email: str
    role: Role
    team: str
    invited_by: str


_inviter = users.alias("inviter")
# The right to invite is checked again at the end, because the administrator may have been demoted
# or disabled.
_may_invite = and_(
    _inviter.c.id == invitations.c.invited_by,
    _inviter.c.role == "admin",
    _inviter.c.disabled_at.is_(None),
)
_now = bindparam("now", type_=Instant)
OPEN = Statement(
    pick(_Row, invitations, inviter=_inviter.c.name)
    .join_from(invitations, _inviter, _may_invite, isouter=True)
    .where(
        invitations.c.expires_at > _now,
        # The invitation of someone who signed up without it has no use anymore.
        ~exists().where(users.c.email == invitations.c.email),
    )
    .order_by(invitations.c.created_at.desc(), invitations.c.id)
    .limit(MAX_LISTED)
)
INSERT_INVITATION = Statement(
    insert(invitations).values(
        id=bindparam("id"),
        token_hash=bindparam("token_hash"),
        mail_token_hash=bindparam("mail_token_hash"),
        kid=bindparam("kid"),
        email=bindparam("email"),
        role=bindparam("role"),
        team=bindparam("team"),
        invited_by=bindparam("invited_by"),
        created_at=_now,
        expires_at=bindparam("expires_at", type_=Instant),
    )
)
DELETE_BY_EMAIL = Statement(
    delete(invitations).where(invitations.c.email == bindparam("email")).returning(invitations.c.id)
)
DELETE_BY_ID = Statement(
    delete(invitations).where(invitations.c.id == bindparam("id")).returning(invitations.c.email)
)
RENEW = Statement(
    update(invitations)
    .where(invitations.c.id == bindparam("invitation_id"), invitations.c.expires_at > _now)
    .values(expires_at=bindparam("renewed", type_=Instant))
    .returning(invitations.c.email)
)
SET_MAIL_TOKEN = Statement(
    update(invitations)
    .where(invitations.c.id == bindparam("invitation_id"))
    .values(mail_token_hash=bindparam("new_hash"))
)
_has_token = or_(
    invitations.c.token_hash == bindparam("hash"),
    invitations.c.mail_token_hash == bindparam("hash"),
)
FIND = Statement(pick(_Found, invitations).where(_has_token, invitations.c.expires_at > _now))
CONSUME = Statement(
    delete(invitations)
    .where(
        _has_token,
        invitations.c.expires_at > _now,
        exists().where(_may_invite),
    )
    .returning(*(invitations.c[name] for name in _Found.__dataclass_fields__))
    .execution_options(into=_Found)
)


async def list_invitations(admin: Admin) -> list[Invitation]:
    """Returns the newest open invitations, the newest first."""
    store = admin.store
    rows: list[_Row] = await store.all(OPEN(now=store.now()))
    return [
        Invitation(
            row.id,
            row.email,
            row.role,
            row.team,
            row.inviter,
            row.expires_at,
            derive_token(store, row.id, row.kid),
        )
        for row in rows
    ]


async def invite(sudo: Sudo[Admin], *, email: str, role: Role, team: str) -> bool:
    """Invites someone, and returns False if an account has the email.

    A second invitation to the same email replaces the first. Raises UnknownRole, RateLimited
    and the errors of `accounts.change_user`.
    """
    admin = sudo.viewer
    await _take_tokens(admin)
    store, invitation_id, now = admin.store, admin.store.token(32), admin.store.now()
    token = derive_token(store, invitation_id, store.mail_keys.kid)
    assert token is not None  # noqa: S101  (the current key always exists)  # nosec B101
    async with accounts.change_user(admin, "invitation.create", invitation_id) as detail:
        await accounts.require_role(store, role)
        if await accounts.email_exists(store, email):
            return False
        for (older_id,) in await store.all(DELETE_BY_EMAIL(email=email)):
            await delete_unsent(store, older_id, ["invite"])
        mailed = await _post(admin, invitation_id, email)
        await store.count(
            INSERT_INVITATION(
                id=invitation_id,
                token_hash=hash_token(token),
                mail_token_hash=mailed,
                kid=store.mail_keys.kid,
                email=email,
                role=role,
                team=team,
                invited_by=admin.id,
                now=now,
                expires_at=now + LIFETIMES["invite"],
            )
        )
        detail |= {"email": mask_email(email), "role": role}
    return True


async def resend(admin: Admin, invitation_id: str) -> None:
    """Sends the mail again and makes the invitation valid for another seven days.

    The link of the older mail stops working. Raises NotFound, RateLimited, and the errors of
    `accounts.change_user`.
    """
    await _take_tokens(admin)
    store, now = admin.store, admin.store.now()
    async with accounts.change_user(admin, "invitation.resend", invitation_id) as detail:
        renewed = now + LIFETIMES["invite"]
        email = await store.value(RENEW(invitation_id=invitation_id, now=now, renewed=renewed))
        if email is None:
            raise NotFound
        await delete_unsent(store, invitation_id, ["invite"])
        mailed = await _post(admin, invitation_id, email)
        await store.count(SET_MAIL_TOKEN(invitation_id=invitation_id, new_hash=mailed))
        detail["email"] = mask_email(email)


async def withdraw(admin: Admin, invitation_id: str) -> None:
    """Ends both links of an invitation.

    Raises NotFound, RateLimited, and the errors of `accounts.change_user`.
    """
    await _take_tokens(admin)
    store = admin.store
    async with accounts.change_user(admin, "invitation.withdraw", invitation_id) as detail:
        email = await store.value(DELETE_BY_ID(id=invitation_id))
        if email is None:
            raise NotFound
        await delete_unsent(store, invitation_id, ["invite"])
        detail["email"] = mask_email(email)


async def join(
    store: Store,
    *,
    token: Secret[str] | None,
    link: str,
    name: str,
    password: Secret[str],
    client: ClientInfo,
) -> NewSession | None:
    """Creates the account of an invitation, and its first session.

    Returns None if the email must be confirmed before the first log-in: a mail with the link is on
    its way then. Of concurrent requests with one invitation, one succeeds. Raises LinkInvalid, also
    if an account has the email by now or the inviter is no longer an administrator, LinkMismatch,
    RateLimited, BreachedPassword, AccountNotCreated and Unavailable.
    """
    known = require_same_link(token, link)
    store.passwords.require_capacity()
    charges = per_client(LINK_POSTS, client.ip_address)
    await limiter.take_tokens(store, anonymous_actor(client), *charges)
    await find_invitation(store, known)  # Before the hash, which costs much more.
    async with limiter.refund_if_overloaded(store, *charges):
        await store.breached_passwords.require_not_breached(password)
        password_hash = await store.passwords.hash(password)
    async with store.transaction():
        invitation = await _consume(store, known)
        is_confirmed = invitation.mail_token_hash == hash_token(known)
        may_log_in = is_confirmed or not store.outbox.requires_verification
        user_id = await accounts.insert_user(
            store,
            name,
            invitation.email,
            password_hash,
            role=invitation.role,
            team=invitation.team,
            logs_in=may_log_in,
            verified=is_confirmed,
            browser_language=client.language,
        )
        if user_id is None:
            raise LinkInvalid("invite")
        session = None
        if may_log_in:
            session = await start_session(
                store,
                user_id,
                invitation.role,
                client,
                confirmation=confirm_now(store, "password"),
            )
        if not is_confirmed:
            await post_verification(store, user_id, invitation.email, is_first=True)
        actor = user_actor(user_id, client, session.id if session else "")
        # The two entries of one transaction: the account, and whose invitation it was.
        await audit_log.record(store, "signup", actor, {"role": invitation.role})
        await audit_log.record(store, "invitation.accept", actor, target_id=invitation.invited_by)
    return session


async def find_invitation(store: Store, token: Secret[str]) -> str:
    """Returns the email of the open invitation that one of its links belongs to.

    Raises LinkInvalid.
    """
    found: _Found | None = await store.one(FIND(hash=hash_token(token), now=store.now()))
    if found is None:
        raise LinkInvalid("invite")
    return found.email


async def _consume(store: Store, token: Secret[str]) -> _Found:
    """Deletes the invitation and returns it, if its inviter is still an administrator.

    Locks the inviter first, as all transactions lock users before other rows. Raises LinkInvalid.
    """
    values = {"hash": hash_token(token), "now": store.now()}
    found: _Found | None = await store.one(FIND(**values))
    if found is not None:
        await store.value(LOCK_USER(user_id=found.invited_by))
    consumed: _Found | None = await store.one(CONSUME(**values))
    if consumed is None:
        raise LinkInvalid("invite")
    await delete_unsent(store, consumed.id, ["invite"])
    return consumed


async def _post(admin: Admin, invitation_id: str, email: str) -> str | None:
    """Sends the mail, and returns the hash of the token of its link; None if mails are not sent."""
    store = admin.store
    facts = {
        # Some characters of a name, such as those that join emoji, do not fit in a mail.
        "inviter": admin.name if admin.name.isprintable() else "",
        "until": format_time(store.now() + LIFETIMES["invite"]),
        # The invited user has chosen no language yet.
        "language": admin.client.language,
    }
    token = await post_invitation(store, invitation_id, email, facts)
    return None if token is None else hash_token(token)


async def _take_tokens(admin: Admin) -> None:
    """Takes the tokens of one change. Raises RateLimited."""
    await limiter.take_tokens(
        admin.store, viewer_actor(admin), (ADMIN_CHANGE, admin.id), (ADMIN_DAY, admin.id)
    )
