"""Every table of the database."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    DateTime,
    Dialect,
    Double,
    ForeignKey,
    FromClause,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    bindparam,
    false,
)
from sqlalchemy.types import TypeDecorator, TypeEngine

SCHEMA: Final = "0009"  # The newest revision of db/migrations, which this code requires.


class Instant(TypeDecorator[datetime]):
    """A timezone-aware moment in UTC, exact to the microsecond.

    PostgreSQL stores a TIMESTAMPTZ. SQLite stores text of fixed width that sorts by time:
    `2026-11-24T09:12:00.000000+00:00`.
    """

    impl = DateTime(timezone=True)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return Text() if dialect.name == "sqlite" else DateTime(timezone=True)

    def bind_processor(self, dialect: Dialect) -> Callable[[datetime | None], Any] | None:
        return _as_text if dialect.name == "sqlite" else None

    def result_processor(
        self, dialect: Dialect, coltype: object
    ) -> Callable[[Any], datetime | None] | None:
        return _from_text if dialect.name == "sqlite" else None


def _as_text(moment: datetime | None) -> str | None:
    return None if moment is None else moment.astimezone(UTC).isoformat(timespec="microseconds")


def _from_text(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


metadata = MetaData()

# A column whose name is out of date keeps it, since hosts that still run the previous version use
# the same tables during an upgrade. `key` is the name in Python.

# The roles `user` and `admin` are built in. Administrators add others.
roles = Table(
    "roles",
    metadata,
    Column("name", Text, primary_key=True),  # such as `editor`
    Column("label", Text, nullable=False),  # such as `Editor`
    Column("created_at", Instant, nullable=False),
)

role_permissions = Table(
    "role_permissions",
    metadata,
    Column("role", Text, ForeignKey("roles.name", ondelete="CASCADE"), primary_key=True),
    Column("permission", Text, primary_key=True),  # such as `articles:write`
)

users = Table(
    "users",
    metadata,
    Column("id", Text, primary_key=True),
    # The email is in canonical form: see web.forms.fields.
    Column("email", Text, nullable=False, unique=True),
    Column("name", Text, nullable=False),
    Column("search_key", Text),  # It is derived from name and email: see db.user_search.
    Column("slug", Text, nullable=False, unique=True),
    Column("phone", Text, nullable=False, server_default=""),
    Column("team", Text, nullable=False, server_default=""),  # An empty team matches no other team.
    Column("role", Text, ForeignKey("roles.name"), nullable=False, server_default="user"),
    Column("password_hash", Text, nullable=False),
    # when the password was set; None if that was before revision 0006, or if it was imported
    Column("password_changed_at", Instant),
    # when the password last opened the account; None if it has not since revision 0007
    Column("password_used_at", Instant),
    # whether the account has a passkey or an authenticator app, which a password alone never opens
    Column("has_factor", Boolean, nullable=False, server_default=false()),
    # when the user declined the offer of a passkey, which is then never made again
    Column("passkey_declined_at", Instant),
    # The language that the user chose, such as `de`; empty for that of the browser.
    Column("language", Text, nullable=False, server_default=""),
    # The language of the browser at the last log-in, for mails; empty if it is unknown.
    Column("browser_language", Text, nullable=False, server_default=""),
    Column("created_at", Instant, nullable=False),
    Column("verified_at", Instant),  # when the user first proved that the email is theirs
    Column("disabled_at", Instant),
    Column("last_login_at", Instant),
    Column("previous_login_at", Instant),
    # Stateless sessions that started at or before this moment are invalid.
    Column("sessions_ended_at", Instant),
    # when the account is deleted, at the request of its user or of an administrator
    Column("delete_at", Instant),
    Index("users_created_at", "created_at"),
    Index("users_delete_at", "delete_at"),
)

sessions = Table(
    "sessions",
    metadata,
    Column("id", Text, primary_key=True),  # The id is public, and is not the cookie's sid.
    Column("user_id", Text, ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
    # The SHA-256 of the cookie's sid, in hex.
    Column("token_hash", Text, nullable=False, unique=True),
    Column("created_at", Instant, nullable=False),
    Column("last_seen_at", Instant, nullable=False),
    Column("expires_at", Instant, nullable=False),
    Column("browser", Text, nullable=False),
    Column("system", Text, nullable=False),
    # The values are computer, phone, tablet, terminal and unknown.
    Column("kind", Text, key="device_type", nullable=False),
    Column("user_agent", Text, nullable=False),
    Column("address", Text, key="ip_address", nullable=False),
    # whether the user chose to stay logged in, which selects the lifetimes of the session
    Column("is_remembered", Boolean, nullable=False, server_default=false()),
    # Of a session that began with a log-in at a provider: see db.sessions.provider_login.
    Column("provider_subject_hash", Text),
    Column("provider_sid_hash", Text),
    Index("sessions_user_id", "user_id"),
    Index("sessions_expires_at", "expires_at"),
    Index("sessions_provider_subject_hash", "provider_subject_hash"),
    Index("sessions_provider_sid_hash", "provider_sid_hash"),
)

buckets = Table(
    "buckets",
    metadata,
    # The key has the limit's name and MACs of its subject: see db.rate_limits.buckets.
    Column("key", Text, primary_key=True),
    Column("full_at", Double, nullable=False),  # Seconds since 1970, like the next two columns.
    Column("rests_until", Double, key="blocked_until", nullable=False),
    Column("kept_until", Double, nullable=False),
    Column("taken", Integer, nullable=False),  # Attempts since the row expired or was deleted.
    Column("refused", Integer, nullable=False),  # Refusals since the bucket was last full.
    Index("buckets_kept_until", "kept_until"),
)

audit = Table(
    "audit",
    metadata,
    # Without a gap, because it is the order of the hash chain.
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("at", Instant, nullable=False),
    Column("event", Text, nullable=False),
    Column("outcome", Text, nullable=False),  # The values are done and refused.
    # The values are user, anonymous, operator and system. Older rows have FORMER_ACTOR_TYPES.
    Column("actor", Text, key="actor_type", nullable=False),
    Column("actor_id", Text),  # Without a foreign key, so that the entry outlives the account.
    Column("target_id", Text),  # The account that the entry is about.
    Column("session_id", Text, nullable=False),
    Column("address", Text, key="ip_address", nullable=False),
    Column("browser", Text, nullable=False),
    Column("detail", Text, nullable=False),
    Column("kid", Text, nullable=False),  # The id of the key of the MAC.
    # The MAC of this row and of the MAC of the row before it: see db.audit.log.
    Column("seal", Text, key="mac", nullable=False),
    Index("audit_target_id", "target_id", "number"),
    Index("audit_actor_id", "actor_id", "number"),
    # The filters by event and by day. Without them, a page sorts or reads most of the log.
    Index("audit_event", "event", "number"),
    Index("audit_at", "at", "number"),
    # The counts of the dashboard: 0.02 ms with this index and 1.3 s without, of a million entries.
    Index("audit_event_at", "event", "outcome", "at"),
)

audit_checkpoint = Table(
    "trail_anchor",
    metadata,
    # The newest pruned entry.
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("seal", Text, key="entry_mac", nullable=False),  # The MAC of that entry.
    Column("kid", Text, nullable=False),
    Column("proof", Text, key="mac", nullable=False),  # The MAC of this row.
)

audit_head = Table(
    "trail_head",
    metadata,
    # The newest entry, or 0 before the first one.
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("seal", Text, key="entry_mac", nullable=False),  # The MAC of that entry.
    Column("kid", Text, nullable=False),
    Column("proof", Text, key="mac", nullable=False),  # The MAC of this row.
)

# The links of mails. A token is derived from the id of its message: see db.mail.tokens.
tokens = Table(
    "tokens",
    metadata,
    Column("hash", Text, primary_key=True),  # SHA-256 of the token, in hex
    Column("purpose", Text, nullable=False),  # a db.mail.tokens.Purpose
    Column("user_id", Text, ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
    Column("email", Text, nullable=False),  # of `change` the new email, which is stored only here
    Column("event", Text, nullable=False),  # of `not-me` the type of the message
    Column("created_at", Instant, nullable=False),
    Column("expires_at", Instant, nullable=False),
    Index("tokens_user_id", "user_id", "purpose"),
    Index("tokens_email", "email"),
    Index("tokens_expires_at", "expires_at"),
)

# Mails to send. A message is written in the transaction of the change that it reports.
outbox = Table(
    "outbox",
    metadata,
    Column("id", Text, primary_key=True),
    Column("kind", Text, key="message_type", nullable=False),
    Column("user_id", Text, nullable=False),  # empty in a request for a password reset
    Column("recipient", Text, nullable=False),
    Column("facts", Text, nullable=False),  # JSON, the values for the template
    Column("kid", Text, nullable=False),  # of the key of the token
    Column("created_at", Instant, nullable=False),
    Column("due_at", Instant),  # when to send or try again; NULL if that is over
    Column("expires_at", Instant, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("sent_at", Instant),
    Column("error", Text, nullable=False),
    Index("outbox_due_at", "due_at"),
    Index("outbox_user_id", "user_id"),
)

# An invitation has two links. The token of the one that administrators can copy is derived from the
# id of the invitation, and that of the one in the mail from the id of the message.
invitations = Table(
    "invitations",
    metadata,
    Column("id", Text, primary_key=True),
    Column("token_hash", Text, nullable=False, unique=True),  # SHA-256 of the token, in hex
    Column("mail_token_hash", Text, unique=True),  # of the token in the newest mail
    Column("kid", Text, nullable=False),  # of the key of the token that can be copied
    Column("email", Text, nullable=False),
    Column("role", Text, ForeignKey("roles.name"), nullable=False),
    Column("team", Text, nullable=False),
    Column("invited_by", Text, nullable=False),  # a user id, without a foreign key
    Column("created_at", Instant, nullable=False),
    Column("expires_at", Instant, nullable=False),
    Index("invitations_email", "email"),
    Index("invitations_expires_at", "expires_at"),
)

# The personal access tokens with which programs call the API as a user.
access_tokens = Table(
    "access_tokens",
    metadata,
    Column("id", Text, primary_key=True),
    Column("user_id", Text, ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
    Column("name", Text, nullable=False),
    Column("token_hash", Text, nullable=False, unique=True),  # SHA-256 of the token, in hex
    Column("scopes", Text, nullable=False),  # separated by spaces
    Column("created_at", Instant, nullable=False),
    Column("expires_at", Instant, nullable=False),
    Column("last_used_at", Instant),
    Index("access_tokens_user_id", "user_id"),
    Index("access_tokens_expires_at", "expires_at"),
)

# The passkeys of an account (WebAuthn Level 3, section 7).
passkeys = Table(
    "passkeys",
    metadata,
    Column("id", Text, primary_key=True),
    Column("user_id", Text, ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
    Column("credential_id", Text, nullable=False, unique=True),  # base64url
    Column("public_key", Text, nullable=False),  # a COSE key, base64url
    Column("rp_id", Text, nullable=False),  # the domain that the passkey was created for
    Column("sign_count", BigInteger, nullable=False),
    Column("aaguid", Text, nullable=False),  # the type of the authenticator, a UUID
    Column("transports", Text, nullable=False),  # separated by spaces
    Column("backed_up", Boolean, nullable=False),  # whether it is synced to other devices
    Column("name", Text, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("last_used_at", Instant),
    Index("passkeys_user_id", "user_id"),
)

# The authenticator app of an account (TOTP, RFC 6238).
totp = Table(
    "totp",
    metadata,
    Column("user_id", Text, ForeignKey("users.id", ondelete="CASCADE"), primary_key=True),
    Column("secret", Text, nullable=False),  # encrypted: see db.crypto.stored_secrets
    Column("kid", Text, nullable=False),  # the id of the key that it is encrypted with
    # The time step of the newest code that was used: no code of this step or before is accepted.
    Column("last_step", BigInteger, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("last_used_at", Instant),
)

# The recovery codes of an account that were not used yet.
recovery_codes = Table(
    "recovery_codes",
    metadata,
    Column("code_hash", Text, primary_key=True),  # SHA-256 of the code, in hex
    Column("user_id", Text, ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
    Column("created_at", Instant, nullable=False),
    Index("recovery_codes_user_id", "user_id"),
)

# The identities of other providers that can log in to an account. Two accounts never share one.
identities = Table(
    "identities",
    metadata,
    Column("id", Text, primary_key=True),
    Column("user_id", Text, ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
    Column("provider", Text, nullable=False),  # the name in the settings
    Column("issuer", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("label", Text, nullable=False),  # what the page shows of it, from when it was connected
    Column("created_at", Instant, nullable=False),
    Column("last_used_at", Instant),
    UniqueConstraint("issuer", "subject"),
    Index("identities_user_id", "user_id"),
    Index("identities_provider", "provider"),
)

# The organizations whose users log in at an identity provider of their own: a domain of emails,
# bound to an issuer. An organization counts only after its domain was verified.
organizations = Table(
    "organizations",
    metadata,
    Column("domain", Text, primary_key=True),  # in canonical form, such as `example.com`
    Column("label", Text, nullable=False),  # what buttons and sentences call the provider
    Column("issuer", Text, nullable=False),
    Column("client_id", Text, nullable=False),
    Column("client_secret", Text, nullable=False),  # encrypted: see db.crypto.stored_secrets
    Column("kid", Text, nullable=False),  # the id of the key that it is encrypted with
    Column("scopes", Text, nullable=False),  # separated by spaces
    # whether a user of the organization may create an account by a log-in
    Column("allows_sign_up", Boolean, nullable=False),
    # the claim that decides the role of its users, such as `groups`; empty if none does
    Column("role_claim", Text, nullable=False),
    # the text of the DNS record that verifies the domain; a new one for each issuer
    Column("proof", Text, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("verified_at", Instant),
)

# The role of each value of an organization's claim. Of several values, the first one counts.
organization_roles = Table(
    "organization_roles",
    metadata,
    Column(
        "domain", Text, ForeignKey("organizations.domain", ondelete="CASCADE"), primary_key=True
    ),
    Column("claim_value", Text, primary_key=True),
    Column("position", Integer, nullable=False),
    Column("role", Text, ForeignKey("roles.name", ondelete="CASCADE"), nullable=False),
    Index("organization_roles_role", "role"),
)

# The encrypted tokens that were used and have not expired. The primary key allows one use of each.
used_tokens = Table(
    "used_tokens",
    metadata,
    Column("id", Text, primary_key=True),
    Column("kept_until", Instant, nullable=False),
    Index("used_tokens_kept_until", "kept_until"),
)


def is_live(table: FromClause = sessions) -> ColumnElement[bool]:
    """Returns the condition that a session has not expired at the time of the bind `now`."""
    return table.c.expires_at > bindparam("now", type_=Instant)
