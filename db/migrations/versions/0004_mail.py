"""Adds the verification time of users, and the tables of mails and of their links."""

import sqlalchemy as sa
from alembic import op

from db.tables import Instant

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("users", sa.Column("verified_at", Instant))
    op.create_table(
        "tokens",
        sa.Column("hash", sa.Text, primary_key=True),
        sa.Column(
            "purpose",
            sa.Text,
            sa.CheckConstraint("purpose IN ('verify', 'reset', 'change', 'not-me')"),
            nullable=False,
        ),
        sa.Column(
            "user_id", sa.Text, sa.ForeignKey("users.id", ondelete="CASCADE"), nullable=False
        ),
        sa.Column("email", sa.Text, nullable=False),
        sa.Column("event", sa.Text, nullable=False),
        sa.Column("created_at", Instant, nullable=False),
        sa.Column("expires_at", Instant, nullable=False),
    )
    op.create_index("tokens_user_id", "tokens", ["user_id", "purpose"])
    op.create_index("tokens_email", "tokens", ["email"])
    op.create_index("tokens_expires_at", "tokens", ["expires_at"])
    op.create_table(
        "outbox",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("user_id", sa.Text, nullable=False),
        sa.Column("recipient", sa.Text, nullable=False),
        sa.Column("facts", sa.Text, nullable=False),
        sa.Column("kid", sa.Text, nullable=False),
        sa.Column("created_at", Instant, nullable=False),
        sa.Column("due_at", Instant),
        sa.Column("expires_at", Instant, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("sent_at", Instant),
        sa.Column("error", sa.Text, nullable=False),
    )
    op.create_index("outbox_due_at", "outbox", ["due_at"])
    op.create_index("outbox_user_id", "outbox", ["user_id"])
