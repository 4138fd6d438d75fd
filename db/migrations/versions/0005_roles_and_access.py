"""Adds roles, invitations, access tokens, and the deletion time of accounts.

The CHECK constraints of `users.role` and `tokens.purpose` go: a role is now a row of `roles`, and
the program checks the purpose. SQLite has to copy both tables for that.
"""

from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op

from db.tables import Instant

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    roles = op.create_table(
        "roles",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("label", sa.Text, nullable=False),
        sa.Column("created_at", Instant, nullable=False),
    )
    now = datetime.now(UTC)
    op.bulk_insert(
        roles,
        [
            {"name": "user", "label": "User", "created_at": now},
            {"name": "admin", "label": "Administrator", "created_at": now},
        ],
    )
    op.create_table(
        "role_permissions",
        sa.Column(
            "role", sa.Text, sa.ForeignKey("roles.name", ondelete="CASCADE"), primary_key=True
        ),
        sa.Column("permission", sa.Text, primary_key=True),
    )
    if op.get_context().dialect.name == "sqlite":
        replace_tables_of_sqlite()
    else:
        op.drop_constraint("users_role_check", "users")
        op.create_foreign_key("users_role_fkey", "users", "roles", ["role"], ["name"])
        op.drop_constraint("tokens_purpose_check", "tokens")
    op.add_column("users", sa.Column("delete_at", Instant))
    op.create_index("users_delete_at", "users", ["delete_at"])
    op.add_column(
        "sessions",
        sa.Column("is_remembered", sa.Boolean, nullable=False, server_default=sa.false()),
    )
    op.create_table(
        "invitations",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("token_hash", sa.Text, nullable=False, unique=True),
        sa.Column("mail_token_hash", sa.Text, unique=True),
        sa.Column("kid", sa.Text, nullable=False),
        sa.Column("email", sa.Text, nullable=False),
        sa.Column("role", sa.Text, sa.ForeignKey("roles.name"), nullable=False),
        sa.Column("team", sa.Text, nullable=False),
        sa.Column("invited_by", sa.Text, nullable=False),
        sa.Column("created_at", Instant, nullable=False),
        sa.Column("expires_at", Instant, nullable=False),
    )
    op.create_index("invitations_email", "invitations", ["email"])
    op.create_index("invitations_expires_at", "invitations", ["expires_at"])
    op.create_table(
        "access_tokens",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column(
            "user_id", sa.Text, sa.ForeignKey("users.id", ondelete="CASCADE"), nullable=False
        ),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("token_hash", sa.Text, nullable=False, unique=True),
        sa.Column("scopes", sa.Text, nullable=False),
        sa.Column("created_at", Instant, nullable=False),
        sa.Column("expires_at", Instant, nullable=False),
        sa.Column("last_used_at", Instant),
    )
    op.create_index("access_tokens_user_id", "access_tokens", ["user_id"])
    op.create_index("access_tokens_expires_at", "access_tokens", ["expires_at"])


def replace_tables_of_sqlite() -> None:
    """Copies `users` and `tokens` into tables without the CHECK constraints.

    The connection does not enforce foreign keys, so dropping `users` deletes no session.
    """
    metadata = sa.MetaData()
    users = sa.Table(
        "users",
        metadata,
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("email", sa.Text, nullable=False, unique=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("search_key", sa.Text),
        sa.Column("slug", sa.Text, nullable=False, unique=True),
        sa.Column("phone", sa.Text, nullable=False, server_default=""),
        sa.Column("team", sa.Text, nullable=False, server_default=""),
        sa.Column(
            "role", sa.Text, sa.ForeignKey("roles.name"), nullable=False, server_default="user"
        ),
        sa.Column("password_hash", sa.Text, nullable=False),
        sa.Column("created_at", Instant, nullable=False),
        sa.Column("verified_at", Instant),
        sa.Column("disabled_at", Instant),
        sa.Column("last_login_at", Instant),
        sa.Column("previous_login_at", Instant),
        sa.Column("sessions_ended_at", Instant),
        sa.Index("users_created_at", "created_at"),
    )
    tokens = sa.Table(
        "tokens",
        metadata,
        sa.Column("hash", sa.Text, primary_key=True),
        sa.Column("purpose", sa.Text, nullable=False),
        sa.Column(
            "user_id", sa.Text, sa.ForeignKey("users.id", ondelete="CASCADE"), nullable=False
        ),
        sa.Column("email", sa.Text, nullable=False),
        sa.Column("event", sa.Text, nullable=False),
        sa.Column("created_at", Instant, nullable=False),
        sa.Column("expires_at", Instant, nullable=False),
        sa.Index("tokens_user_id", "user_id", "purpose"),
        sa.Index("tokens_email", "email"),
        sa.Index("tokens_expires_at", "expires_at"),
    )
    for table in (users, tokens):
        with op.batch_alter_table(table.name, copy_from=table, recreate="always"):
            pass
