"""Adds passkeys, authenticator apps, recovery codes and the list of used tokens."""

import sqlalchemy as sa
from alembic import op

from db.tables import Instant

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("users", sa.Column("password_used_at", Instant))
    op.add_column(
        "users", sa.Column("has_factor", sa.Boolean, nullable=False, server_default=sa.false())
    )
    op.add_column("users", sa.Column("passkey_declined_at", Instant))
    op.create_table(
        "passkeys",
        sa.Column("id", sa.Text, primary_key=True),
        _user_id(nullable=False),
        sa.Column("credential_id", sa.Text, nullable=False, unique=True),
        sa.Column("public_key", sa.Text, nullable=False),
        sa.Column("rp_id", sa.Text, nullable=False),
        sa.Column("sign_count", sa.BigInteger, nullable=False),
        sa.Column("aaguid", sa.Text, nullable=False),
        sa.Column("transports", sa.Text, nullable=False),
        sa.Column("backed_up", sa.Boolean, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("created_at", Instant, nullable=False),
        sa.Column("last_used_at", Instant),
    )
    op.create_index("passkeys_user_id", "passkeys", ["user_id"])
    op.create_table(
        "totp",
        _user_id(primary_key=True, nullable=False),
        sa.Column("secret", sa.Text, nullable=False),
        sa.Column("kid", sa.Text, nullable=False),
        sa.Column("last_step", sa.BigInteger, nullable=False),
        sa.Column("created_at", Instant, nullable=False),
        sa.Column("last_used_at", Instant),
    )
    op.create_table(
        "recovery_codes",
        sa.Column("code_hash", sa.Text, primary_key=True),
        _user_id(nullable=False),
        sa.Column("created_at", Instant, nullable=False),
    )
    op.create_index("recovery_codes_user_id", "recovery_codes", ["user_id"])
    op.create_table(
        "used_tokens",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("kept_until", Instant, nullable=False),
    )
    op.create_index("used_tokens_kept_until", "used_tokens", ["kept_until"])


def _user_id(*, nullable: bool = True, primary_key: bool = False) -> sa.Column[str]:
    owner = sa.ForeignKey("users.id", ondelete="CASCADE")
    return sa.Column("user_id", sa.Text, owner, nullable=nullable, primary_key=primary_key)
