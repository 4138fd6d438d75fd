"""Creates the tables of the rate limits and the audit log."""

import sqlalchemy as sa
from alembic import op

from db.tables import Instant

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "buckets",
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("full_at", sa.Double, nullable=False),
        sa.Column("rests_until", sa.Double, nullable=False),
        sa.Column("kept_until", sa.Double, nullable=False),
        sa.Column("taken", sa.Integer, nullable=False),
        sa.Column("refused", sa.Integer, nullable=False),
    )
    op.create_index("buckets_kept_until", "buckets", ["kept_until"])
    op.create_table(
        "audit",
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("at", Instant, nullable=False),
        sa.Column("event", sa.Text, nullable=False),
        sa.Column("outcome", sa.Text, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("actor_id", sa.Text),
        sa.Column("target_id", sa.Text),
        sa.Column("session_id", sa.Text, nullable=False),
        sa.Column("address", sa.Text, nullable=False),
        sa.Column("browser", sa.Text, nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
        sa.Column("kid", sa.Text, nullable=False),
        sa.Column("seal", sa.Text, nullable=False),
    )
    op.create_index("audit_target_id", "audit", ["target_id", "number"])
    op.create_index("audit_actor_id", "audit", ["actor_id", "number"])
    op.create_table(
        "trail_anchor",
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("seal", sa.Text, nullable=False),
        sa.Column("kid", sa.Text, nullable=False),
        sa.Column("proof", sa.Text, nullable=False),
    )
    head = op.create_table(
        "trail_head",
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("seal", sa.Text, nullable=False),
        sa.Column("kid", sa.Text, nullable=False),
        sa.Column("proof", sa.Text, nullable=False),
    )
    op.bulk_insert(head, [{"number": 0, "seal": "", "kid": "", "proof": ""}])
