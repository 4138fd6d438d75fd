"""Adds languages, the age of passwords, and an index of the audit log by event and time."""

import sqlalchemy as sa
from alembic import op

from db.tables import Instant

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("users", sa.Column("password_changed_at", Instant))
    op.add_column("users", sa.Column("language", sa.Text, nullable=False, server_default=""))
    op.add_column(
        "users", sa.Column("browser_language", sa.Text, nullable=False, server_default="")
    )
    # The filters of the audit log by event and by date.
    op.create_index("audit_event", "audit", ["event", "number"])
    op.create_index("audit_at", "audit", ["at", "number"])
    op.create_index("audit_event_at", "audit", ["event", "outcome", "at"])
