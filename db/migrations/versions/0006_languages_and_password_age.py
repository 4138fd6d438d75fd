"""Adds the language of each user, and the time of the last change of the password."""

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
